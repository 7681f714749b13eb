"""The tables of all stencils: on one resolution, from children to parents, and back.

Each holds weights in its first layers, and in its last one the phases e^{iτ} by which frames turn
from the sample to the centre.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from equilens.models.spherical.pixels import Integers, shifted, transport, window_offsets
from equilens.models.spherical.shared_table import SharedTable, mirrored_squares
from equilens.models.spherical.steered_gaussians import (
    WIDTH,
    SteeredGaussian,
    kernels_of_degree,
)
from equilens.models.spherical.stencils import REACH, fit_weights, pixel_spacing

WINDOW = (2 * REACH + 1) ** 2
"""Pixels of a window."""

CHILD_OFFSETS = (-1, 2)
"""First and last child along each axis that a parent is pooled from, from its own first child."""

POOLING = SteeredGaussian(0, 0, WIDTH)
"""Blur of a pooled field, in spacings of the children."""

UPSAMPLING = SteeredGaussian(0, 0, 0.5)
"""Blur of an upsampled field, in spacings of the parents."""


@lru_cache(maxsize=32)
def window_table(nside: int, degree: int) -> SharedTable:
    """Return the stencils of all kernels of that degree, in the order of ``kernels_of_degree``."""
    odd = (*(kernel.turns % 2 == 1 for kernel in kernels_of_degree(degree)), False)
    orders = mirrored_squares(2 * REACH + 1)
    return SharedTable(nside, 2 * REACH, orders, odd, partial(_fit_window, nside, degree))


@lru_cache(maxsize=32)
def pooling_table(nside: int) -> SharedTable:
    """Return the stencils from the children of a map at ``nside`` to its pixels."""
    return SharedTable(nside, 4, mirrored_squares(4), (False, False), partial(_fit_pooling, nside))


@lru_cache(maxsize=32)
def upsampling_table(nside: int) -> SharedTable:
    """Return the stencils from a map at ``nside`` to each pixel's four children, (4 WINDOW)."""
    # children are numbered x + 2 y
    children = np.array([[0, 1, 2, 3], [0, 2, 1, 3], [3, 1, 2, 0], [3, 2, 1, 0]])
    windows = mirrored_squares(2 * REACH + 1)
    orders = (children[:, :, None] * WINDOW + windows[:, None, :]).reshape(4, -1)
    return SharedTable(nside, 2 * REACH, orders, (False, False), partial(_fit_upsampling, nside))


def child_windows(nside: int, parents: Integers) -> Integers:
    """Return the NESTED children (n, 16), at 2 nside, that parents at ``nside`` pool."""
    return shifted(2 * nside, 4 * parents, *window_offsets(*CHILD_OFFSETS))


def windows(nside: int, centres: Integers) -> Integers:
    """Return the NESTED pixels (n, WINDOW) of the window around each centre, −1 for none."""
    return shifted(nside, centres, *window_offsets(-REACH, REACH))


def _fit_window(nside: int, degree: int, centres: Integers) -> Tensor:
    found = windows(nside, centres)
    return _fit(nside, centres, nside, found, kernels_of_degree(degree))


def _fit_pooling(nside: int, parents: Integers) -> Tensor:
    return _fit(nside, parents, 2 * nside, child_windows(nside, parents), (POOLING,))


def _fit_upsampling(nside: int, parents: Integers) -> Tensor:
    found = windows(nside, parents)
    each = [_fit(2 * nside, 4 * parents + c, nside, found, (UPSAMPLING,)) for c in range(4)]
    return torch.cat(each, dim=2)


def _fit(
    nside: int,
    centres: Integers,
    sample_nside: int,
    samples: Integers,
    kernels: tuple[SteeredGaussian, ...],
) -> Tensor:
    """Return weights and, last, phases: (kernels + 1, n, samples)."""
    present = samples >= 0
    known = np.where(present, samples, samples[:, samples.shape[1] // 2, None])
    positions, phases = transport(nside, centres, sample_nside, known)
    spaced = torch.from_numpy(positions / pixel_spacing(sample_nside))
    weights = fit_weights(spaced, torch.from_numpy(present), kernels)
    return torch.cat([weights.transpose(0, 1), torch.from_numpy(phases)[None]])
