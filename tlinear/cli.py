"""The command line: ``tlinear demo``, ``tlinear check`` and ``tlinear plot``.

Exit codes: 0 when all went well, 1 when what was judged is wrong, 2 when what was asked for cannot be done, 130
when interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from tlinear import __version__, check_command, plot_command
from tlinear.demo import command as demo
from tlinear.errors import TLinearError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` asks for (that of the process if None), and return its exit code."""
    options = _parser().parse_args(argv)
    execute: Callable[[argparse.Namespace], int | None] = options.execute
    try:
        return execute(options) or 0
    except (TLinearError, OSError) as error:
        print(f"tlinear: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"tlinear: not enough memory for what was asked: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tlinear: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tlinear", description="Tensorized linear layers in NumPy.")
    parser.add_argument("--version", action="version", version=f"tlinear {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    demo.add_arguments(commands.add_parser("demo", help=demo.PURPOSE, description=demo.PURPOSE))
    check = commands.add_parser("check", help=check_command.PURPOSE, description=check_command.PURPOSE)
    check_command.add_arguments(check)
    plot = commands.add_parser("plot", help=plot_command.PURPOSE, description=plot_command.PURPOSE)
    plot_command.add_arguments(plot)
    return parser
