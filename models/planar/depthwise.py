"""Depthwise steerable convolution: each element of a regular field has the kernel, turned by it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.errors import FieldTypeError
from equilens.models.fibre import FibreSplit
from equilens.models.fields import FieldType
from equilens.models.groups import PlanarGroup
from equilens.models.kernel_basis import default_basis, shells


def require_regular(field_type: FieldType, layer: str) -> None:
    """Raise FieldTypeError where a field type holds other fields than regular ones."""
    if any(block.representation.name != "regular" for block in field_type.blocks):
        raise FieldTypeError(f"{layer} needs regular fields only, got {field_type!r}")


class DepthwiseConv(nn.Module):
    """out(x, g) = Σ_y κ(g⁻¹ (y − x)) f(y, g), with one free kernel κ a regular field.

    (N, channels, H, W) → (N, channels, H', W'), at the price of a plain depthwise convolution. It
    commutes with the group since left translation carries f(·, g) and the turned kernel along;
    the elements of a fibre are mixed by pointwise layers.

    Parameters
    ----------
    field_type : FieldType
        Regular fields.
    size : int
        Odd kernel size in pixels.
    stride, padding : int
    fibre_major : bool
        Channels in the order of FibreSplit, else in that of the field type.
    basis : {"pixels", "harmonics", "smooth"}, optional
    """

    order: Tensor
    table: Tensor

    def __init__(
        self,
        field_type: FieldType,
        size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        fibre_major: bool = False,
        basis: str | None = None,
    ) -> None:
        super().__init__()
        require_regular(field_type, "DepthwiseConv")
        self.in_type = self.out_type = field_type
        self.size, self.stride, self.padding = size, stride, padding
        self.fibre_major = fibre_major
        self.basis = basis or default_basis(field_type.finite_group)
        turned = turned_functions(field_type.finite_group, size, self.basis)
        self.register_buffer("table", torch.tensor(turned).flatten(1).float(), persistent=False)
        order = FibreSplit(field_type.finite_group).field_major(field_type.n_fields)
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self.coefficients = nn.Parameter(torch.empty(field_type.n_fields, len(turned)))
        power = float(self.table.square().sum()) / field_type.finite_group.order
        nn.init.normal_(self.coefficients, std=power**-0.5)

    def weight(self) -> Tensor:
        """Return the plain depthwise kernel, shape (channels, 1, size, size)."""
        kernels = (self.coefficients @ self.table).view(-1, 1, self.size, self.size)
        return kernels.index_select(0, self.order) if self.fibre_major else kernels

    def forward(self, features: Tensor) -> Tensor:
        return functional.conv2d(
            features,
            self.weight(),
            stride=self.stride,
            padding=self.padding,
            groups=self.in_type.channels,
        )

    def extra_repr(self) -> str:
        order = "fibre-major" if self.fibre_major else "field-major"
        return (
            f"{self.in_type!r}, {self.size}×{self.size}, stride={self.stride}, "
            f"padding={self.padding}, {order}, basis={self.basis}"
        )


def turned_functions(group: PlanarGroup, size: int, basis: str) -> np.ndarray:
    """Return f_s(g⁻¹ x) of all sampled functions, shape (s, order, size, size), float64.

    f(h x) = V(h) f(x) with orthogonal V gives f(g⁻¹ x) = V(g)ᵀ f(x).
    """
    parts = [
        np.einsum("gts,tp->sgp", shell.matrices, shell.samples)
        for shell in shells(group, size, basis)
    ]
    return np.concatenate(parts).reshape(-1, group.order, size, size)
