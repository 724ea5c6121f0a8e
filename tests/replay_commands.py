"""How a replay is run as a reader runs it."""

import subprocess
import sys
from pathlib import Path

from processes import with_package

ROOT = Path(__file__).resolve().parents[1]
REPLAYS = ROOT / "docs" / "replays"


def quick(name):
    """The output of ``--quick``, and all that the folder holds before and after."""
    before = contents()
    command = [sys.executable, str(REPLAYS / f"{name}.py"), "--quick"]
    result = subprocess.run(command, capture_output=True, text=True, env=with_package(), check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout, before, contents()


def contents():
    return {path.name: path.read_bytes() for path in sorted(REPLAYS.iterdir()) if path.is_file()}
