"""Random weights that act like trained ones, for checks that no branch of a network may escape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from equilens.models.inputs import InputSpec
from equilens.models.networks import LensFinder, build_finder
from equilens.models.testing import random_inputs

N_SETTLING, PASSES = 16, 6


def random_finder(architecture: str, spec: InputSpec, seed: int = 0) -> LensFinder:
    """Return a finder with random weights, in evaluation mode.

    A new finder starts as the identity in its residual branches and its logits hardly differ,
    which hides errors. Here every weight that starts as a constant is drawn at random, batch
    statistics are those of random scenes, and their logits have mean 0 and standard deviation 1.

    Raises
    ------
    ArchitectureError
        Where the name is unknown.
    """
    finder = build_finder(architecture, spec, seed)
    scenes = random_inputs(spec, N_SETTLING, seed)
    with torch.no_grad():
        _draw_constants(finder, seed)
        _settle_statistics(finder, scenes)
        _standardize_logits(finder, scenes)
    return finder


def _draw_constants(finder: LensFinder, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in finder.parameters():
        first = parameter.flatten()[0]
        if bool((parameter == first).all()):
            drawn = torch.rand(parameter.shape, generator=generator)
            # gains start above 0 and must stay there; biases and closed gates start at 0
            parameter.copy_(0.5 + drawn if first > 0 else 0.6 * (drawn - 0.5))


def _settle_statistics(finder: LensFinder, scenes: tuple[Tensor, ...]) -> None:
    normalizing: list[Any] = [
        layer for layer in finder.modules() if isinstance(getattr(layer, "momentum", None), float)
    ]
    usual = [layer.momentum for layer in normalizing]
    for layer in normalizing:
        layer.momentum = 0.5
    finder.train()
    for _ in range(PASSES):
        finder(*scenes)
    finder.eval()
    for layer, momentum in zip(normalizing, usual, strict=True):
        layer.momentum = momentum


def _standardize_logits(finder: LensFinder, scenes: tuple[Tensor, ...]) -> None:
    logits = finder(*scenes)
    last: nn.Linear = finder.head.logit
    last.weight.div_(logits.std())
    last.bias.sub_(logits.mean()).div_(logits.std())
