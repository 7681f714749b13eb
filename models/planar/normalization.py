"""Batch normalisation that commutes with the group: one set of statistics a field."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.fields import FieldBlock, FieldType
from equilens.models.planar.layout import is_channels_last


class FieldBatchNorm(nn.Module):
    """Batch normalisation with statistics shared by a field's channels.

    (N, channels, H, W) → the same shape (Ioffe & Szegedy 2015, algorithm 1, over the fibre as
    well). Fields whose channels permute: y = γ (x − mean) / √(var + ε) + β. Others have no
    invariant mean or shift: y = γ x / √(⟨x²⟩ + ε).
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, field_type: FieldType, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.in_type = self.out_type = field_type
        self.eps, self.momentum = eps, momentum
        self._spans = tuple(_spans(field_type))
        n_shifted = sum(block.count for block in field_type.blocks if _shifts(block))
        self.weight = nn.Parameter(torch.ones(field_type.n_fields))
        self.bias = nn.Parameter(torch.zeros(n_shifted))
        self.register_buffer("running_mean", torch.zeros(n_shifted))
        self.register_buffer("running_var", torch.ones(field_type.n_fields))

    def forward(self, features: Tensor) -> Tensor:
        if is_channels_last(features):
            return self._normalize(features.permute(0, 2, 3, 1), axis=3).permute(0, 3, 1, 2)
        return self._normalize(features, axis=1)

    def _normalize(self, features: Tensor, axis: int) -> Tensor:
        """Normalise block by block; ``axis`` holds the channels, all else are samples."""
        parts = []
        for channels, fields, shifts in self._spans:
            chunk = features.narrow(axis, channels.start, channels.stop - channels.start)
            fibres = chunk.unflatten(axis, (fields.stop - fields.start, -1))
            if shifts is None:
                normal = self._rescale(fibres, fields, axis)
            else:
                normal = self._standardize(fibres, fields, shifts, axis)
            parts.append(normal.flatten(axis, axis + 1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=axis)

    def _standardize(self, fibres: Tensor, fields: slice, shifts: slice, axis: int) -> Tensor:
        mean, var = self.running_mean[shifts], self.running_var[fields]
        if self.training:
            # the backward pass keeps them, and another block's update would touch their storage
            mean, var = mean.clone(), var.clone()
        normal = functional.batch_norm(
            fibres.flatten(0, axis - 1),
            mean,
            var,
            self.weight[fields],
            self.bias[shifts],
            self.training,
            self.momentum,
            self.eps,
        )
        if self.training:
            self.running_mean[shifts] = mean
            self.running_var[fields] = var
        return normal.view(fibres.shape)

    def _rescale(self, fibres: Tensor, fields: slice, axis: int) -> Tensor:
        if self.training:
            samples = [other for other in range(fibres.ndim) if other != axis]
            power = fibres.square().mean(dim=samples).to(self.running_var.dtype)
            self.running_var[fields].lerp_(power.detach(), self.momentum)
        else:
            power = self.running_var[fields]
        scale = self.weight[fields] * torch.rsqrt(power + self.eps)
        later = (1,) * (fibres.ndim - axis - 1)
        return fibres * scale.to(fibres.dtype).view(-1, *later)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return float64 a and b, shape (channels,): evaluation computes a x + b."""
        scale = self.weight.double() * torch.rsqrt(self.running_var.double() + self.eps)
        shift = torch.zeros_like(scale)
        blocks = self.in_type.blocks
        shifted = torch.tensor([_shifts(block) for block in blocks for _ in range(block.count)])
        shift[shifted] = self.bias.double() - self.running_mean.double() * scale[shifted]
        owner = torch.tensor(self.in_type.owner_of_channel())
        return scale[owner], shift[owner]

    def extra_repr(self) -> str:
        return f"{self.in_type!r}, eps={self.eps}, momentum={self.momentum}"


def _shifts(block: FieldBlock) -> bool:
    return block.representation.is_permutation


def _spans(field_type: FieldType) -> Iterator[tuple[slice, slice, slice | None]]:
    """Yield each block's channels, fields, and entries of mean and bias (None: it has none)."""
    channel = field = shift = 0
    for block in field_type.blocks:
        shifts = slice(shift, shift + block.count) if _shifts(block) else None
        yield slice(channel, channel + block.channels), slice(field, field + block.count), shifts
        channel, field = channel + block.channels, field + block.count
        shift += block.count if shifts else 0
