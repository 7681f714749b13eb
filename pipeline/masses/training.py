"""Train a mass mapper on simulated skies: resumable, bounded in memory, ended by its budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from equilens.models.spherical.mapper_spec import MapperSpec
from equilens.models.spherical.mass_mapper import SphericalMassMapper
from equilens.pipeline.errors import TrainingError
from equilens.pipeline.masses.mapper_card import mapper_card, write_mapper
from equilens.pipeline.masses.mapper_config import MapperConfig
from equilens.pipeline.masses.mapper_run import MapperRun, Progress, training_places
from equilens.pipeline.masses.mapper_state import STATE, MapperState
from equilens.pipeline.masses.prior import ConvergencePrior, measure_prior, read_prior
from equilens.pipeline.masses.training_skies import PatchPlan, TrainingSky, refuse_unlike
from equilens.pipeline.skymaps.store import SkyMapStore
from equilens.pipeline.training.machine import termination, torch_settings

PRIOR = "prior.json"


@dataclass(frozen=True)
class MapperReport:
    """What a training gave.

    Attributes
    ----------
    complete : False where it was stopped and can be resumed
    weights : path of ``model.safetensors``; None while incomplete
    steps, patches, elapsed_s : so far, over all resumed parts
    card : the model card's facts; empty while incomplete
    """

    complete: bool
    weights: Path | None
    steps: int
    patches: int
    elapsed_s: float
    card: dict[str, Any]


def train_mapper(
    skies: Sequence[Path | str],
    out: Path | str,
    *,
    held_out: Sequence[Path | str],
    config: MapperConfig | None = None,
    size: dict[str, Any] | None = None,
    name: str = "mass-mapper",
    resume: bool = True,
    progress: Progress | None = None,
) -> MapperReport:
    """Train a mapper, and write weights, card and log into a folder.

    Parameters
    ----------
    skies : simulated skies with their truth, of one nside and equal redshift bins
    out : folder for ``model.safetensors``, ``card.md``, ``report.json``, ``log.csv``, the spectra
        and linear estimates of the skies and, until it is done, ``resume.safetensors``
    held_out : skies that only tell how it goes
    size : fields of `MapperSpec` that say how large the network is
    name : of the weights
    resume : go on where an equal training in `out` was stopped
    progress : told about once a second

    Returns
    -------
    MapperReport
        With ``complete=False`` where SIGTERM stopped it: the same call goes on from there.

    Raises
    ------
    TrainingError
        Unfit skies, a loss that is not finite, or another training's state in `out`.
    """
    config, out = config or MapperConfig(), Path(out)
    if not skies or not held_out:
        raise TrainingError("a mapper needs skies to learn from and at least one held out")
    out.mkdir(parents=True, exist_ok=True)
    prior = training_prior(skies, out)
    taught = [TrainingSky(path, prior, config, out) for path in skies]
    kept = [TrainingSky(path, prior, config, out) for path in held_out]
    refuse_unlike([*taught, *kept])
    identity = mapper_identity(skies, held_out, config, size or {}, name)
    with torch_settings(config.threads, config.seed), termination() as stop:
        spec = mapper_spec(taught, size or {})
        state = MapperState.start(SphericalMassMapper(spec), config)
        if resume and (out / STATE).exists():
            state.load(out / STATE, identity)
        places = training_places(spec, config)
        plans = (PatchPlan(taught, config, places), PatchPlan(kept, config, places))
        run = MapperRun(*plans, config, state, identity, out, progress)
        complete = run.until_done(stop)
        counts = (state.step, state.patches, state.elapsed_s)
        if not complete:
            return MapperReport(False, None, *counts, card={})
        card = mapper_card(identity, state, run.held_out_figures(), taught, kept)
        weights = write_mapper(out, state.average, prior, card)
    (out / STATE).unlink(missing_ok=True)
    return MapperReport(True, weights, *counts, card)


def mapper_identity(
    skies: Sequence[Path | str],
    held_out: Sequence[Path | str],
    config: MapperConfig,
    size: dict[str, Any],
    name: str,
) -> dict[str, Any]:
    """What a mapper's weights depend on, as the resume file and the card keep it."""
    identity = {
        "skies": [SkyMapStore.open(sky).fingerprint for sky in skies],
        "held_out": [SkyMapStore.open(sky).fingerprint for sky in held_out],
        "config": config.identity(),
        "size": dict(size),
        "name": name,
    }
    return json.loads(json.dumps(identity))


def training_prior(skies: Sequence[Path | str], out: Path) -> ConvergencePrior:
    """Spectra of the training skies' true convergence; measured once a folder."""
    wanted = tuple(SkyMapStore.open(sky).fingerprint for sky in skies)
    if (out / PRIOR).exists():
        found = read_prior(out / PRIOR)
        if found.skies == wanted:
            return found
    prior = measure_prior(skies)
    prior.save(out / PRIOR)
    return prior


def mapper_spec(skies: Sequence[TrainingSky], size: dict[str, Any]) -> MapperSpec:
    """A specification for skies like these."""
    scale = float(np.mean([sky.kappa[sky.seen].std() for sky in skies]))
    return MapperSpec(
        nside=skies[0].nside,
        n_bins=skies[0].n_bins,
        n_linear=skies[0].n_bins + 1,
        n_filtered=len(skies[0].linear) - skies[0].n_bins - 1,
        kappa_scale=float(f"{scale:.4g}"),
        galaxies_per_pixel=_mean_counts(skies),
        **size,
    )


def _mean_counts(skies: Sequence[TrainingSky]) -> tuple[float, ...]:
    counts = [
        np.mean([sky.sky[k, 2][sky.sky[k, 3] > 0].mean(dtype=np.float64) for sky in skies])
        for k in range(skies[0].n_bins)
    ]
    return tuple(float(f"{count:.5g}") for count in counts)
