"""Kaiser-Squires inversion on the sphere: convergence from shear, without any prior.

κ_lm = E_lm / s_l (Kaiser & Squires 1993, ApJ 404, 441; on the sphere, Wallis et al. 2022, MNRAS
509, 4480, eq. 20). Masked pixels count as shear 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equilens.pipeline.masses.harmonics import Floats, Harmonics, gaussian_window
from equilens.pipeline.masses.kernels import noise_variance
from equilens.pipeline.masses.shear import ShearMaps
from equilens.pipeline.skies.shear_maps import shear_factor


@dataclass(frozen=True, eq=False)
class MassMap:
    """Convergence with its uncertainty, RING.

    Attributes
    ----------
    kappa, sigma : (n_pixels,)
    method : what made it
    """

    kappa: Floats
    sigma: Floats
    method: str


def kaiser_squires(
    maps: ShearMaps, *, fwhm_arcmin: float = 0.0, lmax: int | None = None
) -> MassMap:
    """Smoothed convergence of the mean galaxy, with the standard deviation that shape noise gives.

    Parameters
    ----------
    maps : all bins are stacked by inverse variance
    fwhm_arcmin : of the Gaussian that smooths it; 0 for none
    lmax : highest degree; ``3 nside - 1`` by default
    """
    one = maps.stacked()
    harmonics = Harmonics(maps.nside, 3 * maps.nside - 1 if lmax is None else lmax)
    response = shear_factor(harmonics.lmax)
    window = gaussian_window(fwhm_arcmin, harmonics.lmax) * (response > 0)
    inverse = np.divide(window, response, out=np.zeros_like(window), where=response > 0)
    e_modes = harmonics.shear_analysis(one.shear[0], iterations=0)
    kappa = harmonics.scalar(harmonics.scale(e_modes, inverse))
    variance = np.divide(1.0, one.weight[0], out=np.zeros_like(kappa), where=one.weight[0] > 0)
    sigma = np.sqrt(noise_variance(harmonics, inverse, variance * harmonics.pixel_area**2))
    return MassMap(kappa, sigma, "kaiser-squires")
