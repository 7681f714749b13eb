"""Smoothly truncated NFW haloes in closed form.

    ρ(x) = ρ_s / (x (1 + x)²) · τ²/(x² + τ²),    x = r/r_s,  τ = r_t/r_s

(Baltz, Marshall & Oguri 2009, arXiv:0705.0682, eq. 1 with n = 1). All masses here are in units of
4π ρ_s r_s³ and all lengths in r_s; `mass_unit` turns them into M200c. Arguments broadcast.
"""

from __future__ import annotations

import numpy as np
from scipy import special

TRUNCATION_R200 = 2.0
"""Truncation radius r_t over r200c: outskirts beyond it belong to neighbouring matter."""
_NEAR_SCALE_RADIUS = 2e-5


def truncation(concentration: np.ndarray) -> np.ndarray:
    """τ = r_t/r_s of a halo of concentration c = r200c/r_s."""
    return TRUNCATION_R200 * np.asarray(concentration)


def radius_200(m200c: np.ndarray, critical_density: np.ndarray) -> np.ndarray:
    """r200c, within which the mean density is 200 times the critical one, in its length unit."""
    return np.cbrt(3 * np.asarray(m200c) / (800 * np.pi * np.asarray(critical_density)))


def enclosed_mass(x: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """Mass within the radius x; ibid. eq. A2 in our units."""
    q = 1 + tau**2
    logs = (tau**2 - 1) * (np.log1p(x) - 0.5 * np.log1p((x / tau) ** 2))
    return (tau / q) ** 2 * (logs - q * x / (1 + x) + 2 * tau * np.arctan(x / tau))


def total_mass(tau: np.ndarray) -> np.ndarray:
    """Mass of the whole halo; ibid. eq. A3."""
    q = 1 + tau**2
    return (tau / q) ** 2 * ((tau**2 - 1) * np.log(tau) - q + np.pi * tau)


def mass_unit(m200c: np.ndarray, concentration: np.ndarray) -> np.ndarray:
    """4π ρ_s r_s³ of a halo with M200c inside r200c, in the unit of `m200c`."""
    return m200c / enclosed_mass(concentration, truncation(concentration))


def projected(x: np.ndarray, tau: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Surface density at, and mass within, the projected radius x; ibid. eqs. A8 and A10.

    Returns
    -------
    surface density over 1/r_s², and mass in a cylinder
    """
    f, one_minus_f, logs, root = _parts(x, tau)
    q = 1 + tau**2
    scale, slope = (tau / q) ** 2, tau - 1 / tau
    density = q * one_minus_f + 2 * f + (slope * logs - np.pi) / root
    mass = (q + 2 * (x**2 - 1)) * f + tau * np.pi + (tau**2 - 1) * np.log(tau)
    mass += root * (slope * logs - np.pi)
    return scale * density / (2 * np.pi), scale * mass


def fourier_mass(k: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """Transform ∫ 4πr² ρ sin(kr)/(kr) dr at the wavenumber k in 1/r_s; `total_mass` at k → 0.

    By partial fractions of 1/((1 + x)² (x² + τ²)).
    """
    q = 1 + tau**2
    # 1/((1+x)²(x²+τ²)) = a/(1+x) + b/(1+x)² + (d - a x)/(x²+τ²)
    a, b, d = 2 / q**2, 1 / q, (1 - tau**2) / q**2
    sine, cosine = special.sici(k)
    f = cosine * np.sin(k) + (np.pi / 2 - sine) * np.cos(k)
    g = -cosine * np.cos(k) + (np.pi / 2 - sine) * np.sin(k)
    odd = np.pi / 2 * np.exp(-k * tau)
    even = _scaled_ei(k * tau) / (2 * tau)
    return tau**2 / k * (a * f + b * k * g + d * even - a * odd)


def _scaled_ei(y: np.ndarray) -> np.ndarray:
    """exp(-y) Ei(y) + exp(y) E1(y), by its asymptotic series where the factors overflow."""
    small = np.minimum(y, 40.0)
    exact = np.exp(-small) * special.expi(small) + np.exp(small) * special.exp1(small)
    large = np.maximum(y, 40.0)
    series = 2 / large * (1 + 2 / large**2 + 24 / large**4 + 720 / large**6)
    return np.where(y < 40.0, exact, series)


def _parts(x: np.ndarray, tau: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """F(x) of eq. A5, (1 - F)/(x² - 1), L(x) of eq. A6, and √(τ² + x²)."""
    inside = np.asarray(x < 1)
    # F is 0/0 at x = 1; it is continuous there and changes by 1e-5 within the step aside
    aside = np.where(inside, 1 - _NEAR_SCALE_RADIUS, 1 + _NEAR_SCALE_RADIUS)
    beyond = np.where(np.abs(x - 1) < _NEAR_SCALE_RADIUS, aside, x) ** 2 - 1
    y = np.sqrt(np.abs(beyond))
    f = np.empty(y.shape)
    f[inside] = np.arctanh(y[inside])
    f[~inside] = np.arctan(y[~inside])
    f /= y
    root = np.sqrt(tau**2 + x**2)
    return f, (1 - f) / beyond, np.log(x / (root + tau)), root
