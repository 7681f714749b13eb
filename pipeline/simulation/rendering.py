"""From components to pixels: flux per pixel, averaged over the pixel where a profile is steep.

A grid covers the cutout and a margin around it, so that light from outside the frame scatters in
and the periodic convolution wraps into pixels that are thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from equilens.pipeline.simulation.light import (
    PatternComponents,
    SersicComponents,
    pattern_brightness,
    sersic_brightness,
)

_CORES = ((4, 3), (1, 12))  # (half size in pixels, samples a side), coarse to fine around a cusp
_SMOOTH_CORES = ((3, 4),)
_CUSP_INDEX, _CUSP_RADIUS_PIXELS = 1.5, 1.2  # cuspy above this index, or below this radius
_CHUNK = 32  # components evaluated at once: keeps the working set in cache

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
    """Return the midpoints of `samples` equal parts of a pixel, (samples,) arcsec."""
    steps = torch.arange(samples, device=like.device, dtype=like.dtype)
    return ((steps + 0.5) / samples - 0.5) * pixel_scale


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

    One sample a pixel outside; 3x3 within 4 and 12x12 within 1.5 pixels of a cusp (index above 1.5,
    or unresolved); 4x4 within 3 pixels of a smooth centre.

    Parameters
    ----------
    half : int, optional
        Half size of the patch around each centre; None renders the whole grid.

    Returns
    -------
    (K, P, P) Tensor, with P the grid size or 2 half + 1
    """
    rows, columns = patch_pixels(components, grid, half)
    image = patch_means(sersic_brightness, components, rows, columns, grid, 1)
    cuspy = components.index > _CUSP_INDEX
    cuspy |= components.radius < _CUSP_RADIUS_PIXELS * grid.pixel_scale
    for chosen, cores in ((cuspy, _CORES), (~cuspy, _SMOOTH_CORES)):
        item = chosen.nonzero()[:, 0]
        if len(item):
            _refine_cores(image, item, components, (rows, columns), grid, cores)
    return image


def _refine_cores(
    image: Tensor,
    item: Tensor,
    components: SersicComponents,
    pixels: tuple[Tensor, Tensor],
    grid: Grid,
    cores: tuple[tuple[int, int], ...],
) -> None:
    part, (rows, columns) = components.select(item), pixels
    top, left = rows[item, :1], columns[item, :1]
    for core, samples in cores:
        r, c = patch_pixels(part, grid, core, clamp=(top, left, rows.shape[1]))
        fine = patch_means(sersic_brightness, part, r, c, grid, samples)
        image[item[:, None, None], (r - top)[:, :, None], (c - left)[:, None, :]] = fine


def patch_pixels(
    components: SersicComponents | PatternComponents,
    grid: Grid,
    half: int | None,
    clamp: tuple[Tensor, Tensor, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the rows and columns, (K, P) each, of a patch around every centre.

    `clamp` (top, left, size) keeps patches inside an outer patch.
    """
    n = len(components)
    if half is None:
        line = torch.arange(grid.size, device=components.x.device).expand(n, -1)
        return line, line
    steps = torch.arange(-half, half + 1, device=components.x.device)
    row, column = grid.nearest(components.y)[:, None], grid.nearest(components.x)[:, None]
    if clamp is not None:
        top, left, size = clamp
        row = torch.minimum(torch.maximum(row, top + half), top + size - 1 - half)
        column = torch.minimum(torch.maximum(column, left + half), left + size - 1 - half)
    return row + steps, column + steps


def add_full(scene: Tensor, components: SersicComponents, grid: Grid) -> None:
    """Add Sérsic components to scenes (N, B, G, G) in place, each over the whole grid."""
    for start in range(0, len(components), _CHUNK):
        part = components.select(slice(start, start + _CHUNK))
        _accumulate(scene, part.owner, part.flux, render_sersic(part, grid))


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
    if not len(components):
        return
    inside = components.select(_reaches(components, grid, half))
    for start in range(0, len(inside), 8 * _CHUNK):
        part = inside.select(slice(start, start + 8 * _CHUNK))
        image = render_sersic(part, grid, half)
        top = (grid.nearest(part.y) - half).tolist()
        left = (grid.nearest(part.x) - half).tolist()
        colours = part.flux[:, :, None, None]
        for k, row in enumerate(part.owner.tolist()):
            _add_clipped(scene[row], colours[k], image[k], top[k], left[k])


def _add_clipped(target: Tensor, colour: Tensor, patch: Tensor, top: int, left: int) -> None:
    size, side = target.shape[-1], patch.shape[-1]
    y0, y1 = max(top, 0), min(top + side, size)
    x0, x1 = max(left, 0), min(left + side, size)
    target[:, y0:y1, x0:x1].addcmul_(colour, patch[y0 - top : y1 - top, x0 - left : x1 - left])


def _reaches(components: SersicComponents, grid: Grid, half: int) -> Tensor:
    row, column = grid.nearest(components.y), grid.nearest(components.x)
    low, high = -half + 1, grid.size + half - 1
    return (row >= low) & (row < high) & (column >= low) & (column < high)
