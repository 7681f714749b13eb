"""Steerable convolutions on the pixel grid."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.errors import FieldTypeError, KernelError
from equilens.models.fields import FieldType
from equilens.models.implicit_kernels import ImplicitKernel
from equilens.models.kernel_basis import independent_columns
from equilens.models.kernels import SteerableKernel
from equilens.models.planar.layout import is_channels_last


class SteerableConv(nn.Module):
    """Convolution between any two field types of one group.

    (N, in channels, H, W) → (N, out channels, H', W'). A stride keeps the symmetry only where it
    samples the grid symmetrically: an odd H' that reaches as far on either side.

    Parameters
    ----------
    in_type, out_type : FieldType
    size : int
        Odd kernel size in pixels.
    stride : int
    padding : int
        Zeros on every side.
    bias : bool
        One value for each invariant direction of each output field.
    basis : {"pixels", "harmonics", "smooth"}, optional
    kernel : {"analytic", "implicit"}
        Fixed functions of the offset (SteerableKernel) or learned ones (ImplicitKernel).
    gain : float
        See SteerableKernel.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = False,
        basis: str | None = None,
        kernel: str = "analytic",
        gain: float = 2.0,
    ) -> None:
        super().__init__()
        self.in_type, self.out_type = in_type, out_type
        self.stride, self.padding = stride, padding
        self.kernel = build_kernel(kernel, in_type, out_type, size, basis, gain)
        self.field_bias = FieldBias(out_type) if bias else None

    def weight(self) -> Tensor:
        """Return the dense kernel, shape (out channels, in channels, size, size)."""
        return self.kernel.weight()

    def bias(self) -> Tensor | None:
        """Return the bias a channel, shape (out channels,), or None."""
        return None if self.field_bias is None else self.field_bias()

    def forward(self, features: Tensor) -> Tensor:
        weight = self.weight()
        if is_channels_last(features):
            # else the backward pass reorders the kernel's gradient itself, and is 4 to 7 % slower
            weight = weight.contiguous(memory_format=torch.channels_last)
        return functional.conv2d(
            features, weight, self.bias(), stride=self.stride, padding=self.padding
        )

    def extra_repr(self) -> str:
        return f"stride={self.stride}, padding={self.padding}"


def build_kernel(
    kernel: str, in_type: FieldType, out_type: FieldType, size: int, basis: str | None, gain: float
) -> SteerableKernel | ImplicitKernel:
    """Return a kernel module of that kind; both give ``weight()`` and ``size``."""
    if kernel == "analytic":
        return SteerableKernel(in_type, out_type, size, basis, gain)
    if kernel == "implicit" and basis is None:
        return ImplicitKernel(in_type, out_type, size, gain)
    raise KernelError(
        f"kernel must be 'analytic', or 'implicit' without a basis, got {kernel!r}, {basis!r}"
    )


class LiftingConv(SteerableConv):
    """Convolution from scalars, such as the images themselves, to regular fields."""

    def __init__(self, in_type: FieldType, out_type: FieldType, size: int, **options) -> None:
        _require_only(in_type, "trivial", "LiftingConv's input")
        _require_only(out_type, "regular", "LiftingConv's output")
        super().__init__(in_type, out_type, size, **options)


class GroupConv(SteerableConv):
    """Convolution from regular to regular fields (Cohen & Welling 2016, arXiv:1602.07576)."""

    def __init__(self, in_type: FieldType, out_type: FieldType, size: int, **options) -> None:
        _require_only(in_type, "regular", "GroupConv's input")
        _require_only(out_type, "regular", "GroupConv's output")
        super().__init__(in_type, out_type, size, **options)


class PointwiseConv(SteerableConv):
    """1×1 steerable convolution: a linear map of the fibre that commutes with the group."""

    def __init__(self, in_type: FieldType, out_type: FieldType, **options) -> None:
        super().__init__(in_type, out_type, 1, **options)


class FieldBias(nn.Module):
    """A bias that the group leaves alone: coefficients of each field's invariant vectors."""

    def __init__(self, field_type: FieldType) -> None:
        super().__init__()
        self.field_type = field_type
        self.coefficients = nn.ParameterList()
        for index, block in enumerate(field_type.blocks):
            vectors = independent_columns(block.representation.matrices.mean(axis=0)).T
            table = torch.tensor(vectors, dtype=torch.float32)
            self.register_buffer(f"vectors_{index}", table, persistent=False)
            self.coefficients.append(nn.Parameter(torch.zeros(block.count, len(vectors))))

    def forward(self) -> Tensor:
        """Return the bias, shape (channels,)."""
        parts = [
            (coefficients @ getattr(self, f"vectors_{index}")).reshape(-1)
            for index, coefficients in enumerate(self.coefficients)
        ]
        return torch.cat(parts)


def _require_only(field_type: FieldType, name: str, where: str) -> None:
    if any(block.representation.name != name for block in field_type.blocks):
        raise FieldTypeError(
            f"{where} must hold {name} fields only, got {field_type!r}; "
            f"SteerableConv takes any field type"
        )
