"""Torch operators behind all transforms: analysis and synthesis, each the other's derivative.

They are opaque to ``torch.compile`` and linear, so any number of derivatives exists. Tables are
found by value (grid, lmax, spin, precision, device) in one cache of the process; modules hold
none, and copying, moving or saving a model neither copies nor stores tables.

Coefficients of real fields are those of m ≥ 0, and their inner product counts m > 0 twice:
⟨a, b⟩ = Σ_l Re a*_l0 b_l0 + 2 Σ_(l, m>0) Re a*_lm b_lm. Torch's gradients are those of the plain
product of all stored numbers, hence the factors of 2 below.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from equilens.models.spherical.ducc import DuccTransform
from equilens.models.spherical.ring_transform import RingTransform
from equilens.models.spherical.rings import RingGrid, gauss_legendre_rings, healpix_rings

GRIDS = {"healpix": healpix_rings, "gauss-legendre": gauss_legendre_rings}
MAP_SHAPES = {
    "healpix": lambda nside: (12 * nside**2,),
    "gauss-legendre": lambda lmax: (lmax + 1, 2 * lmax + 2),
}
CACHED_TRANSFORMS = 32
MAPS_AT_ONCE = 32  # bounds the memory of spectra, 0.2 GB at nside 256 in float32


def ring_grid(grid: str, size: int) -> RingGrid:
    """Return HEALPix at nside ``size``, or the Gauss-Legendre grid of lmax ``size``."""
    with torch.device("cpu"):
        return GRIDS[grid](size)


@lru_cache(maxsize=CACHED_TRANSFORMS)
def torch_transform(
    grid: str, size: int, lmax: int, spin: int, dtype: torch.dtype, device: torch.device
) -> RingTransform:
    """Return the transform with its tables, built once per process."""
    with torch.device("cpu"):
        return RingTransform(ring_grid(grid, size), lmax, spin, dtype, device)


@lru_cache(maxsize=CACHED_TRANSFORMS)
def ducc_transform(grid: str, size: int, lmax: int, spin: int) -> DuccTransform:
    """Return the same by ducc0."""
    return DuccTransform(ring_grid(grid, size), lmax, spin)


def release_tables() -> None:
    """Forget all tables of this process, to give back their memory."""
    torch_transform.cache_clear()
    ducc_transform.cache_clear()


def transform_for(
    values: Tensor, grid: str, size: int, lmax: int, spin: int, backend: str
) -> RingTransform | DuccTransform:
    """Return the cached transform for maps or coefficients."""
    if backend == "ducc0":
        return ducc_transform(grid, size, lmax, spin)
    dtype = values.real.dtype if values.is_complex() else values.dtype
    return torch_transform(grid, size, lmax, spin, dtype, values.device)


def in_batches(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Apply a function to some maps at a time, in their own precision."""
    with torch.autocast(values.device.type, enabled=False):
        found = [function(batch) for batch in values.split(MAPS_AT_ONCE)]
    return found[0] if len(found) == 1 else torch.cat(found)


@torch.library.custom_op("equilens::sphere_analysis", mutates_args=())
def sphere_analysis(
    maps: Tensor, grid: str, size: int, lmax: int, spin: int, iterations: int, backend: str
) -> Tensor:
    """Coefficients (maps, fields, n_alm) of (maps, fields, pixels).

    ``iterations`` refine the quadrature; −1 means the adjoint of synthesis, without weights.
    """
    if not len(maps):
        return coefficients_like(maps, lmax)
    transform = transform_for(maps, grid, size, lmax, spin, backend)
    if iterations < 0:
        return in_batches(transform.adjoint_synthesis, maps)
    return in_batches(lambda batch: transform.analysis(batch, iterations), maps)


@torch.library.custom_op("equilens::sphere_synthesis", mutates_args=())
def sphere_synthesis(
    alm: Tensor, grid: str, size: int, lmax: int, spin: int, iterations: int, backend: str
) -> Tensor:
    """Maps (maps, fields, pixels) of (maps, fields, n_alm).

    ``iterations`` are those of the analysis whose adjoint this is; −1 means plain synthesis.
    """
    if not len(alm):
        return maps_like(alm, grid, size)
    transform = transform_for(alm, grid, size, lmax, spin, backend)
    if iterations < 0:
        return in_batches(transform.synthesis, alm)
    return in_batches(lambda batch: transform.adjoint_analysis(batch, iterations), alm)


@sphere_analysis.register_fake
def _(
    maps: Tensor, grid: str, size: int, lmax: int, spin: int, iterations: int, backend: str
) -> Tensor:
    return coefficients_like(maps, lmax)


@sphere_synthesis.register_fake
def _(
    alm: Tensor, grid: str, size: int, lmax: int, spin: int, iterations: int, backend: str
) -> Tensor:
    return maps_like(alm, grid, size)


def keep_options(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save what the backward pass is called with."""
    ctx.options = inputs[1:]


def analysis_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The adjoint of analysis, of a gradient in which m > 0 stands for both signs."""
    halved = gradient / multiplicity(ctx.options[2], gradient)
    return sphere_synthesis(halved, *ctx.options), *[None] * len(ctx.options)


def synthesis_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The adjoint of synthesis, where m > 0 counts twice."""
    found = sphere_analysis(gradient, *ctx.options)
    return found * multiplicity(ctx.options[2], found), *[None] * len(ctx.options)


sphere_analysis.register_autograd(analysis_backward, setup_context=keep_options)
sphere_synthesis.register_autograd(synthesis_backward, setup_context=keep_options)


def coefficients_like(maps: Tensor, lmax: int) -> Tensor:
    """Unset coefficients for (maps, fields, pixels)."""
    dtype = torch.promote_types(maps.dtype, torch.complex64)
    return maps.new_empty(*maps.shape[:2], coefficient_count(lmax), dtype=dtype)


def maps_like(alm: Tensor, grid: str, size: int) -> Tensor:
    """Unset maps for (maps, fields, n_alm)."""
    dtype = torch.float32 if alm.dtype == torch.complex64 else torch.float64
    return alm.new_empty(*alm.shape[:2], prod(MAP_SHAPES[grid](size)), dtype=dtype)


def coefficient_count(lmax: int) -> int:
    """Coefficients with 0 ≤ m ≤ l ≤ lmax."""
    return (lmax + 1) * (lmax + 2) // 2


def multiplicity(lmax: int, like: Tensor) -> Tensor:
    """1 at m = 0 and 2 at m > 0: (n_alm,) Tensor, real."""
    index = torch.arange(coefficient_count(lmax), device=like.device)
    return (1 + (index > lmax)).to(like.real.dtype)
