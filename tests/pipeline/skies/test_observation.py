"""What a survey makes of true shear."""

from __future__ import annotations

from pathlib import Path

import healpy as hp
import numpy as np
import pytest

from equilens.pipeline.skies.errors import SkyError
from equilens.pipeline.skies.observation import ObservedShear, observe, reduced_shear
from equilens.pipeline.skies.sources import SourceSample, source_sample
from equilens.pipeline.skies.survey_masks import (
    WHOLE_SKY,
    SurveyMask,
    observable,
    unmasked_share,
)
from equilens.pipeline.skymaps import ingest_map

NSIDE = 32
N_PIXELS = hp.nside2npix(NSIDE)


def observed(sources: SourceSample, **changes) -> ObservedShear:
    given = {
        "kappa": np.full((2, N_PIXELS), 0.05),
        "shear": np.broadcast_to(np.array([0.03, -0.02])[None, :, None], (2, 2, N_PIXELS)),
        "members": None,
        "share": np.ones(N_PIXELS, np.float32),
        "multiplicative_bias": np.zeros(2),
        "rng": np.random.default_rng(0),
    }
    return observe(sources=sources, **{**given, **changes})


def test_reduced_shear_in_closed_form():
    kappa, shear = np.array([0.2, 1.5, 0.5]), np.array([[0.1, 0.1, 0.8], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(reduced_shear(shear, kappa)[0], [0.125, -0.2, 1 / 1.6])


def test_counts_and_noise_are_those_of_the_galaxies(sources: SourceSample):
    sky = observed(sources)
    area = hp.nside2pixarea(NSIDE, degrees=True) * 3600
    expected = 15.0 * area
    assert sky.counts[0].mean() == pytest.approx(expected, abs=5 * (expected / N_PIXELS) ** 0.5)
    assert sky.counts[0].var() == pytest.approx(expected, rel=0.1)
    pulls = (sky.shear[0, 0] - 0.03 / 0.95) * np.sqrt(sky.weights[0])
    assert pulls.std() == pytest.approx(1, abs=0.03)
    assert abs(pulls.mean()) < 5 / N_PIXELS**0.5
    np.testing.assert_allclose(sky.weights[0], sky.counts[0] / 0.26**2, rtol=1e-6)


def test_bias_members_and_linear_shear(sources: SourceSample):
    def mean(**changes) -> float:
        return float(observed(sources, **changes).shear[1, 0].mean())

    assert mean() == pytest.approx(0.03 / 0.95, rel=2e-3)
    assert mean(reduced=False) == pytest.approx(0.03, rel=2e-3)
    assert mean(multiplicative_bias=np.array([0.0, 0.1])) == pytest.approx(0.033 / 0.95, rel=2e-3)
    members = np.full(N_PIXELS, 0.25, np.float32)
    diluted = observed(sources, members=members)
    assert diluted.shear[1, 0].mean() == pytest.approx(0.8 * 0.03 / 0.95, rel=2e-3)
    assert diluted.counts.mean() == pytest.approx(1.25 * observed(sources).counts.mean(), rel=0.01)


def test_masked_pixels_have_neither_shear_nor_weight(sources: SourceSample):
    share = np.ones(N_PIXELS, np.float32)
    share[:100] = 0
    sky = observed(sources, share=share)
    masked = np.isnan(sky.shear).all(axis=(0, 1))
    np.testing.assert_array_equal(masked, share == 0)
    assert np.isfinite(sky.shear[:, :, 100:]).all()
    assert not (sky.weights + sky.counts)[:, :100].any()


def test_latitude_cuts_are_those_of_astropy():
    from astropy.coordinates import SkyCoord

    mask = SurveyMask(25.0, 15.0, 0.0)
    allowed = observable(mask, NSIDE)
    ra, dec = hp.pix2ang(NSIDE, np.arange(N_PIXELS), lonlat=True)
    place = SkyCoord(ra, dec, unit="deg")
    b, beta = place.galactic.b.deg, place.barycentricmeanecliptic.lat.deg
    expected = (np.abs(b) >= 25) & (np.abs(beta) >= 15)
    assert np.count_nonzero(allowed != expected) <= 2
    assert np.count_nonzero(np.roll(allowed, 40) != expected) > 100


def test_stars_hide_their_area_and_crowd_toward_the_plane():
    mask = SurveyMask(0.0, 0.0, 0.2, (70.0, 70.0))
    allowed = observable(mask, NSIDE)
    share = unmasked_share(SurveyMask(0, 0, 0.2, (70, 70), smallest_share=0), allowed, _rng())
    ra, dec = hp.pix2ang(NSIDE, np.arange(N_PIXELS), lonlat=True)
    sine = np.abs(hp.Rotator(coord=["C", "G"]).mat[2] @ hp.ang2vec(ra, dec, lonlat=True).T)
    # discs overlap: what is left of a Poisson coverage is exp(-density times area)
    density = 0.2 * np.minimum(1 / sine, 5) * np.pi * (70 / 60) ** 2
    for near in (sine < 0.3, sine > 0.7):
        assert share[near].mean() == pytest.approx(np.exp(-density[near]).mean(), abs=0.03)
    assert (unmasked_share(mask, allowed, _rng())[share < 0.5] == 0).all()


def _rng() -> np.random.Generator:
    return np.random.default_rng(2)


def test_whole_sky_is_the_whole_sky():
    assert (unmasked_share(WHOLE_SKY, observable(WHOLE_SKY, NSIDE), _rng()) == 1).all()


def test_column_density_from_fits_or_store(tmp_path: Path):
    from astropy.io import fits

    values = np.where(np.arange(N_PIXELS) < N_PIXELS / 2, 1e20, 1e21).astype(np.float32)
    table = fits.BinTableHDU.from_columns([fits.Column("NHI", "E", array=values)])
    table.header.update({"PIXTYPE": "HEALPIX", "ORDERING": "RING", "NSIDE": NSIDE})
    table.header["INDXSCHM"] = "IMPLICIT"
    file = tmp_path / "nh.fits"
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(file)
    ingest_map(file, tmp_path / "nh.zarr", frame="galactic", units="cm^-2")
    masks = [SurveyMask(0, 0, 0, column_density_map=str(p)) for p in (file, tmp_path / "nh.zarr")]
    first, second = (observable(mask, NSIDE) for mask in masks)
    np.testing.assert_array_equal(first, second)
    ra, dec = hp.pix2ang(NSIDE, np.arange(N_PIXELS), lonlat=True)
    sine = hp.Rotator(coord=["C", "G"]).mat[2] @ hp.ang2vec(ra, dec, lonlat=True).T
    np.testing.assert_array_equal(first[np.abs(sine) > 0.05], sine[np.abs(sine) > 0.05] > 0)


def test_real_column_density_masks_the_galactic_plane(real_maps: Path):
    mask = SurveyMask(0, 0, 0, column_density_map=str(real_maps / _HI4PI))
    allowed = observable(mask, NSIDE)
    ra, dec = hp.pix2ang(NSIDE, np.arange(N_PIXELS), lonlat=True)
    sine = np.abs(hp.Rotator(coord=["C", "G"]).mat[2] @ hp.ang2vec(ra, dec, lonlat=True).T)
    assert not allowed[sine < 0.02].any()
    assert allowed[sine > 0.9].mean() > 0.95


_HI4PI = "h1_nh_HI4PI_healpix_lowres.fits"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: SurveyMask(90.0), "galactic_latitude_deg must lie in 0..90, got 90"),
        (lambda: SurveyMask(stars_per_deg2=-1), "stars per deg² must lie in 0..100, got -1"),
        (lambda: SurveyMask(star_radius_arcmin=(3, 1)), "smallest <= largest"),
        (lambda: observable(SurveyMask(85.0, 85.0), NSIDE), "no pixel left"),
        (
            lambda: observable(SurveyMask(column_density_map="/nowhere.fits"), NSIDE),
            "/nowhere.fits does not exist",
        ),
        (lambda: source_sample("hst"), "survey must be one of .*, got 'hst'"),
        (lambda: source_sample("euclid", 11), "bins must lie in 1..10, got 11"),
        (lambda: source_sample("euclid", 1, -3.0), "galaxies per arcmin² .* got -3"),
    ],
)
def test_bad_input_gives_one_clear_error(wrong, message: str):
    with pytest.raises(SkyError, match=message):
        wrong()
