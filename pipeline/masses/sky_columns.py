"""Columns of a shear sky, by redshift bin: ``G1_BIN1`` and so on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from equilens.pipeline.masses.errors import ShearError
from equilens.pipeline.skymaps.store import SkyMapStore

SHEAR_KINDS = ("G1", "G2", "WEIGHT")
KINDS = ("G1", "G2", "COUNT", "WEIGHT")


def last_bin(store: SkyMapStore, kind: str) -> int:
    """Highest k of the columns ``KIND_BINk``; 0 where there is none."""
    numbers = [re.fullmatch(rf"{kind}_BIN(\d+)", name) for name in store.columns]
    return max((int(found.group(1)) for found in numbers if found), default=0)


def count_bins(store: SkyMapStore, kinds: Sequence[str] = KINDS) -> int:
    """Redshift bins of a sky, K.

    Raises
    ------
    ShearError
        The store lacks a column of a bin, or has none.
    """
    n_bins = max(last_bin(store, "G1"), 1)
    if missing := sorted(set(sky_columns(n_bins, kinds)) - set(store.columns)):
        raise ShearError(
            f"{store.path}: a sky needs {', '.join(kinds)} of each redshift bin 1…K, {missing} are "
            f"missing; columns are {list(store.columns)}"
        )
    return n_bins


def sky_columns(n_bins: int, kinds: Sequence[str] = KINDS) -> tuple[str, ...]:
    """Names of the columns of all bins, one bin after the other."""
    return tuple(f"{kind}_BIN{k + 1}" for k in range(n_bins) for kind in kinds)
