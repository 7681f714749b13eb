"""Everything that can be wrong with one object costs its row, and nothing else."""

import gzip
import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from equilens.pipeline.cutouts import CutoutFlag
from equilens.pipeline.errors import IngestError
from equilens.pipeline.ingest import ingest, workers
from equilens.pipeline.ingest.plan import plan
from equilens.pipeline.quarantine import read_quarantine
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.surveys.survey import Survey


def truncated(tools, good):
    return good[: len(good) - 3000]


def cut_in_header(tools, good):
    return good[:1000]


def empty(tools, good):
    return b""


def not_fits(tools, good):
    return b"<html>404 Not Found</html>" * 200


def damaged_gzip(tools, good):
    return gzip.compress(good)[:-500]


def three_bands(tools, good):
    return tools.fits_bytes(tools.pixels(1, (3, 33, 33)))


def one_axis(tools, good):
    return tools.fits_bytes(np.arange(5000.0))


def all_nan(tools, good):
    return tools.fits_bytes(np.full((2, 33, 33), np.nan))


def all_infinite(tools, good):
    return tools.fits_bytes(np.full((2, 33, 33), -np.inf))


def all_marked(tools, good):
    return tools.fits_bytes(np.full((2, 33, 33), 100.0))


def masked_after_crop(tools, good):
    images = tools.pixels(1, (2, 61, 61))
    images[:, 10:51, 10:51] = np.nan
    return tools.fits_bytes(images)


def constant(tools, good):
    return tools.fits_bytes(np.ones((2, 33, 33)) * [[[3.0]], [[4.0]]])


def noiseless(tools, good):
    y, x = np.mgrid[:33, :33]
    images = np.zeros((2, 33, 33))
    images[:, 14:19, 14:19] = np.hypot(y, x)[14:19, 14:19] * [[[1.0]], [[2.0]]]
    return tools.fits_bytes(images)


def identical_bands(tools, good):
    return tools.fits_bytes(np.repeat(tools.pixels(1, (1, 33, 33)), 2, axis=0))


def absurd_axes(tools, good):
    return good.replace(b"NAXIS1  =                   33", b"NAXIS1  =          33000000000"[:30])


FAULTS = {
    truncated: "truncated",
    cut_in_header: "truncated",
    empty: "not-fits",
    not_fits: "not-fits",
    damaged_gzip: "truncated",
    three_bands: "wrong-shape",
    one_axis: "wrong-shape",
    all_nan: "all-nan",
    all_infinite: "all-nan",
    all_marked: "all-nan",
    masked_after_crop: "all-masked",
    constant: "constant-image",
    noiseless: "zero-noise",
    identical_bands: "identical-bands",
    absurd_axes: ("too-large", "truncated", "bad-header"),
}


def test_rows_name_files_as_the_store_does(tmp_path, cubes, tools):
    """Below the source folder, in a dry run and by a manifest as well."""
    (tmp_path / "in").mkdir()
    folder = tools.write_cubes(tmp_path / "in" / "night", 3)
    (folder / "o00000.fits").write_bytes(b"")
    (folder / "o00001.fits").write_bytes((folder / "o00001.fits").read_bytes()[:4000])
    summary = ingest(tmp_path / "in", cubes, tmp_path / "s.zarr")
    names = ["night/o00000.fits", "night/o00001.fits"]
    assert [row.file for row in read_quarantine(summary.quarantine)] == names
    assert CutoutStore(summary.store).facts("source_file").tolist() == ["night/o00002.fits"]
    _, expected = plan(cubes, cubes.discover(tmp_path / "in"), 0.05)
    assert [row.file for row in expected] == names
    lines = [f"{k},night/o0000{k}.fits" for k in (0, 1, 2)]
    manifest = tmp_path / "in" / "objects.csv"
    manifest.write_text("\n".join(["id,path", *lines, "9,night/gone.fits"]) + "\n")
    summary = ingest(manifest, cubes, tmp_path / "m.zarr")
    rows = read_quarantine(summary.quarantine)
    assert [row.file for row in rows] == [*names, "night/gone.fits"]
    assert not any(str(tmp_path) in row.value for row in rows)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_bad_file_costs_exactly_its_row(tmp_path, cubes, tools, fault):
    folder = tools.write_cubes(tmp_path / "in", 5)
    bad = folder / "o00002.fits"
    bad.write_bytes(fault(tools, bad.read_bytes()))
    summary = ingest(folder, cubes, tmp_path / "s.zarr")
    (row,) = read_quarantine(summary.quarantine)
    expected = FAULTS[fault]
    assert row.rule in ((expected,) if isinstance(expected, str) else expected)
    assert (row.id, row.file) == ("o00002", "o00002.fits")
    assert row.value
    assert row.remedy
    assert CutoutStore(summary.store).read_shard(0).ids.tolist() == [
        f"o0000{i}" for i in (0, 1, 3, 4)
    ]
    assert (summary.n_found, summary.n_objects, summary.n_quarantined) == (5, 4, 1)
    assert not summary.within_tolerance


def test_bad_object_leaves_the_others_as_they_are(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 5)
    clean = CutoutStore(ingest(folder, cubes, tmp_path / "a.zarr").store).read_shard(0)
    # accepted first, found silent only when its noise is measured: the rest moves up
    (folder / "o00001.fits").write_bytes(noiseless(tools, b""))
    part = CutoutStore(ingest(folder, cubes, tmp_path / "b.zarr").store).read_shard(0)
    keep = [0, 2, 3, 4]
    np.testing.assert_array_equal(part.images, clean.images[keep])
    np.testing.assert_array_equal(part.noise_njy, clean.noise_njy[keep])
    assert part.source_checksum.tolist() == clean.source_checksum[keep].tolist()


def test_missing_band_is_allowed_to_the_limit_and_flagged(tmp_path, per_band, tools):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        for index, band in enumerate("gr"):
            image = tools.pixels(10 * number + index, (1, 33, 33))[0]
            (folder / f"o{number}_{band}.fits").write_bytes(tools.fits_bytes(image))
    (folder / "o1_g.fits").unlink()
    (folder / "o2_r.fits").write_bytes(tools.fits_bytes(np.full((33, 33), 5.0)))
    batch = CutoutStore(ingest(folder, per_band, tmp_path / "s.zarr").store).read_shard(0)
    assert batch.band_present.tolist() == [[True, True], [False, True], [True, False]]
    assert [bool(f & CutoutFlag.MISSING_BAND) for f in batch.flags] == [False, True, True]
    np.testing.assert_array_equal(np.isnan(batch.noise_njy), ~batch.band_present)
    assert batch.mask[1, 0].all()
    assert not batch.images[1, 0].any()
    assert batch.images[1, 1].any()
    strict = replace(per_band, max_missing_bands=0)
    rows = read_quarantine(ingest(folder, strict, tmp_path / "t.zarr").quarantine)
    assert {row.id: row.rule for row in rows} == {"o1": "missing-band", "o2": "constant-image"}


def manifest(folder, *lines):
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv"


def test_first_of_two_equal_ids_stays(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 3)
    lines = ("id,path", "a,o00000.fits", "b,o00001.fits", "a,o00002.fits")
    summary = ingest(manifest(folder, *lines), cubes, tmp_path / "s.zarr")
    batch = CutoutStore(summary.store).read_shard(0)
    assert batch.ids.tolist() == ["a", "b"]
    assert batch.source_file.tolist() == ["o00000.fits", "o00001.fits"]
    (row,) = read_quarantine(summary.quarantine)
    assert (row.id, row.rule, row.file) == ("a", "duplicate-id", "o00002.fits")


def test_path_outside_the_source_and_missing_file(tmp_path, cubes, tools):
    tools.write_cubes(tmp_path / "elsewhere", 1)
    folder = tools.write_cubes(tmp_path / "in", 2)
    os.symlink(tmp_path / "elsewhere/o00000.fits", folder / "link.fits")
    lines = (
        "id,path",
        "ok,o00000.fits",
        "up,../elsewhere/o00000.fits",
        "abs,/etc/passwd",
        "link,link.fits",
        "gone,o99999.fits",
    )
    summary = ingest(manifest(folder, *lines), cubes, tmp_path / "s.zarr")
    rules = {row.id: row.rule for row in read_quarantine(summary.quarantine)}
    outside = dict.fromkeys(("up", "abs", "link"), "outside-source")
    assert rules == {**outside, "gone": "missing-file"}
    assert summary.n_objects == 1


def test_unreadable_zero_point(tmp_path, cubes, tools):
    survey = replace(cubes, zeropoint_rule="keyword", zeropoint_keyword="MAGZERO")
    folder = tools.write_cubes(tmp_path / "in", 1)
    good, bad = folder / "good.fits", folder / "bad.fits"
    good.write_bytes(tools.fits_bytes(tools.pixels(1), MAGZERO=25.0))
    bad.write_bytes(tools.fits_bytes(tools.pixels(2), MAGZERO=float("1e300")))
    summary = ingest(folder, survey, tmp_path / "s.zarr")
    rules = {row.id: row.rule for row in read_quarantine(summary.quarantine)}
    assert rules == {"o00000": "no-zeropoint", "bad": "no-zeropoint"}


class Careless(Survey):
    """A plugin that does not check its zero points, and fails on one object."""

    def read(self, ref, **options):
        raw = super().read(ref, **options)
        if ref.id == "o00001":
            raise ZeroDivisionError("division by\nzero")
        if ref.id == "o00002":
            return replace(raw, zeropoint=np.array([np.inf, 25.0]))
        if ref.id == "o00003":
            raw.images[0, 3, 3] = np.inf
        return raw


def test_plugin_that_fails_on_one_object(tmp_path, cubes, tools):
    survey = Careless(**vars(cubes))
    folder = tools.write_cubes(tmp_path / "in", 5)
    summary = ingest(folder, survey, tmp_path / "s.zarr")
    rows = {row.id: row for row in read_quarantine(summary.quarantine)}
    assert rows["o00001"].rule == "unexpected-error"
    assert rows["o00001"].value == "ZeroDivisionError: division by zero"
    assert rows["o00002"].rule == "no-zeropoint"
    batch = CutoutStore(summary.store).read_shard(0)
    assert batch.ids.tolist() == ["o00000", "o00003", "o00004"]
    assert batch.mask[1].sum() == 1
    assert np.isfinite(batch.images).all()


def test_one_bad_file_in_two_thousand(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 2000)
    bad = folder / "o01234.fits"
    bad.write_bytes(bad.read_bytes()[:5000])
    summary = ingest(folder, cubes, tmp_path / "s.zarr", workers=2)
    assert (summary.n_objects, summary.n_quarantined) == (1999, 1)
    assert [row.id for row in read_quarantine(summary.quarantine)] == ["o01234"]
    assert summary.within_tolerance


class Deadly(Survey):
    """Reading one object kills a worker process, as the system does for want of memory."""

    def read(self, ref, **options):
        if ref.id == "o00300" and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(ref, **options)


@pytest.fixture
def deadly(cubes):
    return Deadly(**vars(cubes))


def test_batch_of_a_killed_worker_is_read_again(tmp_path, cubes, deadly, tools):
    folder = tools.write_cubes(tmp_path / "in", 1600)
    expected = ingest(folder, cubes, tmp_path / "a.zarr", workers=1)
    survived = ingest(folder, deadly, tmp_path / "b.zarr", workers=2)
    assert (survived.n_objects, survived.n_quarantined) == (1600, 0)
    stores = (CutoutStore(expected.store), CutoutStore(survived.store))
    assert stores[0].fingerprint == stores[1].fingerprint


def test_batch_that_no_process_can_read_ends_with_one_error(tmp_path, deadly, tools, monkeypatch):
    def starved(*_):
        raise MemoryError("none left")

    folder = tools.write_cubes(tmp_path / "in", 600)
    monkeypatch.setattr(workers, "gather_batch", starved)
    with pytest.raises(IngestError, match=r"a worker process died reading .* use fewer workers"):
        ingest(folder, deadly, tmp_path / "s.zarr", workers=2)


def test_when_all_is_rejected_the_table_tells_why(tmp_path, cubes):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.fits").write_bytes(b"nothing")
    with pytest.raises(IngestError, match=r"1 not-fits.*quarantine\.csv"):
        ingest(tmp_path / "in", cubes, tmp_path / "s.zarr")
    assert len(read_quarantine(tmp_path / "s.zarr/quarantine.csv")) == 1
