"""What a report is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from equilens.catalogs.calibration_result import CalibrationResult
from equilens.catalogs.selection import SelectionFunction
from equilens.catalogs.truth import Truth
from equilens.pipeline.quarantine import QuarantineRow
from equilens.pipeline.report.mass_section import MappedSky
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.skymaps import SkyMapStore
from equilens.pipeline.stores import CutoutStore


@dataclass(frozen=True)
class Sample:
    """One store on its way to the catalogue.

    Attributes
    ----------
    title : for people
    store : its cutouts
    scores : None where it was not scored
    quarantine : objects rejected at ingest or left without a score
    n_candidates : of its objects, in the catalogue; None where none of it goes there
    note : in words, such as why it was not scored
    simulated : no object of it is on the sky
    """

    title: str
    store: CutoutStore
    scores: ScoreStore | None = None
    quarantine: Sequence[QuarantineRow] = ()
    n_candidates: int | None = None
    note: str = ""
    simulated: bool = False

    @property
    def n_found(self) -> int:
        """Objects that went in; the store's own where nothing was counted."""
        return self.store.manifest["config"].get("n_found", self.store.n_objects)

    @property
    def n_scored(self) -> int:
        """Objects with a finite score."""
        if self.scores is None:
            return 0
        return self.scores.n_objects - self.scores.manifest["n_quarantined"]


@dataclass(frozen=True)
class EvaluatedSample:
    """Scores beside their truth.

    Attributes
    ----------
    title : for people
    store : the cutouts
    truth : who is a lens; N objects
    scores : (N,) float64 in the truth's order; -inf for an object without one
    metrics : of `equilens.catalogs.evaluation.evaluate_scores`
    """

    title: str
    store: CutoutStore
    truth: Truth
    scores: np.ndarray
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class MeasuredSelection:
    """A selection function, and the bins beside it, as its file holds them."""

    function: SelectionFunction
    bins: pa.Table


@dataclass(frozen=True)
class ReportContent:
    """All that a report shows.

    Attributes
    ----------
    title : first line of the page
    samples : every store that went in
    candidates : the catalogue, as `equilens.catalogs.candidates` makes it; None where there is none
    evaluated : the sample with truth, if there is one
    calibration : of a network's scores, if there is one
    selection : which lenses the cut finds, if that was measured
    ranks : of real objects among simulated non-lenses, as `equilens.catalogs.reference_ranks`
        makes it
    labels : id → 0 or 1 of real objects that somebody has labelled; they are shown, not measured
    mapped : a sky of shear with its mass map, if there is one
    sky_map, map_name : drawn behind the positions, and what it is of
    remarks : sentences for the top of the page
    provenance : label → text
    """

    title: str
    samples: Sequence[Sample]
    candidates: pa.Table | None = None
    evaluated: EvaluatedSample | None = None
    calibration: CalibrationResult | None = None
    selection: MeasuredSelection | None = None
    ranks: pa.Table | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    mapped: MappedSky | None = None
    sky_map: SkyMapStore | None = None
    map_name: str = ""
    remarks: Sequence[str] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
