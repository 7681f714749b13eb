"""A training that can be stopped anywhere: network, running average and optimiser in one file."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from equilens.pipeline.errors import TrainingError
from equilens.pipeline.provenance import write_atomic
from equilens.pipeline.training.config import TrainConfig
from equilens.pipeline.training.identity import differences

STATE = "resume.safetensors"


@dataclass
class TrainingState:
    """Everything that changes while a finder is trained.

    Attributes
    ----------
    finder : the network that takes the steps
    average : running average of it, which is what is kept
    optimiser : AdamW over the finder
    step, images : steps taken and cutouts shown so far
    elapsed_s : wall time so far, over all resumed parts
    """

    finder: nn.Module
    average: nn.Module
    optimiser: torch.optim.AdamW
    step: int = 0
    images: int = 0
    elapsed_s: float = 0.0

    @classmethod
    def start(cls, finder: nn.Module, config: TrainConfig) -> TrainingState:
        """Before the first step."""
        finder.to(config.device)
        average = copy.deepcopy(finder).requires_grad_(False).eval()
        return cls(finder, average, _optimiser(finder, config))

    def update_average(self, decay: float) -> None:
        """Move the average towards the network; faster in the first steps.

        The factor grows as (1 + t)/(10 + t), so that the random start is soon forgotten.
        """
        weight = 1 - min(decay, (1 + self.step) / (10 + self.step))
        source = self.finder.state_dict()
        with torch.no_grad():
            for name, kept in self.average.state_dict().items():
                if kept.is_floating_point():
                    kept.lerp_(source[name], weight)
                else:
                    kept.copy_(source[name])

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write all of it to one file, atomically."""
        tensors = {f"finder.{k}": v for k, v in self.finder.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for number, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": v for name, v in slots.items()}
        facts = {"step": self.step, "images": self.images, "elapsed_s": self.elapsed_s}
        metadata = {"state": json.dumps(facts), "identity": json.dumps(identity, sort_keys=True)}
        plain = {name: value.detach().cpu().clone() for name, value in tensors.items()}
        write_atomic(path, safetensors.torch.save(plain, metadata))

    def load(self, path: Path, identity: dict[str, Any]) -> None:
        """Go on from `path`.

        Raises
        ------
        TrainingError
            The file belongs to another training.
        """
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _check_same(path, json.loads(metadata["identity"]), identity)
        self.finder.load_state_dict(_below(tensors, "finder."))
        self.average.load_state_dict(_below(tensors, "average."))
        optimiser = self.optimiser.state_dict()
        for name, value in _below(tensors, "optimiser.").items():
            number, slot = name.split(".", 1)
            optimiser["state"].setdefault(int(number), {})[slot] = value
        self.optimiser.load_state_dict(optimiser)
        for name, value in json.loads(metadata["state"]).items():
            setattr(self, name, value)


def _optimiser(finder: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    # biases and normalisations have one axis; shrinking them to zero has no meaning
    kernels = [p for p in finder.parameters() if p.ndim > 1]
    others = [p for p in finder.parameters() if p.ndim <= 1]
    groups = [
        {"params": kernels, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate)


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _check_same(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    if differing := differences(found, json.loads(json.dumps(wanted))):
        raise TrainingError(
            f"{path} belongs to another training ({'; '.join(differing)}): "
            "choose another output folder, or start anew with resume=False (--fresh)"
        )
