"""Columns of a shear sky and of its truth, by redshift bin."""

from __future__ import annotations

import re
from pathlib import Path

import healpy as hp
import numpy as np

from equilens.pipeline.masses.errors import ShearError
from equilens.pipeline.masses.prior import read_truth
from equilens.pipeline.skymaps.store import SkyMapStore

KINDS = ("G1", "G2", "COUNT", "WEIGHT")


def count_bins(store: SkyMapStore) -> int:
    """Redshift bins of a sky, K.

    Raises
    ------
    ShearError
        The store lacks a column of a bin, or has none.
    """
    numbers = [int(m.group(1)) for n in store.columns if (m := re.fullmatch(r"G1_BIN(\d+)", n))]
    n_bins = max(numbers, default=1)
    if missing := sorted(set(sky_columns(n_bins)) - set(store.columns)):
        raise ShearError(
            f"{store.path}: a sky to map needs {', '.join(KINDS)} of each redshift bin, "
            f"{missing} are missing; columns are {list(store.columns)}"
        )
    return n_bins


def sky_columns(n_bins: int) -> tuple[str, ...]:
    """Names of all columns: g1, g2, galaxies and weight of one bin after the other."""
    return tuple(f"{kind}_BIN{k + 1}" for k in range(n_bins) for kind in KINDS)


def mean_convergence(sky: Path | str, shares: np.ndarray) -> np.ndarray:
    """True κ of the mean galaxy, (12 nside²,) float32, NESTED.

    Parameters
    ----------
    sky : path of the observed sky
    shares : (K,) of each bin in all weight, adding up to 1
    """
    return hp.reorder(shares @ read_truth(sky), r2n=True).astype(np.float32)
