"""The committed vectors are what is computed; they catch every known mistake; what is no vector is refused."""

import json
from collections import Counter
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from testing.drawn import by_layer

from tlinear.errors import VectorError
from tlinear.formats import FORMATS
from tlinear.testing import check, judge
from tlinear.testing.__main__ import main
from tlinear.testing.arithmetic import arithmetic_of
from tlinear.testing.files import dumps
from tlinear.testing.mutants import MUTANTS, right
from tlinear.testing.vectors import (
    CORPUS,
    check_vectors,
    corpus,
    invalid_corpus,
    read_vectors,
    vectors_of,
    write_vectors,
)
from tlinear.testing.vectors.corpus import FLAGS
from tlinear.testing.vectors.invalid import INVALID_FLAGS
from tlinear.testing.vectors.schema import SCHEMA
from tlinear.testing.vectors.store import differences

FILES = [*(f"{name}.json" for name in FORMATS), "invalid.json", "ranks.json", "shapes.json"]


def test_the_files_are_what_is_computed():
    assert differences() == []
    assert sum(path.stat().st_size for path in CORPUS.iterdir()) < 2_000_000


def test_no_result_has_a_zero_with_a_sign():
    """Which sign it were would depend on the order of summation, and so on the version of NumPy."""
    for vector in corpus():
        for array in (*vector.results.values(), *vector.stages.values()):
            for part in (array.real, array.imag) if np.iscomplexobj(array) else (array,):
                assert not np.any(np.signbit(part) & (part == 0)), vector.id


def test_what_was_read_is_what_was_written():
    valid, invalid = read_vectors(verify=True)
    by_id = {vector.id: vector for vector in valid}
    assert len(by_id) == len(valid) == len(corpus()) > 300
    for vector in corpus():
        other = by_id[vector.id]
        assert other.flags == vector.flags
        for (name, array), (other_name, again) in zip(vector.case.arrays(), other.case.arrays(), strict=True):
            assert name == other_name
            assert array.dtype == again.dtype
            np.testing.assert_array_equal(array, again)
    assert sorted(map(str, invalid)) == sorted(map(str, invalid_corpus()))


@pytest.mark.parametrize("file", FILES)
def test_files_have_the_form_that_the_schema_says(file):
    stored = json.loads((CORPUS / file).read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(stored)
    assert dumps(stored) == (CORPUS / file).read_text()
    assert {flag for vector in stored["vectors"] for flag in vector.get("flags", ())} == set(stored["flags"])
    stored["vectors"][0].pop("in_shape", stored["vectors"][0].pop("features", None))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(stored)


def test_no_result_is_zero_for_nothing():
    for vector in corpus():
        zero = {name for name, array in vector.results.items() if array.size and not array.any()}
        if "empty_batch" in vector.flags:
            assert zero == {name for name in vector.results if name not in ("y", "dx")}
        elif "zero_operand" in vector.flags:
            left_out = next(f"d{name}" for name, array in vector.case.operands.items() if not array.any())
            assert left_out not in zero
        else:
            assert not zero


def test_every_flag_is_shown_by_every_format_it_applies_to():
    shown = Counter((vector.case.format, flag) for vector in corpus() for flag in vector.flags)
    for flag, (_, recipes) in FLAGS.items():
        for recipe in recipes:
            assert all(shown[name, flag] for name in recipe.formats), flag
    assert {(v.id.partition("-")[0], v.flag) for v in invalid_corpus()} == {
        (name, flag) for flag, (*_, formats) in INVALID_FLAGS.items() for name in formats
    }


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_some_vector_catches_every_mistake(mutant):
    """But for that which is about memory, of which a file says nothing."""
    caught = any(not judge(vector.case, mutant.compute(vector.case)).passed for vector in corpus())
    assert caught == (mutant.name != "strides_ignored")


def test_stored_results_pass_the_stored_criteria():
    """What a port in another language would do with the files alone, done to results in float32."""
    for vector in corpus():
        if vector.case.dtype.kind == "c":
            continue
        case = vector.case.map(lambda array: array.astype(np.float32))
        found, u = right(case), arithmetic_of(np.dtype(np.float32)).unit_roundoff
        for name, expected in vector.results.items():
            if vector.bits is None:
                k = vector.n_roundings[name]
                bound = k * u / (1 - k * u) * vector.magnitudes[name]
                assert np.all(np.abs(found[name] - expected) <= bound), (vector.id, name)
            elif vector.bits <= 24:
                np.testing.assert_array_equal(found[name], expected, err_msg=f"{vector.id} {name}")


def test_letters_are_an_einsum():
    for vector in corpus():
        letters = vector.letters
        if len(set("".join(letters.values()))) > 52 or vector.case.bias is not None or vector.bits is None:
            continue
        case = vector.case
        n = int(np.prod(case.batch_shape))
        x = case.x.reshape(n, *case.in_shape)
        given = ",".join(letters[name] for name in ("x", *case.operands))
        y = np.einsum(f"{given}->{letters['y']}", x, *case.operands.values())
        np.testing.assert_array_equal(y.reshape(vector.results["y"].shape), vector.results["y"])


def test_the_layer_passes_and_refuses():
    report = check_vectors(by_layer, None, invalid_corpus(), dtypes=["float32", "complex64"], jvp=True)
    assert report.passed, str(report)


def test_joint_layers_and_tangents_are_judged_when_asked_for():
    plain = check_vectors(right, formats=["cp"], dtypes=["float64"])
    asked = check_vectors(right, formats=["cp"], dtypes=["float64"], n_layers=(1, 2, 3), jvp=True)
    assert plain.passed
    assert asked.passed
    assert asked.n_cases > plain.n_cases
    assert "jvp" in asked.coverage.tiers
    assert "jvp" not in plain.coverage.tiers


def test_a_report_names_the_vector_and_why_it_is_there():
    def no_empty_batch(case):
        if 0 in case.batch_shape:
            raise RuntimeError("cannot reshape tensor of 0 elements")
        return right(case)

    report = check_vectors(no_empty_batch, formats=["tt"])
    assert not report.passed
    assert "vector    tt-empty_batch-" in str(report)
    assert "no samples: gradients of parameters are zero" in str(report)


def test_what_gives_results_of_no_layer_is_told():
    report = check_vectors(lambda case: {"y": np.zeros(1)}, [], invalid_corpus(), formats=["cp"])
    assert len(report.failures) == sum(vector.format in ("cp", "svd") for vector in invalid_corpus())
    assert "it gives results of what must be refused" in str(report)
    assert "which is no layer: x has one feature more" in str(report)


def test_what_a_check_finds_can_be_kept(tmp_path):
    report = check(lambda case: right(replace(case, x=2 * case.x)), formats=["cp"], dtypes=["float64"], max_examples=50)
    (path,) = write_vectors(tmp_path, vectors_of(report))
    kept, _ = read_vectors(path, verify=True)
    assert len(kept) == len(report.failures) > 0
    assert not check_vectors(lambda case: right(replace(case, x=2 * case.x)), kept).passed
    assert check_vectors(right, kept).passed


# ------------------------------------------------------------------------------------------------ what is no vector


def stored_vector(tmp_path, change):
    (path,) = write_vectors(tmp_path, [corpus()[0]])
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stored: stored.update(version=99), "is of version 99"),
        (lambda stored: stored.pop("vectors"), "no list of 'vectors'"),
        (lambda stored: stored.update(vectors={}), "no list of 'vectors'"),
        (lambda stored: stored["vectors"].append(3), "vector 1: It has not all of"),
        (lambda stored: stored["vectors"][0].pop("arrays"), "It has not all of"),
        (lambda stored: stored["vectors"][0].update(arrays=[]), "'arrays' are no object"),
        (lambda stored: stored["vectors"][0]["arrays"].pop("x"), "has no 'x'"),
        (lambda stored: stored["vectors"][0]["arrays"].pop("tensor"), "The operands of dense are"),
        (lambda stored: stored["vectors"][0]["arrays"]["x"].update(shape=[7]), "instead of 7"),
        (lambda stored: stored["vectors"][0]["arrays"]["x"].update(data=[1] * 5), "numbers instead of 6"),
        (lambda stored: stored["vectors"][0]["arrays"]["x"].update(data=["1"] * 6), "holds what is no number"),
        (lambda stored: stored["vectors"][0]["arrays"]["x"]["data"].__setitem__(0, 10**400), "no float64 is"),
        (lambda stored: stored["vectors"][0].update(n_layers="2"), "n_layers='2' must be an integer"),
        (lambda stored: stored["vectors"][0].update(in_shape="3"), "in_shape='3' must be a list"),
        (lambda stored: stored["vectors"].append(stored["vectors"][0]), "There are two of this name"),
        (lambda stored: stored["vectors"][0]["arrays"]["dy"].update(shape=[4, 1]), "dy has shape"),
        (lambda stored: stored["vectors"][0].update(format="svd"), "svd"),
        (lambda stored: stored["vectors"][0].update(dtype="int3"), "int3"),
        (lambda stored: stored["vectors"][0].pop("results"), "It has no 'results'"),
        (lambda stored: stored["vectors"][0]["results"].pop("dx"), "Its results are not"),
        (
            lambda stored: stored["vectors"][0]["results"]["y"]["data"].__setitem__(0, 99),
            "y of its results is not what its arrays give",
        ),
        (
            lambda stored: stored["vectors"][0]["arrays"].update(x={"shape": [2, 3], "file": "no.such", "tensor": "x"}),
            "x lies in no.such, which cannot be read",
        ),
        (
            lambda stored: stored["vectors"][0]["arrays"].update(
                x={"shape": [2, 3], "file": "vectors.json", "tensor": "x"}
            ),
            "is no safetensors file",
        ),
    ],
)
def test_what_is_no_vector_is_refused_with_its_name(tmp_path, capsys, change, message):
    path = stored_vector(tmp_path, change)
    with pytest.raises(VectorError, match=message):
        read_vectors(path, verify=True)
    assert main(["vectors", "--check", str(path)]) == 2
    shown = capsys.readouterr()
    assert "vectors.json" in shown.err
    assert "Traceback" not in shown.err


def test_files_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(VectorError, match="is no JSON"):
        read_vectors(tmp_path)
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(VectorError, match="is no JSON"):
        read_vectors(tmp_path / "a.json")
    with pytest.raises(VectorError, match="cannot be read"):
        read_vectors(tmp_path / "b.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(VectorError, match="holds no vectors"):
        read_vectors(tmp_path / "empty")


def test_changes_to_the_files_are_told(tmp_path, monkeypatch, capsys):
    write_vectors(tmp_path)
    assert differences(tmp_path) == []
    lines = (tmp_path / "tt.json").read_text().splitlines()
    lines[100] += " "
    (tmp_path / "tt.json").write_text("\n".join(lines))
    (tmp_path / "cp.json").unlink()
    (tmp_path / "large.safetensors").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("")
    found = differences(tmp_path)
    assert [line.split()[0] for line in found] == ["cp.json", "tt.json", "large.safetensors", "notes.txt"]
    assert "from line 101 on" in found[1]
    monkeypatch.setattr("tlinear.testing.__main__.differences", lambda: found)
    assert main(["vectors", "--check"]) == 1
    assert "cp.json is missing" in capsys.readouterr().out
