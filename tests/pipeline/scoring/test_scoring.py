"""Scores are the network's, for the right objects, whatever the split, the crash or the rerun."""

import json
import shutil

import numpy as np
import pytest
import torch
from distributed import LocalCluster

from equilens.models.checkpoint import load_checkpoint, save_checkpoint
from equilens.models.inputs import InputSpec
from equilens.models.networks import build_finder
from equilens.pipeline import cluster
from equilens.pipeline.errors import ScoringError, StoreError
from equilens.pipeline.quarantine import QuarantineRow, read_quarantine, write_quarantine
from equilens.pipeline.scores import SMALL_BLOCK, ScoreStore, block_file
from equilens.pipeline.scoring import score
from equilens.pipeline.shards import shard_file
from equilens.pipeline.stores import MANIFEST, CutoutStore
from equilens.pipeline.toy import toy_cutouts, write_mean_network, write_toy_store

N = 2 * SMALL_BLOCK + 44
SPEC = InputSpec(("a", "b"), 0.1, (33, 33))


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory):
    path = tmp_path_factory.mktemp("cutouts") / "toy.zarr"
    return write_toy_store(path, toy_cutouts(N, missing_share=0.2)).path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    return save_checkpoint(path, build_finder("d4-resnet-nano", SPEC, seed=3), {})


@pytest.fixture(scope="module")
def scored(cutouts, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("scores") / "whole.zarr"
    return score(cutouts, weights, out, workers=2)


@pytest.fixture
def copy(scored, tmp_path):
    """A finished ScoreStore to do harm to."""
    return shutil.copytree(scored.path, tmp_path / "copy.zarr")


def test_a_known_network_gives_known_scores(tmp_path):
    pytest.importorskip("onnxruntime")
    batch = toy_cutouts(300)
    batch.mask[:] = False
    batch.images[:] = (np.arange(300, dtype=np.float32) / 4)[:, None, None, None]
    write_toy_store(tmp_path / "steps.zarr", batch)
    network = write_mean_network(tmp_path / "mean.onnx", SPEC)
    score(tmp_path / "steps.zarr", network, tmp_path / "out.zarr", workers=2)
    scores = ScoreStore(tmp_path / "out.zarr")
    assert scores.ids().tolist() == batch.ids.tolist()
    np.testing.assert_allclose(scores.scores()[:, 0], np.arange(300) / 4, rtol=1e-6)


def test_scores_are_those_of_the_network_in_memory(cutouts, weights, scored):
    batch = CutoutStore(cutouts).read(slice(0, N))
    finder, _ = load_checkpoint(weights)
    arrays = (batch.images, batch.noise_njy, batch.mask, batch.band_present)
    with torch.inference_mode():
        expected = finder(*map(torch.from_numpy, arrays)).double().numpy()
    found = ScoreStore(scored.path).scores()[:, 0]
    assert found.std() > 0
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_scores_are_bit_identical_whatever_the_split(cutouts, weights, scored, tmp_path):
    one = score(cutouts, weights, tmp_path / "one.zarr", workers=1)
    whole = ScoreStore(scored.path).scores()
    np.testing.assert_array_equal(ScoreStore(one.path).scores(), whole)
    # the first rows alone, in a store of their own
    write_toy_store(tmp_path / "head.zarr", CutoutStore(cutouts).read(slice(0, 100)))
    head = score(tmp_path / "head.zarr", weights, tmp_path / "head.scores")
    np.testing.assert_array_equal(ScoreStore(head.path).scores(), whole[:100])


def test_a_scheduler_elsewhere_gives_the_same(cutouts, weights, scored, tmp_path):
    with LocalCluster(
        processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None, memory_limit=0
    ) as running:
        out = tmp_path / "remote.zarr"
        score(cutouts, weights, out, scheduler=running.scheduler_address)
    np.testing.assert_array_equal(ScoreStore(out).scores(), ScoreStore(scored.path).scores())


def test_no_scheduler_is_told_by_its_address(cutouts, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT_S", 0.5)
    with pytest.raises(ScoringError, match=r"tcp://127\.0\.0\.1:9 "):
        score(cutouts, weights, tmp_path / "o.zarr", scheduler="tcp://127.0.0.1:9")


def test_progress_counts_every_object(cutouts, weights, tmp_path):
    told = []
    score(cutouts, weights, tmp_path / "o.zarr", workers=1, progress=told.append)
    assert sum(facts["rows"] for facts in told) == N == told[-1]["total"]


def test_scoring_again_does_nothing(cutouts, weights, scored):
    before = (scored.path / MANIFEST).stat().st_mtime_ns
    again = score(cutouts, weights, scored.path)
    assert again.already_complete
    assert (scored.path / MANIFEST).stat().st_mtime_ns == before


def test_an_interrupted_run_goes_on_with_what_is_missing(cutouts, weights, scored, copy):
    whole = ScoreStore(copy).scores()
    (copy / MANIFEST).unlink()
    block_file(copy, 1).unlink()
    kept = block_file(copy, 0).stat().st_mtime_ns
    with pytest.raises(StoreError, match="never finished"):
        ScoreStore(copy)
    again = score(cutouts, weights, copy)
    assert again.n_scored_now == SMALL_BLOCK
    assert block_file(copy, 0).stat().st_mtime_ns == kept
    np.testing.assert_array_equal(ScoreStore(copy).scores(), whole)
    assert ScoreStore(copy).fingerprint == ScoreStore(scored.path).fingerprint


def test_cutouts_that_a_byte_was_flipped_in_are_not_scored(weights, tmp_path):
    store = write_toy_store(tmp_path / "toy.zarr", toy_cutouts(20))
    file = shard_file(store.path, "images", 0)
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(ScoringError, match=r"shards \[0\] do not match the checksums"):
        score(store.path, weights, tmp_path / "scores.zarr")
    assert not block_file(tmp_path / "scores.zarr", 0).exists()
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ScoringError, match=r"shards \[0\] do not match the checksums"):
        score(store.path, weights, tmp_path / "scores.zarr")


@pytest.mark.parametrize("finished", [True, False])
def test_a_damaged_block_is_noticed_and_done_again(cutouts, weights, copy, finished):
    whole = ScoreStore(copy).scores()
    damaged = bytearray(block_file(copy, 1).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    block_file(copy, 1).write_bytes(damaged)
    assert ScoreStore(copy).verify() == [SMALL_BLOCK]
    with pytest.raises(StoreError, match="damaged"):
        ScoreStore(copy).scores()
    if not finished:
        (copy / MANIFEST).unlink()
    assert score(cutouts, weights, copy).n_scored_now == SMALL_BLOCK
    np.testing.assert_array_equal(ScoreStore(copy).scores(), whole)


@pytest.mark.parametrize("finished", [True, False])
def test_scores_of_another_network_are_refused(cutouts, copy, finished, tmp_path):
    if not finished:
        (copy / MANIFEST).unlink()
    other = save_checkpoint(
        tmp_path / "other.safetensors", build_finder("d4-resnet-nano", SPEC, seed=4), {}
    )
    with pytest.raises(ScoringError, match=r"network: \w{12} there, \w{12} asked.*--replace"):
        score(cutouts, other, copy)
    before = block_file(copy, 0).read_bytes()
    replaced = score(cutouts, other, copy, replace=True)
    assert replaced.n_scored_now == N
    assert block_file(copy, 0).read_bytes() != before


def test_scores_of_other_cutouts_are_refused(weights, copy, tmp_path):
    write_toy_store(tmp_path / "other.zarr", toy_cutouts(50, seed=9))
    with pytest.raises(ScoringError, match="cutouts: "):
        score(tmp_path / "other.zarr", weights, copy)


def test_a_folder_that_is_no_store_is_left_alone(cutouts, weights, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(StoreError, match="not a store"):
        score(cutouts, weights, tmp_path, replace=True)
    with pytest.raises(StoreError, match=r"another kind|not a store|another run"):
        score(cutouts, weights, cutouts, replace=True)
    assert CutoutStore(cutouts).n_objects == N


def test_no_finite_score_means_quarantine(tmp_path):
    pytest.importorskip("onnxruntime")
    batch = toy_cutouts(20)
    batch.images[7] = 3e38  # the mean of finite pixels overflows
    store = write_toy_store(tmp_path / "bright.zarr", batch)
    lost = QuarantineRow("lost", "lost.fits", "truncated", "half a file", "get it anew")
    write_quarantine(store.path / "quarantine.csv", [lost])
    network = write_mean_network(tmp_path / "mean.onnx", SPEC)
    summary = score(store.path, network, tmp_path / "out.zarr")
    assert summary.n_quarantined == 1
    scores = ScoreStore(tmp_path / "out.zarr").scores()[:, 0]
    assert np.flatnonzero(np.isnan(scores)).tolist() == [7]
    rows = read_quarantine(tmp_path / "out.zarr" / "quarantine.csv")
    assert [(row.id, row.rule) for row in rows] == [
        ("lost", "truncated"),
        (batch.ids[7], "score-not-finite"),
    ]


def test_manifest_says_what_scored_what(cutouts, weights, scored):
    manifest = json.loads((scored.path / MANIFEST).read_text())
    assert manifest["network"]["sha256"] == load_checkpoint(weights)[1]["sha256"] == scored.sha256
    assert manifest["identity"]["cutouts"] == CutoutStore(cutouts).fingerprint
    assert sum(block["rows"] for block in manifest["blocks"]) == N
    assert "no training domain" in manifest["guard"]["notes"][0]


def test_batch_size_must_fit_the_blocks(cutouts, weights, tmp_path):
    with pytest.raises(ScoringError, match="power of two up to 256, got 100"):
        score(cutouts, weights, tmp_path / "o.zarr", batch_size=100)


def test_threads_of_the_caller_come_back(cutouts, weights, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        score(cutouts, weights, tmp_path / "o.zarr", workers=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_processes_give_the_same(cutouts, weights, scored, tmp_path, monkeypatch):
    monkeypatch.setattr("equilens.pipeline.scoring.dispatch.OBJECTS_WORTH_PROCESSES", 1)
    out = tmp_path / "processes.zarr"
    score(cutouts, weights, out, workers=2)
    np.testing.assert_array_equal(ScoreStore(out).scores(), ScoreStore(scored.path).scores())
