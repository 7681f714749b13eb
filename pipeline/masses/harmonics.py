"""Spin-2 and scalar harmonics on HEALPix, as the filters of shear maps need them.

Maps are RING, alm in healpy's layout, degrees up to lmax inclusive. Synthesis Y and its exact
adjoint Yᵀ are paired: ``(Y a) · m = a · (Yᵀ m)`` with `alm_dot` on the right. ducc0 does the work
where it is installed (the extra ``sht``), healpy otherwise; both to rounding.

Convergence κ and shear γ come from one potential: E_lm = s_l κ_lm and no B modes, with s_l of
`equilens.pipeline.skies.shear_maps` (Castro, Heavens & Kitching 2005, Phys. Rev. D 72, 023516, eqs.
36 and 38; their sign differs: they take another basis). Skies are simulated by healpy alone, so
that one seed is one sky whether ducc0 is installed or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.errors import SkyMapError
from equilens.pipeline.skies.shear_maps import shear_factor

Floats = NDArray[np.float64]
Alm = NDArray[np.complex128]


@lru_cache(maxsize=4)
def degrees(lmax: int) -> NDArray[np.int64]:
    """Degree l of each alm, (n_alm,)."""
    return hp.Alm.getlm(lmax)[0]


def alm_dot(a: Alm, b: Alm, lmax: int) -> float:
    """Inner product over all -l ≤ m ≤ l of real fields' alm, (..., n_alm) each."""
    zonal = slice(0, lmax + 1)
    whole = 2 * np.vdot(a, b).real
    return float(whole - np.vdot(a[..., zonal], b[..., zonal]).real)


@dataclass(frozen=True)
class Harmonics:
    """Transforms between maps of one nside and alm of one lmax.

    Parameters
    ----------
    nside : power of two
    lmax : at most ``3 nside - 1``, beyond which pixels cannot tell modes apart
    threads : of ducc0; the result does not depend on them
    """

    nside: int
    lmax: int
    threads: int = 1

    def __post_init__(self) -> None:
        if not 2 <= self.lmax < 3 * self.nside:
            raise SkyMapError(
                f"lmax must lie in 2..{3 * self.nside - 1} at nside {self.nside}, got {self.lmax}"
            )

    @property
    def n_pixels(self) -> int:
        return 12 * self.nside**2

    @property
    def pixel_area(self) -> float:
        """Steradians."""
        return 4 * np.pi / self.n_pixels

    def scale(self, alm: Alm, by_degree: Floats) -> Alm:
        """alm (..., n_alm) times a function of the degree, (lmax+1,)."""
        return alm * by_degree[degrees(self.lmax)]

    def shear_from_kappa(self, kappa: Alm) -> Floats:
        """Shear (2, n_pixels) of a convergence's alm."""
        return self.shear(self.scale(kappa, shear_factor(self.lmax)))

    def kappa_adjoint(self, shear: Floats) -> Alm:
        """Adjoint of `shear_from_kappa`, (n_alm,)."""
        return self.scale(self.shear_adjoint(shear), shear_factor(self.lmax))

    def shear(self, e_modes: Alm) -> Floats:
        """Shear components (2, n_pixels) of E modes."""
        if _ducc0() is None:
            none = np.zeros_like(e_modes)
            return np.stack(hp.alm2map_spin([e_modes, none], self.nside, 2, self.lmax))
        return self._ducc("synthesis", alm=e_modes[None], spin=2, mode="GRAD_ONLY")

    def shear_adjoint(self, shear: Floats) -> Alm:
        """Adjoint of `shear`: the sum over pixels of shear times conjugate harmonics."""
        if _ducc0() is None:
            return hp.map2alm_spin(list(shear), 2, self.lmax)[0] / self.pixel_area
        return self._ducc("adjoint_synthesis", map=shear, spin=2, mode="GRAD_ONLY")[0]

    def scalar(self, alm: Alm) -> Floats:
        """Map (n_pixels,) of a scalar field."""
        if _ducc0() is None:
            return hp.alm2map(alm, self.nside, self.lmax)
        return self._ducc("synthesis", alm=alm[None], spin=0)[0]

    def scalar_adjoint(self, values: Floats) -> Alm:
        """Adjoint of `scalar`."""
        if _ducc0() is None:
            return hp.map2alm(values, self.lmax, iter=0) / self.pixel_area
        return self._ducc("adjoint_synthesis", map=values[None], spin=0)[0]

    def scalar_analysis(self, values: Floats, iterations: int = 3) -> Alm:
        """alm of a scalar map by Jacobi iteration, as `healpy.map2alm` does."""
        alm = self.pixel_area * self.scalar_adjoint(values)
        for _ in range(iterations):
            alm += self.pixel_area * self.scalar_adjoint(values - self.scalar(alm))
        return alm

    def shear_analysis(self, shear: Floats, iterations: int = 3) -> Alm:
        """E modes of a shear map by Jacobi iteration; B modes are taken along and dropped."""
        e_modes = self.pixel_area * self.shear_adjoint(shear)
        for _ in range(iterations):
            e_modes += self.pixel_area * self.shear_adjoint(shear - self.shear(e_modes))
        return e_modes

    def smooth(self, values: Floats, window: Floats) -> Floats:
        """Convolution of a scalar map with a zonal window b_l, (lmax+1,)."""
        return self.scalar(self.scale(self.scalar_analysis(values, 0), window))

    def _ducc(self, transform: str, **given: Any) -> NDArray[Any]:
        ducc0 = _ducc0()
        geometry = ducc0.healpix.Healpix_Base(self.nside, "RING").sht_info()
        arrays = {
            name: np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
            for name, value in given.items()
        }
        options = {"lmax": self.lmax, "nthreads": self.threads}
        return getattr(ducc0.sht, transform)(**options, **arrays, **geometry)


def gaussian_window(fwhm_arcmin: float, lmax: int) -> Floats:
    """b_l of a Gaussian beam, 1 at l = 0."""
    sigma = np.radians(fwhm_arcmin / 60) / np.sqrt(8 * np.log(2))
    ell = np.arange(lmax + 1)
    return np.exp(-0.5 * ell * (ell + 1) * sigma**2)


@lru_cache(maxsize=1)
def _ducc0() -> Any:
    try:
        import ducc0
    except ImportError:
        return None
    return ducc0
