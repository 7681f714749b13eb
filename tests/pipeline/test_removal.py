"""Under its own name there is never half of a store."""

import errno
import fcntl
import shutil

import pytest

from equilens.pipeline import removal
from equilens.pipeline.disk_faults import disk_faults
from equilens.pipeline.errors import StoreError
from equilens.pipeline.ingest.workers import SLOTS, _sweep_slots
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.toy import toy_cutouts, write_toy_store


def test_a_removal_that_is_killed_leaves_no_store_behind(tmp_path, monkeypatch):
    path = write_toy_store(tmp_path / "toy.zarr", toy_cutouts(3)).path

    def killed(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(removal.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        removal.remove_store(path)
    monkeypatch.undo()
    assert not path.exists()
    write_toy_store(path, toy_cutouts(2))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_store_that_got_no_further_than_its_first_bytes_is_begun_anew(tmp_path):
    path = tmp_path / "toy.zarr"
    path.mkdir()
    (path / f"zarr.{'0' * 32}.partial").write_text("{")
    assert write_toy_store(path, toy_cutouts(2)).n_objects == 2


@pytest.mark.parametrize("name", ["noise_njy", "ids", "columns/is_lens"])
def test_a_lost_file_of_values_is_an_error_and_no_zeros(tmp_path, name):
    store = write_toy_store(tmp_path / "toy.zarr", toy_cutouts(3))
    shutil.rmtree(store.path / name / "c")
    with pytest.raises(StoreError, match=f"{name} does not match its checksum: .*--replace"):
        CutoutStore(store.path).facts(name)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "may not write"),
        (errno.EFBIG, "ulimit"),
    ],
)
def test_what_a_disk_refuses_has_a_remedy(number, message):
    with pytest.raises(StoreError, match=message), disk_faults("out.zarr", "kept"):
        raise OSError(number, "refused")


def test_other_errors_of_the_system_pass():
    with pytest.raises(ConnectionResetError), disk_faults("out.zarr"):
        raise ConnectionResetError(errno.ECONNRESET, "gone")


def test_slots_of_a_killed_ingest_are_swept_and_those_of_a_living_one_kept(tmp_path):
    for name in ("dead", "alive"):
        (tmp_path / f"{name}{SLOTS}").mkdir()
        (tmp_path / f"{name}{SLOTS}" / "lock").touch()
    with open(tmp_path / f"alive{SLOTS}" / "lock", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        _sweep_slots(tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == [f"alive{SLOTS}"]
