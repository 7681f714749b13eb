"""Pointwise layers that are block-diagonal in the characters of a group's split (FibreSplit).

Maps between feature maps (N, channels, H, W), fibre-major, and *spectra* (|K|, pixels, channels /
|K|): one slab a character, pixels of all objects in a row. Between the two pointwise layers of a
block the nonlinearity goes to the group and back, slab by slab.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.fibre import FibreSplit
from equilens.models.fields import FieldType, require_same_group
from equilens.models.planar.depthwise import require_regular
from equilens.models.planar.layout import as_maps, as_pixels, is_channels_last


class FibreTransform(nn.Module):
    """The orthogonal Walsh-Hadamard transform between fibre-major channels and spectra."""

    matrix: Tensor

    def __init__(self, field_type: FieldType) -> None:
        super().__init__()
        split = FibreSplit(field_type.finite_group)
        matrix = split.characters / np.sqrt(split.order)
        self.register_buffer("matrix", torch.tensor(matrix).float(), persistent=False)

    def forward(self, slabs: Tensor) -> Tensor:
        """Transform (|K|, pixels, channels / |K|) over the first axis; its own inverse."""
        if len(slabs) == 1:
            return slabs
        return (self.matrix @ slabs.flatten(1)).view(slabs.shape)

    def to_spectrum(self, pixels: Tensor) -> Tensor:
        """(n, channels) → (|K|, n, channels / |K|)."""
        slabs = pixels.view(pixels.shape[0], len(self.matrix), -1)
        return self(slabs.transpose(0, 1).contiguous())

    def to_pixels(self, spectrum: Tensor) -> Tensor:
        """The inverse of ``to_spectrum``."""
        return self(spectrum).transpose(0, 1).reshape(spectrum.shape[1], -1)

    def spectrum(self, features: Tensor) -> Tensor:
        """(N, channels, H, W), best in channels-last → (|K|, N H W, channels / |K|)."""
        return self.to_spectrum(as_pixels(features))

    def features(self, spectrum: Tensor, like: Tensor) -> Tensor:
        """The inverse of ``spectrum``, with the number of objects and the grid of ``like``."""
        return as_maps(self.to_pixels(spectrum), like)


class BlockPointwise(nn.Module):
    """A linear map of regular fields, pixel by pixel, that commutes with the group.

    Spectra (|K|, pixels, c_in) → (|K|, pixels, c_out): one matrix a character. Free are a weight
    for each pair of fields and group element, as in a dense PointwiseConv, and a bias a field.

    Parameters
    ----------
    in_type, out_type : FieldType
        Regular fields.
    bias : bool
    gain : float
        Variance of an output over that of the inputs, at the start.
    """

    table: Tensor

    def __init__(
        self, in_type: FieldType, out_type: FieldType, *, bias: bool = True, gain: float = 1.0
    ) -> None:
        super().__init__()
        require_same_group(in_type, out_type, "BlockPointwise")
        require_regular(in_type, "BlockPointwise")
        require_regular(out_type, "BlockPointwise")
        self.in_type, self.out_type = in_type, out_type
        self.split = FibreSplit(in_type.finite_group)
        order = in_type.finite_group.order
        table = torch.tensor(self.split.block_table).reshape(order, -1).float()
        self.register_buffer("table", table, persistent=False)
        self.coefficients = nn.Parameter(torch.empty(in_type.n_fields, out_type.n_fields, order))
        nn.init.normal_(self.coefficients, std=(gain / in_type.channels) ** 0.5)
        self.field_bias = nn.Parameter(torch.zeros(out_type.n_fields)) if bias else None

    def blocks(self) -> Tensor:
        """Return the matrices a character, shape (|K|, c_in, c_out), for use from the right."""
        n_in, n_out, _ = self.coefficients.shape
        cosets = self.split.n_cosets
        blocks = (self.coefficients @ self.table).view(n_in, n_out, -1, cosets, cosets)
        return blocks.permute(2, 3, 0, 4, 1).reshape(-1, cosets * n_in, cosets * n_out)

    def bias(self) -> Tensor | None:
        """Return the bias, shape (|K|, 1, c_out), which only the trivial character has."""
        if self.field_bias is None:
            return None
        trivial = self.field_bias.repeat(self.split.n_cosets) * self.split.order**0.5
        return torch.cat([trivial[None], trivial.new_zeros(self.split.order - 1, len(trivial))])[
            :, None
        ]

    def forward(self, spectrum: Tensor) -> Tensor:
        bias = self.bias()
        if bias is None:
            return torch.bmm(spectrum, self.blocks())
        return torch.baddbmm(bias, spectrum, self.blocks())

    def dense(self) -> Tensor:
        """Return the plain matrix on fibre-major channels, shape (out, in)."""
        characters = torch.tensor(self.split.characters).to(self.coefficients) / self.split.order
        order = range(self.split.order)
        # K is Klein's group or smaller: element a⁻¹ b is a ^ b
        differences = torch.tensor([[a ^ b for b in order] for a in order])
        by_element = torch.einsum("kx,xij->kji", characters, self.blocks())
        full = by_element[differences.to(by_element.device)]
        return full.permute(0, 2, 1, 3).reshape(self.out_type.channels, self.in_type.channels)

    def extra_repr(self) -> str:
        return f"{self.in_type!r} → {self.out_type!r}, {self.split.order} blocks"


class FibreBatchNorm(nn.Module):
    """Batch normalisation of fibre-major regular fields, one set of statistics a field.

    (N, channels, H, W) → the same shape (Ioffe & Szegedy 2015, algorithm 1, over the fibre as
    well). In channels-last, fields are the last axis: a free view.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, field_type: FieldType, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        require_regular(field_type, "FibreBatchNorm")
        self.in_type = self.out_type = field_type
        self.eps, self.momentum = eps, momentum
        n_fields = field_type.n_fields
        self.weight, self.bias = (nn.Parameter(f(n_fields)) for f in (torch.ones, torch.zeros))
        self.register_buffer("running_mean", torch.zeros(n_fields))
        self.register_buffer("running_var", torch.ones(n_fields))

    def forward(self, features: Tensor) -> Tensor:
        normal = functional.batch_norm(
            as_pixels(features).reshape(-1, self.in_type.n_fields),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )
        return as_maps(normal, features)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return float64 a and b, shape (channels,): evaluation computes a x + b."""
        order = self.in_type.finite_group.order
        scale = self.weight.double() * torch.rsqrt(self.running_var.double() + self.eps)
        shift = self.bias.double() - self.running_mean.double() * scale
        return scale.repeat(order), shift.repeat(order)

    def extra_repr(self) -> str:
        return f"{self.in_type!r}"


class FibreMajor(nn.Module):
    """Field-major channels into fibre-major ones, or back with ``inverse``."""

    order: Tensor

    def __init__(self, field_type: FieldType, *, inverse: bool = False) -> None:
        super().__init__()
        require_regular(field_type, "FibreMajor")
        self.in_type = self.out_type = field_type
        order = FibreSplit(field_type.finite_group).field_major(field_type.n_fields)
        order = np.argsort(order) if inverse else order
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        if is_channels_last(features):
            return features.permute(0, 2, 3, 1).index_select(3, self.order).permute(0, 3, 1, 2)
        return features.index_select(1, self.order)
