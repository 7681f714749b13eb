"""What is lensed: smooth, clumpy, double and spiral-like galaxies, quasars in their hosts."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.simulation.arcs import ClumpySource
from equilens.pipeline.simulation.conditions import SurveyConditions
from equilens.pipeline.simulation.scenes import sky_offset
from equilens.pipeline.simulation.seds import band_ratios

KINDS = ("smooth", "clumpy", "double", "spiral", "quasar")
_SHARES = (0.38, 0.30, 0.15, 0.17)  # of galaxies without a quasar
_N_CLUMPS = 4
_RADIUS_RANGE = (0.05, 1.2)  # arcsec
_SMALLEST_CLUMP = 0.03  # arcsec, a few hundred parsecs at z = 1
_RED_YOUTH, _BLUE_YOUTH, _CLUMP_YOUTH, _QUASAR_YOUTH = (0.0, 0.45), (0.6, 1.05), 0.15, (0.7, 1.2)


def draw_kinds(rng: np.random.Generator, n: int, conditions: SurveyConditions) -> NDArray:
    """Return the kind of each source, (n,) of `KINDS`."""
    kinds = rng.choice(np.array(KINDS[:4], dtype=object), n, p=_SHARES)
    return np.where(rng.random(n) < conditions.quasar_share, "quasar", kinds).astype(object)


def second_layer_share(rng: np.random.Generator, kinds: NDArray) -> NDArray:
    """Return the share of the light in clumps, companion or quasar, (n,)."""
    n = len(kinds)
    share = np.where(kinds == "smooth", 0.0, rng.uniform(0.1, 0.55, n))
    return np.where(kinds == "quasar", rng.uniform(0.4, 0.97, n), share)


def draw_sources(
    rng: np.random.Generator, x: Tensor, y: Tensor, kinds: NDArray, conditions: SurveyConditions
) -> ClumpySource:
    """Draw the shapes of sources at x, y (n,) arcsec."""
    n = len(kinds)
    scatter = conditions.source_radius_scatter
    radius = conditions.source_radius_arcsec * np.exp(rng.normal(0, scatter, n))
    radius = np.clip(radius, *_RADIUS_RANGE)
    ratio, angle = rng.uniform(0.25, 1, n), rng.uniform(0, np.pi, n)
    clump_x, clump_y, sigma, weight = _draw_clumps(rng, kinds, ratio, angle)
    is_clumpy = (kinds != "smooth") & (kinds != "quasar")
    return ClumpySource(
        x=x,
        y=y,
        radius=float_tensor(radius),
        index=float_tensor(np.clip(rng.lognormal(0.1, 0.35, n), 0.5, 2.5)),
        axis_ratio=float_tensor(ratio),
        angle=float_tensor(angle),
        clump_x=x[:, None] + float_tensor(clump_x * radius[:, None]),
        clump_y=y[:, None] + float_tensor(clump_y * radius[:, None]),
        clump_sigma=float_tensor(np.maximum(sigma * radius[:, None], _SMALLEST_CLUMP)),
        clump_weight=float_tensor(is_clumpy[:, None] * weight / weight.sum(axis=1, keepdims=True)),
        has_point=torch.from_numpy(kinds == "quasar"),
    )


def _draw_clumps(
    rng: np.random.Generator, kinds: NDArray, ratio: NDArray, angle: NDArray
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Return offsets, widths and weights (n, C), lengths in half-light radii."""
    shape = (len(kinds), _N_CLUMPS)
    x, y = rng.normal(0, 0.7, (2, *shape))
    sigma, weight = rng.uniform(0.08, 0.25, shape), rng.gamma(1.0, 1.0, shape) + 1e-3
    arm_x, arm_y = _along_two_arms(rng, shape, ratio[:, None], angle[:, None])
    spiral, double = (kinds == "spiral")[:, None], (kinds == "double")[:, None]
    x, y = np.where(spiral, arm_x, x), np.where(spiral, arm_y, y)
    # a companion stands alone: the first clump, wide and apart
    apart, turn = rng.uniform(1.0, 3.0, (len(kinds), 1)), rng.uniform(0, 2 * np.pi, (len(kinds), 1))
    x, y = np.where(double, apart * np.cos(turn), x), np.where(double, apart * np.sin(turn), y)
    alone = np.arange(_N_CLUMPS) == 0
    weight = np.where(double, alone * 1.0, weight)
    return x, y, np.where(double, rng.uniform(0.25, 0.6, shape), sigma), weight


def _along_two_arms(
    rng: np.random.Generator, shape: tuple[int, int], ratio: NDArray, angle: NDArray
) -> tuple[NDArray, NDArray]:
    r = np.linspace(0.5, 2.0, shape[1]) * rng.uniform(0.8, 1.2, shape)
    arm = np.pi * (np.arange(shape[1]) % 2)
    pitch, hand = rng.uniform(0.8, 2.5, (shape[0], 1)), rng.choice([-1, 1], (shape[0], 1))
    azimuth = arm + hand * pitch * np.log(r) + rng.uniform(0, 2 * np.pi, (shape[0], 1))
    return sky_offset(r, azimuth, ratio, angle)


def source_ratios(
    rng: np.random.Generator,
    boxes_nm: list[tuple[float, float]],
    z_source: NDArray,
    reference: int,
    kinds: NDArray,
    conditions: SurveyConditions,
) -> tuple[NDArray, NDArray]:
    """Return band ratios (n, B) of a source's host and of its clumps, companion or quasar."""
    n = len(z_source)
    is_red = rng.random(n) < conditions.red_source_share
    youth = np.where(is_red, rng.uniform(*_RED_YOUTH, n), rng.uniform(*_BLUE_YOUTH, n))
    second = np.where(kinds == "quasar", rng.uniform(*_QUASAR_YOUTH, n), youth + _CLUMP_YOUTH)
    # dust: redder by up to half a magnitude over an octave of wavelength
    tilt = np.abs(rng.normal(0, 0.25, n)) * (rng.random(n) < 0.5)
    octaves = np.log2([box[0] / boxes_nm[reference][0] for box in boxes_nm])
    dust = 10 ** (0.4 * tilt[:, None] * octaves)
    host = band_ratios(boxes_nm, z_source, youth, reference) * dust
    return host, band_ratios(boxes_nm, z_source, second, reference) * dust


def float_tensor(values: NDArray) -> Tensor:
    """Return values as a contiguous float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
