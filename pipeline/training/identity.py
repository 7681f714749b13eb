"""What the weights of a training depend on, and what tells two trainings apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from equilens.models.checkpoint import load_checkpoint
from equilens.models.inputs import InputSpec
from equilens.pipeline.training.config import TrainConfig
from equilens.pipeline.training.data import TrainingSet

# how often to save and how long to run may change between two parts of one training
_FREE = ("checkpoint_every_s", "time_limit_s", "threads", "device", "validations")


def training_identity(
    data: TrainingSet, architecture: str, spec: InputSpec, config: TrainConfig
) -> dict[str, Any]:
    """Network, data and settings, as the resume file and the card keep them."""
    settings = {name: value for name, value in asdict(config).items() if name not in _FREE}
    identity = {
        "architecture": architecture,
        "input_spec": spec.to_dict(),
        "config": settings,
        "data": data.fingerprints(),
    }
    return json.loads(json.dumps(identity))


def store_input_spec(data: TrainingSet, field_px: int | None) -> InputSpec:
    """What a network for these cutouts takes in."""
    store = data.first
    scale = float(np.median(data.tables[0]["pixel_scale_arcsec"].to_numpy()))
    return InputSpec(store.band_names, round(scale, 6), store.shape, field_px=field_px)


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What tells two identities apart, in words; of nested values only what differs."""
    texts = []
    for key in sorted(wanted):
        there, asked = found.get(key), wanted[key]
        if isinstance(there, dict) and isinstance(asked, dict):
            texts += [f"{key}.{text}" for text in differences(there, asked)]
        elif there != asked:
            texts.append(f"{key}: {there!r} there, {asked!r} asked")
    return texts


def other_training(
    weights: Path | str,
    stores: Sequence[Path | str],
    *,
    architecture: str,
    field_px: int | None,
    config: TrainConfig,
    name: str | None,
) -> list[str]:
    """How finished weights differ from those that `train` would make; nothing where they do not."""
    data = TrainingSet(stores, config.validation_fraction)
    wanted = training_identity(data, architecture, store_input_spec(data, field_px), config)
    wanted["name"] = name or data.first.survey_name
    return differences(load_checkpoint(weights)[1]["card"], wanted)
