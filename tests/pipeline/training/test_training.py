"""Training learns what can be learnt, nothing else, and goes on where it was stopped."""

import csv
import json
import math
import os
import signal

import numpy as np
import pytest
import torch

from equilens.models.checkpoint import load_checkpoint, model_sha256
from equilens.pipeline.errors import TrainingError
from equilens.pipeline.toy import toy_cutouts, write_toy_store
from equilens.pipeline.training import TrainConfig, train
from equilens.pipeline.training.state import STATE

SHORT = TrainConfig(
    images_seen=1200, batch_size=24, validation_fraction=0.3, ema_decay=0.9, validations=3
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "toy.zarr"
    write_toy_store(path, toy_cutouts(300, bands=1, side=33, ring_snr=3.0))
    return path


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    return out, train([store], out, config=SHORT)


def test_rate_rises_and_falls():
    config = TrainConfig(learning_rate=2.0, warm_up=0.1)
    assert config.rate(0.05) == pytest.approx(1.0)
    assert config.rate(0.1) == pytest.approx(2.0)
    assert config.rate(0.55) == pytest.approx(2.0 * (0.01 + 0.99 / 2))
    assert config.rate(1.0) == config.rate(3.0) == pytest.approx(0.02)


def test_a_ring_is_learnt(trained):
    out, report = trained
    assert report.complete
    held_out = report.card["held_out"]
    assert held_out["auroc"] > 0.9
    assert held_out["n_lenses"] + held_out["n_nonlenses"] > 60
    assert sorted(p.name for p in out.iterdir()) == [
        "card.md",
        "held_out.csv",
        "log.csv",
        "model.safetensors",
        "report.json",
        "training.png",
    ]


def test_products_agree_with_each_other(trained, store):
    out, report = trained
    finder, metadata = load_checkpoint(out / "model.safetensors")
    assert metadata["card"]["held_out"]["auroc"] == report.card["held_out"]["auroc"]
    assert not finder.training
    written = json.loads((out / "report.json").read_text())
    assert written["sha256"] == model_sha256(out / "model.safetensors")
    assert written["sha256"] in (out / "card.md").read_text()
    lines = list(csv.DictReader((out / "log.csv").read_text().splitlines()))
    assert len(lines) == SHORT.validations
    assert int(lines[-1]["step"]) == report.steps
    domain = written["training_domain"]
    low, high = domain["noise_njy"]["a"]
    assert 8 < low < 9
    assert high == pytest.approx(12 * SHORT.augmentation.max_depth, rel=0.05)


def test_shuffled_labels_teach_nothing(tmp_path):
    batch = toy_cutouts(300, bands=1, side=33)
    np.random.default_rng(1).shuffle(batch.columns["is_lens"])
    write_toy_store(tmp_path / "s.zarr", batch)
    report = train([tmp_path / "s.zarr"], tmp_path / "out", config=SHORT)
    low, high = report.card["held_out"]["intervals"]["auroc"]
    assert low < 0.5 < high


def test_stopped_training_goes_on_to_the_same_weights(trained, store, tmp_path):
    whole = load_checkpoint(trained[0] / "model.safetensors")[0].state_dict()
    stopped = train(
        [store], tmp_path, config=SHORT, progress=lambda _: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert not stopped.complete
    assert 0 < stopped.images < SHORT.images_seen
    assert (tmp_path / STATE).exists()
    report = train([store], tmp_path, config=SHORT)
    assert report.steps == trained[1].steps
    resumed = load_checkpoint(report.weights)[0].state_dict()
    for name, values in whole.items():
        assert torch.equal(resumed[name], values), name
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + SHORT.validations


def test_state_of_another_training_is_refused(store, tmp_path):
    stop = lambda _: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    train([store], tmp_path, config=SHORT, progress=stop)
    other = TrainConfig(**{**vars(SHORT), "seed": 7})
    with pytest.raises(TrainingError, match="belongs to another training"):
        train([store], tmp_path, config=other)
    assert not train([store], tmp_path, config=other, resume=False, progress=stop).complete


def test_time_limit_ends_the_schedule_with_the_rate_down(store, tmp_path):
    config = TrainConfig(**{**vars(SHORT), "images_seen": 10**9, "time_limit_s": 1.0})
    report = train([store], tmp_path, config=config)
    assert report.complete
    last = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))[-1]
    assert float(last["learning_rate"]) < 0.2 * config.learning_rate


def test_an_exploding_loss_is_named(store, tmp_path):
    config = TrainConfig(**{**vars(SHORT), "learning_rate": 1e30, "clip_norm": math.inf})
    with pytest.raises(TrainingError, match="lower learning_rate"):
        train([store], tmp_path, config=config)
