"""Memory layouts of feature maps: layers hand on the one they are given."""

from __future__ import annotations

import torch
from torch import Tensor


def is_channels_last(features: Tensor) -> bool:
    """True where an (N, C, H, W) map keeps each pixel's channels together.

    Maps of one channel or one pixel are both layouts at once; they count as rows, which is what
    torch's own convolutions take them for.
    """
    by_pixel = features.is_contiguous(memory_format=torch.channels_last)
    return by_pixel and not features.is_contiguous()
