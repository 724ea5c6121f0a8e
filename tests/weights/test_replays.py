"""The scripts of the replays that need the weights run."""

import pytest
from replay_commands import quick


@pytest.mark.parametrize("name", ["honest_map", "minilm_curves"])
def test_a_quick_run_prints_every_block_and_writes_nothing(name):
    output, before, after = quick(name)
    assert "\n**" in output
    assert "\n| " in output
    assert "Measured on: " in output
    assert before == after
