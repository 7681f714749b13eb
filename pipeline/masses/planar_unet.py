"""The planar rival: a U-net on overlapping gnomonic tiles, with the mapper's inputs and outputs.

Each tile is a tangent plane about the centre of a coarse HEALPix pixel. Maps are brought there by
bilinear interpolation, shear turned from the meridian to the tile's own north; a pixel of the sky
is answered by the tile whose centre is nearest. What a plane costs is what this baseline shows:
shear interpolated twice, distances that grow towards a tile's edge, overlaps computed twice.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.spherical.mapper_spec import MapperSpec
from equilens.models.spherical.mass_mapper import MassEstimate


class PlanarUnet(nn.Module):
    """A U-net of 3×3 convolutions with the mapper's inputs, depth, head and residual start.

    Parameters
    ----------
    spec : what the mapper of the sphere is given
    width : channels at the finest level; chosen to have as many parameters as the mapper
    """

    def __init__(self, spec: MapperSpec, width: int) -> None:
        super().__init__()
        self.spec, self.width = spec, width
        widths = [round(width * spec.growth**level) for level in range(spec.depth + 1)]
        inputs = spec.scalar_inputs + 2 * spec.n_bins
        self.stem = _Block(inputs, widths[0])
        self.down = nn.ModuleList(_Block(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(_Block(a + b, a) for a, b in pairwise(widths))
        self.head = nn.Conv2d(widths[0], 3, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, side: int, scalars: Tensor, shear: Tensor) -> MassEstimate:
        """κ, its log-variance and halo logits, (B, side²), from maps on tiles.

        Parameters
        ----------
        side : of a tile, which takes the place of the sphere's geometry
        scalars, shear : (B, 3K + L, side²) and (B, K, 2, side²), as the mapper of the sphere
            takes them
        """
        x = torch.cat([scalars, shear.flatten(1, 2)], dim=1).unflatten(-1, (side, side))
        x = self.stem(x)
        kept = []
        for block in self.down:
            kept.append(x)
            x = block(functional.avg_pool2d(x, 2))
        for block, skipped in zip(reversed(self.up), reversed(kept), strict=True):
            wide = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([skipped, wide], dim=1))
        first = 3 * self.spec.n_bins
        linear = scalars[:, first] * self.spec.kappa_scale
        return MassEstimate.of(self.spec, self.head(x).flatten(2).unbind(1), linear)


class _Block(nn.Module):
    """Two convolutions, the second one on top of what came in."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.first(x))
        return functional.silu(x + self.second(x))


def width_for(spec: MapperSpec, parameters: int) -> int:
    """Width of a planar U-net with as many parameters as asked, as nearly as a whole number can."""
    sizes = {
        width: sum(p.numel() for p in PlanarUnet(spec, width).parameters())
        for width in range(4, 65, 2)
    }
    return min(sizes, key=lambda width: abs(sizes[width] - parameters))
