"""Vectors as files, and back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlinear.arrays import Array
from tlinear.errors import MissingDependencyError, VectorError
from tlinear.formats import FORMATS
from tlinear.testing.case import Case
from tlinear.testing.files import VERSION, array_to_json, case_from_json, case_to_json, dumps
from tlinear.testing.report import Report
from tlinear.testing.resolvers import rank_vectors, shape_vectors
from tlinear.testing.vectors.corpus import FLAGS, corpus
from tlinear.testing.vectors.invalid import INVALID_FLAGS, InvalidVector, invalid_corpus, invalid_from_json
from tlinear.testing.vectors.schema import SCHEMA
from tlinear.testing.vectors.vector import Vector

__all__ = ["CORPUS", "differences", "files_of_corpus", "read_vectors", "vector_to_json", "vectors_of", "write_vectors"]

CORPUS = Path(__file__).parent / "corpus"
"""The folder of the vectors that come with the package."""

LARGE = "large.safetensors"
_OTHERS = ("schema.json", "ranks.json", "shapes.json")
_OF_ARRAYS = ("arrays", "results", "magnitudes", "stages")
_LARGE_FROM = 256
_MOST_IN_STAGES = 1000


def vector_to_json(vector: Vector, tensors: dict[str, Array] | None = None) -> dict[str, Any]:
    """A vector with its results.

    Parameters
    ----------
    vector : Vector
    tensors : dict, optional
        Takes up the arrays that are too large to be written as decimal numbers; without it all are.
    """

    def stored(arrays: Mapping[str, Array], prefix: str = "") -> dict[str, Any]:
        found = {}
        for name, array in arrays.items():
            if tensors is None or array.size < _LARGE_FROM or array.dtype.kind == "c":  # of which safetensors has few
                found[name] = array_to_json(array)
            else:
                key = f"{vector.id}/{prefix}{name}"
                tensors[key] = np.ascontiguousarray(array)
                found[name] = {"shape": list(array.shape), "file": LARGE, "tensor": key}
        return found

    case = vector.case
    judged: dict[str, Any] = {"tier": vector.tier} | ({} if vector.bits is None else {"bits": vector.bits})
    judged |= {"n_roundings": dict(vector.n_roundings), "magnitudes": stored(vector.magnitudes, "magnitude.")}
    found = {"id": vector.id, "valid": True, "flags": list(vector.flags)} | case_to_json(case)
    found |= {"letters": dict(vector.letters), "arrays": stored(dict(case.arrays()))}
    found |= judged | {"results": stored(vector.results)}
    if sum(array.size for array in vector.stages.values()) <= _MOST_IN_STAGES:
        found["stages"] = stored(vector.stages)
    return found


def _invalid_to_json(vector: InvalidVector) -> dict[str, Any]:
    return {"id": vector.id, "valid": False, "flags": [vector.flag], "reason": vector.reason} | dict(vector.stored)


def _document(flags: Mapping[str, str], vectors: Sequence[Mapping[str, Any]]) -> str:
    return dumps({"version": VERSION, "flags": dict(flags), "vectors": list(vectors)})


def files_of_corpus() -> dict[str, bytes]:
    """The content of every file of the corpus, computed anew."""
    tensors: dict[str, Array] = {}
    reasons = {flag: reason for flag, (reason, _) in FLAGS.items()}
    files = {}
    for name in FORMATS:
        stored = [vector_to_json(vector, tensors) for vector in corpus() if vector.case.format == name]
        used = {flag: reason for flag, reason in reasons.items() if any(flag in entry["flags"] for entry in stored)}
        files[f"{name}.json"] = _document(used, stored).encode()
    invalid = {flag: reason for flag, (reason, *_) in INVALID_FLAGS.items()}
    files["invalid.json"] = _document(invalid, [_invalid_to_json(vector) for vector in invalid_corpus()]).encode()
    files["ranks.json"] = _document({}, rank_vectors()).encode()
    files["shapes.json"] = _document({}, shape_vectors()).encode()
    files["schema.json"] = (json.dumps(SCHEMA, indent=2) + "\n").encode()
    files[LARGE] = _safetensors().save(tensors)
    return files


def differences(folder: Path = CORPUS) -> list[str]:
    """How the files of a folder differ from the corpus computed anew, a line for each file; nothing if they do not."""
    found = []
    expected = files_of_corpus()
    for name, content in expected.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing.")
        elif name == LARGE:
            found += _tensors_differ(path.read_bytes(), content)
        elif path.read_bytes() != content:
            found.append(f"{name} differs from line {_first_difference(path.read_bytes(), content)} on.")
    present = {path.name for path in folder.glob("*") if path.is_file()}
    return found + [f"{name} is no file of the corpus." for name in sorted(present - set(expected))]


def _first_difference(stored: bytes, expected: bytes) -> int:
    pairs = itertools.zip_longest(stored.splitlines(), expected.splitlines())
    return next((number for number, (one, other) in enumerate(pairs, 1) if one != other), 1)


def _tensors_differ(stored: bytes, expected: bytes) -> list[str]:
    try:
        found = _safetensors().load(stored)
    except Exception as error:  # the library has errors of its own
        return [f"{LARGE} cannot be read: {error}."]
    wanted = _safetensors().load(expected)
    names = [name for name in {**wanted, **found} if not _same(wanted.get(name), found.get(name))]
    return [f"{LARGE} differs in {', '.join(names[:5])}."] if names else []


def _same(one: Array | None, other: Array | None) -> bool:
    return one is not None and other is not None and one.dtype == other.dtype and np.array_equal(one, other)


def write_vectors(folder: str | Path, vectors: Iterable[Vector] | None = None) -> list[Path]:
    """Write the corpus to a folder, or other vectors to a file ``vectors.json`` in it; returns what was written."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if vectors is None:
        files = files_of_corpus()
    else:
        reasons = {flag: reason for flag, (reason, _) in FLAGS.items()}
        stored = [vector_to_json(vector) for vector in vectors]
        used = {flag: reasons.get(flag, "found by a check") for entry in stored for flag in entry["flags"]}
        files = {"vectors.json": _document(used, stored).encode()}
    for name, content in files.items():
        Path(folder, name).write_bytes(content)
    return [Path(folder, name) for name in files]


def vectors_of(report: Report) -> list[Vector]:
    """The cases that show what is wrong, as vectors: ``write_vectors(folder, vectors_of(report))`` keeps them."""
    shown = [finding for finding in report.failures if isinstance(finding.case, Case)]
    return [Vector(f"{finding.case.format}-found-{k}", finding.case, ("found",)) for k, finding in enumerate(shown)]


def read_vectors(path: str | Path = CORPUS, *, verify: bool = False) -> tuple[list[Vector], list[InvalidVector]]:
    """The valid and the invalid vectors of a file, or of all files of a folder.

    Parameters
    ----------
    path : path
    verify : bool
        Whether to compute the results anew, and compare.

    Raises
    ------
    VectorError
        When a file cannot be read or is none of this form, an array is missing or does not fit; or a result is not
        what the case gives.  The message names the file and the vector.
    """
    path = Path(path)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    files = [file for file in files if file.name not in _OTHERS]
    if not files:
        raise VectorError(f"{path} holds no vectors. Give a .json file of vectors, or a folder of them.")
    valid: list[Vector] = []
    invalid: list[InvalidVector] = []
    for file in files:
        _read_file(file, valid, invalid, verify=verify)
    return valid, invalid


def _read_file(file: Path, valid: list[Vector], invalid: list[InvalidVector], *, verify: bool) -> None:
    if file.exists() and not file.is_file():
        raise VectorError(f"{file} is no file. Give a .json file of vectors, or a folder of them.")
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise VectorError(f"{file} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise VectorError(f"{file} is no JSON: {error}.") from None
    if not isinstance(stored, Mapping) or not isinstance(stored.get("vectors"), list):
        raise VectorError(f"{file} has no list of 'vectors'. Its form is that of schema.json.")
    if stored.get("version") != VERSION:
        raise VectorError(f"{file} is of version {stored.get('version')!r}; this is version {VERSION}.")
    arrays, seen = _Arrays(file.parent), {vector.id for vector in valid} | {vector.id for vector in invalid}
    for number, entry in enumerate(stored["vectors"]):
        name = entry.get("id", number) if isinstance(entry, Mapping) else number
        try:
            read: Vector | InvalidVector = _read_entry(entry, arrays, verify=verify)
            if read.id in seen:
                raise VectorError("There are two of this name.")
        except VectorError as error:
            raise VectorError(f"{file}, vector {name}: {error}") from None
        seen.add(read.id)
        if isinstance(read, Vector):
            valid.append(read)
        else:
            invalid.append(read)


def _read_entry(entry: Any, arrays: _Arrays, *, verify: bool) -> Vector | InvalidVector:
    if not isinstance(entry, Mapping) or not {"id", "valid", "flags", "arrays"} <= set(entry):
        raise VectorError("It has not all of 'id', 'valid', 'flags' and 'arrays'.")
    if not isinstance(entry["arrays"], Mapping) or not isinstance(entry["flags"], list):
        raise VectorError("Its 'arrays' are no object, or its 'flags' no list.")
    if not isinstance(entry["id"], str) or not isinstance(entry["valid"], bool):
        raise VectorError("Its 'id' is no string, or 'valid' neither true nor false.")
    if not entry["valid"]:
        return invalid_from_json(entry)
    inline = dict(entry) | {"arrays": arrays.all_loaded(entry["arrays"])}
    vector = Vector(entry["id"], case_from_json(inline), tuple(map(str, entry["flags"])))
    if verify:
        _verify(vector, entry, arrays)
    return vector


def _verify(vector: Vector, entry: Mapping[str, Any], arrays: _Arrays) -> None:
    """Compare all that an entry says with what its case gives."""
    for field, expected in vector_to_json(vector).items():
        if field not in entry:
            raise VectorError(f"It has no {field!r}.")
        if field not in _OF_ARRAYS:
            if entry[field] != expected:
                raise VectorError(f"{field} is {entry[field]!r}, but the case gives {expected!r}.")
            continue
        if not isinstance(entry[field], Mapping) or set(entry[field]) != set(expected):
            raise VectorError(f"Its {field} are not {sorted(expected)}.")
        for name, found in arrays.all_loaded(entry[field]).items():
            if found != expected[name]:
                raise VectorError(f"{name} of its {field} is not what its arrays give.")


class _Arrays:
    """The arrays of a file: as they stand in it, or in a safetensors file beside it, which is read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tensors: dict[str, Mapping[str, Array]] = {}

    def all_loaded(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.loaded(array, name) for name, array in stored.items()}

    def loaded(self, stored: Any, name: str) -> Any:
        if not isinstance(stored, Mapping) or "tensor" not in stored:
            return stored
        file = stored.get("file")
        if not isinstance(file, str) or Path(file).name != file or not isinstance(stored["tensor"], str):
            raise VectorError(f"{name} names no 'tensor' of a 'file' beside this one.")
        if file not in self._tensors:
            self._tensors[file] = self._read(file, name)
        if stored["tensor"] not in self._tensors[file]:
            raise VectorError(f"{name} is {stored['tensor']!r} of {file}, which has no such tensor.")
        found = array_to_json(self._tensors[file][stored["tensor"]])
        if stored.get("shape") != found["shape"]:
            raise VectorError(f"{name} has the shape {found['shape']} in {file}, and not {stored.get('shape')!r}.")
        return found

    def _read(self, file: str, name: str) -> Mapping[str, Array]:
        try:
            content = (self._folder / file).read_bytes()
        except OSError as error:
            raise VectorError(f"{name} lies in {file}, which cannot be read: {error.strerror}.") from None
        try:
            found: Mapping[str, Array] = _safetensors().load(content)
        except MissingDependencyError:
            raise
        except Exception as error:  # the library has errors of its own
            raise VectorError(f"{name} lies in {file}, which is no safetensors file: {error}.") from None
        return found


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        message = "Large vectors lie in a safetensors file. Install it with pip install 'tlinear[oracle]'."
        raise MissingDependencyError(message) from None
    return safetensors.numpy
