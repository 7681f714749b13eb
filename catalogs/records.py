"""Frozen dataclasses as plain JSON types, and back, by their type hints.

NaN is written as null and an infinity as text, since JSON has neither. Reading is strict: an
unknown field is an error, and so is a missing one that has no default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from equilens.catalogs.errors import CatalogError


class Record:
    """Mixin of a dataclass that is written to JSON and read back whole."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types that `json` can write."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` gave.

        Raises
        ------
        CatalogError
            If a field is unknown, missing though it has no default, or of another type.
        """
        return from_plain(cls, data)


def to_plain(value: Any) -> Any:
    """Dictionaries, lists, text and numbers in place of dataclasses, tuples and numpy scalars."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(entry) for entry in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def from_plain(kind: Any, value: Any) -> Any:
    """A value of the type ``kind`` from what `to_plain` made of it."""
    arguments = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        (inner,) = (choice for choice in arguments if choice is not NoneType)
        return None if value is None else from_plain(inner, value)
    if get_origin(kind) is tuple:
        _require(value, list, kind)
        return tuple(from_plain(arguments[0], entry) for entry in value)
    if arguments:
        _require(value, Mapping, kind)
        return {key: from_plain(arguments[1], entry) for key, entry in value.items()}
    if is_dataclass(kind):
        return _dataclass_from(kind, value)
    if kind is float:
        return math.nan if value is None else float(_require(value, (float, int, str), kind))
    return _require(value, kind, kind)


def _dataclass_from(kind: Any, value: Any) -> Any:
    _require(value, Mapping, kind)
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    missing, unknown = needed - value.keys(), value.keys() - known
    if missing or unknown:
        raise CatalogError(
            f"a saved {kind.__name__} must have the fields {sorted(known)}; "
            f"missing {sorted(missing)}, unknown {sorted(unknown)}: "
            "read it with the version that wrote it, or make it anew"
        )
    return kind(**{name: from_plain(hints[name], entry) for name, entry in value.items()})


def _require(value: Any, accepted: Any, kind: Any) -> Any:
    if not isinstance(value, accepted):
        name = getattr(kind, "__name__", str(kind))
        raise CatalogError(f"a saved {name} can not be read from {value!r}: make it anew")
    return value
