"""Objects of known truth, scored every night: a fixed set, and arcs in the night's own cutouts."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from equilens.catalogs.intervals import proportion
from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.demo import REAL_SURVEY, sample_path
from equilens.pipeline.errors import DomainError, PipelineError
from equilens.pipeline.ingest import ingest
from equilens.pipeline.injection.inject import inject_store
from equilens.pipeline.networks import describe_network
from equilens.pipeline.nightly.folders import SHORT
from equilens.pipeline.nightly.inputs import NightInputs
from equilens.pipeline.nightly.instalments import Instalment
from equilens.pipeline.nightly.objects import INSTALMENT
from equilens.pipeline.nightly.runs import alone
from equilens.pipeline.provenance import fingerprint
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.scoring import score
from equilens.pipeline.simulated_scores import bands_for
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.simulate import simulate_store
from equilens.pipeline.store_writer import CutoutWriter
from equilens.pipeline.stores import MANIFEST, CutoutStore
from equilens.pipeline.surveys.registry import get_survey

SENTINELS, INJECTED, BACKGROUNDS = "sentinels", "injected", "backgrounds"


def sentinel_set(inputs: NightInputs) -> Path | None:
    """The store of the fixed set, made once for all nights; None if there is to be none."""
    rule = inputs.config.sentinels
    kind = rule.kind
    if kind == "none":
        return None
    if kind == "auto":
        try:
            bands_for(get_survey(REAL_SURVEY), describe_network(inputs.weights))
            kind = "shipped"
        except DomainError:
            kind = "simulated"
    about = {"kind": kind, "survey": inputs.survey_identity, **asdict(rule)}
    name = kind if kind == "shipped" else f"{kind}-{fingerprint(about)[:SHORT]}"
    store = inputs.config.out_path / "sentinels" / f"{name}.zarr"
    with alone(store.with_suffix(".made"), "the sentinel set"):
        if not (store / MANIFEST).exists() or CutoutStore(store).verify():
            if kind == "shipped":
                labels = sample_path("euclid_q1") / "labels.csv"
                ingest(labels, get_survey(REAL_SURVEY), store, replace=True, workers=1)
            else:
                simulate_store(inputs.survey, rule.n, rule.seed, store, replace=True)
    return store


def score_sentinels(inputs: NightInputs, work: Path) -> dict[str, Any]:
    """Score the fixed set with the night's network.

    Returns
    -------
    dict : ids, labels and scores; or ``absent``, the reason why there are none
    """
    store = sentinel_set(inputs)
    if store is None:
        return {"absent": "sentinels.kind is 'none'"}
    try:
        return _scored(inputs, store, work / f"{SENTINELS}.scores.zarr") | {"store": str(store)}
    except DomainError as problem:
        return {"absent": str(problem)}


def score_injections(
    inputs: NightInputs, parts: list[Instalment], table: pa.Table, work: Path
) -> dict[str, Any]:
    """Inject arcs into some of the night's cutouts, and score them as everything else.

    The backgrounds are spread evenly over the night's objects, by ID; how many are looked at does
    not grow with the night.
    """
    rule = inputs.config.injections
    if rule.n == 0:
        return {"absent": "injections.n is 0"}
    store, background = work / f"{INJECTED}.zarr", work / f"{BACKGROUNDS}.zarr"
    try:
        if not (store / MANIFEST).exists():
            _copy_backgrounds(inputs, parts, table, background)
            seed = fingerprint({"seed": rule.seed, "night": inputs.night.isoformat()})
            number = int(seed[:8], 16)
            inject_store(background, inputs.survey, rule.n, number, store, replace=True)
        return _scored(inputs, store, work / f"{INJECTED}.scores.zarr")
    except (SimulationError, DomainError) as problem:
        return {"absent": str(problem)}


def false_positives(
    injected: dict[str, Any], threshold: float, n_objects: int, n_listed: int
) -> dict[str, Any] | None:
    """Non-lenses expected from a score on, from injected non-lenses of the night's own sky.

    Parameters
    ----------
    threshold : lowest score of a list
    n_objects : of the night, nearly all of them no lenses
    n_listed : length of the list, which can hold no more
    """
    labels = np.array(injected.get("labels", []))
    values = _values(injected)[labels == 0] if len(labels) else np.empty(0)
    if not len(values):
        return None
    rate = proportion(int((values >= threshold).sum()), len(values))
    return {
        "expected": min(rate.value * n_objects, n_listed),
        "low": min(rate.low * n_objects, n_listed),
        "high": min(rate.high * n_objects, n_listed),
        "n_nonlenses": len(values),
        "level": rate.level,
    }


def _values(known: dict[str, Any]) -> NDArray[np.float64]:
    return np.array([-np.inf if v is None else v for v in known["scores"]], dtype=np.float64)


def _scored(inputs: NightInputs, store: Path, out: Path) -> dict[str, Any]:
    compute = inputs.config.compute
    score(store, inputs.weights, out, replace=True, workers=1, device=compute.device)
    found, cutouts = ScoreStore(out), CutoutStore(store)
    values = found.combined().tolist()
    return {
        "ids": found.ids().tolist(),
        "labels": cutouts.facts("columns/is_lens").astype(int).tolist(),
        "scores": [value if np.isfinite(value) else None for value in values],
        "fingerprint": cutouts.fingerprint,
    }


def _copy_backgrounds(
    inputs: NightInputs, parts: list[Instalment], table: pa.Table, out: Path
) -> None:
    """Some of the night's cutouts as a store of their own."""
    ids, numbers = (np.array(table[name].to_pylist()) for name in ("id", INSTALMENT))
    order = np.argsort(ids)
    count = min(len(ids), inputs.config.injections.backgrounds)
    picked = order[np.linspace(0, len(ids) - 1, count).astype(int)]
    with CutoutWriter(
        out,
        survey=inputs.survey.name,
        bands=inputs.survey.band_names,
        shape=inputs.survey.shape,
        replace=True,
    ) as writer:
        for part in parts:
            wanted = set(ids[picked[numbers[picked] == part.number]].tolist())
            for batch in _batches(part, wanted) if wanted else ():
                writer.append(batch)
    if not (out / MANIFEST).exists():
        raise PipelineError(f"{out}: no background was copied")


def _batches(part: Instalment, wanted: set[str]) -> list[CutoutBatch]:
    store = CutoutStore(part.cutouts)
    rows = [row for row, name in enumerate(store.facts("ids")) if name in wanted]
    # instalments may carry different columns of the user's
    return [replace(store.read(slice(row, row + 1)), columns={}) for row in rows]
