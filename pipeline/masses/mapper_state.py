"""A mapper's training that can be stopped anywhere: network, average and optimiser in one file."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from equilens.pipeline.errors import TrainingError
from equilens.pipeline.masses.mapper_config import MapperConfig
from equilens.pipeline.provenance import write_atomic
from equilens.pipeline.training.identity import differences

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
        kernels = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim <= 1]
        groups = [
            {"params": kernels, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate)
        return cls(network, average, optimiser)

    def update_average(self, decay: float) -> None:
        """Move the average towards the network; faster in the first steps, by (1 + t)/(10 + t)."""
        weight = 1 - min(decay, (1 + self.step) / (10 + self.step))
        source = self.network.state_dict()
        with torch.no_grad():
            for name, kept in self.average.state_dict().items():
                if kept.is_floating_point():
                    kept.lerp_(source[name], weight)
                else:
                    kept.copy_(source[name])

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write all of it to one file, atomically."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for number, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": v for name, v in slots.items()}
        facts = {name: getattr(self, name) for name in _COUNTERS}
        metadata = {"state": json.dumps(facts), "identity": json.dumps(identity, sort_keys=True)}
        plain = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
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
        found, wanted = json.loads(metadata["identity"]), json.loads(json.dumps(identity))
        if differing := differences(found, wanted):
            raise TrainingError(
                f"{path} belongs to another training ({'; '.join(differing)}): choose another "
                "output folder, or start anew (--fresh)"
            )
        self.network.load_state_dict(_below(tensors, "network."))
        self.average.load_state_dict(_below(tensors, "average."))
        optimiser = self.optimiser.state_dict()
        for name, value in _below(tensors, "optimiser.").items():
            number, slot = name.split(".", 1)
            optimiser["state"].setdefault(int(number), {})[slot] = value
        self.optimiser.load_state_dict(optimiser)
        for name, value in json.loads(metadata["state"]).items():
            setattr(self, name, value)


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
