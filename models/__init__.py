"""Equivariant lens finders in plain PyTorch: symmetry, layers, networks, checkpoints."""

from equilens.models.checkpoint import (
    load_checkpoint,
    model_sha256,
    save_checkpoint,
    shipped_weights,
)
from equilens.models.inputs import InputSpec
from equilens.models.networks import ARCHITECTURES, LensFinder, build_finder

__all__ = [
    "ARCHITECTURES",
    "InputSpec",
    "LensFinder",
    "build_finder",
    "load_checkpoint",
    "model_sha256",
    "save_checkpoint",
    "shipped_weights",
]
