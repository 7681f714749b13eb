"""A challenge's key against its images, labelled stores, and the report of a submission."""

import csv
import json
import pickle

import numpy as np
import pytest
from astropy.io import fits

from equilens.catalogs.errors import SubmissionError
from equilens.catalogs.truth import read_truth
from equilens.pipeline.challenge import UNTRIED, UNTRIED_SETS, measure_submission
from equilens.pipeline.challenge_key import keyed_survey, match_key, write_unmatched
from equilens.pipeline.ingest import ingest
from equilens.pipeline.quarantine import read_quarantine
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.surveys import get_survey

KEY_HEADER = "ID,is_lens,Einstein_area,numb_pix_lensed_image,flux_lensed_image_in_sigma\n"
# the fields of image_catalog2.0train.csv; the first one is a nameless index
FIELDS_2 = (
    ",ID,x_crit,y_crit,source_ID,z_source,z_lens,mag_source,ein_area,n_crit,r_source,crit_area,"
    "n_pix_source,source_flux,n_pix_lens,lens_flux,n_source_im,mag_eff,sb_contrast,color_diff,"
    "n_gal_3,n_gal_5,n_gal_10,halo_mass,star_mass,mag_lens,n_sources"
)


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def images(tmp_path):
    """Three objects of the space set's layout, 1 to 3."""
    folder = tmp_path / "images" / "Public" / "Band1"
    folder.mkdir(parents=True)
    for k in (1, 2, 3):
        pixels = np.random.default_rng(k).normal(0, 8e-13, (101, 101))
        pixels[50, 50] += 1e-10
        fits.writeto(folder / f"imageEUC_VIS-10000{k}.fits", pixels.astype(">f4"))
    return tmp_path / "images"


@pytest.fixture
def key(tmp_path):
    """Labels of 1, 2 and of 4, which has no image; 3 has no row."""
    path = tmp_path / "classifications.csv"
    rows = ["100001,1,7.38e-11,51,57.6", "100002,0,2.03e-09,0,0", "100004,1,1e-11,9,3"]
    path.write_text(KEY_HEADER + "\n".join(rows) + "\n")
    return path


def test_key_and_images_lack_each_other(tmp_path):
    match = match_key(["1", "2", "03"], ["2", "3", "2", "x"])
    assert (match.n_key, match.n_images) == (3, 3)
    assert (match.without_image, match.without_row) == (("1", "03"), ("3", "x")), "IDs are text"
    assert [row.rule for row in match.quarantine_rows()] == ["missing-image", "missing-image"]
    assert match.to_json()["n_without_row"] == 2
    write_unmatched(tmp_path / "u.csv", match)
    rows = list(csv.reader((tmp_path / "u.csv").read_text().splitlines()))
    assert rows[0] == ["id", "lacks"]
    assert rows[1:] == [
        ["1", "image"],
        ["03", "image"],
        ["3", "row in the key"],
        ["x", "row in the key"],
    ]


def test_a_labelled_store_has_every_label_and_quarantines_what_lacks_one(tmp_path, images, key):
    survey = keyed_survey(get_survey("bologna-space"), read_truth(key))
    summary = ingest(images, survey, tmp_path / "c.zarr", workers=1)
    store = CutoutStore(tmp_path / "c.zarr")
    table = store.table().to_pydict()
    assert table["id"] == ["100001", "100002"]
    assert table["is_lens"] == [1, 0]
    assert table["lensed_pixels"] == [51, 0]
    assert table["einstein_radius_arcsec"][0] == pytest.approx(1, abs=1e-3)
    assert (summary.n_found, summary.n_quarantined) == (4, 2)
    rejected = {row.id: row for row in read_quarantine(tmp_path / "c.zarr" / "quarantine.csv")}
    assert {name: row.rule for name, row in rejected.items()} == {
        "100003": "no-key-row",
        "100004": "missing-image",
    }
    assert rejected["100003"].file.endswith("imageEUC_VIS-100003.fits")


def test_the_first_object_may_lack_its_row(tmp_path, images, key):
    """The columns of a store are those of its first object: they must not be lost with it."""
    key.write_text(KEY_HEADER + "100002,0,1e-10,0,0\n100003,1,1e-10,5,5\n")
    survey = keyed_survey(get_survey("bologna-space"), read_truth(key))
    ingest(images, survey, tmp_path / "c.zarr", workers=1)
    assert CutoutStore(tmp_path / "c.zarr").table()["is_lens"].to_pylist() == [0, 1]


def test_workers_get_the_survey_without_the_key(key):
    survey = keyed_survey(get_survey("bologna-space"), read_truth(key))
    sent = pickle.dumps(survey)
    assert b"100004" not in sent
    assert pickle.loads(sent) == get_survey("bologna-space")


def test_key_of_challenge_2(tmp_path):
    path = tmp_path / "image_catalog2.0train.csv"
    comments = "".join(f"# column {k} {name}\n" for k, name in enumerate(FIELDS_2.split(",")))
    # by the label's three fields: a lens, too little magnified, no image, no source at all
    labels = [("25", "2", "2.1"), ("25", "1", "1.6"), ("25", "0", "9"), ("", "", "")]
    rows = []
    for k, (n_pix, n_images, magnification) in enumerate(labels):
        values = dict.fromkeys(FIELDS_2.split(",")[1:], "1.0")
        values |= {"ID": str(200_000 + k), "n_pix_source": n_pix, "n_source_im": n_images}
        values |= {"mag_eff": magnification, "ein_area": "7.38e-11" if n_pix else "-1"}
        rows.append(",".join([str(k), *values.values()]))
    path.write_text(comments + "\n".join([FIELDS_2, *rows]) + "\n")
    assert len(rows[0].split(",")) == 27
    truth = read_truth(path)
    assert truth.is_lens.tolist() == [1, 0, 0, 0]
    assert truth.ids.tolist() == [str(200_000 + k) for k in range(4)]
    found = tmp_path / "s.csv"
    found.write_text("200000,9\n200001,3\n200002,2\n200003,1\n")
    report = measure_submission(found, path, image_set="2.0")
    assert (report["f_beta"], report["beta_squared"]) == (1, 0.001)
    assert "ranking" not in report, "no ranking of 2.0 is known here"
    names = [(curve["quantity"], curve["column"]) for curve in report["curves"]]
    assert names[1:] == [("lensed_flux", "source_flux"), ("lensed_pixels", "n_pix_source")]


def test_report_of_a_submission_on_disk(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    truth, found, out = tmp_path / "key.csv", tmp_path / "mine.csv", tmp_path / "out"
    fluxes = rng.exponential(100, 200) * labels
    header = "ID,is_lens,flux_lensed_image_in_sigma\n"
    lines = [f"{k},{x},{f}" for k, (x, f) in enumerate(zip(labels, fluxes, strict=True))]
    truth.write_text(header + "\n".join(lines) + "\n")
    scores = rng.normal(labels * np.log1p(fluxes), 1)
    found.write_text(
        "".join(f"{k} {x!r}\n" for k, x in enumerate(scores.tolist())) + "stranger 0\n"
    )
    report = measure_submission(found, truth, out, image_set="ground", level=0.9)
    names = {path.name for path in out.iterdir()}
    assert names == {
        "metrics.json",
        "unmatched.csv",
        "curves.csv",
        "curve-lensed_flux.png",
        "ranking.csv",
        "ranking.png",
    }
    for path in out.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    rows = table(out / "curves.csv")
    assert float(rows[0]["auroc"]) == report["auroc"], "to the last bit"
    ranking = table(out / "ranking.csv")
    assert [row["name"] for row in ranking if row["is_ours"] == "1"] == ["mine"]
    assert "100,000 test objects" in report["ranking"]["caveat"]
    assert report["key"]["without_row"] == ["stranger"]
    assert json.loads((out / "metrics.json").read_text())["auroc"] == report["auroc"]
    lines[0] = f"absent,1,5\n{lines[0]}"
    truth.write_text(header + "\n".join(lines) + "\n")
    with pytest.raises(SubmissionError, match="'absent'"):
        measure_submission(found, truth, out)
    assert "absent,image" in (out / "unmatched.csv").read_text(), "listed all the same"


def test_what_is_untried_says_so():
    assert set(UNTRIED_SETS) == {"2.0", "2.0-vis", "2.0-nir"}
    assert "never tried on its real files" in UNTRIED
