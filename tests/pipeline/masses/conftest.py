import healpy as hp
import numpy as np
import pytest

from equilens.pipeline.masses.harmonics import Harmonics
from equilens.pipeline.masses.prior import ConvergencePrior
from equilens.pipeline.masses.shear import ShearMaps


def power_law(lmax, amplitude=1e-5):
    """A convergence-like spectrum, none below l = 2."""
    ell = np.arange(lmax + 1)
    return np.where(ell > 1, amplitude / (ell + 10.0) ** 1.2, 0.0)


@pytest.fixture(scope="session")
def gaussian_sky():
    """Makes skies of K bins: true κ (K, n_pixels), noisy shear, and the prior of both."""

    def make(nside, seed, sigma=(0.02, 0.03), mask_below_deg=20.0, lmax=None):
        rng = np.random.default_rng(seed)
        lmax = 2 * nside if lmax is None else lmax
        harmonics, n_bins = Harmonics(nside, lmax), len(sigma)
        correlation = np.array([[1.0, 0.8], [0.8, 1.5]])[:n_bins, :n_bins]
        spectra = power_law(lmax)[:, None, None] * correlation
        white = [_white(lmax, rng) for _ in sigma]
        root = np.linalg.cholesky(correlation)
        alm = [
            hp.almxfl(sum(root[k, j] * white[j] for j in range(n_bins)), power_law(lmax) ** 0.5)
            for k in range(n_bins)
        ]
        latitude = 90 - np.degrees(hp.pix2ang(nside, np.arange(12 * nside**2))[0])
        seen = np.abs(latitude) >= mask_below_deg
        deviation = np.array(sigma)[:, None] * (1 + 0.3 * np.sin(np.radians(latitude)))
        noise = deviation[:, None] * rng.normal(size=(n_bins, 2, seen.size))
        shear = np.stack([harmonics.shear_from_kappa(one) for one in alm]) + noise
        maps = ShearMaps(shear * seen, seen / deviation**2)
        kappa = np.stack([harmonics.scalar(one) for one in alm])
        return kappa, maps, ConvergencePrior(spectra)

    return make


def _white(lmax, rng):
    size = hp.Alm.getsize(lmax)
    alm = (rng.normal(size=size) + 1j * rng.normal(size=size)) / np.sqrt(2)
    alm[: lmax + 1] = np.sqrt(2) * alm[: lmax + 1].real
    return alm
