"""What a zonal filter of E modes does to noise that is independent from pixel to pixel.

A filter f_l of E modes adds up tangential shear: M(p) = Σ_p' Q(θ) γ_t(p'), with
``Q(θ) = Σ_l (2l+1)/4π f_l d^l_{20}(θ)`` and Wigner's d^l_{20} = sqrt((l-2)!/(l+2)!) P_l^2 (in the
plane, Schneider 1996, MNRAS 283, 837). Its variance therefore is the noise map convolved with Q²,
exactly, whatever the mask.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.fft import dct

from equilens.pipeline.masses.harmonics import Floats, Harmonics


def tangential_kernel(e_filter: Floats, cosines: Floats) -> Floats:
    """Q(θ) of an E-mode filter f_l (lmax+1,) at cos θ, (n,)."""
    kernel = np.zeros_like(cosines)
    for ell, wigner in enumerate(_wigner_20(len(e_filter) - 1, cosines)):
        kernel += (2 * ell + 1) / (4 * np.pi) * e_filter[ell] * wigner
    return kernel


def legendre_window(profile: Floats, cosines: Floats, weights: Floats, lmax: int) -> Floats:
    """``2π ∫ profile(θ) P_l(cos θ) dcos θ`` for l ≤ lmax, by quadrature on the nodes given."""
    return np.array(
        [2 * np.pi * (weights * profile * p).sum() for p in _legendre(lmax, cosines)], np.float64
    )


def squared_kernel_window(e_filter: Floats, lmax: int) -> Floats:
    """Legendre window of Q², (lmax+1,)."""
    cosines, weights = fejer_nodes(2 * len(e_filter) + lmax)
    return legendre_window(tangential_kernel(e_filter, cosines) ** 2, cosines, weights, lmax)


def noise_variance(harmonics: Harmonics, e_filter: Floats, summand: Floats) -> Floats:
    """Variance of a filtered shear map in each pixel, (n_pixels,).

    Parameters
    ----------
    e_filter : (lmax+1,), applied to the sum over pixels of ``amplitude × shear × harmonics``
    summand : (n_pixels,) variance of a component times the squared amplitude
    """
    window = squared_kernel_window(e_filter, harmonics.lmax)
    spread = harmonics.smooth(summand, window) / harmonics.pixel_area
    # a band-limited window rings faintly around sharp masks; no variance is negative
    return np.maximum(spread, 0.0)


def fejer_nodes(n: int) -> tuple[Floats, Floats]:
    """cos θ of n midpoints in θ, and weights that integrate polynomials of degree below n exactly.

    Fejér's first rule (Waldvogel 2006, BIT 46, 195): Gauss-Legendre nodes cost n³ to find.
    """
    moments = np.zeros(n)
    even = np.arange(0, n, 2)
    moments[::2] = 2.0 / (1.0 - even**2.0)
    return np.cos((np.arange(n) + 0.5) * np.pi / n), dct(moments, type=3) / n


def _wigner_20(lmax: int, cosines: Floats) -> Iterator[Floats]:
    """d^l_{20} at each cosine for l = 0…lmax, by the three-term recurrence in l."""
    before, now = np.zeros_like(cosines), np.zeros_like(cosines)
    for ell in range(lmax + 1):
        if ell == 2:
            now = np.sqrt(3 / 8) * (1 - cosines**2)
        elif ell > 2:
            step = np.sqrt(ell**2 - 4.0)
            last = np.sqrt((ell - 1) ** 2 - 4.0)
            before, now = now, ((2 * ell - 1) * cosines * now - last * before) / step
        yield now


def _legendre(lmax: int, cosines: Floats) -> Iterator[Floats]:
    before, now = np.zeros_like(cosines), np.ones_like(cosines)
    for ell in range(lmax + 1):
        if ell:
            before, now = now, ((2 * ell - 1) * cosines * now - (ell - 1) * before) / ell
        yield now
