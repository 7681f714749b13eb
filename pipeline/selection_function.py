"""Which lenses a cut finds: injected lenses, the conditions they were seen under, and the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from equilens.catalogs.errors import SelectionError
from equilens.catalogs.intervals import proportion
from equilens.catalogs.resampling import parents_of
from equilens.catalogs.selection import ScoreCut, SelectionFunction
from equilens.catalogs.selection_fit import DEFAULT_BOOTSTRAP, fit_selection, visible
from equilens.catalogs.selection_table import binned_table, write_selection
from equilens.catalogs.truth import Truth
from equilens.pipeline.errors import EvaluationError
from equilens.pipeline.evaluation import DEFAULT_FPR, fpr_threshold, scored_truth
from equilens.pipeline.provenance import provenance, write_atomic, write_json_atomic
from equilens.pipeline.report.selection_section import selection_picture
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.simulation.conditions import magnitude
from equilens.pipeline.stores import CutoutStore

DEFAULT_SCALES = {
    "einstein_radius_arcsec": "log10",
    "arc_snr": "log10",
    "lens_mag": "linear",
    "psf_fwhm_arcsec": "log10",
    "depth_mag": "linear",
}
PAIR = ("einstein_radius_arcsec", "arc_snr")
LEAST_KNOWN = 0.9


def measure_selection(
    scores: ScoreStore | Path | str,
    truth: Path | str | None,
    out: Path | str,
    *,
    threshold: float | None = None,
    fpr: float = DEFAULT_FPR,
    columns: Sequence[str] = (),
    band: str | None = None,
    arc_snr_from: float | None = None,
    n_bootstrap: int = DEFAULT_BOOTSTRAP,
    missing_as_lowest: bool = False,
    seed: int = 0,
) -> tuple[SelectionFunction, pa.Table]:
    """Fit the selection function; write it, its model as JSON, and a picture beside it.

    Parameters
    ----------
    scores : a finished ScoreStore of injected lenses, and of non-lenses if there are any
    truth : key with IDs, ``is_lens`` and properties of the lenses; None takes the store's own
    out : file with a suffix of `equilens.catalogs.selection_table`
    threshold : of the catalogue; by default the cut that lets a share `fpr` of the non-lenses pass
    columns : that completeness may depend on, ``NAME`` or ``NAME:log10``; by default those of
        `DEFAULT_SCALES`, and all with ``colour`` in their name, that the lenses have
    band : whose PSF width and depth count; by default the first
    arc_snr_from : count only lenses as bright as this; by default all injected
    n_bootstrap : samples of the parents

    Raises
    ------
    EvaluationError, SelectionError
        If scores and truth do not fit, or the lenses carry no model.
    """
    out = Path(out)
    store, joined = scored_truth(scores, truth, missing_as_lowest=missing_as_lowest)
    key = joined.truth
    cut = choose_cut(key.is_lens, joined.scores, threshold, fpr)
    is_lens = key.is_lens == 1
    table = lens_table(store, key, band)
    lens_scores = joined.scores[is_lens]
    counted = visible(table, len(lens_scores), arc_snr_from)
    scales = chosen_scales(table, columns, counted)
    pairs = [PAIR] if set(PAIR) <= scales.keys() else []
    function = fit_selection(
        table,
        lens_scores,
        cut,
        scales,
        interactions=pairs,
        parents=parents_of(key.columns, key.ids)[is_lens],
        arc_snr_from=arc_snr_from,
        n_bootstrap=n_bootstrap,
        seed=seed,
        model_sha256=store.manifest["network"]["sha256"],
        data_fingerprint=store.identity["cutouts"],
    )
    function = replace(function, notes=joined.notes)
    bins = binned_table(function, table, lens_scores, pairs)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(out.with_suffix(".json"), function.to_dict())
    write_atomic(out.with_suffix(".png"), selection_picture(function, bins))
    write_selection(out, function, bins, provenance())
    return function, bins


def choose_cut(
    labels: np.ndarray, scores: np.ndarray, threshold: float | None, fpr: float
) -> ScoreCut:
    """The cut, with the false-positive rate that it stands for."""
    others = scores[labels == 0]
    if threshold is None and not len(others):
        raise EvaluationError(
            "the truth names no non-lenses, so no false-positive rate can choose the cut: give "
            "--threshold"
        )
    if threshold is None:
        chosen, why = fpr_threshold(labels, scores, fpr), f"on these objects, at an FPR of {fpr:g}"
    else:
        chosen, why = threshold, "beforehand"
    passed = int((others >= chosen).sum())
    return ScoreCut(chosen, proportion(passed, len(others)) if len(others) else None, why)


def lens_table(store: ScoreStore, key: Truth, band: str | None) -> dict[str, np.ndarray]:
    """Numbers known of each lens of the key: its truth, and the conditions of its cutout.

    ``psf_fwhm_arcsec`` and ``depth_mag`` are of one band, NaN for a lens without a cutout there.
    """
    is_lens = key.is_lens == 1
    table = {
        name: np.asarray(values, dtype=np.float64)[is_lens]
        for name, values in key.columns.items()
        if np.asarray(values).dtype.kind in "iufb"
    }
    if not store.cutouts_path.is_dir():
        return table
    cutouts = CutoutStore(store.cutouts_path)
    if band is not None and band not in cutouts.band_names:
        raise EvaluationError(f"band must be one of {list(cutouts.band_names)}, got {band!r}")
    k = cutouts.band_names.index(band) if band else 0
    rows = {name: row for row, name in enumerate(cutouts.facts("ids"))}
    rows |= {gone: rows[kept] for gone, kept in store.stand_ins().items() if kept in rows}
    row = np.array([rows.get(name, -1) for name in key.ids[is_lens]], dtype=int)
    seen = row >= 0
    fwhm, noise = (
        np.where(seen, cutouts.facts(name)[row, k], np.nan).astype(np.float64)
        for name in ("psf_fwhm_arcsec", "noise_njy")
    )
    scale = np.where(seen, cutouts.facts("pixel_scale_arcsec")[row], np.nan).astype(np.float64)
    return {**table, "psf_fwhm_arcsec": fwhm, "depth_mag": depth_mag(noise, fwhm, scale)}


def depth_mag(noise_njy: np.ndarray, fwhm_arcsec: np.ndarray, scale_arcsec: np.ndarray):
    """Five-sigma depth of a point source, AB: 31.4 - 2.5 lg(5 σ √N), N = 4πs² pixels.

    With s the width (1σ) of a Gaussian PSF in pixels: its noise-equivalent area (King 1983). Noise
    of neighbouring pixels is taken as independent.
    """
    width = fwhm_arcsec / math.sqrt(8 * math.log(2)) / scale_arcsec
    flux = 5 * noise_njy * np.sqrt(4 * math.pi) * width
    return magnitude(flux)


def chosen_scales(
    table: Mapping[str, np.ndarray], columns: Sequence[str], counted: np.ndarray
) -> dict[str, str]:
    """Column → scale: as asked, or those of the defaults that most lenses have, and that vary."""
    if columns:
        return dict(_scale_of(text) for text in columns)
    wanted = DEFAULT_SCALES | {name: "linear" for name in table if "colour" in name}
    scales = {}
    for name, scale in wanted.items():
        values = table.get(name, np.array([]))
        known = values[counted & np.isfinite(values)] if len(values) else values
        if len(known) >= LEAST_KNOWN * counted.sum() and len(np.unique(known)) > 1:
            scales[name] = scale
    if not scales:
        raise SelectionError(
            f"the lenses have none of {list(DEFAULT_SCALES)}, got {sorted(table)}: name columns "
            "with --columns"
        )
    return scales


def _scale_of(text: str) -> tuple[str, str]:
    name, _, scale = text.partition(":")
    return name, scale or DEFAULT_SCALES.get(name, "linear")
