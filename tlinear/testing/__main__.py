"""``python -m tlinear.testing vectors``: check the test vectors, or write them somewhere."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tlinear.errors import TLinearError
from tlinear.testing.vectors.store import CORPUS, differences, read_vectors, write_vectors

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` asks for (that of the process if None), and return its exit code."""
    options = _parser().parse_args(argv)
    try:
        if options.write is not None:
            for path in write_vectors(options.write):
                print(path)
            return 0
        return _regenerate() if options.check == str(CORPUS) else _check(Path(options.check))
    except (TLinearError, OSError) as error:
        print(f"tlinear: {error}", file=sys.stderr)
        return 2


def _regenerate() -> int:
    """Compute the corpus anew, and compare."""
    found = differences()
    print("\n".join(found) or f"The vectors in {CORPUS.name}/ are what is computed.")
    return 1 if found else 0


def _check(path: Path) -> int:
    """Read vectors from elsewhere, and compute their results."""
    valid, invalid = read_vectors(path, verify=True)
    print(f"{path}: {len(valid)} valid and {len(invalid)} invalid vectors, whose results are right.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tlinear.testing")
    commands = parser.add_subparsers(required=True, metavar="command")
    vectors = commands.add_parser("vectors", help="the test vectors that come with the package")
    what = vectors.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--check",
        nargs="?",
        const=str(CORPUS),
        metavar="PATH",
        help="compute the vectors anew, and compare: those of the package, or of a file or folder",
    )
    what.add_argument("--write", metavar="FOLDER", help="compute them, and write them there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
