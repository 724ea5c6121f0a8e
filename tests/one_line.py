"""A command that cannot do what it is told says so in one line."""

from tlinear.cli import main


def fails(capsys, arguments):
    """The one line on stderr of a command that exits with 2."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tlinear: ")
    assert captured.err.count("\n") == 1
    return captured.err
