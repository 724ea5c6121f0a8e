"""The form of the files of vectors, in JSON Schema (draft 2020-12)."""

from __future__ import annotations

from typing import Any

from tlinear.formats import FORMATS
from tlinear.testing.files import VERSION

__all__ = ["SCHEMA"]

_SIZES = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_MODES = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1}

_INLINE = {
    "type": "object",
    "description": "C order, the last axis fastest; complex numbers are two numbers each, real and imaginary part",
    "properties": {"shape": _SIZES, "data": {"type": "array", "items": {"type": "number"}}},
    "required": ["shape", "data"],
    "additionalProperties": False,
}
_IN_A_FILE = {
    "type": "object",
    "description": "a tensor of a safetensors file beside this one",
    "properties": {"shape": _SIZES, "file": {"type": "string"}, "tensor": {"type": "string"}},
    "required": ["shape", "file", "tensor"],
    "additionalProperties": False,
}
_ARRAYS = {"type": "object", "additionalProperties": {"$ref": "#/$defs/array"}}

_CASE = {
    "id": {"type": "string", "pattern": "^[a-z]+-[a-z_]+(-[0-9]+)?$"},
    "flags": {"type": "array", "items": {"type": "string"}, "description": "why it is there"},
    "in_shape": _MODES | {"description": "the sizes of the input modes; their product is the number of features of x"},
    "out_shape": _MODES | {"description": "those of the output"},
    "rank": {"description": "R of CP, the list of ranks of the others, null for dense"},
    "n_layers": {"type": "integer", "minimum": 1},
    "dtype": {"enum": ["float16", "float32", "float64", "complex64", "complex128"]},
    "batch_shape": _SIZES | {"description": "the leading axes of x"},
    "arrays": _ARRAYS
    | {"description": "x, dy, bias where there is one, the operands, tangents as tangent.x and so on"},
}
_VALID = _CASE | {
    "valid": {"const": True},
    "format": {"enum": list(FORMATS)},
    "letters": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "the axes of x, the operands and y as letters of einsum; the batch is the first of x",
    },
    "tier": {"enum": ["certified", "bound"]},
    "bits": {
        "type": "integer",
        "minimum": 0,
        "description": "certified: where integers up to 2^bits are exact, results must be equal; zeros have no sign",
    },
    "n_roundings": {
        "type": "object",
        "additionalProperties": {"type": "integer"},
        "description": "K of gamma_K = K u / (1 - K u): |result - stored| <= gamma_K magnitude, where not exact",
    },
    "magnitudes": _ARRAYS | {"description": "the same sums of absolute values"},
    "results": _ARRAYS,
    "stages": _ARRAYS | {"description": "what there is after x was contracted with one operand, with two, and so on"},
}
_INVALID = _CASE | {
    "valid": {"const": False},
    "format": {"type": "string"},
    "reason": {"type": "string", "description": "why it must be refused"},
}


_RANKS = {
    "format": {"enum": [name for name in FORMATS if name != "dense"]},
    "in_shape": _MODES,
    "out_shape": _MODES,
    "rank": {
        "type": "object",
        "properties": {"each": {"type": "integer"}, "list": _SIZES, "budget": {"type": "number"}},
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "description": "one of: this rank in every bond; these ranks; at most this fraction of the dense parameters",
    },
    "resolved": {"description": "the rank, or the list of ranks; null where none fits"},
    "n_parameters": {"type": "integer", "description": "of the operands together, without the bias"},
    "error": {"type": "string", "description": "why none fits"},
}
_SHAPES = {
    "features": {"type": "integer", "minimum": 1},
    "n_modes": {"type": "integer", "minimum": 1},
    "pad": {"description": "false, or by which fraction at most the shape may hold more than the features"},
    "shape": {"oneOf": [_MODES, {"type": "null"}], "description": "null where there is none"},
}


def _entry(properties: dict[str, Any], optional: tuple[str, ...]) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_OF_TIERS = {
    "if": {"properties": {"tier": {"const": "certified"}}},
    "then": {"required": ["bits"]},
}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Test vectors of tensorized linear layers",
    "type": "object",
    "properties": {
        "version": {"const": VERSION, "description": "of the specification"},
        "flags": {"type": "object", "additionalProperties": {"type": "string"}, "description": "what each catches"},
        "vectors": {
            "type": "array",
            "items": {"oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in ("valid", "invalid", "rank", "shape")]},
        },
    },
    "required": ["version", "flags", "vectors"],
    "additionalProperties": False,
    "$defs": {
        "array": {"oneOf": [_INLINE, _IN_A_FILE]},
        "valid": _entry(_VALID, ("bits", "stages")) | _OF_TIERS,
        "invalid": _entry(_INVALID, ()),
        "rank": _entry(_RANKS, ("n_parameters", "error")),
        "shape": _entry(_SHAPES, ()),
    },
}
