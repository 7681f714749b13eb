"""Where real objects rank among simulated non-lenses that the same network scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from equilens.catalogs.export import write_catalog
from equilens.catalogs.intervals import DEFAULT_LEVEL
from equilens.catalogs.reference_ranks import (
    TOP_SHARE,
    UNKNOWN,
    field_statement,
    n_within_top,
    rank_table,
)
from equilens.catalogs.truth import read_truth
from equilens.pipeline.errors import EvaluationError
from equilens.pipeline.evaluation import store_truth
from equilens.pipeline.guard import DomainCheck, describe_outside
from equilens.pipeline.injection.parents import refuse_shared_parents
from equilens.pipeline.provenance import provenance, write_json_atomic
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.simulated_scores import SimulatedScores, is_simulated_scores
from equilens.pipeline.stores import CutoutStore


@dataclass(frozen=True)
class Reference:
    """Simulated non-lenses to rank among.

    Attributes
    ----------
    scores : (N,) finite logits
    n_without_score : non-lenses that the network gave no finite score; they count nowhere
    network : name, sha256 and architecture of what scored them
    survey : that was simulated
    fingerprint : of the scores
    path : where they lie
    """

    scores: np.ndarray
    n_without_score: int
    network: Mapping[str, str]
    survey: str
    fingerprint: str
    path: Path


def read_reference(path: Path | str, n: int | None = None) -> Reference:
    """The non-lenses of a ScoreStore with truth, or of a folder of `score_simulated`.

    Parameters
    ----------
    n : only the first so many objects of a folder; by default all

    Raises
    ------
    EvaluationError
        There is no non-lens with a score.
    """
    if is_simulated_scores(path):
        found = SimulatedScores(path)
        count = found.n_objects if n is None else n
        table = found.table(count)
        scores = table["score"].to_numpy()[table["is_lens"].to_numpy() == 0]
        about = (found.identity["network"], found.identity["survey"], found.fingerprint(count))
    else:
        store = ScoreStore(path)
        truth = store_truth(store)
        by_id = dict(zip(store.ids(), store.combined(), strict=True))
        nonlenses = truth.ids[truth.is_lens == 0]
        scores = np.array([by_id.get(name, np.nan) for name in nonlenses], dtype=np.float64)
        about = (store.manifest["network"], store.manifest["survey"], store.fingerprint)
    finite = np.isfinite(scores)
    if not finite.any():
        raise EvaluationError(f"{path} holds no non-lens with a score: simulate some")
    return Reference(scores[finite], int((~finite).sum()), *about, Path(path))


def rank_among(
    scores: ScoreStore | Path | str,
    among: Reference | Path | str,
    out: Path | str,
    *,
    labels: Path | str | None = None,
    injected: Sequence[Path | str] = (),
    level: float = DEFAULT_LEVEL,
) -> dict[str, Any]:
    """Write each real object's rank as a table, and what it stands on as JSON beside it.

    Parameters
    ----------
    scores : a finished ScoreStore of real objects
    among : simulated non-lenses, scored by the same network
    out : table, with a suffix of `equilens.catalogs.export`
    labels : key with IDs and ``is_lens`` of some or all of the objects: 0 makes a field object; by
        default a column ``is_lens`` of the cutouts, where they have one
    injected : stores with pasted arcs that the network was trained on
    level : confidence of the intervals

    Returns
    -------
    dict : what the JSON file holds

    Raises
    ------
    EvaluationError
        Two networks gave the scores, a label is of no object, or the table can not be written.
    SimulationError
        An object lies in a frame that was trained on with arcs pasted into it.
    """
    store = scores if isinstance(scores, ScoreStore) else ScoreStore(scores)
    if injected:
        refuse_shared_parents(CutoutStore(store.cutouts_path), injected)
    reference = among if isinstance(among, Reference) else read_reference(among)
    _check_network(store, reference)
    label_of = _labels(store, labels)
    table = ranks_of(store, reference.scores, label_of, level)
    facts = _about(table, label_of, level) | {
        "n_without_score": store.n_objects - table.num_rows,
        "n_nonlenses": len(reference.scores),
        "n_nonlenses_without_score": reference.n_without_score,
        "survey": store.manifest["survey"],
        "simulated_survey": reference.survey,
        "network": store.manifest["network"],
        "scores_fingerprint": store.fingerprint,
        "nonlenses_fingerprint": reference.fingerprint,
        "injected_fingerprints": [CutoutStore(path).fingerprint for path in injected],
        "provenance": provenance(),
    }
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_catalog(table, out, {"table": "ranks among non-lenses", **facts})
    write_json_atomic(Path(out).with_suffix(".json"), facts)
    return facts


def ranks_of(
    store: ScoreStore, nonlenses: np.ndarray, label_of: Mapping[str, int], level: float
) -> pa.Table:
    """The table of the objects that have a finite score; those out of the domain are marked."""
    values = store.combined()
    scored = np.isfinite(values)
    ids = store.ids()[scored]
    checks = [DomainCheck(**check) for check in store.manifest["guard"]["checks"]]
    return rank_table(
        ids,
        values[scored],
        nonlenses,
        labels=[label_of.get(name, UNKNOWN) for name in ids],
        out_of_domain=[describe_outside(int(bits), checks) for bits in store.outside()[scored]],
        level=level,
    )


def _about(table: pa.Table, label_of: Mapping[str, int], level: float) -> dict[str, Any]:
    """What the table shows, in numbers and one statement."""
    lenses, field = (_top_counts(table, label_of, label) for label in (1, 0))
    return {
        "n_objects": table.num_rows,
        "n_out_of_domain": sum(bool(text) for text in table["out_of_domain"].to_pylist()),
        "lenses": lenses,
        "field": field,
        "field_statement": field_statement(field["n"], level),
        "level": level,
    }


def _check_network(store: ScoreStore, reference: Reference) -> None:
    real, simulated = store.manifest["network"]["sha256"], reference.network["sha256"]
    if real != simulated:
        raise EvaluationError(
            f"{store.path} was scored by the network {real[:12]}, {reference.path} by "
            f"{simulated[:12]}: their scores share no scale; score both with one network"
        )


def _labels(store: ScoreStore, key: Path | str | None) -> dict[str, int]:
    """Label of each object of the key, or of the cutouts where they have one."""
    if key is None and not _has_labels(store):
        return {}
    truth = store_truth(store) if key is None else read_truth(key)
    label_of = dict(zip(truth.ids, truth.is_lens.tolist(), strict=True))
    if label_of.keys().isdisjoint(store.ids()):
        raise EvaluationError(
            f"none of the {len(label_of)} objects of {key} was scored, such as "
            f"{truth.ids[0]!r} (scored is {store.ids()[0]!r}): give the key of these cutouts"
        )
    return label_of


def _has_labels(store: ScoreStore) -> bool:
    path = store.cutouts_path
    return path.is_dir() and "is_lens" in CutoutStore(path).column_names


def _top_counts(table: pa.Table, label_of: Mapping[str, int], label: int) -> dict[str, Any]:
    """Objects of a label: ranked, among the best, and without a score, as quarantined ones are."""
    n, within, surely = n_within_top(table, label)
    n_labelled = sum(value == label for value in label_of.values())
    return {
        "n": n,
        "n_without_score": n_labelled - n,
        "top_share": TOP_SHARE,
        "n_within_top": within,
        "n_surely_within_top": surely,
    }
