"""What is drawn is what there is: each operand and label once, what decompose reports, what the plan counts."""

import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_formats import KroneckerTensor, TensorRing

import tlinear
from tlinear import plot
from tlinear.cli import main
from tlinear.errors import (
    FactorizationError,
    MissingDependencyError,
    NetworkError,
    NonFiniteError,
    OptionError,
    ShapeError,
)
from tlinear.formats import FORMATS

OWN = {"ring": TensorRing, "kronecker": KroneckerTensor}


@st.composite
def layers(draw, formats=(*FORMATS, "ring"), most_modes=6):
    in_shape, out_shape = (tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=most_modes))) for _ in range(2))
    factorization = draw(st.sampled_from(formats))
    rank = "same" if factorization == "dense" else draw(st.integers(1, 3))
    return tlinear.FactorizedLinear(
        in_shape, out_shape, factorization=OWN.get(factorization, factorization), rank=rank, rng=0
    )


def overlap(a, b):
    return abs(a.x - b.x) < (a.width + b.width) / 2 - 1e-9 and abs(a.y - b.y) < (a.height + b.height) / 2 - 1e-9


@given(layers(), st.booleans())
def test_every_operand_and_label_is_in_the_diagram_once(layer, with_input):
    network = layer.weight.layer_network if with_input else layer.weight.network
    diagram = plot.diagram_of(network)
    assert [box.name for box in diagram.boxes] == list(network.names)
    labels = sorted({label for labels in network.inputs for label in labels})
    assert [wire.label for wire in diagram.wires] == labels
    assert [wire.symbol for wire in diagram.wires] == [network.symbol(label) for label in labels]
    assert {wire.label: wire.size for wire in diagram.wires if wire.size is not None} == {
        label: network.sizes[label] for label in labels if label >= 0
    }


@given(layers())
def test_no_two_operands_are_drawn_on_each_other(layer):
    boxes = plot.diagram_of(layer.weight.layer_network).boxes
    assert not [(a.name, b.name) for k, a in enumerate(boxes) for b in boxes[:k] if overlap(a, b)]


@given(layers())
def test_every_wire_touches_the_operands_that_carry_its_label_and_no_other_ends_in_one(layer):
    network = layer.weight.layer_network
    diagram = plot.diagram_of(network)
    for wire in diagram.wires:
        ends = [end for stroke in wire.strokes for end in (stroke[0], stroke[-1])]
        touched = {
            box.name
            for box in diagram.boxes
            for x, y in ends
            if abs(x - box.x) < box.width / 2 + 1e-9 and abs(y - box.y) < box.height / 2 + 1e-9
        }
        assert touched == {
            name for name, labels in zip(network.names, network.inputs, strict=True) if wire.label in labels
        }


@pytest.mark.parametrize("factorization", FORMATS)
def test_the_drawing_names_every_box_and_wire(tmp_path, factorization):
    rank = "same" if factorization == "dense" else 2
    layer = tlinear.FactorizedLinear((2,) * 6, (2,) * 6, factorization=factorization, rank=rank, rng=0)
    plot.save(plot.draw_network(layer), tmp_path / "network.svg")
    ids = [element.get("id") for element in ElementTree.parse(tmp_path / "network.svg").iter()]
    diagram = plot.diagram_of(layer.weight.layer_network)
    names = [box.name for box in diagram.boxes] + [wire.symbol for wire in diagram.wires]
    assert {name: ids.count(name) for name in names} == dict.fromkeys(names, 1)


@given(layers(), st.sampled_from(["factorized", "reconstructed"]), st.integers(1, 50))
def test_every_operand_and_step_of_a_plan_has_a_place_of_its_own(layer, implementation, batch_size):
    plan = layer.with_options(implementation=implementation).plan(batch_size)
    places = plot.places_of(plan)
    assert sorted(place.slot for place in places) == list(range(len(plan.network.names) + len(plan.steps)))
    assert len({(place.column, place.row) for place in places}) == len(places)


@given(
    layers(),
    st.sampled_from(["forward", "training", "parameters", "frozen"]),
    st.sampled_from(["store", "recompute"]),
    st.integers(0, 3000),
)
def test_the_timeline_is_highest_at_the_peak(layer, mode, memory, batch_size):
    plan = layer.with_options(memory=memory).plan(batch_size, mode)
    timeline = plot.memory_timeline(plan)
    assert max((moment.n_bytes for moment in timeline), default=0) == plan.peak_bytes
    for step in plan.steps if mode != "frozen" else plan.batch_steps:
        assert any(moment.doing == f"contract {step.name}" for moment in timeline)


def weight_of(seed, shape=(16, 24)):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) / np.arange(1, shape[1] + 1)


@given(st.integers(0, 3), st.sampled_from(["cp", "tucker", "tt", "blocktt"]))
def test_curves_hold_what_decompose_reports(seed, factorization):
    weight, ranks = weight_of(seed), [2, 0.15, 0.3]
    curves = plot.error_curves(weight, factorizations=[factorization], ranks=ranks)
    tensor = plot.as_tensor(weight, tlinear.tensorize_shape(24, 2), tlinear.tensorize_shape(16, 2))
    expected = [tlinear.decompose(tensor, factorization, rank, n_in=2) for rank in ranks]
    expected.sort(key=lambda result: result.n_parameters)
    got = curves[1].decompositions
    assert [(d.rank, d.relative_error) for d in got] == [(d.rank, d.relative_error) for d in expected]
    plain = [tlinear.decomposition.low_rank_baseline(weight, d.n_parameters) for d in curves[0].decompositions]
    for found, best in zip(curves[0].decompositions, plain, strict=True):
        assert found.rank == (1, best.rank, 1)
    line = plot.draw_error_curves(curves).axes[0].lines[1]
    assert list(line.get_ydata()) == [d.relative_error for d in got]


def test_a_budget_below_rank_one_is_left_out_of_a_curve():
    (curve,) = plot.error_curves(weight_of(0), factorizations=["blocktt"], ranks=[1e-3, 0.5], low_rank=False)
    assert len(curve.decompositions) == 1


@given(st.integers(0, 10), st.sampled_from(["tucker", "tt", "blocktt", TensorRing]))
def test_no_spectrum_loses_more_than_the_decomposition(seed, factorization):
    tensor = plot.as_tensor(weight_of(seed), (4, 3, 2), (4, 4))
    if factorization is TensorRing:
        with pytest.raises(FactorizationError, match="ring"):
            plot.bond_spectra(tensor, TensorRing.random((4, 3, 2), (4, 4), rank=2, rng=0))
        return
    result = tlinear.decompose(tensor, factorization, 0.4, n_in=3)
    spectra = plot.bond_spectra(tensor, result.tensor)
    assert tuple(spectrum.rank for spectrum in spectra) == result.tensor.bonds
    slack = 64 * np.finfo(float).eps
    for spectrum in spectra:
        assert abs(np.linalg.norm(spectrum.values) - 1) < slack
        assert spectrum.lost <= result.relative_error + slack


def test_the_spectra_of_a_train_with_no_rank_cut_off_lose_nothing():
    tensor = plot.as_tensor(weight_of(0), (4, 3, 2), (4, 4))
    spectra = plot.bond_spectra(tensor, tlinear.decompose(tensor, "tt", 10**6, n_in=3).tensor)
    assert all(spectrum.lost == 0.0 and spectrum.rank == len(spectrum.values) for spectrum in spectra)


@given(st.integers(2, 9), st.integers(2, 9))
def test_singular_values_are_numbered_and_parameters_written_in_whole_numbers(rows, columns):
    tensor = np.random.default_rng(0).standard_normal((rows, columns))
    result = tlinear.decompose(tensor, "tt", 2)
    spectra = plot.draw_spectra(plot.bond_spectra(tensor, result.tensor))
    curves = plot.draw_error_curves([plot.Curve("tt", (result,))])
    for axes in (*spectra.axes, *curves.axes):
        figure = axes.get_figure()
        figure.draw_without_rendering()
        ticks, shown = axes.get_xticks(), [label.get_text() for label in axes.get_xticklabels()]
        inside = [(x, text) for x, text in zip(ticks, shown, strict=True) if x >= 1]
        assert inside
        assert all(text == f"{x:,.0f}" and x == round(x) for x, text in inside)
        assert not any(axes.get_xticklabels(minor=True)[k].get_text() for k in range(len(axes.get_xticks(minor=True))))


@pytest.mark.parametrize(("factorization", "rank"), [("cp", 2), ("tucker", 1)])
def test_the_factors_of_the_output_stand_above_those_of_the_input(factorization, rank):
    layer = tlinear.FactorizedLinear((2,) * 6, (2,) * 6, factorization=factorization, rank=rank, rng=0)
    places = {box.name: box.x for box in plot.diagram_of(layer.weight.layer_network).boxes}
    assert all(places[f"factors.{k}"] == places[f"factors.{k + 6}"] for k in range(6))


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(NetworkError, match=r"Linear has no network"):
        plot.draw_network(tlinear.Linear(4, 4, rng=0))
    with pytest.raises(ShapeError, match=r"\(2, 2\).*\(4, 4\)"):
        plot.bond_spectra(np.ones((2, 2)), tlinear.TTTensor.random((4,), (4,), rank=1, rng=0))
    with pytest.raises(NonFiniteError, match=r"tensor of shape \(4, 4\) has 1 entry"):
        plot.bond_spectra(np.diag([1.0, 2.0, 3.0, np.inf]), tlinear.TTTensor.random((4,), (4,), rank=1, rng=0))
    with pytest.raises(FactorizationError, match="cp"):
        plot.bond_spectra(np.ones((4, 4, 4)), tlinear.CPTensor.random((4, 4), (4,), rank=1, rng=0))
    with pytest.raises(ShapeError, match=r"\(16, 24\).*\(16, 25\)"):
        plot.error_curves(weight_of(0), shapes=[((5, 5), (4, 4))])
    with pytest.raises(OptionError, match="no folder"):
        plot.save(plot.draw_network(tlinear.TTTensor.random((4,), (4,), rank=1, rng=0)), "no/folder/here.svg")


@pytest.mark.parametrize(
    "arguments",
    [
        ["network", "--in", "4,4", "--out", "2,5", "--rank", "0.5"],
        ["plan", "--in", "4,4", "--out", "2,5", "--format", "cp", "--rank", "3", "--batch", "10"],
        ["memory", "--in", "4,4", "--out", "2,5", "--mode", "training", "--memory", "recompute"],
        ["curves", "--weight", "weight.npy", "--formats", "tt", "--ranks", "0.2,0.5"],
        ["spectra", "--weight", "weight.npy", "--in", "4,6", "--out", "4,4", "--format", "tucker", "--rank", "2"],
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize(("suffix", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_command_saves_every_picture_in_every_kind(monkeypatch, tmp_path, capsys, arguments, suffix, magic):
    monkeypatch.chdir(tmp_path)
    np.save("weight.npy", weight_of(0))
    for _ in range(2):  # the same bytes again
        assert main(["plot", arguments[0], f"picture.{suffix}", *arguments[1:]]) == 0
        found = (tmp_path / f"picture.{suffix}").read_bytes()
        assert found.startswith(magic)
        (tmp_path / "first").write_bytes(found) if not (tmp_path / "first").exists() else None
    assert (tmp_path / "first").read_bytes() == found
    assert capsys.readouterr().out.count(f"the plot is saved as picture.{suffix}\n") == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["network", "picture.docx", "--in", "4", "--out", "4"], "picture.docx"),
        (["network", "picture.svg", "--in", "4", "--out", "4", "--rank", "9.5"], "rank=9.5"),
        (["spectra", "picture.svg", "--weight", "none.npy"], "none.npy"),
        (["spectra", "picture.svg", "--weight", "text.npy"], "text.npy is no array"),
        (["curves", "picture.svg", "--weight", "vector.npy"], "vector.npy must hold"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_one_line_and_2(monkeypatch, tmp_path, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npy").write_text("not an array")
    np.save("vector.npy", np.ones(4))
    assert main(["plot", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_without_matplotlib_the_numbers_are_there_and_the_picture_says_what_is_missing(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"] + ["matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    layer = tlinear.FactorizedLinear((4, 4), (2, 5), rank=3, rng=0)
    assert plot.memory_timeline(layer.plan(1))
    with pytest.raises(MissingDependencyError, match=r"A plot needs matplotlib.*pip install '\.\[plot\]'"):
        plot.draw_network(layer)


def test_importing_the_room_imports_no_matplotlib():
    code = "import sys, tlinear.plot; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
