"""Real files: the sample that ships always, the others where EQUILENS_DATA points to them.

The oracle reads the same files by astropy alone.
"""

import os
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.surveys import get_survey

SAMPLE = Path(str(files("equilens.pipeline") / "sample"))
EXAMPLES = Path(__file__).parents[2] / "data" / "surveys"


@pytest.fixture
def data():
    folder = os.environ.get("EQUILENS_DATA")
    if not folder:
        pytest.skip("EQUILENS_DATA is not set: no folder of real survey files")
    return Path(folder)


def read_all(survey, source):
    raws, faults = [], {}
    for ref in survey.discover(source):
        try:
            raws.append(survey.read(ref))
        except RejectedObject as fault:
            faults[ref.id] = fault
    return raws, faults


def centre_by_astropy(header):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sky = WCS(header).pixel_to_world(header["NAXIS1"] // 2, header["NAXIS2"] // 2).icrs
    return sky.ra.deg, sky.dec.deg


def test_euclid_sample_by_astropy_alone():
    survey = get_survey("euclid-mer")
    raws, faults = read_all(survey, SAMPLE / "euclid_q1" / "labels.csv")
    assert (len(raws), faults) == (12, {})
    for raw in raws:
        with fits.open(SAMPLE / "euclid_q1" / raw.files[0], memmap=False) as hdus:
            for index, band in enumerate(("VIS", "NIR_Y", "NIR_J", "NIR_H")):
                flux, rms = hdus[f"{band}_FLUX"], hdus[f"{band}_RMS"].data
                assert raw.images[index].tobytes() == flux.data.astype("=f4").tobytes()
                np.testing.assert_array_equal(raw.mask[index], (rms >= 1e6) & (flux.data == 0))
                assert raw.zeropoint[index] == flux.header["MAGZERO"]
            expected = centre_by_astropy(hdus["VIS_FLUX"].header)
        np.testing.assert_allclose((raw.ra, raw.dec), expected, atol=1e-9)
    assert sum(raw.columns["is_lens"] for raw in raws) == 3
    assert raws[0].id == "102019596_NEG637748088500119037"
    folders, _ = read_all(survey, SAMPLE / "euclid_q1")
    # without a manifest the header alone must place them
    assert {r.id: round(r.ra, 8) for r in folders} == {r.id: round(r.ra, 8) for r in raws}


def test_des_sample_by_astropy_alone():
    raws, faults = read_all(get_survey("des-cube"), SAMPLE / "des_lrg")
    assert [raw.id for raw in raws] == [f"DES-LRG-{index:03d}" for index in range(23)]
    assert not faults
    for band_index, band in enumerate("grizY"):
        cube = fits.getdata(SAMPLE / "des_lrg" / f"des_lrg_{band}.fits").astype("=f4")
        for index, raw in enumerate(raws):
            assert raw.images[band_index].tobytes() == cube[index].tobytes()
    assert all(np.isnan(raw.ra) and raw.zeropoint_declared for raw in raws)
    assert {point for raw in raws for point in raw.zeropoint} == {30.0}


def test_des_galaxies_have_the_colours_and_depth_that_the_zero_point_implies():
    raws, _ = read_all(get_survey("des-cube"), SAMPLE / "des_lrg")
    counts = np.array([raw.images[:, 35:56, 35:56].sum(axis=(1, 2)) for raw in raws])
    g, r, i, *_ = np.median(30 - 2.5 * np.log10(counts), axis=0)
    # bright red galaxies of redshift 0.2 to 0.7: a zero point off by a magnitude leaves this box
    assert 19 < i < 20.5
    assert 1 < g - r < 2.2
    assert 0.3 < r - i < 1.2


def test_samples_stay_small():
    size = sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file())
    assert size < 14e6


def test_challenge_space(data):
    raws, faults = read_all(get_survey("bologna-space"), data / "challenge")
    assert len(raws) == 8
    assert not faults
    assert {raw.zeropoint[0] for raw in raws} == {0.0}
    assert all(raw.wcs_header == "" for raw in raws), "the headers' WCS is a dummy"


def test_challenge_ground(data):
    raws, faults = read_all(get_survey("bologna-ground"), data / "challenge")
    assert (len(raws), faults) == (6, {})
    for raw in raws:
        for index, band in enumerate("RIGU", start=1):
            path = data / f"challenge/ground/Band{index}/imageSDSS_{band}-{raw.id}.fits"
            assert raw.images[index - 1].tobytes() == fits.getdata(path).astype("=f4").tobytes()
    masked = {raw.id: raw.mask.sum(axis=(1, 2)).tolist() for raw in raws if raw.mask.any()}
    assert masked["100023"] == [15, 0, 0, 0]


def test_panstarrs1(data):
    raws, faults = read_all(get_survey("panstarrs1"), data / "ps1_lenses")
    assert len(raws) == 30
    assert {name: fault.rule for name, fault in faults.items()} == {"HAHJ1328-3132": "missing-band"}
    for raw in raws:
        headers = [fits.getheader(data / "ps1_lenses" / name) for name in raw.files]
        expected = [25 + 2.5 * np.log10(header["EXPTIME"]) for header in headers]
        np.testing.assert_allclose(raw.zeropoint, expected, rtol=1e-14)
        for i, j in ((1, 1), (1, 2), (2, 1), (2, 2)):
            headers[0][f"PC{i}_{j}"] = headers[0].pop(f"PC00{i}00{j}")
        np.testing.assert_allclose((raw.ra, raw.dec), centre_by_astropy(headers[0]), atol=1e-9)
    nans = {raw.id: raw.mask[0].mean() for raw in raws if raw.mask.any()}
    assert nans["J1150_1016"] == pytest.approx(0.12, abs=0.005)


def test_panstarrs1_positions_are_those_of_the_catalogue(data):
    import csv

    with open(data / "ps1_lenses" / "sled_catalogue.csv", encoding="utf-8") as file:
        rows = {row["file_stem"]: row for row in csv.DictReader(file)}
    raws, _ = read_all(get_survey("panstarrs1"), data / "ps1_lenses")
    for raw in raws:
        ra, dec = float(rows[raw.id]["ra"]), float(rows[raw.id]["dec"])
        east = (raw.ra - ra) * np.cos(np.radians(dec)) * 3600
        assert np.hypot(east, (raw.dec - dec) * 3600) < 1.0


@pytest.mark.parametrize(
    ("survey", "folder", "count", "shape"),
    [
        ("hst-slacs", "hst_slacs0946", 1, (1, 281, 281)),
        ("hsc-pdr2", "hsc_stars", 5, (1, 25, 25)),
        ("hsc-scarlet", "hsc_hst_scarlet", 1, (5, 50, 50)),
        ("hst-scarlet", "hsc_hst_scarlet", 1, (1, 250, 250)),
        ("cosmos-web", "jwst_galaxy", 1, (4, 175, 175)),
    ],
)
def test_other_folders_need_a_definition_only(data, survey, folder, count, shape):
    raws, faults = read_all(get_survey(EXAMPLES / f"{survey}.toml"), data / folder)
    assert (len(raws), faults) == (count, {})
    assert raws[0].images.shape == shape
    assert np.isfinite(raws[0].zeropoint).all()


def test_zero_point_from_the_flux_of_magnitude_zero(data):
    raws, _ = read_all(get_survey(EXAMPLES / "hsc-pdr2.toml"), data / "hsc_stars")
    assert all(raw.zeropoint[0] == pytest.approx(27.0, abs=1e-9) for raw in raws)


def test_noise_map_and_psf_beside_the_image(data):
    raws, _ = read_all(get_survey(EXAMPLES / "hst-slacs.toml"), data / "hst_slacs0946")
    assert raws[0].id == "hst_slacs0946"
    noise = fits.getdata(data / "hst_slacs0946" / "noise_map.fits").astype("f4")
    np.testing.assert_array_equal(raws[0].rms[0], noise)
    assert raws[0].psf[0].shape == (21, 21)
    assert len(raws[0].checksums) == 3
