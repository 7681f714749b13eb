"""Angular power spectrum of a map as it is: the pseudo-C_l, by healpy's conventions.

``C_l = Σ_m |a_lm|² / (2l+1)`` of the map times its mask, where masked pixels count as 0, the
monopole stays and no pixel window is taken out: what ``healpy.anafast(map, lmax=lmax, iter=K)``
gives.
"""

from __future__ import annotations

import io
from pathlib import Path

import healpy as hp
import numpy as np
import torch

from equilens.models.spherical.transforms import harmonic_transform
from equilens.pipeline.masses.errors import SpectrumError
from equilens.pipeline.masses.harmonics import Floats
from equilens.pipeline.provenance import write_atomic
from equilens.pipeline.skymaps.store import SkyMapStore

DEFAULT_ITERATIONS = 3


def sky_spectrum(
    store: SkyMapStore,
    *,
    lmax: int | None = None,
    column: str | None = None,
    mask: SkyMapStore | None = None,
    iterations: int = DEFAULT_ITERATIONS,
) -> Floats:
    """Spectrum of a column of a map, (lmax+1,).

    Parameters
    ----------
    lmax : highest degree, inclusive; ``3 nside - 1`` by default
    column : by default the map's only scalar one
    mask : map of one column that multiplies this one; its masked pixels count as 0
    iterations : of the quadrature, as healpy's ``iter``

    Raises
    ------
    SpectrumError
        The column is ambiguous, unknown or a spin component, the mask is of another sky or leaves
        nothing, or a pixel that is not masked holds no number.
    """
    if iterations < 0:
        raise SpectrumError(f"iterations must not be negative, got {iterations}; 3 are usual")
    values = _unmasked(store, scalar_column(store, column))
    if mask is not None:
        values = values * _mask_values(mask, store)
    if not values.any():
        raise SpectrumError(
            f"{store.path}: every pixel that is left is masked or 0: there is no power to measure"
        )
    transform = harmonic_transform(store.nside, lmax)
    alm = transform.analysis(torch.from_numpy(values), iterations)
    return hp.alm2cl(alm.numpy(), lmax=transform.lmax)


def write_spectrum(path: Path | str, spectrum: Floats) -> None:
    """Write columns ``ell`` and ``cl`` as CSV, atomically, to the last digit."""
    text = io.StringIO()
    text.write("ell,cl\n")
    text.writelines(f"{ell},{power!r}\n" for ell, power in enumerate(spectrum.tolist()))
    write_atomic(path, text.getvalue().encode())


def scalar_column(store: SkyMapStore, column: str | None) -> str:
    """The column meant: the one named, or the only scalar one."""
    scalars = store.scalar_columns
    if column is None:
        if len(scalars) == 1:
            return scalars[0]
        raise SpectrumError(
            f"{store.path} has {len(scalars)} scalar columns, {list(scalars)}: name one with "
            "--column"
        )
    if store.column(column).spin:
        raise SpectrumError(
            f"{store.path}: column {column!r} is one component of a spin-{store.spins[column]} "
            f"field and has no spectrum of its own: choose one of {list(scalars)}"
        )
    return column


def _unmasked(store: SkyMapStore, column: str) -> Floats:
    """Values with 0 where masked, RING."""
    values = store.read(column, "ring", 0.0).astype(np.float64)
    lost = ~np.isfinite(values)
    if lost.any():
        raise SpectrumError(
            f"{store.path}: column {column!r} is not finite in {int(lost.sum())} unmasked pixels, "
            f"first RING pixel {int(np.flatnonzero(lost)[0])}: mask them when the map is made"
        )
    return values


def _mask_values(mask: SkyMapStore, store: SkyMapStore) -> Floats:
    if (mask.nside, mask.frame) != (store.nside, store.frame):
        raise SpectrumError(
            f"a mask must be of nside {store.nside} in the {store.frame} frame like the map, got "
            f"nside {mask.nside}, {mask.frame}, of {mask.path}"
        )
    values = _unmasked(mask, scalar_column(mask, None))
    if values.min() < 0 or values.max() > 1:
        raise SpectrumError(
            f"{mask.path}: a mask must lie in 0..1, got {values.min():g} to {values.max():g}"
        )
    return values
