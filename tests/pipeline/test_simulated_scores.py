"""Streamed scores: the same as by way of stores, resumable, and never mixed."""

from dataclasses import replace

import numpy as np
import pytest

from equilens.models import InputSpec, build_finder, save_checkpoint
from equilens.pipeline import simulated_scores
from equilens.pipeline.errors import DomainError, ScoringError, StoreError
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.scoring import score
from equilens.pipeline.simulated_scores import SimulatedScores, part_file, score_simulated
from equilens.pipeline.simulation.simulate import simulate_store
from equilens.pipeline.surveys.registry import get_survey

N = 128
SPACE = replace(get_survey("bologna-space"), shape=(37, 37))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    finder = build_finder("d4-resnet-nano", InputSpec(("VIS",), 0.1, (37, 37)), seed=1)
    return save_checkpoint(path, finder, {})


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(simulated_scores, "PART", 64)


@pytest.fixture
def stream(weights, tmp_path):
    """Score the sequence of seed 5 into a folder of this test."""

    def run(n=N, seed=5, **options):
        return score_simulated(SPACE, weights, n, seed, tmp_path / "stream", **options)

    return run


def test_the_same_scores_as_from_a_store(stream, weights, tmp_path):
    told = []
    found = stream(progress=told.append).table()
    store = simulate_store(SPACE, N, 5, tmp_path / "sim.zarr")
    score(store.path, weights, tmp_path / "scores.zarr")
    assert np.allclose(
        found["score"].to_numpy(), ScoreStore(tmp_path / "scores.zarr").combined(), atol=1e-5
    )
    assert np.array_equal(found["is_lens"].to_numpy(), store.facts("columns/is_lens"))
    assert sum(told) == N


def test_a_stopped_run_goes_on(stream):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream(progress=stop)
    begun = SimulatedScores(stream(1).path)
    assert begun.n_objects == 64
    first = part_file(begun.path, 0)
    written = first.stat().st_mtime_ns
    whole = stream()
    assert (whole.n_objects, first.stat().st_mtime_ns) == (N, written)
    scores = whole.table()["score"].to_numpy()
    part_file(whole.path, 1).unlink()
    assert SimulatedScores(whole.path).n_objects == 64
    assert np.array_equal(stream().table()["score"].to_numpy(), scores)
    assert whole.table(70).num_rows == 70
    with pytest.raises(StoreError, match="asked for"):
        whole.table(N + 1)


def test_non_lenses_alone(stream):
    found = stream(64, lens_fraction=0.0)
    assert found.table()["is_lens"].to_numpy().sum() == 0
    assert found.fingerprint(64) != found.fingerprint(32)


def test_other_scores_are_never_mixed_in(stream, tmp_path, monkeypatch):
    stream(64)
    with pytest.raises(ScoringError, match="seed"):
        stream(64, seed=6)
    simulate = simulated_scores.simulate_batch

    def brighter(*args, **options):
        batch = simulate(*args, **options)
        batch.images[:] *= 1.001
        return batch

    monkeypatch.setattr(simulated_scores, "simulate_batch", brighter)
    with pytest.raises(ScoringError, match="first_object"):
        stream(64)


def test_a_network_of_another_survey_is_refused(weights, tmp_path):
    with pytest.raises(DomainError, match="bologna-ground"):
        score_simulated(get_survey("bologna-ground"), weights, 1, 0, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="something else"):
        score_simulated(SPACE, weights, 1, 0, tmp_path / "full")
    with pytest.raises(StoreError, match="score-simulated"):
        SimulatedScores(tmp_path / "full")
