"""A batch size is timed once, on a clock that tests may set, and kept ever after."""

import json
import math

import numpy as np
import pytest
import torch

from equilens.pipeline.errors import ScoringError
from equilens.pipeline.score_writer import BATCH_TIMING
from equilens.pipeline.scores import IDENTITY, SMALL_BLOCK, ScoreStore, block_file
from equilens.pipeline.scoring import batch_size, plan, score, worker
from equilens.pipeline.scoring.batch_size import BatchTiming, choose, time_batches
from equilens.pipeline.scoring.blocks import Source
from equilens.pipeline.scoring.plan import Match
from equilens.pipeline.stores import MANIFEST, CutoutStore


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({64: [100, 100, 100], 128: [120, 119, 121]}, 128),
        ({16: [130, 150, 140], 64: [100, 100, 100]}, 16),
        # no more than 3 % faster: noise
        ({64: [100, 100, 100], 128: [102, 102, 102]}, 64),
        # slower in one turn: noise
        ({64: [100, 100, 100], 128: [150, 99, 150]}, 64),
        # 64 does not fit into memory
        ({16: [100, 100, 100], 32: [101, 101, 101]}, 32),
    ],
)
def test_another_size_must_be_worth_it(rates, chosen):
    assert choose(rates) == chosen


class Machine:
    """A network whose batches take as long as a formula says, by its own clock.

    Parameters
    ----------
    seconds : of a batch of so many cutouts
    room : cutouts that fit into memory
    """

    def __init__(self, seconds, room=math.inf):
        self.seconds, self.room, self.now = seconds, room, 0.0

    def __call__(self, images, noise, mask, present):
        if len(images) > self.room:
            raise torch.OutOfMemoryError
        self.now += self.seconds(len(images))
        return images.new_zeros(len(images))

    def clock(self):
        return self.now


@pytest.fixture
def timed(small_store, two_networks, monkeypatch):
    store = CutoutStore(small_store)
    task = Match.of(store, two_networks[0], "nowhere.zarr").task(64)

    def run(machine):
        monkeypatch.setattr(batch_size, "ready", lambda network, device: machine)
        source = Source(str(small_store), store.fingerprint, "timing")
        return time_batches(source, task, clock=machine.clock)

    return run


def test_the_fastest_size_is_found(timed):
    overhead = timed(Machine(lambda n: 0.01 + 0.001 * n))
    assert overhead.chosen == 256
    assert overhead.n_cutouts == 256
    # 256 cutouts in one batch of 0.266 s, 64 in four of 0.026 s
    table = {row["batch_size"]: row["cutouts_per_s"] for row in overhead.to_dict()["table"]}
    assert table[256] == pytest.approx(256 / 0.266, rel=1e-3)
    assert table[16] == pytest.approx(16 / 0.026, rel=1e-3)
    assert timed(Machine(lambda n: 0.001 * n**1.2)).chosen == 16


def test_sizes_that_are_as_fast_leave_the_default(timed):
    assert timed(Machine(lambda n: 0.001 * n)).chosen == 64


def test_what_does_not_fit_into_memory_is_left_out(timed, monkeypatch):
    tight = timed(Machine(lambda n: 0.01 + 0.001 * n, room=100))
    assert (tight.chosen, list(tight.rates)) == (64, [16, 32, 64])
    with pytest.raises(ScoringError, match="smaller --batch-size"):
        timed(Machine(lambda n: 0.01, room=8))
    # each batch takes a gigabyte more than the one before, and there are three
    peaks = iter(range(0, 100 * 2**30, 2**30))
    monkeypatch.setattr(batch_size, "_peak_bytes", lambda: next(peaks))
    monkeypatch.setattr(
        batch_size.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 2**30})
    )
    assert list(timed(Machine(lambda n: 0.01 + 0.001 * n)).rates) == [16]


def never(*args, **kwargs):
    raise AssertionError("timed again")


@pytest.fixture
def sixteen(monkeypatch):
    """Every timing says 16."""

    def found(source, network, workers):
        return BatchTiming(16, 256, "cpu", {16: [130.0] * 3, 64: [100.0] * 3})

    monkeypatch.setattr(plan, "time_batches", found)


@pytest.fixture(scope="module")
def given(small_store, two_networks, tmp_path_factory):
    """Scores with batches of 16 that were asked for."""
    out = tmp_path_factory.mktemp("given") / "scores.zarr"
    return score(small_store, two_networks[0], out, workers=1, batch_size=16).path


def test_a_timed_size_is_part_of_the_identity(
    small_store, two_networks, given, sixteen, tmp_path, monkeypatch
):
    out = tmp_path / "timed.zarr"
    score(small_store, two_networks[0], out, workers=1, batch_size=None)
    ours, theirs = ScoreStore(out), ScoreStore(given)
    assert ours.identity == theirs.identity
    assert ours.identity["batch_size"] == 16
    assert ours.fingerprint == theirs.fingerprint
    np.testing.assert_array_equal(ours.scores(), theirs.scores())
    assert ours.manifest[BATCH_TIMING]["table"][0] == {
        "batch_size": 16,
        "cutouts_per_s": 130.0,
        "turns": 3,
    }
    assert theirs.manifest[BATCH_TIMING] is None
    monkeypatch.setattr(plan, "time_batches", never)
    before = (out / MANIFEST).read_bytes()
    assert score(small_store, two_networks[0], out, batch_size=None).already_complete
    assert (out / MANIFEST).read_bytes() == before


def test_an_interrupted_run_goes_on_with_the_size_it_began_with(
    small_store, two_networks, given, sixteen, tmp_path, monkeypatch
):
    out, write = tmp_path / "timed.zarr", worker.zarr.open_array

    def killed_after_one(*args, **kwargs):
        if block_file(out, 0).exists():
            raise KeyboardInterrupt
        return write(*args, **kwargs)

    monkeypatch.setattr(worker.zarr, "open_array", killed_after_one)
    with pytest.raises(KeyboardInterrupt):
        score(small_store, two_networks[0], out, workers=1, batch_size=None)
    monkeypatch.setattr(worker.zarr, "open_array", write)
    monkeypatch.setattr(plan, "time_batches", never)
    again = score(small_store, two_networks[0], out, workers=1, batch_size=None)
    assert again.n_scored_now == 30
    assert ScoreStore(out).manifest[BATCH_TIMING]["chosen"] == 16
    np.testing.assert_array_equal(ScoreStore(out).scores(), ScoreStore(given).scores())


def test_another_size_is_another_run(small_store, two_networks, given, monkeypatch):
    with pytest.raises(ScoringError, match="batch_size: 16 there, 64 asked"):
        score(small_store, two_networks[0], given)
    monkeypatch.setattr(plan, "time_batches", never)
    with pytest.raises(ScoringError, match=r"network: \w{12} there"):
        score(small_store, two_networks[1], given, batch_size=None)


def test_a_size_that_fills_no_blocks_is_refused_wherever_it_stands(
    small_store, two_networks, tmp_path
):
    out = tmp_path / "o.zarr"
    score(small_store, two_networks[0], out, workers=1)
    identity = json.loads((out / IDENTITY).read_text())
    (out / IDENTITY).write_text(json.dumps({**identity, "batch_size": SMALL_BLOCK + 1}))
    with pytest.raises(ScoringError, match="power of two up to 256, got 257"):
        score(small_store, two_networks[0], out, batch_size=None)


def test_workers_elsewhere_are_not_timed_here(small_store, two_networks, tmp_path):
    with pytest.raises(ScoringError, match=r"not on the workers of tcp://127\.0\.0\.1:9"):
        score(
            small_store,
            two_networks[0],
            tmp_path / "o.zarr",
            batch_size=None,
            scheduler="tcp://127.0.0.1:9",
        )


def test_a_real_timing_chooses_a_size_that_scores(small_store, two_networks, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_size, "SIZES", (32, 64))
    out = tmp_path / "o.zarr"
    score(small_store, two_networks[0], out, workers=1, batch_size=None)
    found = ScoreStore(out)
    timing = found.manifest[BATCH_TIMING]
    assert timing["chosen"] == found.identity["batch_size"] in (32, 64)
    assert np.isfinite(found.scores()).all()
