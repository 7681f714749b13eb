"""What a finder costs: parameters, multiply-accumulates, activation memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from equilens.models.fold import fold
from equilens.models.inputs import InputSpec
from equilens.models.networks import LensFinder


@dataclass(frozen=True)
class FinderCost:
    """Costs of one finder; per cutout where a forward pass is meant.

    Parameters
    ----------
    parameters : int
        Free ones, that training adjusts.
    macs : int
        Multiply-accumulates of the folded network for one cutout; FLOPs are twice that.
    inference_bytes : int
        The largest sum of one layer's input and output, for one cutout in float32.
    training_bytes : int
        What a forward pass keeps for the backward one, for one cutout in float32.
    """

    parameters: int
    macs: int
    inference_bytes: int
    training_bytes: int


def finder_cost(finder: LensFinder) -> FinderCost:
    """Measure a finder's cost by running it; its weights and statistics stay as they are."""
    folded = fold(finder)
    inputs = blank_inputs(finder.spec, 1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        folded(*inputs)
    return FinderCost(
        parameters=sum(parameter.numel() for parameter in finder.parameters()),
        macs=counter.get_total_flops() // 2,
        inference_bytes=_largest_layer_bytes(folded, inputs),
        training_bytes=_saved_bytes(finder, 2) - _saved_bytes(finder, 1),
    )


def blank_inputs(spec: InputSpec, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return images, noise, mask and band_present of n empty, fully valid cutouts."""
    shape = (n, spec.n_bands, *spec.shape)
    return (
        torch.zeros(shape),
        torch.ones(shape[:2]),
        torch.zeros(shape, dtype=torch.bool),
        torch.ones(shape[:2], dtype=torch.bool),
    )


def _largest_layer_bytes(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    largest = 0

    def record(_layer: nn.Module, arguments: tuple, output: Tensor) -> None:
        nonlocal largest
        tensors = [*arguments, output]
        largest = max(largest, sum(t.nbytes for t in tensors if isinstance(t, Tensor)))

    leaves = [layer for layer in module.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(record) for layer in leaves]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return largest


def _saved_bytes(finder: LensFinder, batch: int) -> int:
    """Bytes of distinct storages that autograd keeps; in evaluation mode, to leave statistics."""
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    was_training = finder.training
    finder.eval()
    try:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            finder(*blank_inputs(finder.spec, batch))
    finally:
        finder.train(was_training)
    return sum(storages.values())
