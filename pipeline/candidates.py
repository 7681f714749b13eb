"""The candidate catalogue of a ScoreStore: who, where, how likely, under which conditions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from equilens.catalogs.calibration_result import CalibrationResult
from equilens.catalogs.candidates import build_catalog
from equilens.catalogs.schema import TRUTH_COLUMNS
from equilens.pipeline.cutouts import describe_flags
from equilens.pipeline.errors import StoreError
from equilens.pipeline.guard import DomainCheck, describe_outside
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.skymaps.attach import attach_maps
from equilens.pipeline.skymaps.store import SkyMapStore
from equilens.pipeline.stores import CutoutStore


def candidate_table(
    scores: ScoreStore | Path | str,
    cutouts: CutoutStore | Path | str | None = None,
    *,
    top: int | None = None,
    threshold: float | None = None,
    maps: Mapping[str, SkyMapStore] | None = None,
    calibration: CalibrationResult | None = None,
    crossmatch_radius_arcsec: float = 2.0,
) -> pa.Table:
    """Ranked candidates with names, positions, flags, conditions and provenance.

    Parameters
    ----------
    scores : a finished ScoreStore
    cutouts : what was scored; by default where the ScoreStore says it was
    top : keep the best so many
    threshold : keep scores from here on
    maps : sky maps by name; their value at each object becomes a column
    calibration : for a column ``probability``, at the share of lenses that it states; its network
        must be the one that gave the scores
    crossmatch_radius_arcsec : to known lenses

    Returns
    -------
    Table in the schema of `equilens.catalogs.schema`; the user's own columns last. The column
    ``out_of_domain`` says in words which conditions the network was not trained for.

    Raises
    ------
    StoreError
        `cutouts` is not what was scored.
    CalibrationError
        `calibration` is of another network.
    """
    scores = scores if isinstance(scores, ScoreStore) else ScoreStore(scores)
    cutouts = scores.cutouts_path if cutouts is None else cutouts
    store = cutouts if isinstance(cutouts, CutoutStore) else CutoutStore(cutouts)
    if store.fingerprint != scores.identity["cutouts"]:
        raise StoreError(
            f"{store.path} (fingerprint {store.fingerprint[:12]}) is not what {scores.path} has "
            f"scores of ({scores.identity['cutouts'][:12]}): give that store, or score this one"
        )
    values, sha256 = scores.combined(), scores.manifest["network"]["sha256"]
    rows = _kept(values, top, threshold)
    facts = {name: store.facts(name)[rows] for name in ("ids", "ra", "dec")}
    columns = {name: store.facts(f"columns/{name}")[rows] for name in store.column_names}
    truth = {column.name for column in TRUTH_COLUMNS} & columns.keys()
    conditions = _conditions(scores, store, rows)
    conditions |= attach_maps(facts["ra"], facts["dec"], maps or {})
    if calibration is not None:
        conditions["probability"] = calibration.probability(values[rows], model_sha256=sha256)
        conditions["probability_prior"] = np.full(len(rows), calibration.density.per_object)
    return build_catalog(
        facts["ids"],
        facts["ra"],
        facts["dec"],
        values[rows],
        store.survey_name,
        conditions=conditions | {name: columns[name] for name in truth},
        user_columns={name: v for name, v in columns.items() if name not in truth},
        constants={
            "model_sha256": sha256,
            "data_fingerprint": store.fingerprint,
        },
        top=top,
        lenscat_radius_arcsec=crossmatch_radius_arcsec,
    )


def _kept(scores: np.ndarray, top: int | None, threshold: float | None) -> np.ndarray:
    """Rows that can be in the table: all that tie with the last of the best are still there."""
    keep = np.isfinite(scores)
    if threshold is not None:
        keep &= scores >= threshold
    if top is not None and 0 < top < keep.sum():
        keep &= scores >= np.partition(scores[keep], -top)[-top]
    return np.flatnonzero(keep)


def _conditions(scores: ScoreStore, store: CutoutStore, rows: np.ndarray) -> dict[str, np.ndarray]:
    checks = [DomainCheck(**check) for check in scores.manifest["guard"]["checks"]]
    found: dict[str, np.ndarray] = {
        "flags": _text(describe_flags(int(flags)) for flags in scores.flags()[rows]),
        "out_of_domain": _text(
            describe_outside(int(bits), checks) for bits in scores.outside()[rows]
        ),
        "pixel_scale_arcsec": store.facts("pixel_scale_arcsec")[rows],
        "source_file": store.facts("source_file")[rows],
    }
    for quantity in ("noise_njy", "psf_fwhm_arcsec"):
        values = store.facts(quantity)[rows]
        found |= {f"{quantity}_{band}": values[:, b] for b, band in enumerate(store.band_names)}
    return found


def _text(values) -> np.ndarray:
    return np.array(list(values), object)
