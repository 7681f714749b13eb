"""How well anything could do: the likelihood-ratio test that knows everything but the noise.

Setting. A scene S is all that the simulator draws before noise: field, PSFs, depth, masks, and the
arc δ(S) that a source behind the deflector makes. A *matched set* draws scenes from one law and
adds the arc to every second one: pixels d are normal with mean μ₁ = μ₀ + δ and variances v₁ for a
lens, μ₀ and v₀ for a field without its arc; v = σ² + max(μ, 0) / gain, independent over pixels. So
S tells nothing of the label, and

    L(d, S) = log p(d | S, lens) / p(d | S, field)
            = ½ Σ [ (d − μ₀)² / v₀ − (d − μ₁)² / v₁ − log(v₁ / v₀) ]

over unmasked pixels is the likelihood ratio of (d, S) as well. Where v₁ = v₀ it is the matched
filter (d − (μ₀ + μ₁)/2)ᵀ C⁻¹ δ.

What it bounds. By Neyman and Pearson's lemma no function of (d, S), hence no function of d, has a
higher completeness at any false-positive rate than L, lenses and fields pooled over the population.
So on a matched set no classifier has a higher AUROC, nor a higher expected TPR0 or TPR10 at equal
counts. A bin of any property of the scene is a matched set of its own: its lenses are ranked
against the fields whose left-out arcs fall into the same bin.

What it does not bound. (1) Sets with other non-lenses: rings, spirals or mergers can be told from
lenses by their scene, which here tells nothing, so that an AUROC above this bound is no
contradiction there; what stays true is that it counts for the pairs whose non-lens has a scene
like a lens's. (2) TPR0 of one finite set, which scatters: compare intervals. It is an upper bound,
and as a rule not reached: a finder must find out S from the pixels that it judges.

Closed form. For v₁ = v₀ and arcs of signal-to-noise ρ = (δᵀC⁻¹δ)^½, L is normal with variance ρ²
and mean ± ρ²/2. A lens of ρ and a field of ρ′ are independent, so

    AUROC = E[ Φ(√(ρ² + ρ′²) / 2) ],

which is Φ(ρ/√2) where all arcs have one ρ, and ½ without arcs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr
from torch import Tensor

from equilens.catalogs.evaluation import evaluate_scores
from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.simulation.conditions import SurveyConditions, survey_conditions
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.exposure import (
    CHUNK,
    Setting,
    add_exposure_noise,
    prepare,
    to_tensor,
)
from equilens.pipeline.simulation.noise import electrons_per_njy
from equilens.pipeline.simulation.simulate import noiseless_chunk, pack_chunk
from equilens.pipeline.surveys.survey import Survey

BIN_EDGES: dict[str, tuple[float, ...]] = {
    "einstein_radius_arcsec": (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, math.inf),
    "arc_snr": (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, math.inf),
}
FEWEST_FOR_A_BIN = 10
_LARGEST_GRID = 2000


@dataclass(frozen=True)
class MatchedSet:
    """Cutouts whose scenes say nothing of their label, and what the oracle says of each.

    Parameters
    ----------
    batch : CutoutBatch
        Truth columns describe the arc, whether it was added (``is_lens`` 1) or left out (0, class
        ``field``). There is no residual sky, nor an unmasked defect: the oracle would know
        them.
    log_ratio : (n,) float64 array
        L of the cutout's own pixels.
    known_snr : (n,) float64 array
        ρ of the arc: over unmasked pixels, photon noise of the mean of both cases included.
    """

    batch: CutoutBatch
    log_ratio: NDArray[np.float64]
    known_snr: NDArray[np.float64]


def matched_sets(
    survey: Survey,
    n: int,
    seed: int,
    *,
    conditions: SurveyConditions | None = None,
    arc_flux: float = 1.0,
    device: torch.device | str = "cpu",
) -> Iterator[MatchedSet]:
    """Simulate n cutouts in parts of up to 64, every second one with its arc.

    Parameters
    ----------
    conditions : by default those known for the survey's name
    arc_flux : factor on the light of the arcs; 0 makes both classes alike

    Raises
    ------
    SimulationError
        For a survey with correlated noise, or n below 2.
    """
    known = replace(
        conditions or survey_conditions(survey.name),
        sky_offset=0.0,
        sky_gradient=0.0,
        artefact_probability=0.0,
    )
    if any(known.per_band("noise_correlation_pixels", len(survey.bands))):
        raise SimulationError(
            f"the oracle needs white noise, that of {survey.name} is correlated; pass conditions "
            "with noise_correlation_pixels=(0.0,), which is another survey"
        )
    if n < 2:
        raise SimulationError(f"n must be at least 2, one lens and one field, got {n}")
    setting = prepare(survey, known, device)
    for start in range(0, n, CHUNK):
        with torch.inference_mode():
            made = _matched_chunk(setting, seed, start // CHUNK, arc_flux)
        kept = slice(0, min(CHUNK, n - start))
        yield MatchedSet(made.batch.take(kept), made.log_ratio[kept], made.known_snr[kept])


def _matched_chunk(setting: Setting, seed: int, chunk: int, arc_flux: float) -> MatchedSet:
    scene = noiseless_chunk(setting, seed, chunk, 1.0)
    arcs = torch.zeros_like(scene.images)
    arcs[scene.rows] = arc_flux * scene.arcs
    is_lens = np.arange(CHUNK) % 2 == 0
    pixels = scene.images.clone()
    pixels[::2] += arcs[::2]
    add_exposure_noise(scene.rng, setting, scene.exposure, pixels, scene.generator)
    scene.truth["is_lens"] = is_lens.astype(np.int8)
    scene.truth["object_class"] = np.where(is_lens, "lens", "field").astype(object)
    batch = pack_chunk(setting, seed, chunk, scene, pixels)
    ids = np.array([name.replace("SIM", "MATCHED") for name in batch.ids], dtype=object)
    batch = replace(batch, ids=ids, columns={**batch.columns, "parent_id": ids.copy()})
    noise = to_tensor(scene.exposure.noise_njy, setting)
    gain = electrons_per_njy(noise, setting.grid.pixel_scale, setting.conditions)
    usable = torch.from_numpy(~batch.mask).to(pixels.device)
    ratio, snr = log_likelihood_ratio(pixels, scene.images, arcs, noise, gain, usable)
    return MatchedSet(batch, ratio.cpu().numpy(), snr.cpu().numpy())


def log_likelihood_ratio(
    pixels: Tensor, field: Tensor, arc: Tensor, noise_njy: Tensor, gain: Tensor, usable: Tensor
) -> tuple[Tensor, Tensor]:
    """Return L and ρ, (N,) float64 each; see the module.

    Parameters
    ----------
    pixels, field, arc : (N, B, ny, nx) Tensor, nJy; data, noiseless field, noiseless arc
    noise_njy, gain : (N, B) Tensor; nJy, and electrons per nJy
    usable : (N, B, ny, nx) bool Tensor
    """
    field, arc = field.double(), arc.double()
    sky = noise_njy.double().square()[:, :, None, None]
    per_electron = gain.double().reciprocal()[:, :, None, None]
    without = sky + field.clamp_min(0) * per_electron
    added = sky + (field + arc).clamp_min(0) * per_electron
    residual = pixels.double() - field
    # ½ [x²/v₀ − (x − δ)²/v₁] without the difference of two large squares
    terms = 0.5 * residual.square() * (added - without) / (added * without)
    terms += (residual - 0.5 * arc) * arc / added - 0.5 * torch.log(added / without)
    squared = 2 * arc.square() / (added + without)
    axes = (1, 2, 3)
    return (terms * usable).sum(dim=axes), (squared * usable).sum(dim=axes).sqrt()


def expected_auroc(snr_of_lenses: ArrayLike, snr_of_fields: ArrayLike) -> float:
    """Return E[Φ(√(ρ² + ρ′²) / 2)] over all pairs; of long lists, over 2,000 quantiles of each."""
    rho, other = (_thinned(np.asarray(v, np.float64)) for v in (snr_of_lenses, snr_of_fields))
    return float(ndtr(np.hypot(rho[:, None], other) / 2).mean())


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(values) <= _LARGEST_GRID:
        return values
    return np.quantile(values, (np.arange(_LARGEST_GRID) + 0.5) / _LARGEST_GRID)


def oracle_bound(
    survey: Survey,
    n: int,
    seed: int,
    *,
    conditions: SurveyConditions | None = None,
    arc_flux: float = 1.0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Return the figures of the oracle on a matched set of n cutouts, half of them lenses.

    Parameters
    ----------
    progress : called with the number of cutouts done since the last call

    Returns
    -------
    dict
        What `evaluate_scores` gives (auroc, tpr0, tpr10, intervals, counts), ``closed_form_auroc``,
        and ``bins``: column → rows with ``low``, ``high`` and the same figures.
    """
    ratios, snrs, columns = [], [], []
    for part in matched_sets(survey, n, seed, conditions=conditions, arc_flux=arc_flux):
        ratios.append(part.log_ratio)
        snrs.append(part.known_snr)
        columns.append({k: part.batch.columns[k] for k in ("is_lens", *BIN_EDGES)})
        if progress is not None:
            progress(len(part.log_ratio))
    facts = {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}
    labels, ratio, snr = facts["is_lens"], np.concatenate(ratios), np.concatenate(snrs)
    return {
        "survey": survey.name,
        "n": n,
        "seed": seed,
        **evaluate_scores(labels, ratio),
        "closed_form_auroc": expected_auroc(snr[labels == 1], snr[labels == 0]),
        "invisible_share": float((snr < 1).mean()),
        "bins": {
            name: matched_bins(labels, ratio, facts[name], edges)
            for name, edges in BIN_EDGES.items()
        },
    }


def matched_bins(
    labels: ArrayLike, scores: ArrayLike, values: ArrayLike, edges: Sequence[float]
) -> list[dict[str, Any]]:
    """Return figures of each bin, lenses against fields of the same bin; empty bins are left out.

    Parameters
    ----------
    labels, scores : (n,) arrays, of a matched set
    values : (n,) array, of the arc that was added or left out
    edges : rising; a bin holds its lower edge
    """
    labels, scores, values = np.asarray(labels), np.asarray(scores), np.asarray(values)
    rows = []
    for low, high in pairwise(edges):
        inside = (values >= low) & (values < high)
        n_lenses = int(labels[inside].sum())
        if min(n_lenses, int(inside.sum()) - n_lenses) < FEWEST_FOR_A_BIN:
            continue
        figures = evaluate_scores(labels[inside], scores[inside])
        rows.append({"low": low, "high": high, **figures})
    return rows
