"""Inference forms of ConvNeXt-like stages: normalisation and scales inside, weights expanded.

Each stage has two of them: block-diagonal, which is fast, and dense, of plain layers alone, for
export and for networks without symmetry.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.planar.blockdiagonal import BlockPointwise, FibreBatchNorm, FibreTransform
from equilens.models.planar.convnext import ConvNeXtBlock, Downsampling
from equilens.models.planar.depthwise import DepthwiseConv
from equilens.models.planar.folded_pairs import FoldedPointwise, folded_pair, output_scale

TILE_PIXELS = 512
"""Pixels that an eager FoldedBlock takes at once: its wide hidden layer then stays in the cache."""


class FoldedBlock(nn.Module):
    """A ConvNeXtBlock for inference, block-diagonal."""

    def __init__(self, block: ConvNeXtBlock) -> None:
        super().__init__()
        self.depthwise = fold_depthwise(block.depthwise, block.norm)
        self.pair = folded_pair(block)

    def forward(self, features: Tensor) -> Tensor:
        change = self.depthwise(features).permute(0, 2, 3, 1)
        pixels = change.reshape(-1, change.shape[-1])
        if torch.compiler.is_compiling():
            mixed = self.pair(pixels)
        else:
            mixed = torch.cat([self.pair(tile) for tile in pixels.split(TILE_PIXELS)])
        return features + mixed.view(change.shape).permute(0, 3, 1, 2)


class FoldedDownsampling(nn.Module):
    """A Downsampling for inference, block-diagonal."""

    def __init__(self, layer: Downsampling) -> None:
        super().__init__()
        self.depthwise = fold_depthwise(layer.depthwise, layer.norm)
        self.transform = FibreTransform(layer.in_type)
        self.pointwise = FoldedPointwise(layer.pointwise)

    def forward(self, features: Tensor) -> Tensor:
        halved = self.depthwise(features)
        return self.transform.features(self.pointwise(self.transform.spectrum(halved)), halved)


class DenseBlock(nn.Module):
    """A ConvNeXtBlock for inference, of plain layers."""

    def __init__(self, block: ConvNeXtBlock) -> None:
        super().__init__()
        self.depthwise = fold_depthwise(block.depthwise, block.norm)
        self.expand = dense_pointwise(block.expand)
        self.contract = dense_pointwise(block.contract, block.scale)

    def forward(self, features: Tensor) -> Tensor:
        pixels = self.depthwise(features).permute(0, 2, 3, 1)
        change = self.contract(functional.gelu(self.expand(pixels)))
        return features + change.permute(0, 3, 1, 2)


class DenseDownsampling(nn.Module):
    """A Downsampling for inference, of plain layers."""

    def __init__(self, layer: Downsampling) -> None:
        super().__init__()
        self.depthwise = fold_depthwise(layer.depthwise, layer.norm)
        self.pointwise = dense_pointwise(layer.pointwise)

    def forward(self, features: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(features).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def fold_depthwise(conv: DepthwiseConv, norm: FibreBatchNorm) -> nn.Conv2d:
    """Return one plain depthwise convolution for norm(conv(x)) in evaluation mode."""
    channels = conv.in_type.channels
    scale, shift = norm.scale_and_shift()
    weight = conv.weight().double() * scale[:, None, None, None]
    plain = nn.Conv2d(
        channels,
        channels,
        conv.size,
        stride=conv.stride,
        padding=conv.padding,
        groups=channels,
        device=weight.device,
    )
    with torch.no_grad():
        plain.weight.copy_(weight)
        if plain.bias is not None:
            plain.bias.copy_(shift)
    return plain


def dense_pointwise(layer: BlockPointwise, scale: Tensor | None = None) -> nn.Linear:
    """Return the plain linear layer, on fibre-major channels, that a block-diagonal one is."""
    scale = output_scale(layer, scale)
    weight = layer.dense() * scale[:, None]
    n_out, n_in = weight.shape
    plain = nn.Linear(n_in, n_out, layer.field_bias is not None, device=weight.device)
    with torch.no_grad():
        plain.weight.copy_(weight)
        if layer.field_bias is not None:
            plain.bias.copy_(layer.field_bias.repeat(layer.in_type.finite_group.order) * scale)
    return plain
