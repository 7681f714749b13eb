"""Masked shear maps in redshift bins: read from a store, checked, stacked, and turned into nothing.

Columns of the store, for k = 1…K: ``G1_BINk`` and ``G2_BINk``, mean reduced shear of a pixel's
galaxies along HEALPix's axes (γ1 > 0 stretches along the meridian); ``WEIGHT_BINk``, one over the
variance of each component's mean, 0 where masked. Maps keep the store's precision; sums are in
float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.masses.errors import ShearError
from equilens.pipeline.masses.sky_columns import SHEAR_KINDS, count_bins
from equilens.pipeline.skymaps.store import SkyMapStore

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ShearMaps:
    """Shear of K redshift bins, RING.

    Attributes
    ----------
    shear : (K, 2, n_pixels), 0 where masked
    weight : (K, n_pixels), inverse variance of a component, 0 where masked
    fingerprint : of the store; "" for maps that no store holds
    facts : what the store's manifest says of the sky
    """

    shear: Floats
    weight: Floats
    fingerprint: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_bins, n_pixels = self.weight.shape
        if self.shear.shape != (n_bins, 2, n_pixels):
            raise ShearError(
                f"shear must have shape {(n_bins, 2, n_pixels)} like its weights, "
                f"got {self.shear.shape}"
            )
        if not hp.isnpixok(n_pixels):
            raise ShearError(f"a full sky has 12 nside² pixels, got {n_pixels}")
        for k in range(n_bins):
            _check_bin(self.shear[k], self.weight[k], f"bin {k + 1}")
        if not self.observed.any():
            raise ShearError("every pixel is masked: no WEIGHT is above 0, so there is no shear")

    @property
    def n_bins(self) -> int:
        return len(self.weight)

    @property
    def nside(self) -> int:
        return hp.npix2nside(self.weight.shape[1])

    @property
    def observed(self) -> NDArray[np.bool_]:
        """Pixels with shear in any bin, (n_pixels,)."""
        return np.asarray((self.weight > 0).any(axis=0))

    @property
    def shares(self) -> Floats:
        """Share of each bin in all weight, (K,): the galaxies whose mean convergence is mapped."""
        total = self.weight.sum(axis=1, dtype=np.float64)
        return total / total.sum()

    def stacked(self, response: Sequence[float] | Floats | None = None) -> ShearMaps:
        """All bins as one, by inverse variance.

        Parameters
        ----------
        response : (K,) relative strength of the signal in each bin, for the best estimate of a
            signal of strength 1; equal by default, which gives the mean shear of all galaxies
        """
        strength = np.ones(self.n_bins) if response is None else np.asarray(response, np.float64)
        if strength.shape != (self.n_bins,) or not (strength >= 0).all() or not strength.any():
            raise ShearError(
                f"one strength, 0 or more, for each of {self.n_bins} bins is needed, got {response}"
            )
        weight = np.einsum("k,kp->p", strength**2, self.weight)
        shear = np.einsum("k,kp,kcp->cp", strength, self.weight, self.shear)
        shear = np.divide(shear, weight, out=np.zeros_like(shear), where=weight > 0)
        return replace(self, shear=shear[None], weight=weight[None])

    def rotated_45_degrees(self) -> ShearMaps:
        """E modes into B modes and back: a sky without mass, with all that systematics leave."""
        first, second = self.shear[:, 0], self.shear[:, 1]
        return replace(self, shear=np.stack([-second, first], axis=1))

    def noise_only(self, seed: int) -> ShearMaps:
        """The same galaxies without any lensing: Gaussian shear of the stated variance."""
        return replace(self, shear=gaussian_noise(self.weight, np.random.default_rng(seed)))


def gaussian_noise(weight: Floats, rng: np.random.Generator) -> Floats:
    """Shear noise (K, 2, n_pixels) of inverse variance `weight` (K, n_pixels), 0 where that is."""
    deviation = np.zeros(weight.shape)
    np.divide(1, np.sqrt(weight, dtype=np.float64), out=deviation, where=weight > 0)
    return deviation[:, None] * rng.standard_normal((len(weight), 2, weight.shape[1]))


def read_shear(store: SkyMapStore | Path | str) -> ShearMaps:
    """Shear of every redshift bin of a sky.

    Raises
    ------
    ShearError
        Not in ICRS, without the columns of a bin, wholly masked, or with values that are no
        measurement where the weight says that they are one.
    """
    store = store if isinstance(store, SkyMapStore) else SkyMapStore.open(store)
    if store.frame != "icrs":
        raise ShearError(
            f"{store.path}: shear must lie along ICRS axes, got {store.frame}: rotate the "
            "catalogue and make the map again"
        )
    n_bins = count_bins(store, SHEAR_KINDS)
    dtype = np.result_type(np.float32, *(store.dtype(name) for name in store.columns))
    shear = np.zeros((n_bins, 2, 12 * store.nside**2), dtype)
    weight = np.zeros((n_bins, 12 * store.nside**2), dtype)
    for k in range(n_bins):
        weight[k] = store.read(f"WEIGHT_BIN{k + 1}", "ring", 0.0)
        for c in (0, 1):
            shear[k, c] = store.read(f"G{c + 1}_BIN{k + 1}", "ring", 0.0)
            weight[k][store.read_mask(f"G{c + 1}_BIN{k + 1}", "ring")] = 0.0
        shear[k][:, weight[k] == 0] = 0.0
    try:
        return ShearMaps(shear, weight, store.fingerprint, dict(store.manifest.get("sky", {})))
    except ShearError as error:
        raise ShearError(f"{store.path}: {error}") from error


def _check_bin(shear: Floats, weight: Floats, name: str) -> None:
    wrong = ~np.isfinite(weight) | (weight < 0)
    if wrong.any():
        raise ShearError(
            f"{name}: WEIGHT must be finite and not negative, got {weight[wrong][0]} in "
            f"{int(wrong.sum())} pixels: 0 masks a pixel"
        )
    lost = (weight > 0) & ~np.isfinite(shear).all(axis=0)
    if lost.any():
        raise ShearError(
            f"{name}: shear is not finite in {int(lost.sum())} pixels with WEIGHT above 0, first "
            f"RING pixel {int(np.flatnonzero(lost)[0])}: set their WEIGHT to 0"
        )
