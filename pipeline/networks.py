"""Find the network that a user names, and make it ready to score."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from equilens.models.checkpoint import load_checkpoint, model_sha256, shipped_weights
from equilens.models.fold import fold
from equilens.models.inputs import InputSpec
from equilens.models.user_models import OnnxFinder, find_model, load_model
from equilens.pipeline.domain import TrainingDomain
from equilens.pipeline.errors import ScoringError

Network = Callable[..., Tensor]


@dataclass(frozen=True)
class NetworkRef:
    """A network on disk: what identifies it, and what it says of itself.

    Attributes
    ----------
    name : shipped name, or the file's
    path : absolute path of the weights
    sha256 : of that file
    architecture : name
    spec : images that it takes
    domain : what it was trained on; None where its card does not say
    card : the rest of its card
    """

    name: str
    path: str
    sha256: str
    architecture: str
    spec: InputSpec
    domain: TrainingDomain | None
    card: dict[str, Any]

    def summary(self) -> dict[str, str]:
        """What a product of this network should say of it."""
        return {"name": self.name, "sha256": self.sha256, "architecture": self.architecture}


def describe_network(reference: str | Path) -> NetworkRef:
    """What the weights say of themselves.

    Parameters
    ----------
    reference : a shipped name, a folder that a training made, a .safetensors or an .onnx file

    Raises
    ------
    CheckpointError
        It is none of these, or not what it claims to be.
    """
    path = find_model(reference)
    card = card_of(path)
    model = load_model(path)
    stated = card.get("training_domain")
    is_shipped = str(reference) in shipped_weights()
    return NetworkRef(
        name=str(reference) if is_shipped else _name(path),
        path=str(path.resolve()),
        sha256=model_sha256(path),
        architecture="onnx" if isinstance(model, OnnxFinder) else model.architecture.name,
        spec=model.spec,
        domain=None if stated is None else TrainingDomain.from_dict(stated),
        card=card,
    )


def card_of(path: Path) -> dict[str, Any]:
    """The card in a checkpoint, beside an ONNX graph (.json) or in it; empty without one."""
    if path.suffix != ".onnx":
        return dict(load_checkpoint(path)[1]["card"])
    beside = path.with_suffix(".json")
    if beside.is_file():
        return dict(json.loads(beside.read_text()).get("card", {}))
    return OnnxFinder(path).card


def _name(path: Path) -> str:
    """A training's folder says more than ``model``."""
    return path.absolute().parent.name if path.stem == "model" else path.stem


@lru_cache(maxsize=4)
def ready_network(path: str, sha256: str, device: str) -> Network:
    """The network as it runs, kept for the next call of this process.

    Raises
    ------
    ScoringError
        The file changed since `sha256` was taken.
    """
    if (found := model_sha256(path)) != sha256:
        raise ScoringError(
            f"{path} changed while it was used (sha256 {found[:12]}, was {sha256[:12]}): "
            "score again"
        )
    model = load_model(path)
    return model if isinstance(model, OnnxFinder) else fold(model).to(device)
