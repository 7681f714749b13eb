"""Gaussian convergence of given power, correlated between bins."""

from __future__ import annotations

import healpy as hp
import numpy as np


def gaussian_convergence(
    spectra: np.ndarray, window: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Modes κ_lm of every bin, without l < 2, (K, n_alm).

    Parameters
    ----------
    spectra : (K, K, lmax + 1)
    window : (lmax + 1,) of the pixels
    """
    n_bins, lmax = len(spectra), spectra.shape[-1] - 1
    unit = _unit_modes(n_bins, lmax, rng)
    root = np.zeros_like(spectra)
    root[..., 2:] = np.linalg.cholesky(spectra[..., 2:].T).T.swapaxes(0, 1)
    modes = np.zeros_like(unit)
    for k in range(n_bins):
        for j in range(k + 1):
            modes[k] += hp.almxfl(unit[j], root[k, j] * window)
    return modes


def _unit_modes(n: int, lmax: int, rng: np.random.Generator) -> np.ndarray:
    """Independent modes of a real field with C_ℓ = 1."""
    size = hp.Alm.getsize(lmax)
    modes = rng.standard_normal((n, size)) + 1j * rng.standard_normal((n, size))
    modes /= np.sqrt(2)
    # modes of m = 0 come first and are real
    modes[:, : lmax + 1] = modes[:, : lmax + 1].real * np.sqrt(2)
    return modes
