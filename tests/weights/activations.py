"""What the linear layers of MiniLM-L6 are given: its forward pass in NumPy, over English text that is installed anyway.

Calibration and held-out text are of different sources: what packages say of themselves and the docstrings of NumPy and
scikit-learn; and licences and the docstrings of SciPy.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import cache

import numpy as np
from scipy.special import erf
from weights.minilm import LAYERS, MATRICES, array, full_name, weights_file

HEADS, LENGTH = 12, 128
CALIBRATION, HELD_OUT = "calibration", "held-out"
MOST_TOKENS = {CALIBRATION: 12_000, HELD_OUT: 6_000}
"""Of each source."""

LICENCE = re.compile(r"(licen[cs]e|copying|notice)", re.IGNORECASE)
PROSE = re.compile(r"[A-Z][^|=_<>{}\\]{80,}[.]", re.DOTALL)
"""A paragraph that begins and ends as a sentence does, and holds no code."""


def paragraphs(text: str) -> Iterator[str]:
    """Those that are English, in one line each."""
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.split())
        if PROSE.fullmatch(line) and sum(c.isalpha() or c.isspace() for c in line) > 0.9 * len(line):
            yield line


def descriptions() -> Iterator[str]:
    for distribution in sorted(importlib.metadata.distributions(), key=lambda d: d.name.lower()):
        yield str(distribution.metadata.get_payload() or "")


def licences() -> Iterator[str]:
    for distribution in sorted(importlib.metadata.distributions(), key=lambda d: d.name.lower()):
        for path in sorted(distribution.files or (), key=str):
            if LICENCE.match(path.name) and path.suffix in ("", ".txt", ".md"):
                yield path.read_text(encoding="utf-8")


def docstrings(*modules: str) -> Iterator[str]:
    for module in map(importlib.import_module, modules):
        for name in sorted(module.__all__):
            yield inspect.getdoc(getattr(module, name)) or ""


def sources(kind: str) -> tuple[Iterator[str], ...]:
    if kind == HELD_OUT:
        scipy = (f"scipy.{part}" for part in ("fft", "integrate", "optimize", "signal", "stats"))
        return licences(), docstrings(*scipy)
    sklearn = (f"sklearn.{part}" for part in ("cluster", "datasets", "ensemble", "linear_model", "preprocessing"))
    return descriptions(), docstrings("numpy", "numpy.linalg", "numpy.random"), docstrings(*sklearn)


@cache
def vocabulary() -> dict[str, int]:
    return {word: k for k, word in enumerate((weights_file().parent / "vocab.txt").read_text("utf-8").split("\n"))}


def pieces(text: str) -> list[int]:
    """WordPiece: lower case without accents, cut at spaces and punctuation, each word into the longest known parts."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    known, found = vocabulary(), []
    for word in re.findall(r"\w+|[^\w\s]", plain.replace("_", " _ ")):
        start, parts = 0, []
        while start < len(word):
            prefix = "##" if start else ""
            end = next((e for e in range(len(word), start, -1) if prefix + word[start:e] in known), None)
            if end is None:
                parts = [known["[UNK]"]]
                break
            parts.append(known[prefix + word[start:end]])
            start = end
        found += parts
    return found


@cache
def tokens(kind: str) -> np.ndarray:
    """Rows of `LENGTH` tokens, the first and last of them marks; no paragraph comes twice."""
    rows, seen = [], set()
    for source in sources(kind):
        stream: list[int] = []
        for paragraph in (p for text in source for p in paragraphs(text)):
            if len(stream) >= MOST_TOKENS[kind]:
                break
            if paragraph not in seen:
                seen.add(paragraph)
                stream += pieces(paragraph)
        inner = LENGTH - 2
        for start in range(0, len(stream) - inner + 1, inner):
            rows.append([vocabulary()["[CLS]"], *stream[start : start + inner], vocabulary()["[SEP]"]])
    return np.array(rows)


def forward(
    rows: np.ndarray,
    see: Callable[[str, np.ndarray], None] = lambda name, x: None,
    instead: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
) -> np.ndarray:
    """The last hidden states ``(sequence, token, 384)``.

    `see` is shown what every linear layer is given, by its name; those in `instead` are called in place of the network's.
    """
    others = instead or {}
    hidden = array("embeddings.word_embeddings.weight")[rows]
    hidden = hidden + array("embeddings.position_embeddings.weight")[: rows.shape[1]]
    hidden = normed(hidden + array("embeddings.token_type_embeddings.weight")[0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}"

        def linear(x: np.ndarray, name: str, prefix: str = prefix) -> np.ndarray:
            see(f"{prefix}.{name}", x)
            if f"{prefix}.{name}" in others:
                return others[f"{prefix}.{name}"](x)
            return x @ array(f"{prefix}.{name}.weight").T + array(f"{prefix}.{name}.bias")

        query, key, value = (split(linear(hidden, f"attention.self.{name}")) for name in ("query", "key", "value"))
        scores = query @ key.swapaxes(2, 3) / np.sqrt(np.float32(query.shape[-1]))
        scores = np.exp(scores - scores.max(axis=3, keepdims=True))
        met = (scores / scores.sum(axis=3, keepdims=True)) @ value
        met = linear(met.swapaxes(1, 2).reshape(hidden.shape), "attention.output.dense")
        hidden = normed(hidden + met, f"{prefix}.attention.output.LayerNorm")
        wide = linear(hidden, "intermediate.dense")
        wide = (wide * 0.5 * (1.0 + erf(wide / np.sqrt(2.0)))).astype(np.float32)
        hidden = normed(hidden + linear(wide, "output.dense"), f"{prefix}.output.LayerNorm")
    return hidden


def embeddings(rows: np.ndarray, instead: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None) -> np.ndarray:
    """What the network makes of sequences, ``(sequence, 384)``: the mean of its tokens, of length 1."""
    means = np.concatenate(
        [forward(rows[start : start + 8], instead=instead).mean(axis=1) for start in range(0, len(rows), 8)]
    )
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def split(x: np.ndarray) -> np.ndarray:
    """``(sequence, head, token, channel)``."""
    return x.reshape(*x.shape[:2], HEADS, -1).swapaxes(1, 2)


def normed(x: np.ndarray, name: str) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + 1e-12)
    return scaled * array(f"{name}.weight") + array(f"{name}.bias")


@cache
def second_moments(kind: str, n_rows: int | None = None, names: tuple[str, ...] = MATRICES) -> dict[str, np.ndarray]:
    """``X^T X`` in float64 of what each of these layers is given, over all rows of tokens of a kind, or some of all."""
    wanted = {full_name(name): name for name in names}
    moments: dict[str, np.ndarray] = {}

    def see(name: str, x: np.ndarray) -> None:
        if name in wanted:
            flat = x.reshape(-1, x.shape[-1]).astype(np.float64)
            moments[wanted[name]] = moments.get(wanted[name], 0.0) + flat.T @ flat

    rows = tokens(kind) if n_rows is None else tokens(kind)[:: len(tokens(kind)) // n_rows]
    for start in range(0, len(rows), 8):
        forward(rows[start : start + 8], see)
    return moments


def output_error(dense: np.ndarray, weight: np.ndarray, moment: np.ndarray) -> float:
    """``|X (M - M')| / |X M|`` of weights (out, in), from the second moment ``X^T X`` of the inputs."""
    error = dense - weight
    return float(np.sqrt(np.sum((error @ moment) * error) / np.sum((dense @ moment) * dense)))
