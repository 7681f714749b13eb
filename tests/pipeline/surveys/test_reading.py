"""Each rule of reading, and each fault, on files made for it."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.fits.cards import Cards
from equilens.pipeline.surveys import get_survey
from equilens.pipeline.surveys.calibration import linear_pixels
from equilens.pipeline.surveys.synthetic import write_objects

EXAMPLES = Path(__file__).parents[2] / "data" / "surveys"
EUCLID = get_survey("euclid-mer")
PS1 = get_survey("panstarrs1")
SPACE = get_survey("bologna-space")
LSST = get_survey("lsst-like")


def only(survey, folder):
    (ref,) = survey.discover(folder)
    return survey.read(ref)


def rejection(survey, folder):
    with pytest.raises(RejectedObject) as caught:
        only(survey, folder)
    assert caught.value.file, "a rejection must name its file"
    return caught.value


def change(path, hdu, pixels=None, **cards):
    with fits.open(path, mode="update", memmap=False) as hdus:
        if pixels is not None:
            hdus[hdu].data = pixels
        for key, value in cards.items():
            if value is None:
                del hdus[hdu].header[key]
            else:
                hdus[hdu].header[key] = value


def test_zero_points_come_from_each_bands_keyword(tmp_path):
    write_objects(EUCLID, tmp_path, n=1)
    assert only(EUCLID, tmp_path).zeropoint.tolist() == [25.0, 26.0, 27.0, 28.0]
    assert not only(EUCLID, tmp_path).zeropoint_declared


@pytest.mark.parametrize("value", [None, "unknown", 1e9])
def test_a_header_without_zero_point_is_rejected(tmp_path, value):
    write_objects(EUCLID, tmp_path, n=1)
    change(tmp_path / "J0000.fits", "NIR_J_FLUX", MAGZERO=value)
    assert rejection(EUCLID, tmp_path).rule == "no-zeropoint"


def test_stack_sums_add_their_exposure_time(tmp_path):
    write_objects(PS1, tmp_path, n=1)
    expected = 25 + 2.5 * np.log10([100.0, 200.0, 300.0, 400.0, 500.0])
    np.testing.assert_allclose(only(PS1, tmp_path).zeropoint, expected, rtol=1e-14)
    change(tmp_path / "J0000_r.fits", 0, EXPTIME=0.0)
    assert rejection(PS1, tmp_path).rule == "no-zeropoint"


def test_declared_zero_points_say_so(tmp_path):
    write_objects(LSST, tmp_path, n=1)
    raw = only(LSST, tmp_path)
    assert raw.zeropoint.tolist() == [31.4] * 6
    assert raw.zeropoint_declared


def test_asinh_scaled_archive_files_become_linear(tmp_path):
    write_objects(PS1, tmp_path, n=1)
    path = tmp_path / "J0000_i.fits"
    flux = np.linspace(-50, 5000, 119 * 119).reshape(119, 119)
    soften, offset = 2.2, 31.0
    scaled = 2.5 / np.log(10) * np.arcsinh((flux - offset) / (2 * soften))
    change(path, 0, scaled.astype("f4"), BSOFTEN=soften, BOFFSET=offset)
    np.testing.assert_allclose(only(PS1, tmp_path).images[2], flux, rtol=2e-5, atol=1e-3)
    change(path, 0, BOFFSET=None)
    np.testing.assert_array_equal(only(PS1, tmp_path).images[2], scaled.astype("f4"))


def test_linear_pixels_are_left_alone():
    pixels = np.ones((3, 3), "f4")
    assert linear_pixels(pixels, Cards({})) is pixels


def test_masked_are_exactly_100_and_what_is_not_finite(tmp_path):
    write_objects(SPACE, tmp_path, n=1)
    path = tmp_path / "imageEUC_VIS-J0000.fits"
    pixels = fits.getdata(path).copy()
    pixels[3, 4], pixels[5, 6], pixels[7, 8], pixels[9, 9] = 100.0, np.nan, np.inf, 99.99999
    change(path, 0, pixels)
    raw = only(SPACE, tmp_path)
    assert np.argwhere(raw.mask[0]).tolist() == [[3, 4], [5, 6], [7, 8]]


def test_pixels_without_data_have_a_huge_rms(tmp_path):
    write_objects(EUCLID, tmp_path, n=1)
    path = tmp_path / "J0000.fits"
    rms, flux = fits.getdata(path, "NIR_Y_RMS").copy(), fits.getdata(path, "NIR_Y_FLUX").copy()
    rms[:, :2], flux[:, :2] = 1e16, 0.0
    flux[50, 50] = 0.0  # a zero with a sound noise is a measurement
    change(path, "NIR_Y_RMS", rms)
    change(path, "NIR_Y_FLUX", flux)
    raw = only(EUCLID, tmp_path)
    assert raw.mask[1].sum() == 2 * 101
    assert raw.mask[1, :, :2].all()
    assert not raw.mask[0].any()
    np.testing.assert_array_equal(raw.rms[1], rms)


@pytest.mark.parametrize(("lost", "allowed"), [("g", True), ("gy", True), ("gri", False)])
def test_missing_bands_up_to_the_surveys_limit(tmp_path, lost, allowed):
    write_objects(PS1, tmp_path, n=1)
    for band in lost:
        (tmp_path / f"J0000_{band}.fits").unlink()
    if not allowed:
        fault = rejection(PS1, tmp_path)
        assert (fault.rule, fault.value) == ("missing-band", "g, r, i missing or empty")
        return
    raw = only(PS1, tmp_path)
    assert raw.band_present.tolist() == [band not in lost for band in "grizy"]
    assert np.isnan(raw.zeropoint[~raw.band_present]).all()
    assert np.isnan(raw.images[~raw.band_present]).all()
    assert raw.mask[~raw.band_present].all()
    assert raw.ra == pytest.approx(150.0), "the first band that is there gives the position"


def test_a_band_of_nan_counts_as_missing(tmp_path):
    write_objects(PS1, tmp_path, n=1)
    change(tmp_path / "J0000_i.fits", 0, np.full((119, 119), np.nan, "f4"))
    assert only(PS1, tmp_path).band_present.tolist() == [True, True, False, True, True]


def test_an_extension_that_is_missing_is_a_missing_band(tmp_path):
    write_objects(EUCLID, tmp_path, n=1)
    change(tmp_path / "J0000.fits", "NIR_H_FLUX", EXTNAME="SOMETHING")
    assert only(EUCLID, tmp_path).band_present.tolist() == [True, True, True, False]


def test_an_object_without_any_valid_pixel_is_rejected(tmp_path):
    write_objects(SPACE, tmp_path, n=1)
    for empty in (np.nan, 100.0):
        change(tmp_path / "imageEUC_VIS-J0000.fits", 0, np.full((101, 101), empty, "f4"))
        assert rejection(SPACE, tmp_path).rule == "all-nan"


@pytest.mark.parametrize(
    "shape",
    [(118, 119), (5, 5), (2, 119, 119), (119,)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_bands_of_wrong_shape_are_rejected(tmp_path, shape):
    write_objects(PS1, tmp_path, n=1)
    change(tmp_path / "J0000_z.fits", 0, np.ones(shape, "f4"))
    assert rejection(PS1, tmp_path).rule == "wrong-shape"


@pytest.mark.parametrize("shape", [(5, 101, 101), (101, 101), (6, 1, 101, 101)])
def test_cubes_of_wrong_shape_are_rejected(tmp_path, shape):
    fits.writeto(tmp_path / "a.fits", np.ones(shape, "f4"))
    assert rejection(LSST, tmp_path).rule == "wrong-shape"


def test_a_noise_plane_of_another_shape_is_rejected(tmp_path):
    write_objects(EUCLID, tmp_path, n=1)
    change(tmp_path / "J0000.fits", "VIS_RMS", np.ones((99, 101), "f4"))
    assert rejection(EUCLID, tmp_path).rule == "wrong-shape"


def test_a_file_of_no_image_is_rejected(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "a.fits")
    assert rejection(LSST, tmp_path).rule == "not-fits"


def test_other_number_types_become_float32(tmp_path):
    cube = np.arange(6 * 21 * 21).reshape(6, 21, 21) % 1000
    for index, kind in enumerate(("i2", "i4", "f8")):
        fits.writeto(tmp_path / f"{index}.fits", cube.astype(kind))
    for ref in LSST.discover(tmp_path):
        raw = LSST.read(ref)
        assert raw.images.dtype == np.float32
        np.testing.assert_array_equal(raw.images, cube)


def test_even_sizes_have_their_centre_at_half_the_side(tmp_path):
    write_objects(PS1, tmp_path, n=1)
    for band in "grizy":
        change(tmp_path / f"J0000_{band}.fits", 0, np.ones((120, 120), "f4"), CRPIX1=61, CRPIX2=61)
    raw = only(PS1, tmp_path)
    assert raw.images.shape == (5, 120, 120)
    np.testing.assert_allclose([raw.ra, raw.dec], [150.0, 2.0], atol=1e-12)


def test_a_noise_map_that_is_a_link_out_of_the_folder_is_not_read(tmp_path):
    survey = get_survey(EXAMPLES / "hst-slacs.toml")
    source = tmp_path / "source"
    write_objects(survey, source, n=1)
    fits.writeto(tmp_path / "noise.fits", np.ones((281, 281), "f4"))
    (source / "J0000" / "noise_map.fits").symlink_to(tmp_path / "noise.fits")
    assert rejection(survey, source).rule == "outside-source"
