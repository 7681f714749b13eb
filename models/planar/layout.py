"""Memory layouts of feature maps: layers hand on the one they are given.

Pointwise work is done on *pixels* (N H W, channels), those of all objects in a row: of maps in
channels-last they are a view.
"""

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


def as_pixels(features: Tensor) -> Tensor:
    """(N, C, H, W) → (N H W, C), a view of channels-last maps."""
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])


def as_maps(pixels: Tensor, like: Tensor) -> Tensor:
    """Rows of values, pixel by pixel → channels-last (N, C, H, W), N, H and W those of ``like``."""
    batch, _, height, width = like.shape
    return pixels.view(batch, height, width, -1).permute(0, 3, 1, 2)
