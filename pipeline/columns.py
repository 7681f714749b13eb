"""Columns of Python values, as manifests bring them, turned into arrays that a file can hold."""

from __future__ import annotations

from typing import Any

import numpy as np


def column_values(values: list[Any]) -> np.ndarray:
    """One manifest column as an array: numbers where all are, else text; None is NaN or ""."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(v, bool | int | float | np.number | np.bool_) for v in present):
        if len(present) < len(values):
            values = [np.nan if value is None else float(value) for value in values]
        return np.array(values)
    return np.array(["" if v is None else str(v) for v in values], dtype=object)
