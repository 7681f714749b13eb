"""Lensed images of a clumpy source, sampled finely only where the source's light falls.

Surface brightness is conserved: the image at θ is the source at β(θ). Every pixel is ray-shot once;
those whose footprint in the source plane comes near the source are shot again at samples² points.
The footprint is bounded by half a pixel's diagonal times max(1, |1 − 2κ|), the eigenvalues of
∂β/∂θ without shear.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equilens.pipeline.simulation.lensing import LensModel, convergence, ray_shoot
from equilens.pipeline.simulation.light import sersic_b, sersic_central_brightness
from equilens.pipeline.simulation.rendering import Grid, subpixel_offsets

_REACH = 6.0  # half-light radii beyond which a source is dark: 4e-5 of the centre for n = 1
_FINE_REACH = 3.0
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

    def __len__(self) -> int:
        return len(self.x)

    @property
    def has_clumps(self) -> Tensor:
        """Which sources have clumps, (L,) bool."""
        return self.clump_weight.sum(dim=1) > 0

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
    """Return flux per pixel of the lensed host and clumps, each for one unit of unlensed flux.

    Returns
    -------
    (L, 2, G, G) Tensor
    """
    images = source.x.new_zeros((len(source), 2, grid.size, grid.size))
    row, iy, ix = _pixels_in_reach(lens, source, grid)
    x, y = (ix - grid.centre) * grid.pixel_scale, (iy - grid.centre) * grid.pixel_scale
    deflector = lens.take(row)
    beta = ray_shoot(x, y, deflector)
    distance = torch.hypot(beta[0] - source.x[row], beta[1] - source.y[row])
    stretch = (1 - 2 * convergence(x, y, deflector)).abs_().clamp_min_(1.0)
    distance -= stretch.mul_(grid.pixel_scale * 0.5**0.5)
    radius = source.radius[row]
    fine = distance < _FINE_REACH * radius
    large = (source.radius > _LARGE * grid.pixel_scale) & ~source.has_clumps
    large = large[row]
    coarse = (distance < _REACH * radius) & ~fine
    for chosen, samples in (
        (coarse, 1),
        (fine & large, _SAMPLES_OF_LARGE),
        (fine & ~large, _SAMPLES),
    ):
        _shoot_pixels(images, (row[chosen], iy[chosen], ix[chosen]), lens, source, grid, samples)
    return images


def _pixels_in_reach(
    lens: LensModel, source: ClumpySource, grid: Grid
) -> tuple[Tensor, Tensor, Tensor]:
    # |α| ≤ 1.1 θ_E for q ≥ 0.4, so |θ| (1 − γ) ≤ |β| + 1.1 θ_E bounds where images can lie
    beta = torch.hypot(source.x - lens.x, source.y - lens.y) + _REACH * source.radius
    reach = (beta + 1.1 * lens.einstein_radius) / (1 - torch.hypot(lens.shear1, lens.shear2))
    reach = reach + grid.pixel_scale
    axis = grid.axis(source.x.device, source.x.dtype)
    dx, dy = axis - lens.x[:, None], axis - lens.y[:, None]
    near = dy.square()[:, :, None] + dx.square()[:, None, :] < reach.square()[:, None, None]
    row, iy, ix = near.nonzero(as_tuple=True)
    return row, iy, ix


def _shoot_pixels(
    images: Tensor,
    pixels: tuple[Tensor, Tensor, Tensor],
    lens: LensModel,
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
    beta_x, beta_y = ray_shoot(x, y, lens.take(row[:, None]))
    area = grid.pixel_scale**2
    images[row, 0, iy, ix] = source.host(beta_x, beta_y, row).mean(dim=1) * area
    clumpy = source.has_clumps[row].nonzero()[:, 0]
    row, iy, ix = row[clumpy], iy[clumpy], ix[clumpy]
    clumps = source.clumps(beta_x[clumpy], beta_y[clumpy], row)
    images[row, 1, iy, ix] = clumps.mean(dim=1) * area
