"""``python -m tlinear``, the same as ``tlinear``."""

import sys

from tlinear.cli import main

if __name__ == "__main__":
    sys.exit(main())
