"""Lensed images of a clumpy source, sampled finely only where the source's light falls.

Surface brightness is conserved: the image at θ is the source at β(θ). Every pixel is ray-shot once;
those whose footprint in the source plane comes near the source are shot again at samples² points.
The footprint is bounded by half a pixel's diagonal times |1 − κ| + |γ|, the larger eigenvalue of
∂β/∂θ, external shear aside. Point sources are images of their own, see `point_images`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from equilens.pipeline.simulation.lensing import LensModel
from equilens.pipeline.simulation.light import sersic_b, sersic_central_brightness
from equilens.pipeline.simulation.point_images import find_images, image_reach, paint_points
from equilens.pipeline.simulation.ray_table import RayTable
from equilens.pipeline.simulation.rendering import Grid, subpixel_offsets

_REACH = 6.0  # half-light radii beyond which a source is dark: 4e-5 of the centre for n = 1
_FINE_REACH = 3.0
_CLUMP_REACH = 3.0  # widths
_SAMPLES = 4
_SAMPLES_OF_LARGE = 2  # smooth sources of at least _LARGE pixels
_LARGE = 2.5


@dataclass(frozen=True)
class ClumpySource:
    """A batch of sources: an elliptical Sérsic host and C Gaussian clumps, each of unit flux.

    Parameters
    ----------
    x, y, radius, index, axis_ratio, angle : (L,) Tensor
        Host, as in `SersicComponents`; arcsec and rad.
    clump_x, clump_y : (L, C) Tensor, arcsec from the centre of the cutout
    clump_sigma : (L, C) Tensor, arcsec
    clump_weight : (L, C) Tensor
        Shares of the clumps; a row sums to one, or to zero for a smooth source.
    has_point : (L,) bool Tensor, optional
        Sources with a point of unit flux at the host's centre, in place of clumps.
    """

    x: Tensor
    y: Tensor
    radius: Tensor
    index: Tensor
    axis_ratio: Tensor
    angle: Tensor
    clump_x: Tensor
    clump_y: Tensor
    clump_sigma: Tensor
    clump_weight: Tensor
    has_point: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def has_clumps(self) -> Tensor:
        """Which sources have clumps, (L,) bool."""
        return self.clump_weight.sum(dim=1) > 0

    @property
    def extent(self) -> Tensor:
        """How far from the host's centre three half-light radii, and clumps, reach, (L,) arcsec."""
        away = torch.hypot(self.clump_x - self.x[:, None], self.clump_y - self.y[:, None])
        away = (away + _CLUMP_REACH * self.clump_sigma) * (self.clump_weight > 0)
        return torch.maximum(_FINE_REACH * self.radius, away.amax(dim=1))

    def shifted(self, x: Tensor, y: Tensor) -> ClumpySource:
        """Return the same sources moved by (L,) arcsec each, clumps and all."""
        return replace(
            self,
            x=self.x + x,
            y=self.y + y,
            clump_x=self.clump_x + x[:, None],
            clump_y=self.clump_y + y[:, None],
        )

    def to(self, device: torch.device) -> ClumpySource:
        """Return the same sources on another device."""
        moved: dict[str, Any] = {k: v if v is None else v.to(device) for k, v in vars(self).items()}
        return ClumpySource(**moved)

    def host(self, beta_x: Tensor, beta_y: Tensor, row: Tensor) -> Tensor:
        """Return the host's brightness, arcsec⁻² per unit flux, at (M, S) points."""
        a, c, d = self._quadratic_form()
        dx, dy = beta_x - self.x[row, None], beta_y - self.y[row, None]
        squared = a[row, None] * dx * dx + c[row, None] * dx * dy + d[row, None] * dy * dy
        b, peak = sersic_b(self.index), sersic_central_brightness(self.radius, self.index)
        power = squared.clamp_min_(1e-12).log_().mul_((0.5 / self.index)[row, None])
        power += (b.log() - self.radius.log() / self.index)[row, None]
        return power.exp_().neg_().exp_().mul_(peak[row, None])

    def _quadratic_form(self) -> tuple[Tensor, Tensor, Tensor]:
        cos, sin, q = torch.cos(self.angle), torch.sin(self.angle), self.axis_ratio
        return (
            q * cos**2 + sin**2 / q,
            2 * cos * sin * (q - 1 / q),
            q * sin**2 + cos**2 / q,
        )

    def clumps(self, beta_x: Tensor, beta_y: Tensor, row: Tensor) -> Tensor:
        """Return the clumps' brightness, arcsec⁻² per unit flux, at (M, S) points."""
        total = torch.zeros_like(beta_x)
        variance = self.clump_sigma**2
        peak = self.clump_weight / (2 * torch.pi * variance)
        for c in range(self.clump_x.shape[1]):
            dx = beta_x - self.clump_x[row, c, None]
            dy = beta_y - self.clump_y[row, c, None]
            squared = dx.square_().add_(dy.square_()).mul_((-0.5 / variance[:, c])[row, None])
            total += squared.exp_().mul_(peak[row, c, None])
        return total


def render_arcs(lens: LensModel, source: ClumpySource, grid: Grid) -> Tensor:
    """Return flux per pixel of the lensed host and of clumps or point, per unit of unlensed flux.

    Returns
    -------
    (L, 2, G, G) Tensor
    """
    images = source.x.new_zeros((len(source), 2, grid.size, grid.size))
    rays = RayTable(lens)
    row, iy, ix = _pixels_in_reach(lens, source, grid)
    x, y = (ix - grid.centre) * grid.pixel_scale, (iy - grid.centre) * grid.pixel_scale
    beta = rays.shoot(x, y, row)
    distance = torch.hypot(beta[0] - source.x[row], beta[1] - source.y[row])
    distance -= rays.largest_stretch(x, y, beta, row).mul_(grid.pixel_scale * 0.5**0.5)
    extent = source.extent
    fine = distance < extent[row]
    large = (source.radius > _LARGE * grid.pixel_scale) & ~source.has_clumps
    large = large[row]
    coarse = (distance < _reach(source, extent)[row]) & ~fine
    for chosen, samples in (
        (coarse, 1),
        (fine & large, _SAMPLES_OF_LARGE),
        (fine & ~large, _SAMPLES),
    ):
        _shoot_pixels(images, (row[chosen], iy[chosen], ix[chosen]), rays, source, grid, samples)
    if source.has_point is not None and bool(source.has_point.any()):
        at = source.has_point.nonzero()[:, 0]
        found = find_images(lens.take(at), source.x[at], source.y[at])
        images[at, 1] = paint_points(found, len(at), grid)
    return images


def _reach(source: ClumpySource, extent: Tensor) -> Tensor:
    return torch.maximum(_REACH * source.radius, extent)


def _pixels_in_reach(
    lens: LensModel, source: ClumpySource, grid: Grid
) -> tuple[Tensor, Tensor, Tensor]:
    beta = torch.hypot(source.x - lens.x, source.y - lens.y) + _reach(source, source.extent)
    reach = image_reach(lens, beta) + grid.pixel_scale
    axis = grid.axis(source.x.device, source.x.dtype)
    dx, dy = axis - lens.x[:, None], axis - lens.y[:, None]
    near = dy.square()[:, :, None] + dx.square()[:, None, :] < reach.square()[:, None, None]
    row, iy, ix = near.nonzero(as_tuple=True)
    return row, iy, ix


def _shoot_pixels(
    images: Tensor,
    pixels: tuple[Tensor, Tensor, Tensor],
    rays: RayTable,
    source: ClumpySource,
    grid: Grid,
    samples: int,
) -> None:
    row, iy, ix = pixels
    if not len(row):
        return
    offsets = subpixel_offsets(samples, grid.pixel_scale, source.x)
    dy, dx = (t.reshape(1, -1) for t in torch.meshgrid(offsets, offsets, indexing="ij"))
    x = ((ix - grid.centre) * grid.pixel_scale)[:, None] + dx
    y = ((iy - grid.centre) * grid.pixel_scale)[:, None] + dy
    beta_x, beta_y = rays.shoot(x, y, row)
    area = grid.pixel_scale**2
    images[row, 0, iy, ix] = source.host(beta_x, beta_y, row).mean(dim=1) * area
    clumpy = source.has_clumps[row].nonzero()[:, 0]
    row, iy, ix = row[clumpy], iy[clumpy], ix[clumpy]
    clumps = source.clumps(beta_x[clumpy], beta_y[clumpy], row)
    images[row, 1, iy, ix] = clumps.mean(dim=1) * area
