"""Painted haloes against closed forms: sign, spin, amplitude and power."""

from __future__ import annotations

import healpy as hp
import numpy as np
import pytest

from equilens.pipeline.skies import nfw
from equilens.pipeline.skies.cosmology import Cosmology
from equilens.pipeline.skies.halo_lensing import FOUR_PI_G_OVER_C2, paint_haloes
from equilens.pipeline.skies.haloes import Haloes
from equilens.pipeline.skies.shear_maps import shear_from_convergence, synthesise
from equilens.pipeline.skies.sources import SourceSample

NSIDE = 64
LMAX = 3 * NSIDE - 1
PLACES = [(0.001, 0.0), (0.3, 1.0), (1.1, 3.0), (np.pi / 2, 6.28), (2.9, 4.0)]
REDSHIFT, MASS, CONCENTRATION = 0.2, 1e15, 4.0


def one_halo(theta: float, phi: float) -> Haloes:
    return Haloes(*(np.array([v]) for v in (theta, phi, REDSHIFT, MASS, CONCENTRATION)))


def painted(
    haloes: Haloes, cosmology: Cosmology, sources: SourceSample
) -> tuple[np.ndarray, np.ndarray]:
    """Convergence and shear of the farther bin."""
    maps = paint_haloes(haloes, cosmology, sources, NSIDE, LMAX)
    kappa = maps.kappa[1] + synthesise(maps.kappa_lm[1], NSIDE, LMAX)
    shear = maps.shear[1] + shear_from_convergence(maps.kappa_lm[1], NSIDE, LMAX)
    return kappa, shear


def closed_form(
    angle: np.ndarray, cosmology: Cosmology, sources: SourceSample
) -> tuple[np.ndarray, np.ndarray]:
    """κ and γ_t at an angle from the halo, with distances by astropy."""
    distance = cosmology.background.angular_diameter_distance(REDSHIFT).value
    critical = cosmology.background.critical_density(REDSHIFT).to_value("Msun / Mpc3")
    scale = nfw.radius_200(MASS, critical) / CONCENTRATION
    z, weight = sources.redshift, sources.n_of_z[1]
    behind = z > REDSHIFT
    ratio = cosmology.background.comoving_distance(REDSHIFT) / (
        cosmology.background.comoving_distance(z[behind])
    )
    efficiency = np.trapezoid(weight[behind] * (1 - ratio.value), z[behind])
    unit = nfw.mass_unit(np.float64(MASS), np.float64(CONCENTRATION))
    sigma, mass = nfw.projected(angle * distance / scale, nfw.truncation(np.float64(CONCENTRATION)))
    lens = FOUR_PI_G_OVER_C2 * unit * distance * efficiency
    kappa = lens * sigma / scale**2
    return kappa, lens * mass / (np.pi * (angle * distance) ** 2) - kappa


def components(shear: np.ndarray, theta: float, phi: float) -> tuple[np.ndarray, ...]:
    """Pixels between 1.5 and 9 pixels from a place: their angle, γ_t and γ_×."""
    center, pixel = hp.ang2vec(theta, phi), hp.nside2resol(NSIDE)
    near = hp.query_disc(NSIDE, center, 1.5 * pixel)
    pixels = np.setdiff1d(hp.query_disc(NSIDE, center, 9 * pixel), near)
    t, p = hp.pix2ang(NSIDE, pixels)
    south = np.stack([np.cos(t) * np.cos(p), np.cos(t) * np.sin(p), -np.sin(t)])
    east = np.stack([-np.sin(p), np.cos(p), 0 * p])
    psi = np.arctan2(center @ east, center @ south)
    turned = (shear[0] + 1j * shear[1])[pixels] * np.exp(-2j * psi)
    angle = np.arccos(center @ np.stack(hp.pix2vec(NSIDE, pixels)))
    return angle, -turned.real, -turned.imag


def misfit(
    shear: np.ndarray, place: tuple[float, float], cosmology: Cosmology, sources: SourceSample
) -> float:
    """Largest error of γ_t and γ_× over the local γ_t."""
    angle, tangential, cross = components(shear, *place)
    _, expected = closed_form(angle, cosmology, sources)
    return float(np.max(np.hypot(tangential - expected, cross) / expected))


@pytest.mark.parametrize("place", PLACES)
def test_shear_of_a_halo_is_tangential_as_in_closed_form(
    place: tuple[float, float], planck: Cosmology, sources: SourceSample
):
    _, shear = painted(one_halo(*place), planck, sources)
    assert misfit(shear, place, planck, sources) < 0.12
    angle, tangential, cross = components(shear, *place)
    _, expected = closed_form(angle, planck, sources)
    assert tangential.sum() == pytest.approx(expected.sum(), rel=0.03)
    assert abs(cross.sum()) < 0.01 * expected.sum()


def test_mass_at_the_north_pole_has_negative_gamma_1(planck: Cosmology, sources: SourceSample):
    _, shear = painted(one_halo(0.0, 0.0), planck, sources)
    ring = hp.query_strip(NSIDE, 0.05, 0.12)
    assert (shear[0, ring] < 0).all()
    assert np.abs(shear[1, ring]).max() < 0.05 * np.abs(shear[0, ring]).min()


@pytest.mark.parametrize("signs", [(-1, 1), (1, -1), (-1, -1)])
def test_a_flipped_component_is_caught(
    signs: tuple[int, int], planck: Cosmology, sources: SourceSample
):
    place = PLACES[2]
    _, shear = painted(one_halo(*place), planck, sources)
    assert misfit(shear * np.array(signs)[:, None], place, planck, sources) > 1


def test_convergence_integrates_to_the_whole_mass(planck: Cosmology, sources: SourceSample):
    place = PLACES[2]
    kappa, _ = painted(one_halo(*place), planck, sources)
    # modes l < 2 are taken out: a mean, and a dipole along the halo of three times its amplitude
    disc = hp.query_disc(NSIDE, hp.ang2vec(*place), np.radians(20))
    share = (1 - np.cos(np.radians(20))) / 2
    dipole = 3 / 4 * np.sin(np.radians(20)) ** 2
    whole = _integral(planck, sources)
    found = kappa[disc].sum() * hp.nside2pixarea(NSIDE)
    assert found == pytest.approx(whole * (1 - share - dipole), rel=0.02)
    assert abs(kappa.mean()) < 1e-3 * np.abs(kappa).mean()


def _integral(cosmology: Cosmology, sources: SourceSample) -> float:
    """Convergence of one halo integrated over the sky."""
    angle = np.geomspace(1e-6, 1, 20001)
    kappa, _ = closed_form(angle, cosmology, sources)
    return float(np.trapezoid(2 * np.pi * angle**2 * kappa, np.log(angle)))


def test_power_of_haloes_anywhere_is_that_of_their_profiles(
    planck: Cosmology, sources: SourceSample
):
    rng = np.random.default_rng(3)
    n = 4000
    haloes = Haloes(
        np.arccos(rng.uniform(-1, 1, n)),
        rng.uniform(0, 2 * np.pi, n),
        rng.uniform(0.2, 0.6, n),
        np.exp(rng.uniform(np.log(2e14), np.log(1e15), n)),
        rng.uniform(3, 6, n),
    )
    kappa, _ = painted(haloes, planck, sources)
    power = hp.anafast(kappa, lmax=NSIDE, iter=3)
    theta_s = haloes.theta200(planck) / haloes.concentration
    distance = planck.comoving_distance_mpc(haloes.redshift) / (1 + haloes.redshift)
    lens = FOUR_PI_G_OVER_C2 * nfw.mass_unit(haloes.m200c_msun, haloes.concentration) / distance
    lens *= sources.lensing_efficiency(planck, haloes.redshift)[1]
    tau = nfw.truncation(haloes.concentration)
    ell = np.arange(10, NSIDE + 1)
    modes = lens * nfw.fourier_mass((ell[:, None] + 0.5) * theta_s, tau)
    expected = (modes**2).sum(axis=1) / (4 * np.pi)
    # one Poisson sky: 5e3 modes
    assert power[10:].sum() / expected.sum() == pytest.approx(1, abs=0.06)


def test_members_are_three_percent_at_r200(planck: Cosmology, sources: SourceSample):
    nside = 1024
    haloes = Haloes(*(np.array([v]) for v in (1.1, 3.0, 0.1, 1e15, 4.0)))
    maps = paint_haloes(haloes, planck, sources, nside, 64)
    radius = haloes.theta200(planck)[0]
    center = hp.ang2vec(1.1, 3.0)
    ring = np.setdiff1d(
        hp.query_disc(nside, center, 1.03 * radius), hp.query_disc(nside, center, 0.97 * radius)
    )
    share = maps.members[ring] / (1 + maps.members[ring])
    assert share.mean() == pytest.approx(0.03, rel=0.02)
