"""Blocks that networks are made of: convolution, normalisation and nonlinearity as one."""

from __future__ import annotations

from torch import Tensor, nn

from equilens.models.fields import FieldType
from equilens.models.planar.convolutions import SteerableConv
from equilens.models.planar.nonlinearities import PointwiseNonlinearity
from equilens.models.planar.normalization import FieldBatchNorm


class ConvNorm(nn.Module):
    """Steerable convolution without bias, then field-wise batch norm: what fold() folds."""

    def __init__(self, in_type: FieldType, out_type: FieldType, size: int, **options) -> None:
        super().__init__()
        self.in_type, self.out_type = in_type, out_type
        self.conv = SteerableConv(in_type, out_type, size, **options)
        self.norm = FieldBatchNorm(out_type)

    def forward(self, features: Tensor) -> Tensor:
        return self.norm(self.conv(features))


class ResidualBlock(nn.Module):
    """x → φ(x + norm(conv(φ(norm(conv(x)))))), all 3×3 (He et al. 2016, arXiv:1512.03385).

    The last normalisation starts with γ = 0, so that a new block is the identity inside φ.
    """

    def __init__(self, field_type: FieldType, **options) -> None:
        super().__init__()
        self.in_type = self.out_type = field_type
        self.first = ConvNorm(field_type, field_type, 3, padding=1, **options)
        self.second = ConvNorm(field_type, field_type, 3, padding=1, **options)
        self.activation = PointwiseNonlinearity(field_type)
        nn.init.zeros_(self.second.norm.weight)

    def forward(self, features: Tensor) -> Tensor:
        change = self.second(self.activation(self.first(features)))
        return self.activation(features + change)


class ResidualStage(nn.Sequential):
    """A convolution that halves an odd grid, then residual blocks."""

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        depth: int,
        **options,
    ) -> None:
        super().__init__(
            ConvNorm(in_type, out_type, 3, stride=2, padding=1, **options),
            PointwiseNonlinearity(out_type),
            *(ResidualBlock(out_type, **options) for _ in range(depth)),
        )
