"""Worker processes end with the ingest that started them, however it ends."""

import multiprocessing

import pytest

from equilens.pipeline.errors import StoreError
from equilens.pipeline.ingest import ingest, run
from equilens.pipeline.store_writer import CutoutWriter


def test_a_failed_write_leaves_no_worker_behind(tmp_path, cubes, tools, monkeypatch):
    folder = tools.write_cubes(tmp_path / "in", 6)

    def full(self, batch):
        # the control: there is something to be ended
        assert multiprocessing.active_children()
        raise StoreError("no space is left")

    monkeypatch.setattr(run, "IN_PROCESS_BELOW", 2)
    monkeypatch.setattr(CutoutWriter, "append", full)
    # the error that is held keeps every frame that it went through
    with pytest.raises(StoreError, match="no space is left") as held:
        ingest(folder, cubes, tmp_path / "out.zarr", workers=2)
    assert held.traceback
    assert not multiprocessing.active_children()
