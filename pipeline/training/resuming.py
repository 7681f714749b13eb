"""What every training that can be stopped anywhere shares: optimiser, average, resume file, log."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from equilens.pipeline.errors import TrainingError
from equilens.pipeline.provenance import write_atomic
from equilens.pipeline.training.identity import differences


def adamw(network: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW of what a network learns; biases and normalisations are not shrunk.

    They have one axis, and shrinking them to zero has no meaning.
    """
    learning = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate)


def move_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move a running average towards the network; faster in the first steps.

    The factor grows as (1 + t)/(10 + t), so that the random start is soon forgotten.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    source = network.state_dict()
    with torch.no_grad():
        for name, kept in average.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(source[name], weight)
            else:
                kept.copy_(source[name])


def module_tensors(**modules: nn.Module) -> dict[str, Tensor]:
    """Tensors of several modules, each below the name that it is given by."""
    return {
        f"{part}.{name}": value
        for part, module in modules.items()
        for name, value in module.state_dict().items()
    }


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The slots of an optimiser, below ``optimiser.``."""
    state = optimiser.state_dict()["state"]
    return {f"optimiser.{k}.{name}": v for k, slots in state.items() for name, v in slots.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` gave."""
    state = optimiser.state_dict()
    for name, value in below(tensors, "optimiser.").items():
        number, slot = name.split(".", 1)
        state["state"].setdefault(int(number), {})[slot] = value
    optimiser.load_state_dict(state)


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def write_resume_file(
    path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], identity: dict[str, Any]
) -> None:
    """Write all of a training's state to one file, atomically."""
    metadata = {"state": json.dumps(facts), "identity": json.dumps(identity, sort_keys=True)}
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    write_atomic(path, safetensors.torch.save(plain, metadata))


def read_resume_file(
    path: Path, identity: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a resume file.

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
            f"{path} belongs to another training ({'; '.join(differing)}): "
            "choose another output folder, or start anew with resume=False (--fresh)"
        )
    return tensors, json.loads(metadata["state"])


def drop_lines_after(path: Path, fields: Sequence[str], step: int) -> None:
    """Begin a log, or drop its lines of a part that was lost: those after `step`."""
    rows = []
    if step and path.exists():
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)
