"""Compare scores with the truth: figures, curves and bins, each with its N and interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from equilens.catalogs.binned import quantile_edges
from equilens.catalogs.evaluation import evaluate_bins, evaluate_scores
from equilens.catalogs.metrics import split_scores
from equilens.catalogs.operating_points import operating_curve, operating_point, purity
from equilens.catalogs.submission import join_scores
from equilens.catalogs.truth import Truth, read_truth
from equilens.pipeline.errors import EvaluationError
from equilens.pipeline.provenance import provenance, sha256_file, write_atomic, write_json_atomic
from equilens.pipeline.quarantine import read_quarantine
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.stores import CutoutStore

PREVALENCES = (1e-3, 1e-4)
DEFAULT_FPR = 0.01
EINSTEIN_EDGES = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 6.0)
QUANTILE_COLUMNS = ("arc_snr", "lens_mag", "source_mag")
N_BINS = 6
CURVE_POINTS = 2000
SEEN_IN_TRAINING = (
    "the network was trained on these cutouts: figures of objects that it saw say nothing of new "
    "ones, only held-out objects count"
)


@dataclass(frozen=True)
class JoinedTruth:
    """Truth and score of every object of the key, quarantined ones included.

    Attributes
    ----------
    truth : the key
    scores : (N,) float64 in the key's order; -inf for an object without a score: missed
    n_quarantined : of the key's objects, rejected before or by scoring
    n_merged : of the key's objects, sighted twice and scored as the sighting that stayed
    n_absent : of the key's objects, neither scored nor quarantined
    n_unknown : scored objects that the key does not name; they count nowhere
    notes : what keeps figures of these objects from being taken at face value
    """

    truth: Truth
    scores: np.ndarray
    n_quarantined: int
    n_merged: int
    n_absent: int
    n_unknown: int
    notes: tuple[str, ...] = ()


def evaluate(
    scores: ScoreStore | Path | str,
    truth: Path | str | None,
    out: Path | str,
    *,
    threshold: float | None = None,
    prevalences: Sequence[float] = PREVALENCES,
    level: float = 0.95,
    missing_as_lowest: bool = False,
) -> dict[str, Any]:
    """Write ``metrics.json``, ``roc.csv`` and ``bins.csv`` into a folder.

    Parameters
    ----------
    scores : a finished ScoreStore
    truth : key with IDs and ``is_lens`` (or a challenge's catalogue); None takes the truth columns
        that the scored store carries, as simulations do
    out : folder
    threshold : of the catalogue to be judged, chosen elsewhere. By default the cut that lets 1 %
        of this sample's non-lenses through: chosen on the sample itself, and said so
    prevalences : shares of lenses on the sky that purity is stated for
    level : confidence of the intervals
    missing_as_lowest : count objects of the key that are neither scored nor quarantined as missed

    Returns
    -------
    dict : what ``metrics.json`` holds

    Raises
    ------
    EvaluationError
        The key names objects that nobody has seen, or no class is complete.
    """
    store, joined = scored_truth(scores, truth, missing_as_lowest=missing_as_lowest)
    key, values = joined.truth, joined.scores
    labels = key.is_lens
    cut = fpr_threshold(labels, values, DEFAULT_FPR) if threshold is None else threshold
    report = evaluate_scores(labels, values, level=level, threshold=cut)
    report["at_threshold"]["chosen"] = (
        "beforehand" if threshold is not None else f"on these objects, at an FPR of {DEFAULT_FPR}"
    )
    report["at_threshold"]["purity"] = [
        {**purity(labels, values, cut, share, level).to_json(), "prevalence": share}
        for share in prevalences
    ]
    report["at_half_completeness"] = half_completeness(labels, values, prevalences, level)
    bins = evaluate_bins(labels, values, key.columns, bin_edges(key), cut, level)
    report |= {
        "n_quarantined": joined.n_quarantined,
        "n_merged": joined.n_merged,
        "n_absent": joined.n_absent,
        "n_unknown": joined.n_unknown,
        "notes": list(joined.notes),
        "label_rule": key.rule,
        "bins": bins,
        "network": store.manifest["network"],
        "cutouts_fingerprint": store.identity["cutouts"],
        "scores_fingerprint": store.fingerprint,
        "truth_sha256": None if truth is None else sha256_file(truth),
        "n_out_of_domain": store.manifest["guard"]["n_outside"],
        "provenance": provenance(),
    }
    out = Path(out)
    _write_csv(out / "roc.csv", curve_table(labels, values, prevalences, level))
    _write_csv(out / "bins.csv", bins_table(bins))
    write_json_atomic(out / "metrics.json", report)
    return report


def scored_truth(
    scores: ScoreStore | Path | str,
    truth: Path | str | None,
    *,
    missing_as_lowest: bool = False,
) -> tuple[ScoreStore, JoinedTruth]:
    """A finished ScoreStore, joined to a key of its objects; None takes the truth it carries.

    Raises
    ------
    EvaluationError
        There is no truth, or it is one of other objects: see `join_truth`.
    """
    store = scores if isinstance(scores, ScoreStore) else ScoreStore(scores)
    key = store_truth(store) if truth is None else read_truth(truth)
    return store, join_truth(store, key, missing_as_lowest=missing_as_lowest)


def store_truth(scores: ScoreStore) -> Truth:
    """The truth that a simulated store carries itself."""
    store = CutoutStore(scores.cutouts_path)
    if "is_lens" not in store.column_names:
        raise EvaluationError(f"{store.path} carries no column is_lens: give a truth key")
    columns = {name: store.facts(f"columns/{name}") for name in store.column_names}
    is_lens = columns.pop("is_lens").astype(np.int8)
    return Truth(store.facts("ids"), is_lens, columns, "is_lens of the cutout store")


def join_truth(store: ScoreStore, truth: Truth, *, missing_as_lowest: bool = False) -> JoinedTruth:
    """Scores in the key's order; a quarantined object stays, as missed.

    An object that ingest merged into another sighting of it has that one's score.

    Raises
    ------
    EvaluationError
        Objects of the key are neither scored nor quarantined, unless `missing_as_lowest`.
    """
    ids, scores = store.ids(), store.combined()
    ids, scores, n_merged = _with_merged(store, ids, scores, truth)
    rejected = {row.id for row in read_quarantine(store.path / "quarantine.csv")}
    scored = set(ids[np.isfinite(scores)])
    quarantined = [i for i in truth.ids if i not in scored and i in rejected]
    absent = [i for i in truth.ids if i not in scored and i not in rejected]
    if absent and not missing_as_lowest:
        raise EvaluationError(
            f"{len(absent)} of {len(truth.ids)} objects of the truth key are neither scored nor "
            f"quarantined, such as {absent[0]!r} (scored is {ids[0]!r}): give the key of these "
            "cutouts, or count them as missed with missing_as_lowest"
        )
    joined = join_scores(truth.ids, ids, scores, missing_as_lowest=True)
    return JoinedTruth(
        truth,
        joined.scores,
        len(quarantined),
        n_merged,
        len(absent),
        joined.n_unknown,
        notes=(SEEN_IN_TRAINING,) if store.seen_in_training else (),
    )


def _with_merged(
    store: ScoreStore, ids: np.ndarray, scores: np.ndarray, truth: Truth
) -> tuple[np.ndarray, np.ndarray, int]:
    """The scored objects, and those of the key that one of them stands for."""
    row = {name: k for k, name in enumerate(ids)}
    kept = {gone: row[stays] for gone, stays in store.stand_ins().items() if stays in row}
    merged = [name for name in truth.ids if name in kept and name not in row]
    rows = [kept[name] for name in merged]
    names = np.concatenate([ids, np.array(merged, dtype=object)])
    return names, np.concatenate([scores, scores[rows]]), len(merged)


def fpr_threshold(labels: np.ndarray, scores: np.ndarray, fpr: float) -> float:
    """The lowest score that at most a share `fpr` of the non-lenses reaches."""
    split = split_scores(labels, scores)
    allowed = math.floor(fpr * len(split.nonlenses))
    # just above the first non-lens that is one too many
    return float(np.nextafter(split.nonlenses[-1 - allowed], np.inf))


def half_completeness(
    labels: np.ndarray, scores: np.ndarray, prevalences: Sequence[float], level: float
) -> dict[str, Any] | None:
    """Rates and purities of the cut that finds half of the lenses; None if half are missed."""
    lenses = np.sort(scores[labels == 1])[::-1]
    cut = float(lenses[math.ceil(len(lenses) / 2) - 1])
    if not math.isfinite(cut):
        return None
    point = operating_point(labels, scores, cut, level).to_json()
    point["purity"] = [
        {**purity(labels, scores, cut, share, level).to_json(), "prevalence": share}
        for share in prevalences
    ]
    return point


def bin_edges(truth: Truth) -> dict[str, tuple[float, ...]]:
    """Edges for each truth column that bins are made of, where the lenses have values."""
    lenses = truth.is_lens == 1
    edges: dict[str, tuple[float, ...]] = {}
    for column in ("einstein_radius_arcsec", *QUANTILE_COLUMNS):
        if column not in truth.columns:
            continue
        values = np.asarray(truth.columns[column], np.float64)[lenses]
        if len(np.unique(values[np.isfinite(values)])) < 2:
            continue
        fixed = column == "einstein_radius_arcsec"
        edges[column] = EINSTEIN_EDGES if fixed else quantile_edges(values, N_BINS)
    return edges


def curve_table(
    labels: np.ndarray, scores: np.ndarray, prevalences: Sequence[float], level: float
) -> pa.Table:
    """Completeness, FPR and purities against threshold, densest where the FPR is low."""
    distinct = np.unique(scores[np.isfinite(scores)])[::-1]
    if len(distinct) > CURVE_POINTS:
        head = np.arange(CURVE_POINTS // 2)
        tail = np.linspace(CURVE_POINTS // 2, len(distinct) - 1, CURVE_POINTS // 2).astype(int)
        distinct = distinct[np.unique(np.concatenate([head, tail]))]
    table = operating_curve(labels, scores, distinct, level)
    for share in prevalences:
        with_purity = operating_curve(labels, scores, distinct, level, prevalence=share)
        for name in ("purity", "purity_low", "purity_high"):
            table = table.append_column(f"{name}_at_{share:g}", with_purity[name])
    return table


def bins_table(bins: dict[str, dict]) -> pa.Table:
    """All bins of all columns, one row each."""
    rows = [
        {"column": column, "threshold": found["threshold"], **entry}
        for column, found in bins.items()
        for entry in found["bins"]
    ]
    names = ("column", "lower", "upper", "value", "low", "high", "n", "level", "threshold")
    return pa.table({name: [row[name] for row in rows] for name in names}).rename_columns(
        ["completeness" if name == "value" else name for name in names]
    )


def _write_csv(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink)
    write_atomic(path, sink.getvalue().to_pybytes())
