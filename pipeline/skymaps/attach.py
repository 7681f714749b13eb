"""Map values for objects: the survey conditions (extinction, depth, column density) at each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from equilens.pipeline.errors import MapFrameError
from equilens.pipeline.skymaps.store import SkyMapStore


def attach_maps(
    ra: np.ndarray,
    dec: np.ndarray,
    maps: Mapping[str, SkyMapStore],
    interpolation: str = "nearest",
) -> dict[str, np.ndarray]:
    """Every map's scalar columns at every object.

    Polarisation and shear components are no survey conditions and are left out; a map of nothing
    else is refused.

    Parameters
    ----------
    ra, dec : (N,) ICRS degrees; NaN where unknown
    maps : stores by the name that their values get
    interpolation : "nearest" or "bilinear"

    Returns
    -------
    dict of name to (N,) floats, NaN where masked or unknown; a map of several scalar columns
    gives ``<name>_<column>`` for each
    """
    attached: dict[str, np.ndarray] = {}
    for name, store in maps.items():
        columns = _conditions(name, store)
        values = store.lookup(ra, dec, columns, interpolation)
        attached |= {_label(name, column, store): values[column] for column in columns}
    return attached


def attached_units(maps: Mapping[str, SkyMapStore]) -> dict[str, str]:
    """Unit of each column that `attach_maps` gives."""
    return {
        _label(name, column, store): store.units[column]
        for name, store in maps.items()
        for column in _conditions(name, store)
    }


def _conditions(name: str, store: SkyMapStore) -> tuple[str, ...]:
    if not store.scalar_columns:
        raise MapFrameError(
            f"map {name!r} has no scalar column to attach, only {list(store.columns)}: leave it out"
        )
    return store.scalar_columns


def _label(name: str, column: str, store: SkyMapStore) -> str:
    return name if len(store.scalar_columns) == 1 else f"{name}_{column}"
