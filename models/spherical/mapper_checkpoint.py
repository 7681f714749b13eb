"""A mass mapper on disk: one safetensors file that says what it is, and executes nothing.

The header's metadata holds ``format``, ``spec`` (JSON) and ``card`` (JSON). Tensors named
``prior.…`` are not the network's: they are the power spectra by which its linear inputs are made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from equilens.models.checkpoint import (
    TRAINED_WEIGHTS,
    WEIGHTS_FOLDER,
    load_checked_state,
    model_sha256,
    refuse_unsafe,
)
from equilens.models.errors import CheckpointError, InputSpecError
from equilens.models.spherical.mapper_spec import MapperSpec
from equilens.models.spherical.mass_mapper import SphericalMassMapper

FORMAT = "equilens-mass-mapper-1"
# apart from the planar finders, whose every command lists all weights of its folder
FOLDER = WEIGHTS_FOLDER / "sphere"
_PRIOR = "prior."


@dataclass(frozen=True)
class StoredMapper:
    """A mapper and what came with it.

    Attributes
    ----------
    network : in evaluation mode
    prior : spectra of the linear inputs, by name, float64
    card : what it was trained on
    sha256 : of the file
    path : of the file
    """

    network: SphericalMassMapper
    prior: dict[str, Tensor]
    card: dict[str, Any]
    sha256: str
    path: Path

    @property
    def name(self) -> str:
        """As the card calls it, else the file's."""
        return str(self.card.get("name") or self.path.stem)


def shipped_mappers() -> dict[str, Path]:
    """The mass mappers that come with equilens, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def find_mapper(name_or_path: str | os.PathLike) -> Path:
    """The weights file meant by a shipped name, a file, or a training's folder.

    Raises
    ------
    CheckpointError
        There is none.
    """
    shipped = shipped_mappers()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    path = Path(name_or_path)
    if path.is_dir():
        path = path / TRAINED_WEIGHTS
    if not path.is_file():
        raise CheckpointError(
            f"no mass mapper at {path}, and none of that name ships; shipped are "
            f"{', '.join(shipped) or 'none'}"
        )
    return path


def mapper_bytes(
    network: SphericalMassMapper, prior: Mapping[str, Tensor], card: Mapping[str, Any]
) -> bytes:
    """The file's content; whoever writes it does so atomically."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    tensors |= {f"{_PRIOR}{k}": v.detach().cpu().double().contiguous() for k, v in prior.items()}
    metadata = {
        "format": FORMAT,
        "spec": json.dumps(network.spec.to_dict()),
        "card": json.dumps(card, default=str),
    }
    return safetensors.torch.save(tensors, metadata)


def load_mapper(name_or_path: str | os.PathLike) -> StoredMapper:
    """The mapper behind a shipped name, a file, or a training's folder.

    Raises
    ------
    UnsafeWeightsError
        For pickles, whatever their suffix.
    CheckpointError
        For a missing, damaged or foreign file.
    """
    path = find_mapper(name_or_path)
    refuse_unsafe(path)
    try:
        with safetensors.safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} declares format {metadata.get('format')!r}, a mass mapper's is {FORMAT!r}"
        )
    try:
        network = SphericalMassMapper(MapperSpec.from_dict(json.loads(metadata["spec"])))
        card = json.loads(metadata["card"])
    except (KeyError, TypeError, ValueError, InputSpecError) as error:
        raise CheckpointError(f"{path} has a damaged header: {error!r}") from error
    prior = {k.removeprefix(_PRIOR): v for k, v in tensors.items() if k.startswith(_PRIOR)}
    state = {k: v for k, v in tensors.items() if not k.startswith(_PRIOR)}
    load_checked_state(path, network, state, "its own specification")
    return StoredMapper(network.eval(), prior, card, model_sha256(path), path)
