"""Equivariant perceptrons of an offset: linear maps that commute with the group, field by field."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from equilens.models.fields import FieldType
from equilens.models.groups import Group, PlanarGroup
from equilens.models.kernels import SteerableKernel
from equilens.models.offsets import harmonic_irreps
from equilens.models.planar.nonlinearities import GatedNonlinearity, PointwiseNonlinearity

FieldNonlinearity = PointwiseNonlinearity | GatedNonlinearity


class FibreMap(SteerableKernel):
    """Equivariant linear map of features (1, in channels, P) → (1, out channels, P)."""

    def __init__(self, in_type: FieldType, out_type: FieldType, gain: float) -> None:
        super().__init__(in_type, out_type, 1, gain=gain)

    def forward(self, features: Tensor) -> Tensor:
        return self.weight().flatten(1) @ features


class OffsetPerceptron(nn.Sequential):
    """Equivariant perceptron: embedded offsets (channels, P) → fields of ``out_type``.

    The embedding holds the constant 1, so that no layer needs a bias.

    Parameters
    ----------
    in_type, out_type : FieldType
    nonlinearity : callable
        Makes the module after each hidden layer, which has that module's input type.
    depth : int
        Hidden layers; with none the functions are linear in the embedding.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        nonlinearity: Callable[[], FieldNonlinearity],
        depth: int,
    ) -> None:
        layers: list[nn.Module] = []
        for _ in range(depth):
            activation = nonlinearity()
            layers += [FibreMap(in_type, activation.in_type, 2.0), activation]
            in_type = activation.out_type
        super().__init__(*layers, FibreMap(in_type, out_type, 1.0))

    def forward(self, embedded: Tensor) -> Tensor:
        """Return (out channels, P) of embedded offsets (in channels, P)."""
        return super().forward(embedded[None])[0]


def hidden_nonlinearity(group: Group, fields: int, frequency: int) -> FieldNonlinearity:
    """Return SiLU of regular fields; gated irreps where the group is continuous.

    Gates see the trivial fields, which are any function of the radius; that times the irreps'
    harmonics is every function that SO(2) and O(2) allow.
    """
    if isinstance(group, PlanarGroup):
        return PointwiseNonlinearity(FieldType(group, f"{fields}xregular"))
    names = [harmonic_irreps(group, k)[0][0] for k in range(1, frequency + 1)]
    return GatedNonlinearity(
        FieldType(group, "+".join(f"{fields}x{name}" for name in ("trivial", *names)))
    )
