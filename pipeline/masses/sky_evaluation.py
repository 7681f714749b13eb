"""Any number of simulated skies, all methods, into a folder of figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from equilens.catalogs.halo_matching import HaloTargets
from equilens.catalogs.intervals import DEFAULT_LEVEL, finite_or_none
from equilens.pipeline.masses.baselines import METHODS, BaselineSettings
from equilens.pipeline.masses.control_skies import controls_by_fingerprint
from equilens.pipeline.masses.errors import SkyEvaluationError
from equilens.pipeline.masses.evaluation import (
    MATCH_RADIUS_ARCMIN,
    Judge,
    MethodResult,
    judge_sky,
)
from equilens.pipeline.masses.evaluation_plots import (
    completeness_png,
    correlation_png,
    mollweide_png,
)
from equilens.pipeline.masses.evaluation_summary import DENSITIES, Figures, paired, summarise
from equilens.pipeline.masses.evaluation_text import evaluation_text
from equilens.pipeline.masses.map_quality import band_edges
from equilens.pipeline.masses.prior import ConvergencePrior
from equilens.pipeline.masses.products import product_identity
from equilens.pipeline.masses.sky_truth import SkyPriors, SkyTruth
from equilens.pipeline.provenance import provenance, write_atomic, write_json_atomic
from equilens.pipeline.skymaps.store import SkyMapStore

FIGURES, TABLE = "sky_evaluation.json", "sky_evaluation.txt"
REFERENCES = ("wiener", "matched-filter")


def evaluate_skies(
    skies: Sequence[Path | str],
    out: Path | str,
    *,
    scored: Sequence[Path | str] = (),
    controls: Sequence[Path | str] = (),
    methods: Sequence[str] = METHODS,
    prior: ConvergencePrior | None = None,
    settings: BaselineSettings | None = None,
    targets: HaloTargets | None = None,
    radius_arcmin: float = MATCH_RADIUS_ARCMIN,
    densities: Sequence[float] = DENSITIES,
) -> Figures:
    """Evaluate the classical methods, and results of networks, on simulated skies.

    Parameters
    ----------
    skies : paths of the observed skies; truth and haloes lie beside each
    out : folder for ``sky_evaluation.json``, ``.txt`` and figures
    scored : folders of results, each of one of the skies or controls
    controls : stores of `equilens.pipeline.masses.control_skies`, of these skies
    methods : of `equilens.pipeline.masses.baselines.METHODS`
    prior : of the filters; by default each sky's is measured on all others
    settings : of the classical methods
    targets : haloes that lists of peaks should have
    radius_arcmin : within which a peak is a halo's
    densities : of false peaks, a square degree, at which completeness is given

    Returns
    -------
    What ``sky_evaluation.json`` holds.

    Raises
    ------
    SkyEvaluationError
        Skies, truths, prior and results do not fit together.
    """
    if unknown := sorted(set(methods) - set(METHODS)):
        raise SkyEvaluationError(f"methods must be of {METHODS}, got {unknown}")
    stores = [SkyMapStore.open(sky) for sky in skies]
    nsides = {store.nside for store in stores}
    if len(nsides) != 1:
        raise SkyEvaluationError(f"skies must have one nside, got {sorted(nsides)}")
    edges = band_edges(2 * nsides.pop())
    targets, settings = targets or HaloTargets(), settings or BaselineSettings()
    judge = Judge(targets, radius_arcmin, edges)
    folders = by_sky(scored, [store.fingerprint for store in stores], controls)
    priors = SkyPriors(skies, prior)
    out = Path(out)
    results: list[dict[str, MethodResult]] = []
    for sky, store in zip(skies, stores, strict=True):
        own = folders.get(store.fingerprint, [])
        truth, found = judge_sky(sky, priors.of(sky), judge, methods, settings, own)
        if not results:
            _write_maps(out, truth, found)
        for result in found.values():
            result.mass = None
        results.append(found)
    figures = _figures(stores, judge, settings, densities, results)
    write_json_atomic(out / FIGURES, figures)
    write_atomic(out / TABLE, (evaluation_text(figures) + "\n").encode())
    _write_curves(out, figures["methods"])
    return figures


def by_sky(
    folders: Sequence[Path | str],
    fingerprints: Sequence[str],
    controls: Sequence[Path | str] = (),
) -> dict[str, list[tuple[str, Path | str]]]:
    """Folders of results, each with its kind of control, by the fingerprint of their sky."""
    known = {data: ("", data) for data in fingerprints}
    known |= controls_by_fingerprint(controls, fingerprints)
    found: dict[str, list[tuple[str, Path | str]]] = {}
    for folder in folders:
        data = product_identity(folder).data_fingerprint
        if data not in known:
            raise SkyEvaluationError(
                f"{folder} is of shear {data[:12]}, which is none of the {len(fingerprints)} skies "
                "evaluated, nor of their controls: give that sky too"
            )
        kind, sky = known[data]
        found.setdefault(sky, []).append((kind, folder))
    return found


def _figures(
    stores: Sequence[SkyMapStore],
    judge: Judge,
    settings: BaselineSettings,
    densities: Sequence[float],
    results: Sequence[dict[str, MethodResult]],
) -> Figures:
    methods = summarise(results, judge.edges.tolist(), densities)
    targets: dict[str, Any] = asdict(judge.targets)
    return {
        "n_skies": len(stores),
        "skies": [{"path": str(s.path), "fingerprint": s.fingerprint} for s in stores],
        "nside": stores[0].nside,
        "targets": {name: finite_or_none(value) for name, value in targets.items()},
        "match_radius_arcmin": judge.radius_arcmin,
        "level": DEFAULT_LEVEL,
        "settings": asdict(settings),
        "methods": methods,
        "paired": {name: paired(results, methods, name) for name in REFERENCES if name in methods},
        "provenance": provenance(),
    }


def _write_maps(out: Path, truth: SkyTruth, results: dict[str, MethodResult]) -> None:
    for name, result in results.items():
        if result.mass is None:
            continue
        seen = truth.observed & np.isfinite(result.mass.kappa) & np.isfinite(truth.kappa)
        kappa = result.mass.kappa
        panels = {name: kappa, "true κ": truth.kappa, "difference": kappa - truth.kappa}
        write_atomic(out / f"map_{name}.png", mollweide_png(panels, seen))


def _write_curves(out: Path, methods: Figures) -> None:
    if any("map" in one for one in methods.values()):
        write_atomic(out / "correlation.png", correlation_png(methods))
    if any("haloes" in one for one in methods.values()):
        write_atomic(out / "completeness.png", completeness_png(methods))
