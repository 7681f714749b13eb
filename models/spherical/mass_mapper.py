"""A U-shaped network from masked shear to convergence, its variance, and the places of haloes.

>>> import numpy as np
>>> from equilens.models.spherical.mapper_spec import MapperSpec
>>> spec = MapperSpec(64, 2, 3, 0, kappa_scale=0.01, galaxies_per_pixel=(9, 9))
>>> mapper = SphericalMassMapper(spec)
>>> geometry = TileGeometry(64, np.arange(16**2))
>>> estimate = mapper(geometry, torch.zeros(1, 9, 256), torch.zeros(1, 2, 2, 256))
>>> estimate.kappa.shape
torch.Size([1, 256])

All hidden fields are spins 0, 1 and 2 over O(2): a rotated sky gives the rotated map, a mirrored
one the mirrored map, up to the sampling's error. κ is the linear estimate that comes with the shear
plus what the network adds; at the start it adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.continuous_groups import O2
from equilens.models.fields import FieldType
from equilens.models.planar.nonlinearities import GatedNonlinearity
from equilens.models.spherical.local_convolution import SphereConv
from equilens.models.spherical.mapper_spec import MapperSpec
from equilens.models.spherical.resolution import SmoothPooling, SmoothUpsampling
from equilens.models.spherical.stencils import REACH
from equilens.models.spherical.tile_geometry import TileGeometry

HEAD_WIDTH = 24
# a gate lets about half of a field through: what goes into it starts twice as strong
GAIN = 2.0
# of κ that the shear does not determine, in units of κ's variance, before anything is learned
FIRST_LOG_VARIANCE = math.log(0.6)
# haloes are rare
FIRST_HALO_LOGIT = -3.5


class MassEstimate(NamedTuple):
    """What a mapper says of each pixel, (B, P) each.

    Attributes
    ----------
    kappa : mean of the convergence
    log_variance : natural logarithm of its variance
    halo_logit : that a massive halo is centred here
    """

    kappa: Tensor
    log_variance: Tensor
    halo_logit: Tensor

    @classmethod
    def of(cls, spec: MapperSpec, said: Sequence[Tensor], linear: Tensor) -> MassEstimate:
        """From a network's three outputs, each of order one.

        Parameters
        ----------
        said : what is added to κ over its scale, log-variance over that scale, halo logit
        linear : estimate of κ that the first is added to
        """
        scale = spec.kappa_scale
        log_variance = said[1].clamp(-12.0, 6.0) + FIRST_LOG_VARIANCE + 2 * math.log(scale)
        return cls(
            torch.nan_to_num(linear) + scale * said[0], log_variance, said[2] + FIRST_HALO_LOGIT
        )


class SphericalMassMapper(nn.Module):
    """A U-shaped network of local convolutions on HEALPix pixels.

    Parameters
    ----------
    spec : the skies it is for, and its size
    """

    def __init__(self, spec: MapperSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = [hidden_fields(spec, level) for level in range(spec.depth + 1)]
        self.stem = FieldBlock(input_fields(spec), widths[0])
        self.shrink = nn.ModuleList(SmoothPooling(fields) for fields in widths[:-1])
        self.down = nn.ModuleList(FieldBlock(fine, coarse) for fine, coarse in pairwise(widths))
        self.grow = nn.ModuleList(SmoothUpsampling(fields) for fields in widths[1:])
        self.up = nn.ModuleList(
            FieldBlock(joined(fine, coarse), fine) for fine, coarse in pairwise(widths)
        )
        self.head = InvariantHead(widths[0], spec.scalar_inputs)

    @property
    def reach(self) -> int:
        """Pixels on each side that whole blocks of answers depend on: an exact patch's margin."""
        depth, far, kept = self.spec.depth, 0, []
        for _ in range(depth):
            # up: a convolution, and two parents beyond those of the pixels that it sees
            kept.append(far + REACH)
            far = -(-kept[-1] // 2) + 2
        for seen in reversed(kept):
            # down: a convolution, and one child beyond the four of each pixel that it sees
            far = max(2 * (far + REACH) + 1, seen)
        return far + REACH

    def forward(self, geometry: TileGeometry, scalars: Tensor, shear: Tensor) -> MassEstimate:
        """Map a batch of patches that share their place.

        Parameters
        ----------
        geometry : P pixels in whole blocks of ``4^depth``
        scalars : (B, 3K + L, P)
        shear : (B, K, 2, P); both as `mapper_spec.network_inputs` gives them
        """
        levels = [geometry]
        x = self.stem(torch.cat([scalars, shear.flatten(1, 2)], dim=1), geometry)
        kept = []
        for pool, block in zip(self.shrink, self.down, strict=True):
            kept.append(x)
            x = pool(x, levels[-1])
            levels.append(levels[-1].coarser())
            x = block(x, levels[-1])
        for level in reversed(range(self.spec.depth)):
            wide = self.grow[level](x, levels[level])
            x = self.up[level](torch.cat([kept[level], wide], dim=1), levels[level])
        said = self.head(x, scalars)
        first = 3 * self.spec.n_bins
        return MassEstimate.of(self.spec, said.unbind(1), scalars[:, first] * self.spec.kappa_scale)


class FieldBlock(nn.Module):
    """A convolution and gates for every field of its output."""

    def __init__(self, in_type: FieldType, out_type: FieldType) -> None:
        super().__init__()
        self.gates = GatedNonlinearity(out_type)
        self.convolution = SphereConv(in_type, self.gates.in_type, bias=True, gain=GAIN)

    def forward(self, features: Tensor, geometry: TileGeometry) -> Tensor:
        return self.gates(self.convolution(features, geometry))


class InvariantHead(nn.Module):
    """A perceptron a pixel on what no rotation changes: scalars, and lengths of the rest."""

    def __init__(self, fields: FieldType, scalar_inputs: int) -> None:
        super().__init__()
        self.scalars = sum(b.channels for b in fields.blocks if b.representation.is_trivial)
        pairs = (fields.channels - self.scalars) // 2
        self.first = nn.Linear(self.scalars + pairs + scalar_inputs, HEAD_WIDTH)
        self.last = nn.Linear(HEAD_WIDTH, 3)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, features: Tensor, scalars: Tensor) -> Tensor:
        """(B, 3, P) from fields (B, C, P), scalars first, and the network's scalar inputs."""
        pairs = features[:, self.scalars :].unflatten(1, (-1, 2))
        lengths = torch.sqrt(pairs.square().sum(dim=2) + 1e-6)
        known = torch.cat([features[:, : self.scalars], lengths, scalars], dim=1)
        hidden = functional.silu(self.first(known.transpose(1, 2)))
        return self.last(hidden).transpose(1, 2)


def input_fields(spec: MapperSpec) -> FieldType:
    """Scalars and the shear of each bin."""
    return FieldType(O2(), f"{spec.scalar_inputs}xtrivial+{spec.n_bins}xirrep(2)")


def hidden_fields(spec: MapperSpec, level: int) -> FieldType:
    """Fields of spin 0, 1 and 2 at a level, 0 the finest."""
    counts = [round(n * spec.growth**level) for n in (spec.scalars, spec.vectors, spec.tensors)]
    names = ("trivial", "irrep(1)", "irrep(2)")
    return FieldType(O2(), "+".join(f"{n}x{name}" for n, name in zip(counts, names, strict=True)))


def joined(first: FieldType, second: FieldType) -> FieldType:
    """Fields of both, the first's channels first."""
    return FieldType(first.group, f"{first.spec}+{second.spec}")
