"""The networks, by name: lens finders with a symmetry group, and their plain twins."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from equilens.models.comparators import COMPARATORS, Comparator, DenseHead, FluxScale
from equilens.models.errors import ArchitectureError
from equilens.models.fields import FieldType, regular_type, trivial_type
from equilens.models.groups import CyclicGroup, DihedralGroup, PlanarGroup
from equilens.models.inputs import CutoutNormalizer, InputSpec
from equilens.models.planar.antialiased import BLUR_PX, AntialiasedStage, AntialiasedStem
from equilens.models.planar.blockdiagonal import FibreMajor
from equilens.models.planar.blocks import ConvNorm, ResidualStage
from equilens.models.planar.convnext import ConvNeXtStage
from equilens.models.planar.heads import InvariantHead
from equilens.models.planar.nonlinearities import PointwiseNonlinearity
from equilens.models.planar.pooling import Blur

STEM_SIZE = 5
FAMILIES = ("resnet", "convnext")


@dataclass(frozen=True)
class Architecture:
    """A finder: a stem of stride 2, then stages that each halve the grid, then invariants.

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
        Blocks of each stage.
    hidden : int
        Width of the invariant head.
    antialias : bool
        Blur before halving the grid, and fade maps out towards the inscribed circle: for groups
        with rotations that the pixel grid lacks.
    family : {"resnet", "convnext"}
        Residual blocks of two dense 3×3 convolutions, or ConvNeXt-like ones of a depthwise
        convolution and block-diagonal pointwise layers.
    kernel : int
        Odd size of the depthwise kernels.
    kernels : {"analytic", "implicit"}
        Of the residual family's convolutions; see SteerableConv.
    """

    name: str
    group: PlanarGroup
    stem: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    hidden: int = 64
    antialias: bool = False
    family: str = "resnet"
    kernel: int = 7
    kernels: str = "analytic"

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ArchitectureError(f"family must be one of {FAMILIES}, got {self.family!r}")

    @property
    def twin(self) -> str:
        """Name of the plain network of the same widths and depths."""
        return "-".join(["plain", self.family, self.name.split("-")[2]])


def _sizes(family: str, group: PlanarGroup) -> tuple[Architecture, ...]:
    """Return the three sizes of a family, with that group."""
    prefix = "plain" if group.order == 1 else group.name.lower()
    convnext = family == "convnext"
    base = ((128, 256, 512), (1, 2, 6)) if convnext else ((128, 256, 512), (1, 2, 2))
    shapes = {
        "nano": (24, (32, 64, 128), (1, 1, 1), 64),
        "small": (32, (64, 128, 256), (1, 2, 2), 128),
        "base": (32, *base, 128),
    }
    return tuple(
        Architecture(f"{prefix}-{family}-{size}", group, *shape, family=family)
        for size, shape in shapes.items()
    )


_PLAIN, _D4, _C8, _D8 = CyclicGroup(1), DihedralGroup(4), CyclicGroup(8), DihedralGroup(8)
_ALL = (
    *_sizes("resnet", _D4),
    replace(_sizes("resnet", _D4)[0], name="d4-resnet-nano-implicit", kernels="implicit"),
    Architecture("c8-resnet-nano", _C8, 24, (32, 64, 128), (2, 2, 2), antialias=True),
    Architecture(
        "d16-resnet-nano", DihedralGroup(16), 32, (32, 64, 128), (2, 2, 2), antialias=True
    ),
    Architecture("d8-resnet-small", _D8, 32, (64, 128, 256), (2, 2, 2), 128, True),
    *_sizes("resnet", _PLAIN),
    *_sizes("convnext", _D4),
    *_sizes("convnext", _PLAIN),
)
ARCHITECTURES: dict[str, Architecture] = {entry.name: entry for entry in _ALL}


def find_architecture(name: str) -> Architecture | Comparator:
    """Return the architecture, or the published comparator, of that name.

    Raises
    ------
    ArchitectureError
    """
    known: dict[str, Architecture | Comparator] = {**ARCHITECTURES, **COMPARATORS}
    if name not in known:
        raise ArchitectureError(f"architecture must be one of {list(known)}, got {name!r}")
    return known[name]


class LensFinder(nn.Module):
    """Cutouts → logits: normaliser, lifting stem, stages, invariant head.

    Parameters
    ----------
    architecture : Architecture or Comparator
        A comparator brings its own four parts.
    spec : InputSpec
    """

    normalizer: CutoutNormalizer | FluxScale
    head: InvariantHead | DenseHead

    def __init__(self, architecture: Architecture | Comparator, spec: InputSpec) -> None:
        super().__init__()
        self.architecture, self.spec = architecture, spec
        if isinstance(architecture, Comparator):
            self.normalizer, self.stem, self.stages, self.head = architecture.build(spec)
        else:
            self._assemble(architecture, spec)

    def _assemble(self, architecture: Architecture, spec: InputSpec) -> None:
        group, antialias = architecture.group, architecture.antialias
        field_type = regular_type(group, architecture.stem)
        side = (spec.working_side - STEM_SIZE) // 2 + 1
        self.normalizer = CutoutNormalizer(spec)
        self.stem = _stem(architecture, spec, field_type)
        self.stages = nn.Sequential()
        for width, depth in zip(architecture.widths, architecture.depths, strict=True):
            wider = regular_type(group, width)
            # antialiased stages halve the grid once: a coarser one would alias
            halve = not antialias or len(self.stages) == 1
            side = (side + 1) // 2 if halve else side
            stage: nn.Module
            if antialias:
                stage = AntialiasedStage(field_type, wider, depth, side, halve)
            elif architecture.family == "convnext":
                stage = ConvNeXtStage(field_type, wider, depth, architecture.kernel)
            else:
                stage = ResidualStage(field_type, wider, depth, kernel=architecture.kernels)
            self.stages.append(stage)
            field_type = wider
        if antialias:
            self.stages.append(Blur(BLUR_PX))
        if architecture.family == "convnext":
            self.stages.append(FibreMajor(field_type, inverse=True))
        self.head = InvariantHead(field_type, side, architecture.hidden, antialias)

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


def _stem(architecture: Architecture, spec: InputSpec, out_type: FieldType) -> nn.Sequential:
    """Return what lifts a normalised cutout to regular fields on half the grid."""
    if architecture.antialias:
        return AntialiasedStem(spec.n_bands, out_type, spec.working_side)
    inputs = trivial_type(architecture.group, spec.n_channels)
    stem = nn.Sequential(
        ConvNorm(inputs, out_type, STEM_SIZE, stride=2, kernel=architecture.kernels),
        PointwiseNonlinearity(out_type),
    )
    if architecture.family == "convnext":
        stem.append(FibreMajor(out_type))
    return stem


def build_finder(architecture: str, input_spec: InputSpec, seed: int = 0) -> LensFinder:
    """Return a new finder with random weights drawn from ``seed``.

    Parameters
    ----------
    architecture : str
        A key of ``ARCHITECTURES``, or of ``COMPARATORS``.
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
