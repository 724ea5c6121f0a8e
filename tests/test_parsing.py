"""Words of the command line are read in one way, and refused with what to write instead."""

import argparse

import pytest

from tlinear import check_command, parsing, plot_command
from tlinear.demo import command as demo_command


@pytest.mark.parametrize(
    ("read", "text", "remedy"),
    [
        (parsing.integers, "4,x", "integers with commas between them"),
        (parsing.integers, "4.5", "integers with commas between them"),
        (parsing.integers, "8,,8", "integers with commas between them"),
        (parsing.rank, "1,a,1", "one rank for each bond"),
        (parsing.rank, "1,,1", "one rank for each bond"),
        (parsing.rank, "(1,2", "one rank for each bond"),
        (parsing.number_ranks, ",", "a rank such as 4, or a fraction"),
        (parsing.rank, "full", "a rank such as 4, or a fraction"),
        (parsing.number_rank, "1,4,1", "a rank such as 4, or a fraction"),
        (parsing.number_ranks, "4,all", "a rank such as 4, or a fraction"),
    ],
)
def test_what_cannot_be_read_is_quoted_with_a_remedy(read, text, remedy):
    with pytest.raises(argparse.ArgumentTypeError, match="cannot be read. Write ") as raised:
        read(text)
    assert remedy in str(raised.value)
    assert repr(text.split(",")[-1] if read is parsing.number_ranks else text) in str(raised.value)


@pytest.mark.parametrize("text", ["1,4,4,1", "(1, 4, 4, 1)", " 1, 4,4 ,1 "])
def test_ranks_are_read_as_python_prints_them(text):
    assert parsing.rank(text) == (1, 4, 4, 1)


def _types(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _types(child)
        elif action.type is not None:
            yield action


@pytest.mark.parametrize("command", [check_command, plot_command, demo_command], ids=lambda module: module.__name__)
def test_no_parser_shows_a_private_name(command):
    """argparse quotes the name of the function that could not read a word."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    found = list(_types(parser))
    assert found
    for action in found:
        assert not getattr(action.type, "__name__", "").startswith("_"), action.option_strings
