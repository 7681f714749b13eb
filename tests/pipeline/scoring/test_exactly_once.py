"""Nothing stale, swapped or half written ever passes for a score of this network."""

import shutil

import numpy as np
import pytest
import zarr

from equilens.models.checkpoint import save_checkpoint
from equilens.models.inputs import InputSpec
from equilens.models.networks import build_finder
from equilens.pipeline.errors import ScoringError, StoreError
from equilens.pipeline.scores import IDENTITY, SMALL_BLOCK, ScoreStore, block_file
from equilens.pipeline.scoring import run, score, worker
from equilens.pipeline.scoring.blocks import Block, Source
from equilens.pipeline.scoring.plan import Match
from equilens.pipeline.scoring.worker import score_block
from equilens.pipeline.stores import MANIFEST, CutoutStore
from equilens.pipeline.toy import toy_cutouts, write_toy_store

N = SMALL_BLOCK + 30
SPEC = InputSpec(("a", "b"), 0.1, (33, 33))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Cutouts, weights, and their scores."""
    folder = tmp_path_factory.mktemp("once")
    store = write_toy_store(folder / "toy.zarr", toy_cutouts(N, missing_share=0.2)).path
    finder = build_finder("d4-resnet-nano", SPEC, seed=3)
    weights = save_checkpoint(folder / "random.safetensors", finder, {})
    return store, weights, score(store, weights, folder / "scores.zarr", workers=1).path


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made[2], tmp_path / "copy.zarr")


def test_a_task_that_outlived_its_driver_writes_into_no_other_scores(made, copy):
    store, weights, _ = made
    cutouts = CutoutStore(store)
    stale = Match.of(cutouts, weights, copy).task(32)
    before = block_file(copy, 0).read_bytes()
    with pytest.raises(ScoringError, match="another run now: not written"):
        score_block(
            Source(str(store), cutouts.fingerprint, "stale"), Block(0, SMALL_BLOCK, (stale,))
        )
    assert block_file(copy, 0).read_bytes() == before


def test_what_a_dead_worker_had_written_is_not_scored_again(made, copy):
    store, weights, _ = made
    source = Source(str(store), CutoutStore(store).fingerprint, "again")
    task = Match.of(CutoutStore(store), weights, copy).task(64)
    block = Block(0, SMALL_BLOCK, (task,))
    before = block_file(copy, 0).stat().st_mtime_ns
    assert score_block(source, block).n_scores == SMALL_BLOCK
    assert block_file(copy, 0).stat().st_mtime_ns == before
    block_file(copy, 0).unlink()
    score_block(source, block)
    assert block_file(copy, 0).stat().st_mtime_ns != before


def test_blocks_in_each_others_place_are_scored_again(made, copy):
    """Both are sound by their own CRC: only the manifest knows."""
    shutil.copy(block_file(copy, 1), block_file(copy, 0))
    store, weights, whole = made
    assert score(store, weights, copy, workers=1).n_scored_now == SMALL_BLOCK
    np.testing.assert_array_equal(ScoreStore(copy).scores(), ScoreStore(whole).scores())


def test_a_block_that_is_lost_before_the_end_is_no_block_without_scores(made, copy, monkeypatch):
    store, weights, whole = made
    (copy / MANIFEST).unlink()
    block_file(copy, 1).unlink()
    with monkeypatch.context() as lost:
        lost.setattr(run, "run_blocks", lambda *_: iter(()))
        with pytest.raises(ScoringError, match="block 1 was lost"):
            score(store, weights, copy, workers=1)
    assert not (copy / MANIFEST).exists()
    assert score(store, weights, copy, workers=1).n_scored_now == N - SMALL_BLOCK
    np.testing.assert_array_equal(ScoreStore(copy).scores(), ScoreStore(whole).scores())


@pytest.mark.parametrize("text", ["{", '{"kind": "scores"}', "[]"])
def test_a_spoilt_manifest_is_written_anew(made, copy, text):
    store, weights, whole = made
    (copy / MANIFEST).write_text(text)
    assert score(store, weights, copy, workers=1).n_scored_now == 0
    assert ScoreStore(copy).fingerprint == ScoreStore(whole).fingerprint


def test_a_group_of_somebody_else_is_left_alone(made, tmp_path):
    store, weights, _ = made
    zarr.open_group(tmp_path / "mine.zarr", mode="w", attributes={"title": "mine"})
    with pytest.raises(StoreError, match="a store of another kind"):
        score(store, weights, tmp_path / "mine.zarr", workers=1)
    assert zarr.open_group(tmp_path / "mine.zarr", mode="r").attrs["title"] == "mine"


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("name", ["ids", "flags"])
def test_lost_ids_are_no_empty_ids(made, copy, name, finished):
    store, weights, whole = made
    next(file for file in (copy / name / "c").rglob("*") if file.is_file()).unlink()
    with pytest.raises(StoreError, match=f"{name} does not match"):
        getattr(ScoreStore(copy), name)()
    if not finished:
        (copy / MANIFEST).unlink()
    assert score(store, weights, copy, workers=1).already_complete
    assert ScoreStore(copy).ids().tolist() == ScoreStore(whole).ids().tolist()
    assert ScoreStore(copy).fingerprint == ScoreStore(whole).fingerprint


def test_what_killed_workers_left_half_written_is_swept(made, copy):
    store, weights, _ = made
    (copy / MANIFEST).unlink()
    block_file(copy, 0).unlink()
    half = block_file(copy, 0).with_name(f"0.{'0' * 32}.partial")
    half.write_bytes(b"half")
    gone = copy.with_name(f".{copy.name}.{'0' * 32}.gone")
    shutil.copytree(copy, gone)
    score(store, weights, copy, workers=1)
    assert not half.exists()
    assert not gone.exists()


def test_a_damaged_identity_is_another_run(made, copy):
    store, weights, _ = made
    (copy / IDENTITY).write_text("{")
    with pytest.raises(ScoringError, match="--replace"):
        score(store, weights, copy)
    assert score(store, weights, copy, workers=1, replace=True).n_scored_now == N


def test_a_full_disk_is_one_error_and_keeps_what_was_scored(made, tmp_path, monkeypatch):
    store, weights, whole = made
    out, write = tmp_path / "full.zarr", worker.zarr.open_array

    def full_after_one(*args, **kwargs):
        if block_file(out, 0).exists():
            raise OSError(28, "No space left on device")
        return write(*args, **kwargs)

    monkeypatch.setattr(worker.zarr, "open_array", full_after_one)
    with pytest.raises(StoreError, match="no space is left on its file system: free some"):
        score(store, weights, out, workers=1)
    kept = block_file(out, 0).stat().st_mtime_ns
    monkeypatch.undo()
    assert score(store, weights, out, workers=1).n_scored_now == N - SMALL_BLOCK
    assert block_file(out, 0).stat().st_mtime_ns == kept
    np.testing.assert_array_equal(ScoreStore(out).scores(), ScoreStore(whole).scores())
