"""A training that can be stopped anywhere: network, running average and optimiser in one file."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from equilens.models.networks import LensFinder
from equilens.pipeline.training.config import TrainConfig
from equilens.pipeline.training.losses import build_loss
from equilens.pipeline.training.mining import Hardness
from equilens.pipeline.training.resuming import (
    adamw,
    below,
    module_tensors,
    move_average,
    optimiser_tensors,
    read_resume_file,
    restore_optimiser,
    write_resume_file,
)
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
            adamw(finder, config.learning_rate, config.weight_decay),
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
        """Move the average towards the network."""
        move_average(self.average, self.finder, decay, self.step)

    def take_best(self) -> None:
        """Let the best average be the one that is kept."""
        if self.best is not None and self.best.tensors:
            self.average.load_state_dict(self.best.tensors)

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write all of it to one file, atomically."""
        tensors = module_tensors(finder=self.finder, average=self.average, loss=self.loss)
        tensors |= optimiser_tensors(self.optimiser)
        facts: dict[str, Any] = {name: getattr(self, name) for name in _COUNTERS}
        if self.best is not None:
            tensors |= {f"best.{k}": v for k, v in self.best.tensors.items()}
            facts["best"] = self.best.facts()
        if self.hardness is not None:
            for name in _LOGITS:
                tensors[f"hardness.{name}"] = torch.from_numpy(getattr(self.hardness, name))
            facts["hardness_epoch"] = self.hardness.epoch
        write_resume_file(path, tensors, facts, identity)

    def load(self, path: Path, identity: dict[str, Any]) -> None:
        """Go on from `path`.

        Raises
        ------
        TrainingError
            The file belongs to another training.
        """
        tensors, facts = read_resume_file(path, identity)
        self.finder.load_state_dict(below(tensors, "finder."))
        self.average.load_state_dict(below(tensors, "average."))
        self.loss.load_state_dict(below(tensors, "loss."))
        restore_optimiser(self.optimiser, tensors)
        for name in _COUNTERS:
            setattr(self, name, facts[name])
        if self.best is not None:
            self.best = Best(**facts["best"], tensors=below(tensors, "best."))
        if self.hardness is not None:
            for name in _LOGITS:
                setattr(self.hardness, name, tensors[f"hardness.{name}"].numpy())
            self.hardness.epoch = facts["hardness_epoch"]
