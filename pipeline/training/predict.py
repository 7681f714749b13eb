"""A network's logits for examples in memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from equilens.pipeline.network_inputs import batched_logits
from equilens.pipeline.training.augmentation import Examples


def network_inputs(
    batch: Examples, device: str, layout: torch.memory_format = torch.contiguous_format
) -> tuple[torch.Tensor, ...]:
    """The four tensors that a finder takes; images and mask in the asked memory layout."""
    images, noise, mask, present = (
        torch.from_numpy(values).to(device)
        for values in (batch.images, batch.noise, batch.mask, batch.band_present)
    )
    return images.to(memory_format=layout), noise, mask.to(memory_format=layout), present


def predict(finder: nn.Module, batch: Examples, batch_size: int, device: str) -> np.ndarray:
    """Logits of a network in evaluation mode, (N,) float64."""
    arrays = (batch.images, batch.noise, batch.mask, batch.band_present)
    return batched_logits(finder.eval(), arrays, batch_size, device)
