"""Peaks: a Gaussian bump, merging, the list on disk, and what is refused."""

import healpy as hp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.catalogs.export import read_catalog
from equilens.catalogs.footprint import area_sq_deg, read_footprint
from equilens.catalogs.schema import check_catalog
from equilens.pipeline.masses.errors import PeakError
from equilens.pipeline.masses.kaiser_squires import MassMap
from equilens.pipeline.masses.peaks import Peaks, find_peaks, merge_peaks
from equilens.pipeline.masses.products import (
    MassIdentity,
    read_product,
    write_mass_map,
    write_peaks,
)

NSIDE = 32
SIDE = hp.nside2resol(NSIDE)
VECTORS = np.stack(hp.pix2vec(NSIDE, np.arange(12 * NSIDE**2)), -1)
EVERYWHERE = np.ones(12 * NSIDE**2, bool)


def bump(ra, dec, height=8.0, width=1.2 * SIDE):
    angle = np.arccos(np.clip(VECTORS @ hp.ang2vec(ra, dec, lonlat=True), -1, 1))
    return height * np.exp(-0.5 * (angle / width) ** 2)


def find(snr, searched=EVERYWHERE, **options):
    return find_peaks(snr, searched, size_arcmin=5, method="test", **options)


@settings(max_examples=40, deadline=None)
@given(ra=st.floats(0, 360, exclude_max=True), dec=st.floats(-89, 89))
def test_a_bump_is_found_between_pixels(ra, dec):
    peaks = find(bump(ra, dec))
    assert len(peaks) == 1
    there = hp.ang2vec(peaks.ra[0], peaks.dec[0], lonlat=True)
    offset = np.arccos(min(1.0, there @ hp.ang2vec(ra, dec, lonlat=True)))
    # far better than half a pixel; worst where pixels are most distorted
    assert offset < 0.35 * SIDE
    # position uncertainty of a Gaussian S/N: width over height
    expected = np.degrees(1.2 * SIDE / 8) * 60
    assert expected * 0.9 < peaks.position_sigma_arcmin[0] < expected * 1.7


def test_no_summit_is_made_up_at_the_rim_of_a_mask():
    """Six values fit any paraboloid, however high."""
    rng = np.random.default_rng(5)
    snr = rng.normal(0, 1, EVERYWHERE.size)
    searched = rng.random(EVERYWHERE.size) > 0.35
    peaks = find(snr, searched, threshold=0.5)
    pixel = hp.ang2pix(NSIDE, peaks.ra, peaks.dec, lonlat=True)
    around = np.concatenate([pixel[None], hp.get_all_neighbours(NSIDE, pixel)])
    highest = np.where((around >= 0) & searched[around], snr[around], -np.inf).max(axis=0)
    assert len(peaks) > 300
    assert (peaks.score <= highest + 0.25 * (highest + 5)).all()
    assert peaks.score.max() < 1.5 * snr[searched].max()


def test_nested_and_ring_give_the_same():
    snr = bump(40, 10) + bump(200, -70, 5)
    ring, nested = find(snr), find(hp.reorder(snr, r2n=True), ordering="nested")
    np.testing.assert_allclose(ring.ra, nested.ra)
    np.testing.assert_allclose(ring.score, nested.score)
    assert list(ring.score) == sorted(ring.score, reverse=True)


def test_no_peak_in_the_mask_and_none_below_the_threshold():
    snr = bump(40, 10)
    assert len(find(snr, searched=VECTORS[:, 0] < 0)) == 0
    assert len(find(snr, threshold=8.5)) == 0


def test_a_plateau_has_one_peak():
    snr = np.zeros(12 * NSIDE**2)
    snr[hp.query_disc(NSIDE, [1, 0, 0], 1.5 * SIDE)] = 4.0
    assert len(find(snr)) == 1


def test_of_two_scales_the_better_stays():
    small, large = find(bump(40, 10, 6)), find(bump(40, 10.5, 8))
    merged = merge_peaks([small, large], radius_arcmin=60)
    assert len(merged) == 1
    assert merged.score[0] == large.score[0]
    assert len(merge_peaks([small, large], radius_arcmin=10)) == 2


def test_a_dropped_peak_drops_no_other():
    arrays = {name: np.zeros(3) for name in ("snr", "size_arcmin", "position_sigma_arcmin")}
    ra, score = np.array([0, 0.5, 1.0]), np.array([3.0, 2, 1])
    chain = Peaks(ra=ra, dec=np.zeros(3), score=score, method="", **arrays)
    assert list(merge_peaks([chain], radius_arcmin=40).ra) == [0, 1]


def test_a_product_comes_back(tmp_path):
    snr, searched = bump(40, 10) + bump(200, -70, 5), VECTORS[:, 2] < 0.9
    identity = MassIdentity("filter", "f" * 64)
    mass = MassMap(snr / 100, np.full(snr.shape, 0.02), "filter")
    write_mass_map(tmp_path, mass, identity, seen=searched)
    write_peaks(tmp_path, find(snr, searched), identity, searched=searched, survey="simulated")
    product = read_product(tmp_path)
    assert product.identity == identity
    assert product.peaks["peak_id"].to_pylist() == ["peak-0000001", "peak-0000002"]
    np.testing.assert_array_equal(product.searched, searched)
    assert product.area_sq_deg == pytest.approx(searched.mean() * 41252.96, rel=1e-6)
    np.testing.assert_allclose(product.mass.kappa[searched], mass.kappa[searched], atol=1e-8)
    candidates = read_catalog(tmp_path / "candidates.parquet")
    check_catalog(candidates)
    assert candidates["snr"].to_pylist() == product.peaks["snr"].to_pylist()
    assert candidates.schema.field("size_arcmin").metadata[b"unit"] == b"arcmin"
    assert area_sq_deg(read_footprint(tmp_path / "footprint.fits")) == product.area_sq_deg


@pytest.mark.parametrize(
    ("snr", "searched", "message"),
    [
        (np.zeros(100), np.ones(100, bool), "full HEALPix skies of one size"),
        (np.zeros(768), EVERYWHERE, "full HEALPix skies of one size"),
        (np.zeros(768), np.zeros(768, bool), "every pixel is masked"),
        (np.full(768, np.nan), np.ones(768, bool), "not finite in 768 pixels"),
    ],
)
def test_maps_that_cannot_be_searched(snr, searched, message):
    with pytest.raises(PeakError, match=message):
        find(snr, searched)
