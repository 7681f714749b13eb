"""Lensed images of point sources: quasars, supernovae, and tests of how many images there are.

The image plane is cut into triangles, each mapped to the source plane; a triangle whose image holds
the source holds an image (Schneider, Ehlers & Falco 1992, section 10.3), which Newton's method
refines. Images much closer than a cell to the centre are lost: they are demagnified.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equilens.pipeline.simulation.lensing import LensModel, jacobian, ray_shoot
from equilens.pipeline.simulation.rendering import Grid

_CELLS = 61  # across the field that can hold images
_NEWTON_STEPS = 10
_RESIDUAL = 1e-5  # arcsec in the source plane, of a solution
_SAME_IMAGE = 1e-3  # Einstein radii
_BRIGHTEST = 30.0  # magnification: a source of finite size is not magnified further
_POINT_SIGMA_PIXELS = 0.3
_STAMP = 2


@dataclass(frozen=True)
class PointImages:
    """Images of L point sources: (M,) tensors.

    row is the source's, x and y in arcsec, magnification signed: negative for mirror images.
    """

    row: Tensor
    x: Tensor
    y: Tensor
    magnification: Tensor


def find_images(lens: LensModel, x: Tensor, y: Tensor) -> PointImages:
    """Solve the lens equation for one point source behind each deflector.

    Parameters
    ----------
    lens : LensModel with (L,) fields
    x, y : (L,) Tensor, arcsec, positions of the sources
    """
    lens, x, y = lens.to(torch.float64), x.double(), y.double()
    reach = image_reach(lens, torch.hypot(x - lens.x, y - lens.y))
    # cells shrink towards the centre, where images crowd; an odd number keeps corners off it
    axis = torch.linspace(-1, 1, _CELLS + 1, dtype=torch.float64, device=x.device)
    axis = axis.abs() * axis
    grid_x = lens.x[:, None, None] + reach[:, None, None] * axis[None, None, :]
    grid_y = lens.y[:, None, None] + reach[:, None, None] * axis[None, :, None]
    grid_x, grid_y = torch.broadcast_tensors(grid_x, grid_y)
    beta = ray_shoot(grid_x, grid_y, lens.expand(2))
    dx, dy = beta[0] - x[:, None, None], beta[1] - y[:, None, None]
    row, iy, ix = _cells_that_hold_the_source(dx, dy).nonzero(as_tuple=True)
    start_x = 0.5 * (grid_x[row, iy, ix] + grid_x[row, iy, ix + 1])
    start_y = 0.5 * (grid_y[row, iy, ix] + grid_y[row, iy + 1, ix])
    cell = torch.maximum(axis[ix + 1] - axis[ix], axis[iy + 1] - axis[iy]) * reach[row]
    return _refine(lens.take(row), row, (x[row], y[row]), (start_x, start_y), cell)


def image_reach(lens: LensModel, beta: Tensor) -> Tensor:
    """Return a bound on how far from the centre images of a source at distance `beta` lie, arcsec.

    |α| ≤ 1.1 θ_E (θ / θ_E)^{1 − t} for q ≥ 0.4, and a partner adds its θ_E, so
    θ (1 − γ) ≤ |β| + |α| bounds θ; iterated from above.
    """
    free = 1 - torch.hypot(lens.shear1, lens.shear2)
    pull = 1.1 * lens.einstein_radius
    if lens.partner is not None:
        beta = beta + lens.partner.einstein_radius
    reach = (beta + pull) / free
    if lens.slope is None:
        return reach
    power = (2 - lens.slope).clamp_min(0)
    bound = 6 * reach
    for _ in range(8):
        bound = (beta + pull * (bound / lens.einstein_radius) ** power) / free
    return torch.maximum(reach, bound)


def _cells_that_hold_the_source(dx: Tensor, dy: Tensor) -> Tensor:
    corners = [
        (dx[:, j : j + _CELLS, i : i + _CELLS], dy[:, j : j + _CELLS, i : i + _CELLS])
        for j, i in ((0, 0), (0, 1), (1, 1), (1, 0))
    ]
    a, b, c, d = corners
    return _holds_origin(a, b, c) | _holds_origin(a, c, d)


def _holds_origin(*corners: tuple[Tensor, Tensor]) -> Tensor:
    turns = [
        p[0] * q[1] - p[1] * q[0] for p, q in zip(corners, (*corners[1:], corners[0]), strict=True)
    ]
    left = (turns[0] >= 0) & (turns[1] >= 0) & (turns[2] >= 0)
    return left | ((turns[0] <= 0) & (turns[1] <= 0) & (turns[2] <= 0))


def _refine(
    lens: LensModel,
    row: Tensor,
    source: tuple[Tensor, Tensor],
    start: tuple[Tensor, Tensor],
    longest_step: Tensor,
) -> PointImages:
    x, y = start
    for _ in range(_NEWTON_STEPS):
        beta_x, beta_y = ray_shoot(x, y, lens)
        rx, ry = source[0] - beta_x, source[1] - beta_y
        a, b, d = jacobian(x, y, lens)
        det = a * d - b * b
        step_x, step_y = (d * rx - b * ry) / det, (a * ry - b * rx) / det
        size = torch.hypot(step_x, step_y)
        shrink = (longest_step / size.clamp_min(1e-30)).clamp_max(1)
        x, y = x + step_x * shrink, y + step_y * shrink
    beta_x, beta_y = ray_shoot(x, y, lens)
    solved = torch.hypot(beta_x - source[0], beta_y - source[1]) < _RESIDUAL
    apart = torch.hypot(x[:, None] - x, y[:, None] - y) > _SAME_IMAGE * lens.einstein_radius
    twin = (~apart & (row[:, None] == row) & solved).tril(-1).any(dim=1)
    kept = (solved & ~twin).nonzero()[:, 0]
    a, b, d = jacobian(x, y, lens)
    return PointImages(row[kept], x[kept], y[kept], (1 / (a * d - b * b))[kept])


def paint_points(images: PointImages, n: int, grid: Grid) -> Tensor:
    """Return (n, G, G) flux per pixel, each source of one unit: Gaussians narrower than a pixel.

    Light that falls beyond the grid is lost.
    """
    side, scale = grid.size, grid.pixel_scale
    layer = images.x.new_zeros((n, side + 2 * _STAMP, side + 2 * _STAMP), dtype=torch.float32)
    steps = torch.arange(-_STAMP, _STAMP + 1, device=images.x.device)
    pixel_y, pixel_x = grid.nearest(images.y), grid.nearest(images.x)
    inside = (pixel_x >= 0) & (pixel_x < side) & (pixel_y >= 0) & (pixel_y < side)
    flux = images.magnification.abs().clamp_max(_BRIGHTEST) * inside
    rows, columns = pixel_y.clamp(0, side - 1), pixel_x.clamp(0, side - 1)
    share_y = _gaussian_shares(images.y / scale + grid.centre - rows, steps)
    share_x = _gaussian_shares(images.x / scale + grid.centre - columns, steps)
    stamp = flux[:, None, None] * share_y[:, :, None] * share_x[:, None, :]
    where = (
        images.row[:, None, None],
        (rows[:, None] + _STAMP + steps)[:, :, None],
        (columns[:, None] + _STAMP + steps)[:, None, :],
    )
    layer.index_put_(where, stamp.float(), accumulate=True)
    return layer[:, _STAMP:-_STAMP, _STAMP:-_STAMP]


def _gaussian_shares(offset: Tensor, steps: Tensor) -> Tensor:
    # the integral of a Gaussian over pixels `steps` away from the one that holds it
    edges = torch.cat([steps - 0.5, steps[-1:] + 0.5])[None] - offset[:, None]
    return 0.5 * torch.erf(edges / (2**0.5 * _POINT_SIGMA_PIXELS)).diff(dim=1)
