"""Folding: a finder for inference alone, with expanded kernels and the normalisation inside.

Dense convolutions become plain ones, at a plain network's price; ConvNeXt-like stages keep their
block-diagonal layers, which cost less, unless the dense form is asked for.
"""

from __future__ import annotations

import copy
from typing import overload

import torch
from torch import Tensor, nn

from equilens.models.committee import Committee
from equilens.models.networks import LensFinder
from equilens.models.planar.blockdiagonal import FibreMajor
from equilens.models.planar.blocks import ConvNorm
from equilens.models.planar.convnext import ConvNeXtBlock, Downsampling
from equilens.models.planar.convolutions import SteerableConv
from equilens.models.planar.depthwise import DepthwiseConv
from equilens.models.planar.folded import (
    DenseBlock,
    DenseDownsampling,
    FoldedBlock,
    FoldedDownsampling,
    fold_depthwise,
    plain_conv,
)

BLOCKS_FROM_CHANNELS, DOWNSAMPLING_FROM_CHANNELS = 128, 256
"""Channels from which blocks, and downsamplings by what they give, stay block-diagonal: below them
the change of basis costs more than it saves."""


class FoldedFinder(nn.Module):
    """Same inputs and logits as the finder it was folded from; convolutions in channels-last.

    It has no kernels to expand and no batch statistics. It can be pickled, compiled and
    exported, not trained further.

    Parameters
    ----------
    finder : LensFinder
        Left unchanged.
    dense : bool
        Plain layers only, which any runtime knows; else block-diagonal ones where there are some.
    """

    def __init__(self, finder: LensFinder, *, dense: bool = False) -> None:
        super().__init__()
        # a group of one element has one block, the whole matrix
        dense = dense or finder.architecture.group.order == 1
        self.architecture, self.spec = finder.architecture, finder.spec
        self.normalizer = copy.deepcopy(finder.normalizer)
        stem = _in_stages_order(_folded(finder.stem, dense))
        self.features = nn.Sequential(stem, _folded(finder.stages, dense))
        for layer in self.features.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head = _folded(finder.head, dense)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, noise: Tensor, mask: Tensor, band_present: Tensor) -> Tensor:
        """Return logits, shape (N,); arguments as in LensFinder.forward."""
        normal = self.normalizer(images, noise, mask, band_present)
        normal = normal.contiguous(memory_format=torch.channels_last)
        return self.head(self.features(normal).contiguous())


@overload
def fold(finder: LensFinder, *, dense: bool = ...) -> FoldedFinder: ...
@overload
def fold(finder: Committee, *, dense: bool = ...) -> Committee: ...
def fold(finder: LensFinder | Committee, *, dense: bool = False) -> FoldedFinder | Committee:
    """Return the finder's inference form, equal to its evaluation mode within 1e-5 in float32.

    A committee's is the committee of its folded members.
    """
    if isinstance(finder, Committee):
        return finder.each(lambda member: FoldedFinder(member, dense=dense))
    return FoldedFinder(finder, dense=dense)


def fold_convolution(conv: SteerableConv) -> nn.Conv2d:
    """Return the plain convolution that a steerable one amounts to."""
    return plain_conv(conv.weight(), conv.bias(), conv.stride, conv.padding)


def fold_conv_norm(pair: ConvNorm) -> nn.Conv2d:
    """Return one plain convolution for norm(conv(x)) in evaluation mode."""
    scale, shift = pair.norm.scale_and_shift()
    weight = pair.conv.weight().double() * scale[:, None, None, None]
    bias = pair.conv.bias()
    if bias is not None:
        shift = shift + scale * bias.double()
    return plain_conv(weight, shift, pair.conv.stride, pair.conv.padding)


def _in_stages_order(stem: nn.Module) -> nn.Module:
    """Return a folded stem whose convolution gives the order that a last FibreMajor would make.

    Nonlinearities between act channel by channel.
    """
    layers = list(stem.children())
    if not isinstance(layers[-1], FibreMajor):
        return stem
    order = layers[-1].order
    conv = next(layer for layer in layers if isinstance(layer, nn.Conv2d))
    with torch.no_grad():
        conv.weight.copy_(conv.weight[order])
        if conv.bias is not None:
            conv.bias.copy_(conv.bias[order])
    return nn.Sequential(*layers[:-1])


def _folded(module: nn.Module, dense: bool) -> nn.Module:
    """Return a copy of a module tree with every steerable layer in its inference form."""
    if isinstance(module, ConvNorm):
        return fold_conv_norm(module)
    if isinstance(module, SteerableConv):
        return fold_convolution(module)
    if isinstance(module, DepthwiseConv):
        return fold_depthwise(module)
    if isinstance(module, ConvNeXtBlock):
        dense = dense or module.in_type.channels < BLOCKS_FROM_CHANNELS
        return DenseBlock(module) if dense else FoldedBlock(module)
    if isinstance(module, Downsampling):
        dense = dense or module.out_type.channels < DOWNSAMPLING_FROM_CHANNELS
        return DenseDownsampling(module) if dense else FoldedDownsampling(module)
    # shallow, since children are replaced one by one and their tables need not be copied
    duplicate = copy.copy(module)
    duplicate._parameters = copy.deepcopy(module._parameters)
    duplicate._buffers = copy.deepcopy(module._buffers)
    duplicate._modules = {
        name: _folded(child, dense) for name, child in module._modules.items() if child is not None
    }
    return duplicate
