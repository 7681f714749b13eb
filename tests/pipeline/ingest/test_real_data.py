"""Real survey files against astropy alone; they are read where EQUILENS_DATA points."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from equilens.pipeline.cutouts import CutoutFlag
from equilens.pipeline.ingest import ingest
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.surveys import get_survey

DATA = Path(os.environ.get("EQUILENS_DATA", "/nowhere"))
pytestmark = pytest.mark.skipif(
    not os.environ.get("EQUILENS_DATA"), reason="EQUILENS_DATA names no folder of real files"
)
AB_ZERO_NJY = 3.631e12


def run(tmp_path, survey, folder):
    summary = ingest(DATA / folder, get_survey(survey), tmp_path / "s.zarr", merge_radius_arcsec=0)
    return summary, CutoutStore(summary.store).read(slice(0, summary.n_objects))


def test_euclid_pixels_positions_and_noise(tmp_path):
    summary, batch = run(tmp_path, "euclid-mer", "euclid_q1")
    assert (summary.n_objects, summary.n_quarantined) == (13, 0)
    bands = ("VIS", "NIR_Y", "NIR_J", "NIR_H")
    with open(DATA / "euclid_q1/labels.csv") as file:
        labels = {Path(row["path"]).stem: row for row in csv.DictReader(file)}
    for i, name in enumerate(batch.ids):
        if name not in labels:
            continue
        with fits.open(DATA / "euclid_q1" / labels[name]["path"]) as hdus:
            for b, band in enumerate(bands):
                flux, rms = hdus[f"{band}_FLUX"], hdus[f"{band}_RMS"].data
                factor = AB_ZERO_NJY * 10 ** (-0.4 * flux.header["MAGZERO"])
                bad = ~np.isfinite(flux.data) | (rms >= 1e6)
                expected = np.where(bad, 0, flux.data.astype("f8") * factor).astype("f4")
                np.testing.assert_array_equal(batch.images[i, b], expected)
                np.testing.assert_array_equal(batch.mask[i, b], bad)
                assert batch.noise_njy[i, b] == pytest.approx(np.median(rms[~bad]) * factor)
            sky = WCS(hdus["VIS_FLUX"].header).pixel_to_world(50, 50)
        assert batch.ra[i] == pytest.approx(sky.ra.deg, abs=1e-9)
        assert batch.dec[i] == pytest.approx(sky.dec.deg, abs=1e-9)
        # the labels name the object's centre, which is at most a pixel from the cutout's
        assert batch.ra[i] == pytest.approx(float(labels[name]["ra"]), abs=1e-4)
        assert batch.dec[i] == pytest.approx(float(labels[name]["dec"]), abs=5e-5)
    assert set(batch.noise_method) == {"rms-plane"}


def test_euclid_frame_and_lens_are_one_object(tmp_path):
    summary = ingest(DATA / "euclid_q1", get_survey("euclid-mer"), tmp_path / "s.zarr")
    assert (summary.n_objects, summary.n_merged) == (12, 1)


def test_des_pixels_without_position(tmp_path):
    summary, batch = run(tmp_path, "des-cube", "des_lrg")
    assert (summary.n_objects, summary.n_quarantined) == (23, 0)
    survey = get_survey("des-cube")
    for b, band in enumerate(survey.bands):
        cube = fits.getdata(DATA / f"des_lrg/des_lrg_{band.name}.fits").astype("f8")
        expected = (cube * (AB_ZERO_NJY * 10 ** (-0.4 * band.zeropoint))).astype("f4")
        np.testing.assert_array_equal(batch.images[:, b], expected)
    assert np.isnan(batch.ra).all()
    assert (batch.flags == CutoutFlag.NO_POSITION | CutoutFlag.ZEROPOINT_DECLARED).all()


def test_panstarrs_stacks(tmp_path):
    summary, batch = run(tmp_path, "panstarrs1", "ps1_lenses")
    assert (summary.n_objects, summary.by_rule) == (30, {"missing-band": 1})
    assert (batch.flags & CutoutFlag.CROPPED).all()
    folder = DATA / "ps1_lenses"
    for name in ("HAHJ0048_4017", "Q0957_561"):
        i = batch.ids.tolist().index(name)
        for b, band in enumerate("grizy"):
            with fits.open(folder / name / f"{name}_{band}.fits") as hdus:
                header, data = hdus[0].header, hdus[0].data
            zeropoint = 25 + 2.5 * np.log10(header["EXPTIME"])
            cut = data[1:, 1:].astype("f8") * AB_ZERO_NJY * 10 ** (-0.4 * zeropoint)
            if not batch.band_present[i, b]:
                assert not np.isfinite(data).any()
                continue
            np.testing.assert_allclose(
                batch.images[i, b], np.where(np.isfinite(cut), cut, 0), rtol=1e-6
            )


@pytest.mark.parametrize(("set_", "n"), [("space", 8), ("ground", 6)])
def test_challenge(tmp_path, set_, n):
    summary, batch = run(tmp_path, f"bologna-{set_}", f"challenge/{set_}")
    assert (summary.n_objects, summary.n_quarantined) == (n, 0)
    if set_ == "ground":
        masked = batch.mask.sum(axis=(2, 3))
        assert masked[batch.ids.tolist().index("100023"), 0] == 15
        with fits.open(DATA / "challenge/ground/Band4/imageSDSS_U-100002.fits") as hdus:
            expected = (hdus[0].data.astype("f8") * AB_ZERO_NJY).astype("f4")
        np.testing.assert_array_equal(batch.images[batch.ids.tolist().index("100002"), 3], expected)
