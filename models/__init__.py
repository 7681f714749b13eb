"""Equivariant lens finders in plain PyTorch: symmetry, layers, networks, checkpoints."""

from equilens.models.checkpoint import (
    load_checkpoint,
    model_sha256,
    save_checkpoint,
    shipped_weights,
)
from equilens.models.cost import FinderCost, finder_cost
from equilens.models.fold import FoldedFinder, fold
from equilens.models.inputs import InputSpec
from equilens.models.networks import ARCHITECTURES, LensFinder, build_finder
from equilens.models.user_models import OnnxFinder, find_model, load_model

__all__ = [
    "ARCHITECTURES",
    "FinderCost",
    "FoldedFinder",
    "InputSpec",
    "LensFinder",
    "OnnxFinder",
    "build_finder",
    "find_model",
    "finder_cost",
    "fold",
    "load_checkpoint",
    "load_model",
    "model_sha256",
    "save_checkpoint",
    "shipped_weights",
]
