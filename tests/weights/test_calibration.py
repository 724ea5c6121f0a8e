"""Real activations: the network that makes them is the right one, and calibration by them pays on text it has not seen."""

import numpy as np
import pytest
from weights.activations import (
    CALIBRATION,
    HELD_OUT,
    embeddings,
    output_error,
    paragraphs,
    pieces,
    second_moments,
    sources,
    vocabulary,
)
from weights.minilm import matrix

from tlinear import Calibration, FactorizedLinear, Linear

N_ROWS = 48
"""Of 128 tokens each: 16 times as many as a square matrix has features."""
SHAPES = [("tt", 1), ("tt", 2), ("tt", 3), ("blocktt", 2), ("blocktt", 3), ("tucker", 2), ("tucker", 3)]
SIMILAR = (
    ("The new movie is awesome", "The new movie is so great", 0.8939),
    ("The new movie is awesome", "The dog plays in the garden", 0.0543),
    ("The cat sits outside", "The dog plays in the garden", 0.2838),
)
"""Cosines that the documentation of sentence-transformers prints for this model, to four decimals."""


def embedding(text):
    rows = np.array([[vocabulary()["[CLS]"], *pieces(text), vocabulary()["[SEP]"]]])
    return embeddings(rows)[0]


@pytest.mark.parametrize(("first", "second", "cosine"), SIMILAR)
def test_the_network_says_of_sentences_what_it_is_documented_to(first, second, cosine):
    assert abs(float(embedding(first) @ embedding(second)) - cosine) <= 5.1e-5


def test_no_paragraph_is_both_in_calibration_and_held_out_text():
    seen = {
        kind: {paragraph for source in sources(kind) for text in source for paragraph in paragraphs(text)}
        for kind in (CALIBRATION, HELD_OUT)
    }
    assert len(seen[CALIBRATION]) > 100 < len(seen[HELD_OUT])
    # a handful of docstrings that SciPy and NumPy share, of hundreds
    assert len(seen[CALIBRATION] & seen[HELD_OUT]) < 0.02 * len(seen[HELD_OUT])


def error_on(name, layer, kind):
    dense, weight = matrix(name).astype(np.float64), layer.weight.astype(np.float64).to_matrix()
    return output_error(dense, weight, second_moments(kind, N_ROWS)[name])


@pytest.mark.parametrize(("factorization", "n_modes"), SHAPES)
@pytest.mark.parametrize("name", ["0.query", "5.value"])
def test_calibration_pays_on_held_out_text(name, factorization, n_modes):
    calibration = Calibration(second_moment=second_moments(CALIBRATION, N_ROWS)[name], max_iterations=50)
    asked = {"factorization": factorization, "n_tensorized_modes": n_modes, "rank": 0.25}
    plain, layer = (
        FactorizedLinear.from_linear(Linear.from_arrays(matrix(name)), calibration=c, **asked)
        for c in (None, calibration)
    )
    on_calibration = [error_on(name, each, CALIBRATION) for each in (plain, layer)]
    held_out = [error_on(name, each, HELD_OUT) for each in (plain, layer)]
    assert on_calibration[1] < on_calibration[0]
    assert held_out[1] < held_out[0]
    # float32 operands: the reported error is that of the layer as it is, to the digits that float32 has
    assert abs(layer.decomposition.relative_output_error - on_calibration[1]) < 1e-5
