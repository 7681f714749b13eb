"""The networks, by name: residual lens finders with a symmetry group and their plain twins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equilens.models.errors import ArchitectureError
from equilens.models.fields import FieldType, regular_type, trivial_type
from equilens.models.groups import CyclicGroup, DihedralGroup, PlanarGroup
from equilens.models.inputs import CutoutNormalizer, InputSpec
from equilens.models.planar.blocks import ConvNorm, ResidualBlock
from equilens.models.planar.convolutions import PointwiseConv
from equilens.models.planar.nonlinearities import PointwiseNonlinearity
from equilens.models.planar.pooling import BlurPooling, DiscTaper, GroupPooling, RingPooling

STEM_SIZE = 5


@dataclass(frozen=True)
class Architecture:
    """A residual finder: a stem of stride 2, then stages that each halve the grid.

    Parameters
    ----------
    name : str
    group : PlanarGroup
        ``CyclicGroup(1)`` makes a plain convolutional network.
    stem : int
        Channels after the stem, on 49² for a 101² cutout.
    widths : tuple of int
        Channels of the stages, on 25², 13², 7².
    depths : tuple of int
        Residual blocks of each stage.
    hidden : int
        Width of the invariant head.
    antialias : bool
        Blur before halving the grid, and fade maps out towards the inscribed circle: for groups
        with rotations that the pixel grid lacks.
    """

    name: str
    group: PlanarGroup
    stem: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    hidden: int = 64
    antialias: bool = False


_ALL = (
    Architecture("d4-resnet-nano", DihedralGroup(4), 24, (32, 64, 128), (1, 1, 1)),
    Architecture("d4-resnet-small", DihedralGroup(4), 32, (64, 128, 256), (1, 2, 2), 128),
    Architecture("c8-resnet-nano", CyclicGroup(8), 24, (32, 64, 128), (1, 1, 1), antialias=True),
    Architecture("d8-resnet-small", DihedralGroup(8), 32, (64, 128, 256), (1, 2, 2), 128, True),
    Architecture("plain-resnet-nano", CyclicGroup(1), 24, (32, 64, 128), (1, 1, 1)),
    Architecture("plain-resnet-small", CyclicGroup(1), 32, (64, 128, 256), (1, 2, 2), 128),
)
ARCHITECTURES: dict[str, Architecture] = {entry.name: entry for entry in _ALL}


def find_architecture(name: str) -> Architecture:
    """Return the architecture of that name.

    Raises
    ------
    ArchitectureError
    """
    if name not in ARCHITECTURES:
        raise ArchitectureError(f"architecture must be one of {list(ARCHITECTURES)}, got {name!r}")
    return ARCHITECTURES[name]


class Stage(nn.Sequential):
    """A convolution that halves an odd grid to ``side`` pixels, then residual blocks."""

    def __init__(
        self, in_type: FieldType, out_type: FieldType, depth: int, side: int, antialias: bool
    ) -> None:
        stride = 1 if antialias else 2
        halve: list[nn.Module] = [
            ConvNorm(in_type, out_type, 3, stride=stride, padding=1),
            PointwiseNonlinearity(out_type),
        ]
        if antialias:
            halve += [BlurPooling(), DiscTaper(side)]
        super().__init__(*halve, *(ResidualBlock(out_type) for _ in range(depth)))


class InvariantHead(nn.Module):
    """Feature map → one logit that no rotation or reflection of the group changes.

    Group pooling gives invariants a pixel; a pixelwise layer mixes them; soft rings around the
    centre, where arcs are, and a soft maximum pool the plane.
    """

    def __init__(self, in_type: FieldType, side: int, hidden: int) -> None:
        super().__init__()
        self.group_pooling = GroupPooling(in_type)
        invariants = self.group_pooling.out_type
        self.mix = PointwiseConv(invariants, trivial_type(in_type.group, hidden), bias=True)
        self.activation = PointwiseNonlinearity(self.mix.out_type)
        self.ring_pooling = RingPooling(side)
        self.hidden = nn.Linear((self.ring_pooling.rings + 1) * hidden, hidden)
        self.logit = nn.Linear(hidden, 1)

    def forward(self, features: Tensor) -> Tensor:
        invariants = self.activation(self.mix(self.group_pooling(features)))
        pooled = self.ring_pooling(invariants)
        return self.logit(nn.functional.silu(self.hidden(pooled))).squeeze(-1)


class LensFinder(nn.Module):
    """Cutouts → logits: normaliser, lifting stem, residual stages, invariant head.

    Parameters
    ----------
    architecture : Architecture
    spec : InputSpec
    """

    def __init__(self, architecture: Architecture, spec: InputSpec) -> None:
        super().__init__()
        self.architecture, self.spec = architecture, spec
        group, antialias = architecture.group, architecture.antialias
        field_type = regular_type(group, architecture.stem)
        side = (spec.working_side - STEM_SIZE) // 2 + 1
        self.normalizer = CutoutNormalizer(spec)
        inputs = trivial_type(group, spec.n_channels)
        self.stem = nn.Sequential(
            ConvNorm(inputs, field_type, STEM_SIZE, stride=2), PointwiseNonlinearity(field_type)
        )
        if antialias:
            self.stem.insert(0, DiscTaper(spec.working_side))
        self.stages = nn.Sequential()
        for width, depth in zip(architecture.widths, architecture.depths, strict=True):
            wider, side = regular_type(group, width), (side + 1) // 2
            self.stages.append(Stage(field_type, wider, depth, side, antialias))
            field_type = wider
        self.head = InvariantHead(field_type, side, architecture.hidden)

    def forward(self, images: Tensor, noise: Tensor, mask: Tensor, band_present: Tensor) -> Tensor:
        """Return logits, shape (N,).

        Parameters
        ----------
        images : (N, B, ny, nx) float Tensor, nJy
        noise : (N, B) float Tensor, nJy
            Standard deviation a pixel; NaN where the band is missing.
        mask : (N, B, ny, nx) bool Tensor
            True where the pixel is bad.
        band_present : (N, B) bool Tensor
        """
        normal = self.normalizer(images, noise, mask, band_present)
        return self.head(self.stages(self.stem(normal)))


def build_finder(architecture: str, input_spec: InputSpec, seed: int = 0) -> LensFinder:
    """Return a new finder with random weights drawn from ``seed``.

    Parameters
    ----------
    architecture : str
        A key of ``ARCHITECTURES``.
    input_spec : InputSpec
    seed : int
        The global random state is left as it was.

    Raises
    ------
    ArchitectureError
        Where the name is unknown.
    """
    chosen = find_architecture(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LensFinder(chosen, input_spec)
