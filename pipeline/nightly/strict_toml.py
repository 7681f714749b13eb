"""TOML into frozen dataclasses: every key is a field, every value of its field's type."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from equilens.pipeline.nightly.errors import NightConfigError

T = TypeVar("T")

_NAMES: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "a boolean"}


def from_table(kind: type[T], table: Mapping[str, Any], where: str = "") -> T:
    """An instance of the dataclass `kind` from a TOML table.

    Parameters
    ----------
    where : the table's name in the file, for errors; "" for the top level

    Raises
    ------
    NightConfigError
        A key is unknown or missing, or a value is of another type.
    """
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, 1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise NightConfigError(
                f"{_dotted(where, key)}: no such key; {meant}known are {', '.join(known)}"
            )
    missing = [
        name
        for name, entry in known.items()
        if name not in table and entry.default is MISSING and entry.default_factory is MISSING
    ]
    if missing:
        raise NightConfigError(
            f"{_dotted(where, missing[0])} is missing: add {missing[0]} = … to the file"
        )
    hints = get_type_hints(kind)
    return kind(**{key: _value(hints[key], v, _dotted(where, key)) for key, v in table.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, choices = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        kind = next(choice for choice in choices if choice is not types.NoneType)
        return _value(kind, value, where)
    if origin is Literal:
        if value not in choices:
            raise NightConfigError(f"{where} must be one of {', '.join(choices)}, got {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise NightConfigError(f"{where} must be a list, got {value!r}")
        return tuple(_value(choices[0], part, f"{where}[{k}]") for k, part in enumerate(value))
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise NightConfigError(f"{where} must be a table [{where}], got {value!r}")
        return from_table(kind, value, where)  # type: ignore[arg-type]
    return _plain(kind, value, where)


def _plain(kind: Any, value: Any, where: str) -> Any:
    wanted = (int, float) if kind is float else kind
    # TOML's true is no number, though Python's is
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise NightConfigError(f"{where} must be {_NAMES[kind]}, got {value!r}")
    return kind(value)


def _dotted(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
