"""Cutting from tiles: the right pixels, each tile once, edges masked and flagged."""

import gzip
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning

from equilens.pipeline.cutouts import CutoutFlag
from equilens.pipeline.errors import RejectedObject, SurveyError
from equilens.pipeline.fits.wcs import pixel_to_sky
from equilens.pipeline.surveys import Survey, get_survey
from equilens.pipeline.surveys.tiles import cut_tile, plan_cuts

SAMPLE = Path(str(files("equilens.pipeline") / "sample"))
EUCLID = get_survey("euclid-mer")
LSST = get_survey("lsst-like")
SIDE = 240
STEP = 0.2 / 3600


def write_tile(path, ra, dec, seed):
    pixels = np.random.default_rng(seed).normal(size=(6, SIDE, SIDE)).astype("f4")
    header = fits.Header()
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=ra, CRVAL2=dec)
    header.update(CUNIT1="deg", CUNIT2="deg", RADESYS="ICRS")
    header.update(CRPIX1=SIDE / 2, CRPIX2=SIDE / 2, CD1_1=-STEP, CD1_2=0.0, CD2_1=0.0, CD2_2=STEP)
    fits.writeto(path, pixels, header)
    return pixels


def positions(folder, rows):
    path = folder / "positions.csv"
    path.write_text("id,ra,dec,grade\n" + "".join(f"{n},{r!r},{d!r},A\n" for n, r, d in rows))
    return path


@pytest.fixture
def two_tiles(tmp_path):
    folder = tmp_path / "tiles"
    folder.mkdir()
    # neighbours on the equator that overlap by half
    shift = STEP * SIDE / 2
    return folder, {
        "east": write_tile(folder / "east.fits", 10 + shift, 0.0, 1),
        "west": write_tile(folder / "west.fits", 10.0, 0.0, 2),
    }


def sky(x, y, ra=10.0):
    return ra - (x + 1 - SIDE / 2) * STEP, (y + 1 - SIDE / 2) * STEP


def test_pixels_and_positions_are_those_of_the_tile(two_tiles, tmp_path):
    folder, pixels = two_tiles
    table = positions(tmp_path, [("a", *sky(180, 120))])
    (cuts,) = plan_cuts(LSST, folder, table).cuts
    ((ref, raw),) = cut_tile(LSST, cuts)
    assert cuts.tile.id == "west"
    np.testing.assert_array_equal(raw.images, pixels["west"][:, 70:171, 130:231])
    assert not raw.mask.any()
    assert (raw.id, raw.flags, raw.columns["grade"]) == ("a", 0, "A")
    np.testing.assert_allclose(
        pixel_to_sky(raw.wcs_header, 50, 50), pixel_to_sky_of(folder / "west.fits", 180, 120)
    )
    assert raw.files == ("west.fits",)
    assert ref.source_file == "west.fits"


def pixel_to_sky_of(path, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        place = WCS(fits.getheader(path)).celestial.pixel_to_world(x, y).icrs
    return place.ra.deg, place.dec.deg


def test_in_an_overlap_the_tile_with_more_room_is_cut_once(two_tiles, tmp_path):
    folder, _ = two_tiles
    rows = [("to-west", *sky(70, 120)), ("to-east", *sky(40, 120))]
    plan = plan_cuts(LSST, folder, positions(tmp_path, rows))
    owners = {ref.id: cuts.tile.id for cuts in plan.cuts for ref in cuts.objects}
    assert owners == {"to-west": "west", "to-east": "east"}


def test_beyond_the_edge_pixels_are_masked_and_flagged(two_tiles, tmp_path):
    folder, pixels = two_tiles
    table = positions(tmp_path, [("corner", *sky(SIDE - 1, 0))])
    (cuts,) = plan_cuts(LSST, folder, table).cuts
    ((_, raw),) = cut_tile(LSST, cuts)
    assert raw.flags == CutoutFlag.TILE_EDGE
    expected = np.ones((101, 101), bool)
    expected[50:, :51] = False
    assert (raw.mask == expected).all()
    np.testing.assert_array_equal(raw.images[:, 50:, :51], pixels["west"][:, :51, SIDE - 51 :])
    assert np.isnan(raw.images[raw.mask]).all()


def test_each_tile_is_loaded_once(two_tiles, tmp_path):
    folder, _ = two_tiles
    reads = []

    class Counting(Survey):
        def read(self, ref, max_bytes=0):
            reads.append(ref.id)
            return super().read(ref, max_bytes)

    survey = Counting(**{name: getattr(LSST, name) for name in LSST.__dataclass_fields__})
    rows = [(f"o{x}", *sky(x, 120)) for x in range(-100, SIDE, 20)]
    plan = plan_cuts(survey, folder, positions(tmp_path, rows))
    cut = [ref.id for cuts in plan.cuts for ref, _ in cut_tile(survey, cuts)]
    assert sorted(cut) == sorted(name for name, *_ in rows)
    assert sorted(reads) == ["east", "west"]


def test_positions_on_no_tile_and_no_positions_are_named(two_tiles, tmp_path):
    folder, _ = two_tiles
    rows = [("off", 200.0, -80.0), ("nowhere", float("nan"), 1.0), ("on", *sky(100, 100))]
    plan = plan_cuts(LSST, folder, positions(tmp_path, rows))
    assert {ref.id: ref.fault.rule for ref in plan.uncovered} == {
        "off": "no-tile",
        "nowhere": "bad-position",
    }
    with pytest.raises(RejectedObject):
        LSST.read(plan.uncovered[0])


def test_a_damaged_tile_costs_its_own_objects(two_tiles, tmp_path):
    folder, _ = two_tiles
    path = folder / "east.fits"
    rows = [("good", *sky(180, 120)), ("bad", *sky(-60, 120))]
    plan = plan_cuts(LSST, folder, positions(tmp_path, rows))
    path.write_bytes(path.read_bytes()[:-3000])
    found = {ref.id: result for cuts in plan.cuts for ref, result in cut_tile(LSST, cuts)}
    assert found["bad"].rule == "truncated"
    assert found["good"].id == "good"


def test_a_table_without_positions_and_tiles_without_wcs_are_errors(two_tiles, tmp_path):
    folder, _ = two_tiles
    table = tmp_path / "t.csv"
    table.write_text("id,ra\na,1\n")
    with pytest.raises(SurveyError, match="column dec is missing"):
        plan_cuts(LSST, folder, table)
    fits.writeto(tmp_path / "blind.fits", np.zeros((6, 50, 50), "f4"))
    with pytest.raises(SurveyError, match="no tile can be used"):
        plan_cuts(LSST, tmp_path / "blind.fits", positions(tmp_path, [("a", 1.0, 1.0)]))


def test_compressed_tiles_are_cut_alike(two_tiles, tmp_path):
    folder, _ = two_tiles
    table = positions(tmp_path, [("a", *sky(180, 120))])
    (plain,) = (raw for _, raw in cut_tile(LSST, plan_cuts(LSST, folder, table).cuts[0]))
    path = folder / "west.fits"
    (tmp_path / "west.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
    (cuts,) = plan_cuts(LSST, tmp_path / "west.fits.gz", table).cuts
    ((_, raw),) = cut_tile(LSST, cuts)
    assert raw.images.tobytes() == plain.images.tobytes()


def test_shipped_euclid_cutouts_come_out_of_the_shipped_frame_pixel_for_pixel(tmp_path):
    frame = SAMPLE / "euclid_q1_tile"
    parent = "102019596_NEG637748088500119037"
    labels = [
        ref
        for ref in EUCLID.discover(SAMPLE / "euclid_q1" / "labels.csv")
        if ref.columns["parent"] == parent
    ]
    assert len(labels) == 3
    table = positions(tmp_path, [(ref.id, ref.ra, ref.dec) for ref in labels])
    (cuts,) = plan_cuts(EUCLID, frame, table).cuts
    places = [(ref.columns["x_parent"], ref.columns["y_parent"]) for ref in labels]
    assert list(zip(cuts.x, cuts.y, strict=True)) == places
    for ref, (_, raw) in zip(labels, cut_tile(EUCLID, cuts), strict=True):
        expected = EUCLID.read(ref)
        assert raw.images.tobytes() == expected.images.tobytes()
        assert raw.rms.tobytes() == expected.rms.tobytes()
        np.testing.assert_array_equal(raw.mask, expected.mask)
        np.testing.assert_allclose(
            pixel_to_sky(raw.wcs_header, 0, 0), pixel_to_sky(expected.wcs_header, 0, 0), rtol=1e-12
        )


def test_tile_compressed_images_are_cut_alike(two_tiles, tmp_path):
    folder, _ = two_tiles
    table = positions(tmp_path, [("a", *sky(180, 120))])
    (plain,) = (raw for _, raw in cut_tile(LSST, plan_cuts(LSST, folder, table).cuts[0]))
    pixels, header = fits.getdata(folder / "west.fits", header=True)
    hdu = fits.CompImageHDU(pixels, header, compression_type="GZIP_1", quantize_level=0)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "west.fits.fz")
    (cuts,) = plan_cuts(LSST, tmp_path / "west.fits.fz", table).cuts
    ((_, raw),) = cut_tile(LSST, cuts)
    assert raw.images.tobytes() == plain.images.tobytes()
