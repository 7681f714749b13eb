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
from equilens.models.planar.layout import as_maps, as_pixels

TILE_PIXELS = 512
"""Pixels that an eager FoldedBlock takes at once: its wide hidden layer then stays in the cache."""


class FoldedBlock(nn.Module):
    """A ConvNeXtBlock for inference, block-diagonal."""

    def __init__(self, block: ConvNeXtBlock) -> None:
        super().__init__()
        self.depthwise = fold_depthwise(block.depthwise, block.norm)
        self.pair = folded_pair(block)

    def forward(self, features: Tensor) -> Tensor:
        change, pixels = as_pixels(self.depthwise(features)), as_pixels(features)
        if torch.compiler.is_compiling():
            out = self._add(pixels, change)
        else:
            out = torch.empty_like(pixels)
            tiles = (x.split(TILE_PIXELS) for x in (pixels, change, out))
            for tile, tile_change, tile_out in zip(*tiles, strict=True):
                self._add(tile, tile_change, tile_out)
        return as_maps(out, features)

    def _add(self, pixels: Tensor, change: Tensor, out: Tensor | None = None) -> Tensor:
        """Return pixels + pair(change), the slabs back in their places in the same pass."""
        slabs = self.pair(change)
        fibres = (pixels.shape[0], slabs.shape[0], slabs.shape[2])
        total = None if out is None else out.view(fibres)
        added = torch.add(pixels.view(fibres), slabs.transpose(0, 1), out=total)
        return added.view(pixels.shape)


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


def fold_depthwise(conv: DepthwiseConv, norm: FibreBatchNorm | None = None) -> nn.Conv2d:
    """Return one plain depthwise convolution for norm(conv(x)) in evaluation mode, or conv(x)."""
    weight, shift = conv.weight(), None
    if norm is not None:
        scale, shift = norm.scale_and_shift()
        weight = weight.double() * scale[:, None, None, None]
    return plain_conv(weight, shift, conv.stride, conv.padding, conv.in_type.channels)


def plain_conv(
    weight: Tensor, bias: Tensor | None, stride: int, padding: int, groups: int = 1
) -> nn.Conv2d:
    """Return the plain convolution, in float32, of a kernel (out, in / groups, size, size)."""
    n_out, n_in, size, _ = weight.shape
    plain = nn.Conv2d(
        n_in * groups,
        n_out,
        size,
        stride,
        padding,
        groups=groups,
        bias=bias is not None,
        device=weight.device,
    )
    with torch.no_grad():
        plain.weight.copy_(weight)
        if plain.bias is not None and bias is not None:
            plain.bias.copy_(bias)
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
