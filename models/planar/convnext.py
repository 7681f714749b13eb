"""ConvNeXt-like blocks (Liu et al. 2022, arXiv:2201.03545) of regular fields.

A depthwise convolution sees the plane, a pair of pointwise layers with a nonlinearity between mixes
channels. Nearly all arithmetic is in the pair, which symmetry makes block-diagonal. All feature
maps are fibre-major (N, channels, H, W), best in channels-last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.fields import FieldType, regular_type
from equilens.models.planar.blockdiagonal import BlockPointwise, FibreBatchNorm, FibreTransform
from equilens.models.planar.depthwise import DepthwiseConv

EXPANSION = 4
FIRST_SCALE = 0.3


class ConvNeXtBlock(nn.Module):
    """x → x + γ contract(GELU(expand(norm(depthwise(x))))), with one γ a field.

    Parameters
    ----------
    field_type : FieldType
        Regular fields.
    size : int
        Odd size of the depthwise kernel in pixels.
    basis : {"pixels", "harmonics", "smooth"}, optional
    """

    def __init__(self, field_type: FieldType, size: int, basis: str | None = None) -> None:
        super().__init__()
        self.in_type = self.out_type = field_type
        wide = regular_type(field_type.group, EXPANSION * field_type.channels)
        self.depthwise = DepthwiseConv(
            field_type, size, padding=size // 2, fibre_major=True, basis=basis
        )
        self.norm = FibreBatchNorm(field_type)
        self.transform = FibreTransform(field_type)
        self.expand = BlockPointwise(field_type, wide)
        self.contract = BlockPointwise(wide, field_type, gain=2.0)
        self.scale = nn.Parameter(torch.full((field_type.n_fields,), FIRST_SCALE))

    def forward(self, features: Tensor) -> Tensor:
        change = self.transform.spectrum(self.norm(self.depthwise(features)))
        hidden = self.transform(self.expand(change))
        hidden = self.transform(functional.gelu(hidden))
        change = self.contract(hidden) * self.scale.repeat(self.contract.split.n_cosets)
        return features + self.transform.features(change, features)


class Downsampling(nn.Module):
    """Every second pixel of an odd grid, and other widths: depthwise 3×3, norm, pointwise."""

    def __init__(self, in_type: FieldType, out_type: FieldType, basis: str | None = None) -> None:
        super().__init__()
        self.in_type, self.out_type = in_type, out_type
        self.depthwise = DepthwiseConv(
            in_type, 3, stride=2, padding=1, fibre_major=True, basis=basis
        )
        self.norm = FibreBatchNorm(in_type)
        self.transform = FibreTransform(in_type)
        self.pointwise = BlockPointwise(in_type, out_type)

    def forward(self, features: Tensor) -> Tensor:
        halved = self.norm(self.depthwise(features))
        mixed = self.pointwise(self.transform.spectrum(halved))
        return self.transform.features(mixed, halved)


class ConvNeXtStage(nn.Sequential):
    """A downsampling, then blocks."""

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        depth: int,
        size: int,
        basis: str | None = None,
    ) -> None:
        blocks = (ConvNeXtBlock(out_type, size, basis) for _ in range(depth))
        super().__init__(Downsampling(in_type, out_type, basis), *blocks)
