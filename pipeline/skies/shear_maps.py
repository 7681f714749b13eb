"""From convergence to shear on the whole sphere.

With healpy's spin-2 harmonics and shear along (e_θ, e_φ), a convergence κ_lm has the E mode

    E_lm = √((l + 2)(l - 1) / (l (l + 1))) κ_lm

and no B mode (Tessore et al. 2023, arXiv:2302.01942, eqs. 50-55, who put the sign differently:
healpy's transform of spin 2 brings its own minus). A mass stretches its background tangentially.
"""

from __future__ import annotations

import healpy as hp
import numpy as np


def shear_factor(lmax: int) -> np.ndarray:
    """E_lm/κ_lm, (lmax + 1,); 0 for l < 2, which shear does not see."""
    ell = np.arange(lmax + 1, dtype=np.float64)
    factor = np.zeros(lmax + 1)
    seen = ell[2:]
    factor[2:] = np.sqrt((seen + 2) * (seen - 1) / (seen * (seen + 1)))
    return factor


def shear_from_convergence(kappa_lm: np.ndarray, nside: int, lmax: int) -> np.ndarray:
    """(γ1, γ2) of convergence modes, (2, 12 nside²), RING.

    Parameters
    ----------
    kappa_lm : (n_alm,) in healpy's order
    """
    e_mode = hp.almxfl(kappa_lm, shear_factor(lmax))
    return np.array(hp.alm2map_spin([e_mode, np.zeros_like(e_mode)], nside, 2, lmax))


def analyse(kappa: np.ndarray, lmax: int, iterations: int = 3) -> np.ndarray:
    """Modes of a RING map, without those of l < 2, which shear does not see."""
    modes = hp.map2alm(kappa, lmax=lmax, iter=iterations, pol=False)
    unseen = np.ones(lmax + 1)
    unseen[:2] = 0
    return hp.almxfl(modes, unseen)


def synthesise(kappa_lm: np.ndarray, nside: int, lmax: int) -> np.ndarray:
    """A RING map of its modes."""
    return hp.alm2map(kappa_lm, nside, lmax=lmax, pol=False)
