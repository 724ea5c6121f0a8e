"""The fields of a format: its operands are the positional ones, and how its modes are split the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlinear.arrays import Array

__all__ = ["is_tuple", "numbered", "operand_fields", "split_fields"]


def operand_fields(cls: type[Any]) -> list[dataclasses.Field[Any]]:
    """Those that hold an array, or a tuple of arrays."""
    return [field for field in dataclasses.fields(cls) if not field.kw_only]


def is_tuple(field: dataclasses.Field[Any]) -> bool:
    """Whether a field holds a tuple of arrays, by its annotation."""
    return str(field.type).lower().startswith(("tuple", "typing.tuple"))


def split_fields(cls: type[Any]) -> list[dataclasses.Field[Any]]:
    """``n_in``, and ``n_out`` where a format needs it too."""
    return [field for field in dataclasses.fields(cls) if field.kw_only]


def numbered(prefix: str, operands: Mapping[str, Array]) -> list[str]:
    """The names ``prefix.0``, ``prefix.1`` and so on, as many as there are."""
    return [f"{prefix}.{k}" for k in range(sum(name.startswith(prefix + ".") for name in operands))]
