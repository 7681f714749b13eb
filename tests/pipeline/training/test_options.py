"""What a training can be asked for: in its identity, on its card, and alive after a stop."""

import csv
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from equilens.models.checkpoint import load_checkpoint
from equilens.pipeline.errors import TrainingError
from equilens.pipeline.network_inputs import store_spec
from equilens.pipeline.networks import describe_network
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.scoring import score
from equilens.pipeline.toy import toy_cutouts, write_toy_store
from equilens.pipeline.training import (
    Augmentation,
    Mining,
    Stopping,
    Tail,
    TrainConfig,
    other_training,
    train,
    train_committee,
)
from equilens.pipeline.training.augmentation import PRESETS
from equilens.pipeline.training.data import TrainingSet
from equilens.pipeline.training.identity import training_identity
from equilens.pipeline.training.machine import autocast, memory_format, mixed_precision
from equilens.pipeline.training.state import STATE
from equilens.pipeline.training.stopping import Best

SHORT = TrainConfig(
    images_seen=192, batch_size=24, validation_fraction=0.4, ema_decay=0.9, validations=4
)
# the mined half of the draws, the loss's memory and the best average all have to survive a stop
MANY = replace(
    SHORT,
    images_seen=240,
    validations=5,
    loss="tail",
    tail=Tail(share=0.2, memory=64),
    mining=Mining(share=0.5, lens_share=0.2),
    stopping=Stopping(patience=5),
    augmentation=Augmentation(**PRESETS["rich"]),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "toy.zarr"
    write_toy_store(path, toy_cutouts(120, bands=1, side=33))
    return path


def test_a_configuration_survives_being_written():
    assert TrainConfig.from_dict(json.loads(json.dumps(MANY.to_dict()))) == MANY
    assert TrainConfig.from_dict({"seed": 3, "tail": {"share": 0.1}}).tail == Tail(share=0.1)
    with pytest.raises(TrainingError, match=r"tail\.shares is no setting.*tail\.share"):
        TrainConfig.from_dict({"tail": {"shares": 0.1}})
    with pytest.raises(TrainingError, match="one of auto, float32, bfloat16, got 'half'"):
        TrainConfig(precision="half")
    with pytest.raises(TrainingError, match=r"stopping\.by must be one of.*got 'tpr0'"):
        Stopping(by="tpr0")


def test_what_is_off_is_no_part_of_the_identity(store):
    data = TrainingSet.of([store], SHORT)
    spec = store_spec(data.first)
    plain = training_identity(data, "d4-resnet-nano", spec, SHORT)["config"]
    assert not {"loss", "tail", "mining", "stopping", "bootstrap", "precision"} & set(plain)
    assert "max_scale" not in plain["augmentation"]
    assert "validations" not in plain
    used = training_identity(data, "d4-resnet-nano", spec, MANY)["config"]
    assert {"loss", "tail", "mining", "stopping", "validations"} <= set(used)
    assert used["augmentation"]["max_scale"] == 1.1


def test_with_everything_on_a_stopped_training_goes_on_to_the_same_weights(store, tmp_path):
    def stop(facts):
        os.kill(os.getpid(), signal.SIGTERM)

    whole = train([store], tmp_path / "whole", config=MANY)
    parts = [train([store], tmp_path / "parts", config=MANY, progress=stop)]
    assert not parts[0].complete
    assert (tmp_path / "parts" / STATE).exists()
    parts.append(train([store], tmp_path / "parts", config=MANY))
    assert parts[-1].steps == whole.steps
    wanted, found = (load_checkpoint(r.weights)[0].state_dict() for r in (whole, parts[-1]))
    for name, values in wanted.items():
        assert torch.equal(found[name], values), name
    assert whole.card["stopped"] == parts[-1].card["stopped"]


def test_the_best_average_is_kept_and_judged_by_others(store, tmp_path):
    config = replace(
        SHORT, images_seen=10**6, stopping=Stopping(patience=2), validations=10**4 // 2
    )
    report = train([store], tmp_path, config=config)
    assert report.images < 10**5
    told = report.card["stopped"]
    lines = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    figures = [float(line["auroc"]) for line in lines]
    assert told["value"] == max(figures)
    assert len(figures) == int(np.argmax(figures)) + 1 + told["since"]
    assert told["since"] == 2
    data = TrainingSet.of([store], config)
    (shard,) = data.shards
    assert shard.decides.any()
    assert not (shard.decides & ~shard.held_out).any()
    held_out = list(csv.DictReader((tmp_path / "held_out.csv").read_text().splitlines()))
    assert sorted(row["id"] for row in held_out) == sorted(shard.ids[shard.reports])
    assert "they have no part in the table" in (tmp_path / "card.md").read_text()


def test_a_figure_that_is_no_number_is_no_better_one():
    best, network = Best(), torch.nn.Linear(1, 1)
    for step, value in enumerate((0.7, float("nan"), 0.6)):
        best.see(value, network, step, 10 * step)
    assert (best.value, best.step, best.since) == (0.7, 0, 2)


def test_a_bootstrap_takes_parents_whole_and_leaves_the_held_out_alone(tmp_path):
    batch = toy_cutouts(3000, bands=1)
    write_toy_store(tmp_path / "s.zarr", batch)
    plain, drawn = (TrainingSet([tmp_path / "s.zarr"], 0.2, bootstrap=b) for b in (None, 7))
    copies = np.concatenate([shard.copies for shard in drawn.shards])
    held_out = [np.concatenate([s.held_out for s in d.shards]) for d in (plain, drawn)]
    np.testing.assert_array_equal(*held_out)
    assert copies.mean() == pytest.approx(1, abs=0.06)
    assert (copies == 0).mean() == pytest.approx(np.exp(-1), abs=0.04)
    parents = np.concatenate([t["parent_id"].to_pylist() for t in drawn.tables])
    for parent in np.unique(parents)[:50]:
        assert len(set(copies[parents == parent])) == 1
    assert drawn.n_training == copies[~held_out[0]].sum() != plain.n_training
    other = TrainingSet([tmp_path / "s.zarr"], 0.2, bootstrap=8)
    assert (np.concatenate([s.copies for s in other.shards]) != copies).any()


def test_precision_follows_the_device():
    assert not mixed_precision(TrainConfig())
    assert mixed_precision(TrainConfig(precision="bfloat16"))
    assert memory_format(TrainConfig()) is torch.contiguous_format
    assert memory_format(TrainConfig(device="cuda")) is torch.channels_last
    with autocast(TrainConfig(precision="bfloat16")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16
    with autocast(TrainConfig()):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32


def test_precision_on_a_gpu_is_asked_of_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert not mixed_precision(TrainConfig(device="cuda"))
    with pytest.raises(TrainingError, match="cuda has no bfloat16"):
        mixed_precision(TrainConfig(device="cuda", precision="bfloat16"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert mixed_precision(TrainConfig(device="cuda"))
    assert not mixed_precision(TrainConfig(device="cuda", precision="float32"))


@pytest.fixture(scope="module")
def committee(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("committee")
    config = replace(SHORT, images_seen=96, bootstrap=True)
    return out, config, train_committee([store], out, members=2, config=config)


def test_a_committee_is_scored_member_by_member(committee, store, tmp_path):
    out, _, report = committee
    assert describe_network(out).members == 2
    summary = score(store, out, tmp_path / "scores.zarr", workers=1)
    scores = ScoreStore(summary.path)
    each = [
        ScoreStore(score(store, out / f"member-{k}", tmp_path / f"{k}.zarr", workers=1).path)
        for k in range(2)
    ]
    assert scores.scores().shape == (120, 2)
    np.testing.assert_allclose(
        scores.scores(), np.hstack([alone.scores() for alone in each]), atol=1e-5
    )
    assert (scores.scores()[:, 0] != scores.scores()[:, 1]).all()
    np.testing.assert_allclose(scores.combined(), scores.scores().mean(axis=1))
    assert scores.manifest["network"]["members"] == 2
    held_out = csv.DictReader((out / "held_out.csv").read_text().splitlines())
    places = {name: k for k, name in enumerate(scores.ids())}
    for row in held_out:
        assert float(row["score"]) == pytest.approx(scores.combined()[places[row["id"]]], abs=1e-4)
    assert report.weights == out / "model.safetensors"


def test_a_committees_card_has_each_members_figures(committee):
    out, config, report = committee
    card = json.loads((out / "report.json").read_text())
    assert [member["seed"] for member in card["members"]] == [config.seed, config.seed + 1]
    for k, member in enumerate(card["members"]):
        alone = json.loads((out / f"member-{k}" / "report.json").read_text())
        assert member["held_out"] == alone["held_out"]
        assert member["sha256"] == alone["sha256"]
        assert member["sha256"][:16] in (out / "card.md").read_text()
        card["images_seen"] -= alone["images_seen"]
    assert card["images_seen"] == 0
    assert report.images >= 2 * config.images_seen
    assert (out / "training.png").stat().st_size > 10_000


def test_a_finished_committee_is_known_again(committee, store):
    out, config, report = committee
    asked = {"architecture": "d4-resnet-nano", "field_px": None, "config": config, "name": None}
    assert other_training(report.weights, [store], **asked, members=2) == []
    assert other_training(report.weights, [store], **asked, members=3)
    assert other_training(report.weights, [store], **asked)
    before = (out / "member-1" / "model.safetensors").stat().st_mtime_ns
    train_committee([store], out, members=2, config=config)
    assert (out / "member-1" / "model.safetensors").stat().st_mtime_ns == before
