"""How many haloes are drawn, and where."""

from __future__ import annotations

import healpy as hp
import numpy as np
import pytest

from equilens.pipeline.skies.cosmology import Cosmology
from equilens.pipeline.skies.errors import SkyError
from equilens.pipeline.skies.halo_statistics import HaloStatistics, halo_statistics
from equilens.pipeline.skies.haloes import Haloes, draw_haloes, smoothed_overdensity

LOW, HIGH = 0.2, 0.5


@pytest.fixture(scope="module")
def statistics(planck: Cosmology) -> HaloStatistics:
    return halo_statistics(planck, 3e14, 0.05, 1.0)


@pytest.fixture(scope="module")
def haloes(statistics: HaloStatistics, planck: Cosmology) -> Haloes:
    return draw_haloes(statistics, planck, LOW, HIGH, None, np.random.default_rng(0))


def expected_number(statistics: HaloStatistics, cosmology: Cosmology, heavier_than: float) -> float:
    """By astropy's volume and a trapezoid over the mass function."""
    z = np.linspace(LOW, HIGH, 200)
    volume = 4 * np.pi * cosmology.background.differential_comoving_volume(z).value
    heavy = statistics.mass >= heavier_than * (1 - 1e-9)
    rows = np.stack([statistics.row("density", a)[heavy] for a in z])
    density = np.trapezoid(rows, statistics.ln_mass[heavy], axis=1)
    return float(np.trapezoid(density * volume, z))


def test_tables_are_colossus_own(statistics: HaloStatistics, planck: Cosmology):
    from colossus.cosmology import cosmology as colossus
    from colossus.lss import mass_function

    before = colossus.current_cosmo
    parameters = {"H0": 67.66, "Om0": 0.3111, "Ob0": 0.049, "sigma8": 0.8102, "ns": 0.9665}
    colossus.setCosmology("test", flat=True, relspecies=False, persistence="", **parameters)
    mass = statistics.mass[10] * planck.h
    kinds = {"mdef": "200c", "model": "tinker08", "q_out": "dndlnM"}
    theirs = mass_function.massFunction(mass, statistics.redshift[5], **kinds)
    colossus.current_cosmo = before
    assert statistics.density[5, 10] == pytest.approx(theirs * planck.h**3, rel=1e-6)


def test_colossus_keeps_the_users_cosmology(planck: Cosmology):
    from colossus.cosmology import cosmology as colossus

    before = colossus.current_cosmo
    halo_statistics(planck, 1e15, 0.1, 0.2)
    assert colossus.current_cosmo is before


def test_number_is_poisson_around_the_mass_function(
    haloes: Haloes, statistics: HaloStatistics, planck: Cosmology
):
    for mass in (statistics.mass[0], statistics.mass[10], statistics.mass[20]):
        expected = expected_number(statistics, planck, mass)
        found = np.count_nonzero(haloes.m200c_msun >= mass)
        assert abs(found - expected) < 4 * expected**0.5 + 0.01 * expected


def test_haloes_keep_to_their_range(haloes: Haloes):
    assert haloes.m200c_msun.min() >= 3e14
    assert haloes.redshift.min() >= LOW
    assert haloes.redshift.max() <= HIGH
    assert np.abs(haloes.dec_deg).max() <= 90


def test_theta200_is_the_angle_of_r200(haloes: Haloes, planck: Cosmology):
    first = haloes[:1]
    z = first.redshift[0]
    distance = planck.background.angular_diameter_distance(z).value
    critical = planck.background.critical_density(z).to_value("Msun / Mpc3")
    radius = first.theta200(planck)[0] * distance
    assert 4 / 3 * np.pi * radius**3 * 200 * critical == pytest.approx(
        first.m200c_msun[0], rel=1e-3
    )


def test_haloes_follow_matter_with_their_bias(statistics: HaloStatistics, planck: Cosmology):
    nside = 32
    rng = np.random.default_rng(5)
    overdensity = hp.smoothing(rng.standard_normal(hp.nside2npix(nside)), sigma=0.1)
    overdensity = (overdensity - overdensity.mean()) * 0.1 / overdensity.std()
    followers = draw_haloes(statistics, planck, LOW, HIGH, overdensity, rng)
    anywhere = draw_haloes(statistics, planck, LOW, HIGH, None, rng)
    bias = statistics.look_up("bias", followers.m200c_msun, followers.redshift).mean()
    expected = bias * (overdensity**2).mean()
    assert mean_at(overdensity, followers) == pytest.approx(expected, rel=0.12)
    # haloes anywhere do not
    assert abs(mean_at(overdensity, anywhere)) < 0.12 * expected


def mean_at(overdensity: np.ndarray, haloes: Haloes) -> float:
    pixels = hp.ang2pix(hp.get_nside(overdensity), haloes.theta, haloes.phi)
    return float(overdensity[pixels].mean())


def test_smoothing_keeps_large_scales_and_takes_small_ones():
    nside, ell, distance = 32, 8, 1000.0
    modes = np.zeros(hp.Alm.getsize(3 * nside - 1), complex)
    modes[hp.Alm.getidx(3 * nside - 1, ell, 3)] = 1
    wave = hp.alm2map(modes, nside, pol=False)
    smooth = smoothed_overdensity(wave, distance)
    ratio = (smooth @ wave) / (wave @ wave)
    assert ratio == pytest.approx(np.exp(-0.5 * ((ell + 0.5) * 8 / distance) ** 2), rel=1e-3)
    assert smoothed_overdensity(wave, 10.0).std() < 1e-3 * wave.std()


def test_no_halo_where_none_is_asked_for(statistics: HaloStatistics, planck: Cosmology):
    rng = np.random.default_rng(0)
    assert len(draw_haloes(statistics, planck, 1.5, 2.0, None, rng)) == 0


@pytest.mark.parametrize(
    ("mass", "low", "high", "message"),
    [
        (1e10, 0.1, 0.5, "heavier than 1e12"),
        (1e17, 0.1, 0.5, "lighter than 1e"),
        (1e14, 0.5, 0.1, "z_min < z_max"),
    ],
)
def test_impossible_ranges(planck: Cosmology, mass: float, low: float, high: float, message: str):
    with pytest.raises(SkyError, match=message):
        halo_statistics(planck, mass, low, high)
