"""Truth keys of every kind, and the ones that must be refused."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from equilens.catalogs.errors import TruthError
from equilens.catalogs.truth import einstein_radius_arcsec, read_truth


def write(tmp_path, text, name="key.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_einstein_radius_of_a_disc_of_one_arcsec():
    area = np.pi * np.radians(1 / 3600) ** 2
    assert einstein_radius_arcsec(area) == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("quote", ["", '"'])
def test_training_key(tmp_path, quote):
    header = ",".join(
        f"{quote}{name}{quote}"
        for name in ("ID", "is_lens", "Einstein_area", "numb_pix_lensed_image")
    )
    truth = read_truth(write(tmp_path, f"{header}\n00012,1,7.18e-11,51\n100004,0,2.03e-09,0\n"))
    assert truth.ids.tolist() == ["00012", "100004"], "IDs are text"
    assert truth.is_lens.tolist() == [1, 0]
    assert truth.columns["einstein_radius_arcsec"][0] == pytest.approx(0.98609, abs=1e-5)
    assert truth.columns["numb_pix_lensed_image"].dtype == np.float64
    assert (truth.n_lenses, truth.n_nonlenses) == (1, 1)


def test_challenge_1_catalogue(tmp_path):
    text = "# column 1 index\n#  column 22 no_source\n,ID,x,no_source\n0,7,1.5,0\n1,8,2.5,1\n"
    truth = read_truth(write(tmp_path, text, "euclidB_image_catalog.csv"))
    assert dict(zip(truth.ids, truth.is_lens, strict=True)) == {"7": 1, "8": 0}
    assert truth.rule == "no_source == 0"


def test_challenge_2_catalogue(tmp_path):
    rows = [",ID,n_source_im,mag_eff,n_pix_source,ein_area", "0,1,1,1.61,21,1e-11"]
    rows += ["1,2,0,9,99,1e-11", "2,3,1,1.6,21,", "3,4,1,9,20,", "4,5,,,,"]
    truth = read_truth(write(tmp_path, "# made up\n" + "\n".join(rows)))
    assert truth.is_lens.tolist() == [1, 0, 0, 0, 0]
    assert np.isnan(truth.columns["einstein_radius_arcsec"][2])


def test_the_same_key_from_every_format(tmp_path):
    table = Table({"ID": ["a b", "é"], "is_lens": [1, 0], "lens_mag": [20.5, np.nan]})
    table.write(tmp_path / "key.vot", format="votable")
    table.write(tmp_path / "key.ecsv", format="ascii.ecsv")
    pq.write_table(pa.table({n: table[n].tolist() for n in table.colnames}), tmp_path / "k.parquet")
    table["ID"] = ["a b", "e"]
    table.write(tmp_path / "key.fits")
    for name in ("key.vot", "key.ecsv", "k.parquet", "key.fits"):
        truth = read_truth(tmp_path / name)
        assert truth.ids[0] == "a b"
        assert truth.is_lens.tolist() == [1, 0]
        np.testing.assert_array_equal(truth.columns["lens_mag"], [20.5, np.nan])


def test_chosen_columns_and_integer_ids(tmp_path):
    pq.write_table(pa.table({"obj": [12, 13], "real": [True, False]}), tmp_path / "key.parquet")
    truth = read_truth(tmp_path / "key.parquet", id_column="obj", label_column="real")
    assert truth.ids.tolist() == ["12", "13"]
    assert truth.is_lens.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ID,is_lens\n1,1\n1,0\n", "unique, got 1 repeated, such as '1'"),
        ("ID,is_lens\n1,2\n", "0 or 1, got 1 other values such as '2'"),
        ("ID,is_lens\n1,\n", "0 or 1"),
        ("ID,is_lens\n1,yes\n", "must be numbers"),
        ("ID,lens\n1,1\n", "no label column"),
        ("obj,is_lens\n1,1\n", "needs an ID column"),
        ("ID,is_lens\n1,1,3\n", "line 2 has 3 fields"),
        ("# only\n# comments\n", "no data"),
        ("ID,is_lens\n,1\n", "needs an ID, got 1 empty"),
        ("ID,is_lens,is_lens\n1,1,0\n", "unique, got twice"),
        ("ID,is_lens,Einstein_area\n1,1,-3\n", "steradians"),
    ],
)
def test_what_would_be_a_guess_is_refused(tmp_path, text, message):
    with pytest.raises(TruthError, match=message):
        read_truth(write(tmp_path, text))


def test_missing_file_and_binary_rubbish(tmp_path):
    with pytest.raises(TruthError, match="does not exist"):
        read_truth(tmp_path / "absent.csv")
    (tmp_path / "key.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(TruthError, match="neither"):
        read_truth(tmp_path / "key.csv")
    (tmp_path / "key.fits").write_bytes(b"SIMPLE  =" + b" " * 50)
    with pytest.raises(TruthError, match="does not read as fits"):
        read_truth(tmp_path / "key.fits")


@pytest.mark.skipif(not os.environ.get("EQUILENS_DATA"), reason="EQUILENS_DATA is not set")
@pytest.mark.parametrize(("image_set", "share"), [("space", 0.7), ("ground", 0.4)])
def test_the_challenges_own_keys(image_set, share):
    folder = Path(os.environ["EQUILENS_DATA"]) / "challenge" / image_set
    truth = read_truth(folder / "classifications_all_20000.csv")
    assert len(truth.ids) == 20_000
    assert truth.n_lenses / 20_000 == pytest.approx(share, abs=0.05)
    radii = truth.columns["einstein_radius_arcsec"][truth.is_lens == 1]
    assert 0.1 < radii.min() < radii.max() < 7
