"""What counts as another night: files that came, changed or went."""

import os
from datetime import date

import pytest

from equilens.pipeline.errors import SurveyError
from equilens.pipeline.nightly.discovery import discover_night, list_night
from equilens.pipeline.nightly.errors import NightError
from equilens.pipeline.surveys.registry import get_survey

NIGHT = date(2026, 11, 20)
SURVEY = get_survey("bologna-space")


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "in" / "2026-11-20"
    folder.mkdir(parents=True)
    for name in "abc":
        (folder / f"imageEUC_VIS-{name}.fits").write_bytes(b"x")
    return folder


@pytest.fixture
def find(tmp_path):
    return lambda: discover_night(SURVEY, str(tmp_path / "in" / "{night}"), NIGHT)


def test_nothing_changed_is_the_same_night(place, find):
    first = find()
    (place / ".hidden").write_bytes(b"")
    assert (first.n_found, first.n_files, list(first.stamps)) == (3, 3, ["a", "b", "c"])
    assert find() == first


@pytest.mark.parametrize("change", ["late", "longer", "touched", "gone"])
def test_a_change_is_seen_in_objects_and_in_the_listing(place, find, change):
    first, file = find(), place / "imageEUC_VIS-b.fits"
    if change == "late":
        (place / "imageEUC_VIS-d.fits").write_bytes(b"x")
    elif change == "longer":
        file.write_bytes(b"xy")
    elif change == "touched":
        os.utime(file, ns=(1, 1))
    else:
        file.unlink()
    second = find()
    assert first.fingerprint != second.fingerprint
    assert first.listing != second.listing
    assert first.stamps["a"] == second.stamps["a"]
    if change in ("longer", "touched"):
        assert first.stamps["b"] != second.stamps["b"]


def test_a_folder_of_all_nights_will_do(place, find, tmp_path):
    found = discover_night(SURVEY, str(tmp_path / "in"), NIGHT)
    assert found.n_found == 3
    assert found.listing == ""
    assert discover_night(SURVEY, str(tmp_path / "in"), date(2026, 11, 21)).n_found == 0


def test_an_empty_night_is_no_error_but_a_lost_disk_and_strange_files_are(place, tmp_path):
    source = str(tmp_path / "in" / "{night}")
    assert discover_night(SURVEY, source, date(2026, 11, 21)).n_found == 0
    with pytest.raises(NightError, match="lost does not exist: mount it"):
        discover_night(SURVEY, str(tmp_path / "lost" / "{night}" / "x"), NIGHT)
    strange = tmp_path / "in" / "2026-11-22"
    strange.mkdir()
    assert discover_night(SURVEY, source, date(2026, 11, 22)).n_found == 0
    (strange / "notes.txt").write_text("")
    with pytest.raises(SurveyError, match="no file named like"):
        discover_night(SURVEY, source, date(2026, 11, 22))


def test_a_manifest_has_no_listing(place, tmp_path):
    (tmp_path / "2026-11-20.csv").write_text("id,path\na,in/2026-11-20/imageEUC_VIS-a.fits\n")
    source = str(tmp_path / "{night}.csv")
    assert list_night(SURVEY, source, NIGHT) == ""
    before = discover_night(SURVEY, source, NIGHT)
    assert before.n_found == 1
    (place / "imageEUC_VIS-a.fits").write_bytes(b"other")
    assert discover_night(SURVEY, source, NIGHT).fingerprint != before.fingerprint
