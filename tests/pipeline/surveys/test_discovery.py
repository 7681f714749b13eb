"""Objects are found in folders, by globs and from manifests; one bad row costs one object."""

import gzip
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from astropy.io import fits

from equilens.pipeline.errors import RejectedObject, SurveyError
from equilens.pipeline.surveys import get_survey
from equilens.pipeline.surveys.manifests import read_table
from equilens.pipeline.surveys.synthetic import write_objects

GROUND = get_survey("bologna-ground")
PS1 = get_survey("panstarrs1")
LSST = get_survey("lsst-like")
DES = get_survey("des-cube")


def ids(survey, source, **options):
    return [ref.id for ref in survey.discover(source, **options)]


def test_bands_in_folders_of_their_own_are_joined_by_id(tmp_path):
    write_objects(GROUND, tmp_path, n=2)
    for number, band in enumerate("RIGU", start=1):
        (tmp_path / "deep" / f"Band{number}").mkdir(parents=True)
        for path in tmp_path.glob(f"imageSDSS_{band}-*.fits"):
            path.rename(tmp_path / "deep" / f"Band{number}" / path.name)
    (tmp_path / "notes.txt").write_text("not an image")
    refs = list(GROUND.discover(tmp_path))
    assert [ref.id for ref in refs] == ["J0000", "J0001"]
    assert [band for band, _ in refs[0].files] == ["R", "I", "G", "U"]
    assert refs[0].source_file.startswith("deep/Band1/imageSDSS_R-J0000.fits;deep/Band2/")


def test_the_same_id_in_two_folders_is_two_objects(tmp_path):
    write_objects(PS1, tmp_path / "a", n=1)
    write_objects(PS1, tmp_path / "b", n=1)
    refs = list(PS1.discover(tmp_path))
    assert [ref.id for ref in refs] == ["J0000", "J0000"]
    for ref in refs:
        assert len({path.parent for _, path in ref.files}) == 1


def test_ids_may_hold_what_iau_names_hold(tmp_path):
    write_objects(LSST, tmp_path, n=1)
    name = "EUCL J041459.37-500042.2 +a_b"
    (tmp_path / "J0000.fits").rename(tmp_path / f"{name}.fits")
    assert ids(LSST, tmp_path) == [name]


def test_compressed_files_are_found_under_the_same_id(tmp_path):
    write_objects(LSST, tmp_path, n=1)
    plain = tmp_path / "J0000.fits"
    (tmp_path / "J0001.fits.gz").write_bytes(gzip.compress(plain.read_bytes()))
    first, second = (LSST.read(ref) for ref in LSST.discover(tmp_path))
    assert (first.id, second.id) == ("J0000", "J0001")
    assert first.images.tobytes() == second.images.tobytes()


def test_globs_and_single_files(tmp_path):
    write_objects(LSST, tmp_path / "field-1", n=2)
    write_objects(LSST, tmp_path / "field-2", n=3)
    assert len(ids(LSST, tmp_path / "field-*" / "*.fits")) == 5
    assert ids(LSST, str(tmp_path / "**" / "J0002.fits")) == ["J0002"]
    assert ids(LSST, tmp_path / "field-1" / "J0001.fits") == ["J0001"]


def test_a_night_takes_its_own_folder(tmp_path):
    write_objects(LSST, tmp_path / "2026-01-01", n=1)
    write_objects(LSST, tmp_path / "2026-01-02" / "run-1", n=2)
    assert len(ids(LSST, tmp_path, night="2026-01-02")) == 2
    with pytest.raises(SurveyError, match="night 2026-01-03: no file named like"):
        ids(LSST, tmp_path, night="2026-01-03")


def test_nothing_to_read_is_an_error_that_says_what_was_seen(tmp_path):
    (tmp_path / "picture.png").touch()
    with pytest.raises(SurveyError, match=r"'\{id\}_\{band\}.fits'.*found picture.png"):
        ids(PS1, tmp_path)
    with pytest.raises(SurveyError, match="does not exist"):
        ids(PS1, tmp_path / "nowhere")


def test_rows_of_cubes_are_objects(tmp_path):
    write_objects(DES, tmp_path, n=3)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("set", "des_lrg"))
    refs = list(DES.discover(tmp_path))
    assert [ref.id for ref in refs] == ["DES-LRG-000", "DES-LRG-001", "DES-LRG-002"]
    assert [ref.index for ref in refs] == [0, 1, 2]


def test_cubes_that_disagree_are_one_fault(tmp_path):
    write_objects(DES, tmp_path, n=3)
    fits.writeto(tmp_path / "set_z.fits", np.zeros((2, 91, 91), "f4"), overwrite=True)
    (ref,) = DES.discover(tmp_path)
    with pytest.raises(RejectedObject, match=r"wrong-shape: .*z 2"):
        DES.read(ref)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    write_objects(LSST, tmp_path / "elsewhere", n=1)
    source = tmp_path / "source"
    write_objects(LSST, source, n=1)
    (source / "linked.fits").symlink_to(tmp_path / "elsewhere" / "J0000.fits")
    (source / "inside.fits").symlink_to(source / "J0000.fits")
    faults = {ref.id: ref.fault and ref.fault.rule for ref in LSST.discover(source)}
    assert faults == {"J0000": None, "inside": None, "linked": "outside-source"}


def manifest(folder, text, name="objects.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_manifest_carries_columns_positions_and_text_ids(tmp_path):
    write_objects(LSST, tmp_path / "cubes", n=2)
    path = manifest(
        tmp_path,
        "id,path,ra,dec,grade,votes,comment\n"
        "007,cubes/J0000.fits,-10.5,5,A,3,fine\n"
        "J1234+56,cubes/J0001.fits,,,B,,\n",
    )
    first, second = LSST.discover(path)
    assert (first.id, second.id) == ("007", "J1234+56")
    assert (first.ra, first.dec) == (349.5, 5.0)
    assert dict(first.columns) == {"grade": "A", "votes": 3.0, "comment": "fine"}
    assert math.isnan(second.ra)
    assert math.isnan(second.columns["votes"])
    assert second.columns["comment"] == ""
    assert (LSST.read(first).ra, LSST.read(first).columns["grade"]) == (349.5, "A")
    assert LSST.read(second).ra == pytest.approx(150.02)


def test_numbers_that_begin_with_zero_stay_text(tmp_path):
    (tmp_path / "m.csv").write_text(
        "id,path,tract,visit\n007,a.fits,00001,10\n008,b.fits,12345,0\n"
    )
    table = read_table(tmp_path / "m.csv")
    assert table.column("id").to_pylist() == ["007", "008"]
    assert table.column("tract").to_pylist() == ["00001", "12345"]
    assert table.column("visit").to_pylist() == [10, 0]


def test_manifest_without_ids_takes_them_from_file_names(tmp_path):
    write_objects(LSST, tmp_path, n=2)
    path = manifest(tmp_path, "path,is_lens\nJ0000.fits,1\nJ0001.fits,0\n")
    assert [(ref.id, ref.columns["is_lens"]) for ref in LSST.discover(path)] == [
        ("J0000", 1),
        ("J0001", 0),
    ]


def test_parquet_manifest_with_a_path_a_band(tmp_path):
    write_objects(PS1, tmp_path, n=1)
    columns = {f"path_{band}": [f"J0000_{band}.fits"] for band in "yzirg"}
    columns["path_z"] = [None]
    pa.parquet.write_table(pa.table({"id": ["x"], **columns}), tmp_path / "m.parquet")
    (ref,) = PS1.discover(tmp_path / "m.parquet")
    raw = PS1.read(ref)
    assert raw.band_present.tolist() == [True, True, True, False, True]
    # the manifest lists bands backwards: names decide, not places
    assert np.median(raw.images[4]) > np.median(raw.images[0])


def test_cube_rows_from_a_manifest(tmp_path):
    write_objects(DES, tmp_path, n=3)
    head = ",".join(f"path_{band}" for band in "grizY")
    names = ",".join(f"set_{band}.fits" for band in "grizY")
    path = manifest(tmp_path, f"id,index,{head}\nlast,2,{names}\nbeyond,3,{names}\nnone,,{names}\n")
    last, beyond, none = DES.discover(path)
    written = write_objects(DES, tmp_path / "again", n=3)
    assert DES.read(last).images.tobytes() == written[2].images.tobytes()
    for ref in (beyond, none):
        with pytest.raises(RejectedObject, match="index"):
            DES.read(ref)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("x,../secret.fits,1,1", "outside-source"),
        ("x,/etc/passwd,1,1", "outside-source"),
        ("x,sub/../../secret.fits,1,1", "outside-source"),
        ("x,,1,1", "missing-file"),
        ("x,absent.fits,1,1", "missing-file"),
        ("x,J0000.fits,1,95", "bad-position"),
    ],
)
def test_a_bad_row_costs_one_object(tmp_path, row, rule):
    source = tmp_path / "source"
    write_objects(LSST, source, n=2)
    shutil.copy(source / "J0000.fits", tmp_path / "secret.fits")
    path = manifest(source, f"id,path,ra,dec\na,J0000.fits,,\n{row}\nb,J0001.fits,,\n")
    results = []
    for ref in LSST.discover(path):
        try:
            results.append(LSST.read(ref).id)
        except RejectedObject as fault:
            results.append(fault.rule)
    assert results == ["a", rule, "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,file\nx,J0000.fits\n", "needs a column path"),
        ("id,path\nx,a.fits\ny\n", "can not be read"),
        ("", "can not be read"),
    ],
)
def test_unusable_manifests_are_errors(tmp_path, text, message):
    with pytest.raises(SurveyError, match=message):
        ids(LSST, manifest(tmp_path, text))


def test_a_manifest_that_is_missing_or_no_table_is_an_error(tmp_path):
    (tmp_path / "m.parquet").write_text("not parquet")
    for path in (tmp_path / "m.parquet", tmp_path / "none.csv"):
        with pytest.raises(SurveyError, match="can not be read"):
            ids(LSST, path)


def test_one_path_is_not_enough_where_each_band_has_its_file(tmp_path):
    write_objects(PS1, tmp_path, n=1)
    (ref,) = PS1.discover(manifest(tmp_path, "id,path\nx,J0000_g.fits\n"))
    with pytest.raises(RejectedObject, match="use columns path_<band>"):
        PS1.read(ref)


def test_references_travel_to_workers(tmp_path):
    import pickle

    write_objects(LSST, tmp_path, n=1)
    path = manifest(tmp_path, "id,path\nx,J0000.fits\ny,../up.fits\n")
    for ref in LSST.discover(path):
        again = pickle.loads(pickle.dumps(ref))
        assert (again.id, again.files, str(again.fault)) == (ref.id, ref.files, str(ref.fault))
        assert isinstance(Path(again.root), Path)
