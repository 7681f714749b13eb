"""The contenders on rotated digits: one skeleton, each with its own convolutions.

Libraries are imported where they are used, since no interpreter has both.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from digits.protocol import DigitNetwork
from torch import Tensor, nn

N_ROTATIONS = 8
FIELDS = (3, 6, 8, 16)
EQUAL_PARAMETERS = (6, 11, 16, 28)
"""Channels of the plain network that has as many parameters as ours."""
KERNEL = 5


def ours() -> nn.Module:
    """Regular fields of C8, analytic kernels."""
    return steerable()


def implicit() -> nn.Module:
    """Regular fields of C8, implicit kernels."""
    return steerable(kernel="implicit")


def gated() -> nn.Module:
    """The irreps of the same channels with gates: no nonlinearity on the group inside."""
    return steerable("+".join(f"{{fields}}xirrep({k})" for k in range(N_ROTATIONS // 2 + 1)))


def scalars() -> nn.Module:
    """Half of the channels are scalars: the irreps' shares changed."""
    return steerable("{half}xregular+{rest}xtrivial")


def vectors() -> nn.Module:
    """Half of the channels are functions on four directions, the even irreps alone."""
    return steerable("{half}xregular+{pairs}xquotient(C2)")


def steerable(inside: str = "{fields}xregular", kernel: str = "analytic") -> nn.Module:
    """Fields of C8 by the layers of equilens, ``inside`` the network; regular ones at its end."""
    from equilens.models.fields import FieldType
    from equilens.models.groups import CyclicGroup
    from equilens.models.planar.blocks import ConvNorm
    from equilens.models.planar.nonlinearities import GatedNonlinearity, PointwiseNonlinearity

    group = CyclicGroup(N_ROTATIONS)

    def fields_of(fields: int, index: int) -> FieldType:
        if index == 0:
            return FieldType(group, f"{fields}xtrivial")
        half = max(1, fields // 2)
        rest = N_ROTATIONS * (fields - half)
        spec = inside if index < len(FIELDS) else "{fields}xregular"
        return FieldType(group, spec.format(fields=fields, half=half, rest=rest, pairs=rest // 4))

    def block(into: int, out: int, padding: int, index: int) -> nn.Module:
        in_type, out_type = fields_of(into, index), fields_of(out, index + 1)
        if out_type.is_permutation:
            activation: nn.Module = PointwiseNonlinearity(out_type, "elu")
        else:
            activation = GatedNonlinearity(out_type)
        convolution = ConvNorm(in_type, activation.in_type, KERNEL, padding=padding, kernel=kernel)
        return nn.Sequential(convolution, activation)

    return DigitNetwork(block, FIELDS, group.order)


def plain() -> nn.Module:
    """Ordinary convolutions, as many parameters as ours."""
    return ordinary(EQUAL_PARAMETERS)


def plain_wide() -> nn.Module:
    """Ordinary convolutions, as many channels as ours."""
    return ordinary(tuple(N_ROTATIONS * fields for fields in FIELDS))


def ordinary(channels: tuple[int, ...]) -> nn.Module:
    """Convolutions of torch, batch normalisation, ELU."""

    def block(into: int, out: int, padding: int, index: int) -> nn.Module:
        convolution = nn.Conv2d(into, out, KERNEL, padding=padding, bias=False)
        nn.init.kaiming_normal_(convolution.weight)
        return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ELU())

    return DigitNetwork(block, channels, 1)


def escnn() -> nn.Module:
    """Regular fields of C8 by escnn, its defaults throughout."""
    from escnn import gspaces
    from escnn import nn as peer

    space = gspaces.rot2dOnR2(N_ROTATIONS)

    def block(into: int, out: int, padding: int, index: int) -> nn.Module:
        own = space.regular_repr if index else space.trivial_repr
        in_type = peer.FieldType(space, into * [own])
        out_type = peer.FieldType(space, out * [space.regular_repr])
        convolution = peer.R2Conv(in_type, out_type, KERNEL, padding=padding, bias=False)
        layers = peer.SequentialModule(
            convolution, peer.InnerBatchNorm(out_type), peer.ELU(out_type)
        )
        return Wrapped(layers, in_type, peer.GeometricTensor)

    return DigitNetwork(block, FIELDS, N_ROTATIONS)


class Wrapped(nn.Module):
    """A module of escnn between plain tensors."""

    def __init__(self, layers: nn.Module, in_type: object, geometric: Callable) -> None:
        super().__init__()
        self.layers, self.in_type, self.geometric = layers, in_type, geometric

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(self.geometric(features, self.in_type)).tensor


CONTENDERS: dict[str, Callable[[], nn.Module]] = {
    "ours": ours,
    "implicit": implicit,
    "gated": gated,
    "scalars": scalars,
    "vectors": vectors,
    "plain": plain,
    "plain-wide": plain_wide,
    "escnn": escnn,
}


def build(contender: str, seed: int) -> nn.Module:
    """Return a new network of that contender, initial weights drawn from ``seed``."""
    torch.manual_seed(seed)
    return CONTENDERS[contender]()
