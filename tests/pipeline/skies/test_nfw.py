"""Truncated NFW haloes: closed forms against each other, quadrature and lenstronomy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from equilens.pipeline.skies import nfw

RADII = np.array([0.01, 0.3, 0.999, 1.5, 10.0, 50.0])
TAUS = (3.0, 8.0, 20.0)


def density(x: float, tau: float) -> float:
    return tau**2 / (4 * np.pi * x * (1 + x) ** 2 * (x**2 + tau**2))


def test_m200c_lies_within_r200():
    mass, concentration = np.array([1e14, 1e15]), np.array([3.0, 6.0])
    unit = nfw.mass_unit(mass, concentration)
    within = unit * nfw.enclosed_mass(concentration, nfw.truncation(concentration))
    np.testing.assert_allclose(within, mass)


def test_r200_holds_200_times_the_critical_density():
    radius = nfw.radius_200(1e14, 1.3e11)
    assert 1e14 / (4 / 3 * np.pi * radius**3) == pytest.approx(200 * 1.3e11)


def test_untruncated_limit_is_wright_and_brainerd():
    # arXiv:astro-ph/9908213, eq. 11, in units of 4π ρ_s r_s³ / r_s²
    x = np.array([0.2, 0.7])
    f = 2 / np.sqrt(1 - x**2) * np.arctanh(np.sqrt((1 - x) / (1 + x)))
    expected = 2 * (1 - f) / (x**2 - 1) / (4 * np.pi)
    found, _ = nfw.projected(x, np.full(2, 1e4))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("tau", TAUS)
def test_projections_agree_with_quadrature(tau: float):
    for x in RADII:
        along = quad(lambda s, x=x: density(np.hypot(s, x), tau), 0, np.inf, limit=200)[0]
        enclosed = quad(lambda r: 4 * np.pi * r**2 * density(r, tau), 1e-12, x)[0]
        surface, _ = nfw.projected(x, np.float64(tau))
        assert surface == pytest.approx(2 * along, rel=3e-5)
        assert nfw.enclosed_mass(x, np.float64(tau)) == pytest.approx(enclosed, rel=1e-6)
    _, everything = nfw.projected(np.float64(1e5), np.float64(tau))
    assert everything == pytest.approx(nfw.total_mass(tau), rel=1e-7)


def test_mass_in_a_cylinder_is_the_integral_of_surface_density():
    tau = np.float64(8.0)
    x = np.geomspace(1e-6, 5.0, 20001)
    surface, mass = nfw.projected(x, tau)
    integral = np.trapezoid(2 * np.pi * x**2 * surface, np.log(x))
    assert mass[-1] == pytest.approx(integral, rel=1e-5)


@pytest.mark.parametrize("k", [1e-3, 0.1, 1.0, 5.0, 50.0])
@pytest.mark.parametrize("tau", TAUS)
def test_transform_agrees_with_quadrature(k: float, tau: float):
    sine = quad(lambda r: 4 * np.pi * r * density(r, tau) / k, 1e-12, np.inf, weight="sin", wvar=k)[
        0
    ]
    assert nfw.fourier_mass(np.float64(k), np.float64(tau)) == pytest.approx(sine, rel=1e-5)


def test_projections_agree_with_lenstronomy():
    profile = pytest.importorskip("lenstronomy.LensModel.Profiles.tnfw").TNFW()
    x, tau = np.array([0.1, 0.5, 2.0, 9.0]), 8.0
    surface, mass = nfw.projected(x, np.float64(tau))
    theirs = profile.density_2d(x, 0 * x, 1.0, 1 / (4 * np.pi), tau)
    np.testing.assert_allclose(surface, theirs, rtol=1e-6)
    np.testing.assert_allclose(mass, profile.mass_2d(x, 1.0, 1 / (4 * np.pi), tau), rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.floats(1e-3, 1e3), st.floats(1.5, 40))
def test_profile_is_positive_and_falls(x: float, tau: float):
    surface, mass = nfw.projected(np.array([x, 1.1 * x]), np.full(2, tau))
    assert surface[0] > surface[1] > 0
    assert 0 < mass[0] < mass[1] <= nfw.total_mass(tau) * (1 + 1e-6)
