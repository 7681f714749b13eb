"""Figures over several skies, each with its interval, its N and its scatter from sky to sky."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import gamma
from scipy.stats import t as student

from equilens.catalogs.halo_matching import JudgedPeaks, completeness, threshold_at_density
from equilens.catalogs.intervals import DEFAULT_LEVEL, finite_or_none
from equilens.pipeline.masses.evaluation import MethodResult

MASS_EDGES = (2e14, 3e14, 4e14, 6e14, math.inf)
REDSHIFT_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
DENSITIES = (0.1, 0.5)
MAP_FIGURES = ("mse", "truth_variance", "chi_squared", "within_1_sigma", "within_2_sigma")

Figures = dict[str, Any]


def across_skies(values: Sequence[float], level: float = DEFAULT_LEVEL) -> Figures:
    """Mean of one figure over skies, its Student interval, and the scatter of a single sky."""
    known = np.array([v for v in values if math.isfinite(v)])
    n = len(known)
    figures: Figures = {
        "value": float(known.mean()) if n else None,
        "scatter": None,
        "low": None,
        "high": None,
        "n_skies": n,
        "level": level,
    }
    if n > 1:
        scatter = float(known.std(ddof=1))
        half = float(student.ppf((1 + level) / 2, n - 1)) * scatter / math.sqrt(n)
        centre = float(known.mean())
        figures |= {"scatter": scatter, "low": centre - half, "high": centre + half}
    return figures


def summarise(
    results: Sequence[Mapping[str, MethodResult]],
    edges: Sequence[int],
    densities: Sequence[float] = DENSITIES,
) -> Figures:
    """Every figure of every method.

    Parameters
    ----------
    results : of each sky, by method
    edges : limits of the bands of degrees
    densities : of false peaks, a square degree, at which completeness is given
    """
    methods = list(dict.fromkeys(name for sky in results for name in sky))
    figures: Figures = {}
    for name in methods:
        own = [sky[name] for sky in results if name in sky]
        figures[name] = {"n_skies": len(own)}
        if any(result.quality for result in own):
            figures[name]["map"] = map_figures(own, edges)
        if any(result.peaks for result in own):
            figures[name]["haloes"] = halo_figures(own, densities)
    return figures


def map_figures(results: Sequence[MethodResult], edges: Sequence[int]) -> Figures:
    """Correlation by band of degrees, and the figures of the pixels."""
    qualities = [result.quality for result in results if result.quality is not None]
    figures: Figures = {
        name: across_skies([getattr(q, name) for q in qualities]) for name in MAP_FIGURES
    }
    bands = np.array([q.correlation for q in qualities])
    figures["r_ell"] = [
        {"ell_min": int(low), "ell_max": int(high) - 1, **across_skies(bands[:, k].tolist())}
        for k, (low, high) in enumerate(itertools.pairwise(edges))
    ]
    figures["n_pixels"] = sum(q.n_pixels for q in qualities)
    return figures


def halo_figures(results: Sequence[MethodResult], densities: Sequence[float]) -> Figures:
    """Completeness at each density of false peaks."""
    skies = [result.peaks for result in results if result.peaks is not None]
    area = sum(sky.area_sq_deg for sky in skies)
    figures: Figures = {
        "area_sq_deg": area,
        "n_peaks": sum(len(sky.scores) for sky in skies),
        "n_haloes": sum(len(sky.mass) for sky in skies),
        "at_false_per_sq_deg": {},
    }
    for density in densities:
        figures["at_false_per_sq_deg"][f"{density:g}"] = _at_density(results, skies, density)
    return figures


def _at_density(
    results: Sequence[MethodResult], skies: list[JudgedPeaks], density: float
) -> Figures:
    area = sum(sky.area_sq_deg for sky in skies)
    false = np.concatenate([sky.scores[sky.false] for sky in skies])
    threshold = threshold_at_density(false, area, density)
    deep_enough = not math.isnan(threshold)
    cut = threshold if deep_enough else -math.inf
    return {
        "threshold": finite_or_none(threshold),
        "list_goes_deep_enough": deep_enough,
        "false_peaks": poisson_density(int((false >= cut).sum()), area),
        "completeness": completeness(skies, cut).to_json(),
        "completeness_by_sky": across_skies([completeness([sky], cut).value for sky in skies]),
        "by_mass": [
            {"m200c_msun": [low, finite_or_none(high)]}
            | completeness(skies, cut, mass=(low, high)).to_json()
            for low, high in itertools.pairwise(MASS_EDGES)
        ],
        "by_redshift": [
            {"redshift": [low, high]} | completeness(skies, cut, redshift=(low, high)).to_json()
            for low, high in itertools.pairwise(REDSHIFT_EDGES)
        ],
        "controls": _controls(results, cut),
    }


def _controls(results: Sequence[MethodResult], cut: float) -> Figures:
    """Density of peaks above the cut on skies without mass."""
    kinds = list(dict.fromkeys(kind for result in results for kind in result.controls))
    found = {}
    for kind in kinds:
        own = [result.controls[kind] for result in results if kind in result.controls]
        count = sum(int((scores >= cut).sum()) for scores, _ in own)
        found[kind] = poisson_density(count, sum(area for _, area in own))
    return found


def poisson_density(count: int, area_sq_deg: float, level: float = DEFAULT_LEVEL) -> Figures:
    """Peaks a square degree with Garwood's exact interval (1936, Biometrika 28, 437)."""
    tail = (1 - level) / 2
    low = float(gamma.ppf(tail, count)) if count else 0.0
    high = float(gamma.ppf(1 - tail, count + 1))
    return {
        "per_sq_deg": count / area_sq_deg,
        "low": low / area_sq_deg,
        "high": high / area_sq_deg,
        "n": count,
        "area_sq_deg": area_sq_deg,
        "level": level,
    }


def paired(
    results: Sequence[Mapping[str, MethodResult]], figures: Figures, reference: str
) -> Figures:
    """Each method minus the reference, sky by sky: what they share in luck cancels.

    Differences of r_l are of its mean over the bands; of completeness, each method at its own
    threshold for a density of false peaks.
    """
    found: Figures = {}
    for name in figures:
        skies = [(sky[name], sky[reference]) for sky in results if {name, reference} <= sky.keys()]
        if name != reference and skies:
            differences = _map_differences(skies)
            if "haloes" in figures[name] and "haloes" in figures[reference]:
                differences |= _list_differences(skies, figures[name], figures[reference])
            if differences:
                found[name] = differences
    return found


def _map_differences(skies: Sequence[tuple[MethodResult, MethodResult]]) -> Figures:
    maps = [(a.quality, b.quality) for a, b in skies if a.quality and b.quality]
    if not maps:
        return {}
    gains = [float(np.nanmean(a.correlation - b.correlation)) for a, b in maps]
    return {
        "r_ell_gain": across_skies(gains),
        "mse_ratio": across_skies([a.mse / b.mse for a, b in maps]),
    }


def _list_differences(
    skies: Sequence[tuple[MethodResult, MethodResult]], own: Figures, other: Figures
) -> Figures:
    lists = [(a.peaks, b.peaks) for a, b in skies if a.peaks and b.peaks]
    found = {}
    for density in own["haloes"]["at_false_per_sq_deg"]:
        first, second = (_cut(one, density) for one in (own, other))
        gains = [completeness([a], first).value - completeness([b], second).value for a, b in lists]
        found[f"completeness_gain_at_{density}"] = across_skies(gains)
    return found


def _cut(figures: Figures, density: str) -> float:
    threshold = figures["haloes"]["at_false_per_sq_deg"][density]["threshold"]
    return -math.inf if threshold is None else threshold
