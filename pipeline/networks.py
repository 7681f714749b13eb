"""Find the network that a user names, and make it ready to score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from equilens.models.checkpoint import model_sha256, shipped_weights
from equilens.models.committee import RULE, Committee
from equilens.models.fold import fold
from equilens.models.inputs import InputSpec
from equilens.models.user_models import OnnxFinder, find_model, load_model, load_with_card
from equilens.pipeline.domain import TrainingDomain
from equilens.pipeline.errors import ScoringError

Network = Callable[..., Tensor]
# kept ready by one process, so also the most that score in one read
MOST_NETWORKS = 16


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
    members : 1, or the size of a committee
    """

    name: str
    path: str
    sha256: str
    architecture: str
    spec: InputSpec
    domain: TrainingDomain | None
    card: dict[str, Any]
    members: int = 1

    def summary(self) -> dict[str, Any]:
        """What a product of this network should say of it."""
        facts = {"name": self.name, "sha256": self.sha256, "architecture": self.architecture}
        return facts if self.members == 1 else {**facts, "members": self.members, "rule": RULE}


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
    model, card = load_with_card(path)
    stated = card.get("training_domain")
    return NetworkRef(
        name=network_name(reference),
        path=str(path.resolve()),
        sha256=model_sha256(path),
        architecture="onnx" if isinstance(model, OnnxFinder) else model.architecture.name,
        spec=model.spec,
        domain=None if stated is None else TrainingDomain.from_dict(stated),
        card=card,
        members=len(model.members) if isinstance(model, Committee) else 1,
    )


def network_name(reference: str | Path) -> str:
    """What products call a network: its shipped name, else that of its file or folder."""
    if str(reference) in shipped_weights():
        return str(reference)
    path = find_model(reference)
    # a training's folder says more than ``model``
    return path.absolute().parent.name if path.stem == "model" else path.stem


@lru_cache(maxsize=MOST_NETWORKS)
def ready_network(path: str, sha256: str, device: str) -> Network:
    """The network as it runs, kept for the next call of this process; gives scores of shape (N,).

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


def by_member(network: Network) -> Network:
    """What a ready network is made of: a committee then gives (N, members) logits."""
    return network.member_logits if isinstance(network, Committee) else network
