"""The halo that a matched filter looks for: harmonics of a projected NFW profile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.cosmology import FlatLambdaCDM

from equilens.pipeline.masses.errors import HaloFilterError
from equilens.pipeline.masses.harmonics import Floats
from equilens.pipeline.skies.nfw import fourier_mass, total_mass, truncation


def nfw_window(theta200_arcmin: float, concentration: float, lmax: int) -> Floats:
    """Harmonics τ_l of a halo's convergence, (lmax+1,), 1 at l = 0.

    A projection's transform is a slice of the transform in space: τ_l is that of the profile of
    `equilens.pipeline.skies.nfw` at ``k = sqrt(l(l+1)) / r``, the halo being small on the sky.

    Parameters
    ----------
    theta200_arcmin : angle under which r200 is seen
    """
    if not (theta200_arcmin > 0 and concentration > 1):
        raise HaloFilterError(
            "a halo needs theta200 above 0 arcmin and a concentration above 1, got "
            f"{theta200_arcmin} and {concentration}"
        )
    ell = np.arange(lmax + 1)
    waves = np.sqrt(ell * (ell + 1)) * np.radians(theta200_arcmin / 60) / concentration
    tau = truncation(np.asarray(concentration))
    window = np.ones(lmax + 1)
    window[1:] = fourier_mass(waves[1:], tau) / total_mass(tau)
    return window


def lensing_response(
    lens_redshift: float, source_redshifts: Sequence[float], omega_m: float = 0.31
) -> Floats:
    """D_ls / D_s of each bin's mean redshift, (K,): how strongly one lens shears it.

    Parameters
    ----------
    omega_m : matter density of a flat universe; the expansion rate cancels
    """
    cosmology = FlatLambdaCDM(H0=70, Om0=omega_m)
    sources = np.asarray(source_redshifts, np.float64)
    lens = cosmology.comoving_distance(lens_redshift).value
    return np.maximum(1 - lens / cosmology.comoving_distance(sources).value, 0.0)
