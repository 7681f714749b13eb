"""A mapper's training that can be stopped anywhere: network, average and optimiser in one file."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from equilens.pipeline.masses.mapper_config import MapperConfig
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

STATE = "resume.safetensors"
_COUNTERS = ("step", "patches", "elapsed_s")


@dataclass
class MapperState:
    """Everything that changes while a mapper is trained.

    Attributes
    ----------
    network : takes the steps
    average : running average of it, which is what is kept
    optimiser : AdamW
    step, patches : taken and shown so far
    elapsed_s : wall time so far, over all resumed parts
    """

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.AdamW
    step: int = 0
    patches: int = 0
    elapsed_s: float = 0.0

    @classmethod
    def start(cls, network: nn.Module, config: MapperConfig) -> MapperState:
        """Before the first step."""
        average = copy.deepcopy(network).requires_grad_(False).eval()
        optimiser = adamw(network, config.learning_rate, config.weight_decay)
        return cls(network, average, optimiser)

    def update_average(self, decay: float) -> None:
        """Move the average towards the network."""
        move_average(self.average, self.network, decay, self.step)

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write all of it to one file, atomically."""
        tensors = module_tensors(network=self.network, average=self.average)
        tensors |= optimiser_tensors(self.optimiser)
        facts = {name: getattr(self, name) for name in _COUNTERS}
        write_resume_file(path, tensors, facts, identity)

    def load(self, path: Path, identity: dict[str, Any]) -> None:
        """Go on from `path`.

        Raises
        ------
        TrainingError
            The file belongs to another training.
        """
        tensors, facts = read_resume_file(path, identity)
        self.network.load_state_dict(below(tensors, "network."))
        self.average.load_state_dict(below(tensors, "average."))
        restore_optimiser(self.optimiser, tensors)
        for name, value in facts.items():
            setattr(self, name, value)
