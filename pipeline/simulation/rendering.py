"""From components to pixels: flux per pixel, averaged over the pixel where a profile is steep.

A grid covers the cutout and a margin around it, so that light from outside the frame scatters in
and the periodic convolution wraps into pixels that are thrown away.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from equilens.pipeline.simulation.light import (
    PatternComponents,
    SersicComponents,
    pattern_brightness,
    sersic_brightness,
)

_HALVES = (6, 10, 16, 24, 36, 46)  # of patches, pixels; the whole grid beyond
_REACH_IN_RADII = 4.5
_WINGED_INDEX, _WINGED_REACH = 2.0, 2.5
_CORE, _CORE_SAMPLES = 4, 2  # half size in pixels, samples a side of a pixel
_CUSP_SAMPLES = 6  # in the 3x3 pixels around a cusp
_CUSP_NODES = 6  # on each side of a cusp within its pixel, along both axes
_CUSP_INDEX, _CUSP_RADIUS_PIXELS = 0.8, 1.5  # cuspy above this index, or below this radius
_CHUNK = 16  # components evaluated at once: keeps the working set in cache
_PIXELS_AT_ONCE = 60_000

_Components = TypeVar("_Components", SersicComponents, PatternComponents)
_Profile = Callable[[Tensor, Tensor, _Components], Tensor]


@dataclass(frozen=True)
class Grid:
    """A square pixel grid with the cutout's central pixel at arcsec (0, 0).

    Parameters
    ----------
    size : int
        Pixels a side.
    centre : int
        Row and column of the cutout's central pixel.
    pixel_scale : float, arcsec
    """

    size: int
    centre: int
    pixel_scale: float

    def axis(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the pixel centres along one axis, (size,) arcsec."""
        return (torch.arange(self.size, device=device, dtype=dtype) - self.centre) * (
            self.pixel_scale
        )

    def nearest(self, position: Tensor) -> Tensor:
        """Return the index of the pixel that holds a position in arcsec."""
        return (position / self.pixel_scale).round().long() + self.centre


def subpixel_offsets(samples: int, pixel_scale: float, like: Tensor) -> Tensor:
    """Return points of equal weight along a pixel, (samples,) arcsec from its centre.

    An even number is two-point Gauss-Legendre quadrature in equal parts of the pixel, exact for
    cubics; an odd one the midpoints of equal parts.
    """
    if samples % 2:
        steps = torch.arange(samples, device=like.device, dtype=like.dtype)
        return ((steps + 0.5) / samples - 0.5) * pixel_scale
    cells = torch.arange(samples // 2, device=like.device, dtype=like.dtype) + 0.5
    nodes = torch.tensor([-0.5, 0.5], device=like.device, dtype=like.dtype) / 3**0.5
    return ((cells[:, None] + nodes).flatten() / (samples // 2) - 0.5) * pixel_scale


def patch_means(
    profile: _Profile,
    components: _Components,
    rows: Tensor,
    columns: Tensor,
    grid: Grid,
    samples: int,
) -> Tensor:
    """Return flux per pixel and unit flux on a patch, averaged over samples² points a pixel.

    Parameters
    ----------
    rows, columns : (K, P) int64 Tensor
        Pixels of the patch of each component.

    Returns
    -------
    (K, P, P) Tensor
    """
    offsets = subpixel_offsets(samples, grid.pixel_scale, components.x)
    y = ((rows - grid.centre) * grid.pixel_scale)[..., None] + offsets - components.y[:, None, None]
    x = ((columns - grid.centre) * grid.pixel_scale)[..., None] + offsets
    x = x - components.x[:, None, None]
    n, p = rows.shape
    values = profile(x.reshape(n, 1, -1), y.reshape(n, -1, 1), components)
    if samples > 1:
        values = values.view(n, p, samples, p, samples).mean(dim=(2, 4))
    return values * grid.pixel_scale**2


def render_sersic(components: SersicComponents, grid: Grid, half: int | None = None) -> Tensor:
    """Return the unit-flux images of Sérsic components.

    One sample a pixel outside, and `core_patches` within 4 pixels of the centre.

    Parameters
    ----------
    half : int, optional
        Half size of the patch around each centre, at least 4; None renders the whole grid.

    Returns
    -------
    (K, P, P) Tensor, with P the grid size or 2 half + 1
    """
    return _with_cores(components, core_patches(components, grid), grid, half)


def _with_cores(
    components: SersicComponents, cores: Tensor, grid: Grid, half: int | None
) -> Tensor:
    rows, columns = patch_pixels(components, grid, half)
    image = patch_means(sersic_brightness, components, rows, columns, grid, 1)
    if half is not None:
        inner = slice(half - _CORE, half + _CORE + 1)
        image[:, inner, inner] = cores
        return image
    r, c = patch_pixels(components, grid, _CORE)
    inside_r, inside_c = (r >= 0) & (r < grid.size), (c >= 0) & (c < grid.size)
    k, y, x = (inside_r[:, :, None] & inside_c[:, None, :]).nonzero(as_tuple=True)
    image[k, r[k, y], c[k, x]] = cores[k, y, x]
    return image


def core_patches(components: SersicComponents, grid: Grid) -> Tensor:
    """Return unit-flux images of the 9x9 pixels around each centre, (K, 9, 9).

    2x2 samples a pixel; about a cusp (index above 0.8, or unresolved) 6x6 in the inner 3x3 pixels,
    and nodes that crowd at the cusp in its own pixel.
    """
    rows, columns = patch_pixels(components, grid, _CORE)
    image = patch_means(sersic_brightness, components, rows, columns, grid, _CORE_SAMPLES)
    cuspy = components.index > _CUSP_INDEX
    cuspy |= components.radius < _CUSP_RADIUS_PIXELS * grid.pixel_scale
    item = cuspy.nonzero()[:, 0]
    if len(item):
        part = components.select(item)
        rows, columns = patch_pixels(part, grid, 1)
        near = patch_means(sersic_brightness, part, rows, columns, grid, _CUSP_SAMPLES)
        near[:, 1, 1] = _cusp_flux(part, grid)
        image[item, _CORE - 1 : _CORE + 2, _CORE - 1 : _CORE + 2] = near
    return image


def _cusp_flux(components: SersicComponents, grid: Grid) -> Tensor:
    row, column = grid.nearest(components.y), grid.nearest(components.x)
    y, weight_y = _nodes_about_cusp((row - grid.centre) * grid.pixel_scale - components.y, grid)
    x, weight_x = _nodes_about_cusp((column - grid.centre) * grid.pixel_scale - components.x, grid)
    values = sersic_brightness(x[:, None, :], y[:, :, None], components)
    return torch.einsum("kyx,ky,kx->k", values, weight_y, weight_x)


def _nodes_about_cusp(pixel: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Return nodes and weights, (K, N) arcsec, across a pixel `pixel` (K,) away from the cusp.

    Either side is mapped by t ↦ t³, which makes the steepest Sérsic profiles smooth in t.
    """
    t, weight = (torch.tensor(v, dtype=pixel.dtype, device=pixel.device) for v in _unit_nodes())
    half = 0.5 * grid.pixel_scale
    sides = torch.stack([pixel - half, pixel + half], dim=1)[:, :, None]
    length = torch.cat([-sides[:, :1], sides[:, 1:]], dim=1)
    return (sides * t**3).flatten(1), (length * 3 * t.square() * weight).flatten(1)


@functools.cache
def _unit_nodes() -> tuple[tuple[float, ...], tuple[float, ...]]:
    # Gauss-Legendre nodes and weights on (0, 1)
    nodes, weights = np.polynomial.legendre.leggauss(_CUSP_NODES)
    return tuple(0.5 * (nodes + 1)), tuple(0.5 * weights)


def patch_pixels(
    components: SersicComponents | PatternComponents, grid: Grid, half: int | None
) -> tuple[Tensor, Tensor]:
    """Return the rows and columns, (K, P) each, of a patch around every centre, or of the grid."""
    n = len(components)
    if half is None:
        line = torch.arange(grid.size, device=components.x.device).expand(n, -1)
        return line, line
    steps = torch.arange(-half, half + 1, device=components.x.device)
    row, column = grid.nearest(components.y)[:, None], grid.nearest(components.x)[:, None]
    return row + steps, column + steps


def add_sersic(scene: Tensor, components: SersicComponents, grid: Grid) -> None:
    """Add Sérsic components to scenes (N, B, G, G) in place, each on a patch that holds its light.

    Patches reach to 4.5 half-light radii, 0.2 % of the centre for n = 1, and 2.5 times as far for
    n > 2; the widest components go over the whole grid.
    """
    # harmonics cost as much as the profile: components without go by themselves
    lopsided = components.harmonics.any(dim=1)
    for group in (components.select(lopsided), components.select(~lopsided)):
        cores = core_patches(group, grid)
        reach = _REACH_IN_RADII * group.radius / group.axis_ratio.sqrt() / grid.pixel_scale
        reach = torch.where(group.index > _WINGED_INDEX, _WINGED_REACH * reach, reach)
        smaller = 0.0
        for half in (*_HALVES, None):
            larger = float("inf") if half is None else half
            item = ((reach > smaller) & (reach <= larger)).nonzero()[:, 0]
            _add_patches(scene, group.select(item), cores[item], grid, half)
            smaller = larger


def _add_patches(
    scene: Tensor, components: SersicComponents, cores: Tensor, grid: Grid, half: int | None
) -> None:
    side = grid.size if half is None else 2 * half + 1
    at_once = max(_PIXELS_AT_ONCE // side**2, 1)
    for start in range(0, len(components), at_once):
        batch = slice(start, start + at_once)
        part = components.select(batch)
        image = _with_cores(part, cores[batch], grid, half)
        if half is None:
            _accumulate(scene, part.owner, part.flux, image)
        else:
            _add_clipped(scene, part, image, grid, half)


def add_patterns(scene: Tensor, components: PatternComponents, grid: Grid) -> None:
    """Add patterned components in place: discs over the whole grid, rings with 2x2 samples."""
    for start in range(0, len(components), _CHUNK):
        part = components.select(slice(start, start + _CHUNK))
        for is_ring in (False, True):
            group = part.select((part.width > 0) == is_ring)
            if len(group):
                rows, columns = patch_pixels(group, grid, None)
                image = patch_means(
                    pattern_brightness, group, rows, columns, grid, 2 if is_ring else 1
                )
                _accumulate(scene, group.owner, group.flux, image)


def _accumulate(scene: Tensor, owner: Tensor, flux: Tensor, image: Tensor) -> None:
    colours = flux[:, :, None, None]
    for k, row in enumerate(owner.tolist()):
        scene[row].addcmul_(colours[k], image[k])


def add_compact(scene: Tensor, components: SersicComponents, grid: Grid, half: int) -> None:
    """Add small components in place, each on a patch of 2 half + 1 pixels that the grid clips."""
    _add_patches(scene, components, core_patches(components, grid), grid, half)


def _add_clipped(
    scene: Tensor, components: SersicComponents, image: Tensor, grid: Grid, half: int
) -> None:
    size, side = grid.size, image.shape[-1]
    places = torch.stack([grid.nearest(components.y), grid.nearest(components.x)]) - half
    top, left = places.tolist()
    colours = components.flux[:, :, None, None]
    for k, row in enumerate(components.owner.tolist()):
        y, x = top[k], left[k]
        y0, y1, x0, x1 = max(y, 0), min(y + side, size), max(x, 0), min(x + side, size)
        if y0 < y1 and x0 < x1:
            patch = image[k, y0 - y : y1 - y, x0 - x : x1 - x]
            scene[row, :, y0:y1, x0:x1].addcmul_(colours[k], patch)
