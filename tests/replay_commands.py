"""How a replay is run as a reader runs it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPLAYS = ROOT / "docs" / "replays"


def quick(name):
    """The output of ``--quick``, and all that the folder holds before and after."""
    before = contents()
    command = [sys.executable, str(REPLAYS / f"{name}.py"), "--quick"]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout, before, contents()


def contents():
    return {path.name: path.read_bytes() for path in sorted(REPLAYS.iterdir()) if path.is_file()}
