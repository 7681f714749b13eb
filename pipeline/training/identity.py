"""What the weights of a training depend on, and what tells two trainings apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from equilens.models.checkpoint import load_checkpoint
from equilens.models.committee import RULE
from equilens.models.inputs import InputSpec
from equilens.pipeline.network_inputs import store_spec
from equilens.pipeline.training.config import TrainConfig
from equilens.pipeline.training.data import TrainingSet
from equilens.pipeline.training.transfer import WarmStart

# how often to save and how long to run may change between two parts of one training
_FREE = ("checkpoint_every_s", "time_limit_s", "threads", "device", "precision", "compile")
# what is off by default counts where it is used: a training that never knew it stays the same
_OPTIONAL = ("loss", "tail", "mining", "stopping", "bootstrap")
_OPTIONAL_CHANGES = (
    "resample_probability",
    "max_scale",
    "subpixel",
    "max_blur_px",
    "zeropoint_error",
    "hole_probability",
    "max_hole_px",
)
COMMITTEE = "committee"
_KEYS = ("architecture", "input_spec", "config", "data", "start", COMMITTEE, "name")


def training_identity(
    data: TrainingSet,
    architecture: str,
    spec: InputSpec,
    config: TrainConfig,
    start: WarmStart | None = None,
) -> dict[str, Any]:
    """Network, data, settings and start, as the resume file and the card keep them."""
    identity = {
        "architecture": architecture,
        "input_spec": spec.to_dict(),
        "config": _settings(config),
        "data": data.fingerprints(),
    }
    if start is not None:
        identity["start"] = start.identity()
    return json.loads(json.dumps(identity))


def _settings(config: TrainConfig) -> dict[str, Any]:
    settings, default = config.to_dict(), TrainConfig().to_dict()
    # only a training that may stop early depends on how often it looks
    free = _FREE if config.stopping.active else (*_FREE, "validations")
    settings = {name: value for name, value in settings.items() if name not in free}
    for group, names in ((settings, _OPTIONAL), (settings["augmentation"], _OPTIONAL_CHANGES)):
        usual = default if group is settings else default["augmentation"]
        for name in names:
            if group[name] == usual[name]:
                del group[name]
    return settings


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What tells two identities apart, in words; of nested values only what differs."""
    texts = []
    for key in sorted({*found, *wanted}):
        there, asked = found.get(key), wanted.get(key)
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
    start: WarmStart | None = None,
    members: int = 1,
) -> list[str]:
    """How finished weights differ from those that `train` would make; nothing where they do not."""
    data = TrainingSet.of(stores, config)
    spec = store_spec(data.first, field_px)
    wanted = training_identity(data, architecture, spec, config, start)
    if members > 1:
        wanted[COMMITTEE] = {"members": members, "rule": RULE}
    wanted["name"] = name or data.first.survey_name
    card = load_checkpoint(weights)[1]["card"]
    return differences({key: card[key] for key in _KEYS if key in card}, wanted)
