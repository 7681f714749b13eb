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

from equilens.models.networks import LensFinder
from equilens.pipeline.errors import TrainingError
from equilens.pipeline.provenance import write_atomic
from equilens.pipeline.training.config import TrainConfig
from equilens.pipeline.training.identity import differences
from equilens.pipeline.training.losses import build_loss
from equilens.pipeline.training.mining import Hardness
from equilens.pipeline.training.stopping import Best

STATE = "resume.safetensors"
_COUNTERS = ("step", "images", "elapsed_s")
_LOGITS = ("latest", "at_start")


@dataclass
class TrainingState:
    """Everything that changes while a finder is trained.

    Attributes
    ----------
    finder : the network that takes the steps
    average : running average of it, which is what is kept
    optimiser : AdamW over what learns in the finder
    loss : what is made small, with its memory
    hardness : last logits of all objects, where hard ones are drawn more often
    best : average to keep, where a training may stop early
    frozen : parts of the finder that do not learn
    step, images : steps taken and cutouts shown so far
    elapsed_s : wall time so far, over all resumed parts
    """

    finder: LensFinder
    average: LensFinder
    optimiser: torch.optim.AdamW
    loss: nn.Module
    hardness: Hardness | None = None
    best: Best | None = None
    frozen: tuple[str, ...] = ()
    step: int = 0
    images: int = 0
    elapsed_s: float = 0.0

    @classmethod
    def start(
        cls,
        finder: LensFinder,
        config: TrainConfig,
        n_objects: int,
        frozen: tuple[str, ...] = (),
    ) -> TrainingState:
        """Before the first step.

        Parameters
        ----------
        n_objects : of the training set
        """
        finder.to(config.device)
        average = copy.deepcopy(finder).requires_grad_(False).eval()
        for name in frozen:
            finder.get_submodule(name).requires_grad_(False)
        return cls(
            finder,
            average,
            _optimiser(finder, config),
            build_loss(config.loss, config.tail).to(config.device),
            Hardness(config.mining, n_objects) if config.mining.active else None,
            Best() if config.stopping.active else None,
            frozen,
        )

    def train_mode(self) -> None:
        """Batch statistics of the batch, but in frozen parts."""
        self.finder.train()
        for name in self.frozen:
            self.finder.get_submodule(name).eval()

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

    def take_best(self) -> None:
        """Let the best average be the one that is kept."""
        if self.best is not None and self.best.tensors:
            self.average.load_state_dict(self.best.tensors)

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write all of it to one file, atomically."""
        tensors = {f"finder.{k}": v for k, v in self.finder.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= {f"loss.{k}": v for k, v in self.loss.state_dict().items()}
        for number, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": v for name, v in slots.items()}
        facts: dict[str, Any] = {name: getattr(self, name) for name in _COUNTERS}
        if self.best is not None:
            tensors |= {f"best.{k}": v for k, v in self.best.tensors.items()}
            facts["best"] = self.best.facts()
        if self.hardness is not None:
            for name in _LOGITS:
                tensors[f"hardness.{name}"] = torch.from_numpy(getattr(self.hardness, name))
            facts["hardness_epoch"] = self.hardness.epoch
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
        self.loss.load_state_dict(_below(tensors, "loss."))
        optimiser = self.optimiser.state_dict()
        for name, value in _below(tensors, "optimiser.").items():
            number, slot = name.split(".", 1)
            optimiser["state"].setdefault(int(number), {})[slot] = value
        self.optimiser.load_state_dict(optimiser)
        facts = json.loads(metadata["state"])
        for name in _COUNTERS:
            setattr(self, name, facts[name])
        if self.best is not None:
            self.best = Best(**facts["best"], tensors=_below(tensors, "best."))
        if self.hardness is not None:
            for name in _LOGITS:
                setattr(self.hardness, name, tensors[f"hardness.{name}"].numpy())
            self.hardness.epoch = facts["hardness_epoch"]


def _optimiser(finder: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    # biases and normalisations have one axis; shrinking them to zero has no meaning
    learning = [p for p in finder.parameters() if p.requires_grad]
    kernels = [p for p in learning if p.ndim > 1]
    others = [p for p in learning if p.ndim <= 1]
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
