"""How far a layer or network on HEALPix maps is from commuting with rotations of the sphere.

Random band-limited fields are drawn as harmonic coefficients, which rotate exactly (healpy's
``rotate_alm``). What a module makes of the rotated fields is compared with the rotation of what it
makes of the fields, in harmonic space up to a given degree: above it, an output that has been
through a nonlinearity is no longer determined by its samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import healpy
import numpy as np
import torch
from torch import Tensor

from equilens.models.fields import FieldType
from equilens.models.spherical.sphere_paths import Spin, SpinChannels, channels_by_spin
from equilens.models.spherical.tile_geometry import TileGeometry

ITERATIONS = 3


class SphereModule(Protocol):
    """A layer or network that declares its field types."""

    in_type: FieldType
    out_type: FieldType

    def __call__(self, features: Tensor, geometry: TileGeometry) -> Tensor:
        """(1, in channels, n) → (1, out channels, m)."""


@dataclass(frozen=True)
class SpinMaps:
    """Conversion between maps of spin fields and their coefficients.

    Parameters
    ----------
    field_type : FieldType
    nside : int
    lmax : int
        Inclusive; at most 3 nside − 1.
    """

    field_type: FieldType
    nside: int
    lmax: int

    @property
    def spins(self) -> list[Spin]:
        """The spin of each field, by spin."""
        return [group.spin for group in self._groups for _ in range(group.count)]

    def random(self, degree: int, slope: float, seed: int) -> list[np.ndarray]:
        """Return a set of coefficients a field, (1 or 2, n_alm), of power ℓ^−slope up to degree."""
        generator = np.random.default_rng(seed)
        ell, m = healpy.Alm.getlm(self.lmax)
        scale = np.where((ell > 1) & (ell <= degree), np.maximum(ell, 1.0) ** (-slope / 2), 0.0)
        drawn = []
        for spin in self.spins:
            parts = generator.normal(size=(2, len(spin.components), len(ell)))
            drawn.append((parts[0] + 1j * np.where(m > 0, parts[1], 0.0)) * scale)
        return drawn

    def rotated(self, alms: list[np.ndarray], angles: Sequence[float]) -> list[np.ndarray]:
        """Return the coefficients of the fields turned by Euler angles (z, y, z), radians."""
        turned = [alm.copy() for alm in alms]
        for alm in turned:
            for part in alm:
                healpy.rotate_alm(part, *angles)
        return turned

    def synthesis(self, alms: list[np.ndarray]) -> np.ndarray:
        """Return maps (channels, n_sky), NESTED."""
        maps = np.concatenate([self._maps(a, s) for a, s in zip(alms, self.spins, strict=True)])
        return np.array([healpy.reorder(m, r2n=True) for m in maps])[self._order.argsort()]

    def analysis(self, maps: np.ndarray) -> list[np.ndarray]:
        """Return coefficients of maps (channels, n_sky), NESTED, iterated ``ITERATIONS`` times."""
        ring = np.array([healpy.reorder(m, n2r=True) for m in maps[self._order]])
        alms, start = [], 0
        for spin in self.spins:
            field = ring[start : start + len(spin.components)]
            start += len(field)
            alm = self._alm(field, spin)
            for _ in range(ITERATIONS):
                alm = alm + self._alm(field - self._maps(alm, spin), spin)
            alms.append(alm)
        return alms

    @property
    def _groups(self) -> tuple[SpinChannels, ...]:
        return channels_by_spin(self.field_type)

    @property
    def _order(self) -> np.ndarray:
        return np.array([channel for group in self._groups for channel in group.channels])

    def _maps(self, alm: np.ndarray, spin: Spin) -> np.ndarray:
        if spin.frequency == 0:
            return np.array([healpy.alm2map(alm[0], self.nside, self.lmax)])
        return np.array(healpy.alm2map_spin(list(alm), self.nside, spin.frequency, self.lmax))

    def _alm(self, field: np.ndarray, spin: Spin) -> np.ndarray:
        if spin.frequency == 0:
            return np.array([healpy.map2alm(field[0], self.lmax, iter=0)])
        return np.array(healpy.map2alm_spin(list(field), spin.frequency, self.lmax))


def healpix_rotation_error(
    module: SphereModule,
    nside: int,
    degree: int,
    *,
    angles: Sequence[float] = (0.7, 1.1, -2.3),
    slope: float = 0.0,
    seed: int = 0,
    out_degree: int | None = None,
) -> float:
    """Return the rms of module(R f) − R module(f) over that of module(f) without its mean.

    Parameters
    ----------
    module : SphereModule
        Called with maps in NESTED order and the geometry of the whole sphere.
    degree : int
        Band limit of the fields, whose components have variance 1.
    angles : 3 numbers, radians
        Euler angles of R about z, y and z.
    slope : float
        The coefficients' power falls as ℓ^−slope.
    out_degree : int, optional
        Degree up to which outputs are compared, default that of the fields. Outputs may lie on
        another resolution.
    """
    source = SpinMaps(module.in_type, nside, degree)
    alms = source.random(degree, slope, seed)
    scale = source.synthesis(alms).std(axis=1).mean()
    geometry = TileGeometry(nside, np.arange(12 * nside**2))

    def answer(coefficients: list[np.ndarray]) -> np.ndarray:
        maps = torch.from_numpy(source.synthesis(coefficients) / scale)
        with torch.no_grad():
            return module(maps[None], geometry)[0].numpy()

    maps, moved = answer(alms), answer(source.rotated(alms, angles))
    out_nside = healpy.npix2nside(maps.shape[1])
    target = SpinMaps(module.out_type, out_nside, 3 * out_nside - 1)
    expected = target.rotated(target.analysis(maps), angles)
    found = target.analysis(moved)
    keep = _power_weights(target.lmax, out_degree or degree)
    off = sum((keep * np.abs(a - b) ** 2).sum() for a, b in zip(found, expected, strict=True))
    return float(np.sqrt(off / sum((keep * np.abs(b) ** 2).sum() for b in expected)))


def _power_weights(lmax: int, degree: int) -> np.ndarray:
    """How often a coefficient counts: m and −m, degrees 1 to ``degree``."""
    ell, m = healpy.Alm.getlm(lmax)
    return np.where((ell > 0) & (ell <= degree), np.where(m > 0, 2.0, 1.0), 0.0)
