"""Test vectors: a few hundred cases with their results, as files that any language can read.

========================  ====================================================================================
``dense.json``, ..        cases of one format each, with every result, and why the case is there
``large.safetensors``     the arrays that are too large to be written as decimal numbers
``invalid.json``          what an implementation must refuse
``ranks.json``            what ranks are resolved to
``shapes.json``           what numbers of features are split into
``schema.json``           the form of these files, in JSON Schema
========================  ====================================================================================

They lie in the folder ``corpus`` beside this module.  ``python -m tlinear.testing vectors --check`` computes them
anew, in exact arithmetic, and compares.
"""

from tlinear.testing.vectors.conformance import check_vectors
from tlinear.testing.vectors.corpus import corpus
from tlinear.testing.vectors.invalid import invalid_corpus
from tlinear.testing.vectors.store import CORPUS, read_vectors, vectors_of, write_vectors
from tlinear.testing.vectors.vector import Vector

__all__ = [
    "CORPUS",
    "Vector",
    "check_vectors",
    "corpus",
    "invalid_corpus",
    "read_vectors",
    "vectors_of",
    "write_vectors",
]
