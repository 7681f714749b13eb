"""A mapper's training: it learns, starts at the Wiener filter, and goes on bit for bit."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from equilens.models.spherical.mapper_checkpoint import load_mapper
from equilens.pipeline.errors import TrainingError
from equilens.pipeline.masses import mapper_run, training_skies
from equilens.pipeline.masses.mapper_card import read_log
from equilens.pipeline.masses.mapper_config import MapperConfig
from equilens.pipeline.masses.training import train_mapper


def test_the_start_is_the_wiener_filter(train, tmp_path):
    figures = train(tmp_path, patches_seen=8, learning_rate=1e-12).card["figures"]
    assert figures["error"] == pytest.approx(figures["wiener_error"], rel=1e-5)


def test_learning_lowers_the_error_of_lumps(trained_mapper):
    figures = load_mapper(trained_mapper).card["figures"]
    assert figures["error"] < 0.9 * figures["wiener_error"]
    assert 0.5 < figures["coverage"] < 0.98
    assert read_log(trained_mapper / "log.csv")[-1]["patches"] == 320


def test_a_resumed_training_is_the_uninterrupted_one(train, tmp_path, monkeypatch):
    whole = train(tmp_path / "whole").weights
    stop = threading.Event()
    step, until_done = mapper_run.MapperRun._step, mapper_run.MapperRun.until_done

    def stop_after_two(self):
        if self.state.step == 1:
            stop.set()
        return step(self)

    with monkeypatch.context() as patched:
        patched.setattr(mapper_run.MapperRun, "_step", stop_after_two)
        patched.setattr(mapper_run.MapperRun, "until_done", lambda self, _: until_done(self, stop))
        stopped = train(tmp_path / "parts")
    assert not stopped.complete
    assert stopped.steps == 2
    parts = train(tmp_path / "parts")
    assert parts.complete
    assert parts.steps == 4
    one, other = (load_mapper(p).network.state_dict() for p in (whole, parts.weights))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_trainings_state_is_refused(train, tmp_path, monkeypatch):
    stop = threading.Event()
    stop.set()
    until_done = mapper_run.MapperRun.until_done
    with monkeypatch.context() as patched:
        patched.setattr(mapper_run.MapperRun, "until_done", lambda self, _: until_done(self, stop))
        train(tmp_path)
    with pytest.raises(TrainingError, match=r"belongs to another training \(config.seed: 0 there"):
        train(tmp_path, seed=1)


def test_settings_that_cannot_be_are_refused(toy_skies, tmp_path):
    with pytest.raises(TrainingError, match="at least one held out"):
        train_mapper(toy_skies, tmp_path, held_out=[])
    with pytest.raises(TrainingError, match="batch_size must be at least 1, got 0"):
        MapperConfig(batch_size=0)
    with pytest.raises(TrainingError, match="patches is no setting"):
        MapperConfig.from_dict({"patches": 3})
    assert MapperConfig.from_dict(MapperConfig().to_dict()) == MapperConfig()


def test_a_truth_that_the_shear_knows_nothing_of_teaches_nothing(train, tmp_path, monkeypatch):
    """Negative control: white noise in place of κ stays as unknown as its variance."""
    made = training_skies.TrainingSky.__init__

    def unknowable(self, *args):
        made(self, *args)
        rng = np.random.default_rng(int(self.facts["seed"]))
        self.kappa = rng.normal(scale=0.05, size=self.kappa.size).astype(np.float32)

    monkeypatch.setattr(training_skies.TrainingSky, "__init__", unknowable)
    assert train(tmp_path, patches_seen=160).card["figures"]["error"] > 0.95
