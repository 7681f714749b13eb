"""A calibration with everything that was checked of it, as one JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike
from scipy.special import expit

from equilens.catalogs.calibration import FAMILIES, Calibration, FloatArray, fit_calibration
from equilens.catalogs.calibration_purity import (
    MIN_GRADED,
    Cut,
    GradedCheck,
    LensDensity,
    expected_cuts,
)
from equilens.catalogs.calibration_quality import (
    DEFAULT_FOLDS,
    ExpectedCalibrationError,
    HeldOut,
    ReliabilityBin,
    expected_calibration_error,
    held_out,
    reliability,
)
from equilens.catalogs.errors import CalibrationError
from equilens.catalogs.intervals import DEFAULT_LEVEL
from equilens.catalogs.records import Record

FORMAT = 1


@dataclass(frozen=True)
class Quality(Record):
    """How far probabilities of held-out objects can be believed, at the sample's own prior."""

    log_loss: float
    error: ExpectedCalibrationError
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class CalibrationResult(Record):
    """A calibration, its quality on held-out parents, and what it expects of the sky.

    Attributes
    ----------
    calibration : fitted on all objects
    candidates : log-loss of each family that was tried, on held-out parents, nats an object
    quality, uncalibrated : of the calibration, and of the bare scores taken for log-odds
    density : of lenses, that the cuts are stated for
    cuts : the strictest first
    graded : comparisons with graded objects of the real sky
    level : confidence of all intervals
    notes : what keeps its figures from being taken at face value
    """

    calibration: Calibration
    candidates: dict[str, float]
    quality: Quality
    uncalibrated: Quality
    density: LensDensity
    cuts: tuple[Cut, ...]
    graded: tuple[GradedCheck, ...]
    level: float
    notes: tuple[str, ...] = ()

    @property
    def purity_verified(self) -> bool:
        """Whether graded objects of the real sky agree with the purity expected of them."""
        return bool(self.graded) and all(check.verifies for check in self.graded)

    @property
    def purity_statement(self) -> str:
        """What is known of the purity on the real sky, in words."""
        if not self.graded:
            return (
                "purity on the real sky is unverified: no graded objects were given; it is what "
                "follows if lenses and non-lenses there look like those of the sample"
            )
        parts = [
            f"{check.observed.with_interval('.3f')} of {check.observed.n} graded objects are "
            f"lenses, {check.expected:.3f} were expected"
            for check in self.graded
        ]
        if self.purity_verified:
            return f"purity agrees with graded objects: {'; '.join(parts)}"
        return (
            f"purity on the real sky is unverified: {'; '.join(parts)} (at least {MIN_GRADED} "
            "grades must agree)"
        )

    def probability(self, scores: ArrayLike, *, model_sha256: str) -> FloatArray:
        """Probability of each score, (N,), at the share of lenses that the density states.

        Raises
        ------
        CalibrationError
            If the scores are another network's.
        """
        prior = self.density.per_object
        return self.calibration.probability(scores, model_sha256=model_sha256, prior=prior)

    def summary(self) -> dict[str, Any]:
        """What a table with probabilities should say of them, in plain types."""
        about = self.calibration.fitted_on
        return {
            "family": self.calibration.family,
            "prior": self.density.per_object,
            "n_lenses": about.n_lenses,
            "n_nonlenses": about.n_nonlenses,
            "data_fingerprint": about.data_fingerprint,
            "purity_statement": self.purity_statement,
            "notes": list(self.notes),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain types, with what is known of the purity spelled out."""
        return {
            "format": FORMAT,
            "purity_verified": self.purity_verified,
            "purity_statement": self.purity_statement,
            **super().to_dict(),
        }

    @classmethod
    def from_dict(cls, data) -> CalibrationResult:
        """Read back what `to_dict` gave; whether purity is verified is worked out anew."""
        if data.get("format") != FORMAT:
            raise CalibrationError(
                f"a calibration file must have format {FORMAT}, got {data.get('format')!r}: "
                "make it anew"
            )
        derived = ("format", "purity_verified", "purity_statement", "provenance")
        return super().from_dict({k: v for k, v in data.items() if k not in derived})


def calibrate(
    labels: ArrayLike,
    scores: ArrayLike,
    density: LensDensity,
    *,
    model_sha256: str,
    data_fingerprint: str,
    family: str | None = None,
    parents: ArrayLike | None = None,
    training_prior: float | None = None,
    graded: Sequence[GradedCheck] = (),
    level: float = DEFAULT_LEVEL,
    n_folds: int = DEFAULT_FOLDS,
    seed: int = 0,
) -> CalibrationResult:
    """Fit, check on held-out parents, and say what to expect of the sky.

    Parameters
    ----------
    labels, scores : (N,), objects that the network was not trained on
    family : default: the one with the least log-loss on held-out parents
    parents, training_prior : as for `equilens.catalogs.calibration.fit_calibration`
    graded : from `equilens.catalogs.calibration_purity.check_purity`

    Raises
    ------
    CalibrationError
        If no calibration can be fitted.
    """
    tried = {
        name: held_out(
            labels,
            scores,
            name,
            parents=parents,
            training_prior=training_prior,
            n_folds=n_folds,
            seed=seed,
        )
        for name in ([family] if family else FAMILIES)
    }
    best = min(tried, key=lambda name: tried[name].log_loss)
    calibration = fit_calibration(
        labels,
        scores,
        best,
        model_sha256=model_sha256,
        data_fingerprint=data_fingerprint,
        parents=parents,
        training_prior=training_prior,
    )
    return CalibrationResult(
        calibration,
        {name: found.log_loss for name, found in tried.items()},
        _quality(tried[best], level, seed),
        _quality(tried[best].uncalibrated(), level, seed),
        density,
        expected_cuts(labels, scores, calibration, density, level=level),
        tuple(graded),
        level,
    )


def _quality(found: HeldOut, level: float, seed: int) -> Quality:
    chance = expit(found.log_odds)
    error = expected_calibration_error(
        found.labels, chance, level=level, parents=found.codes, seed=seed
    )
    return Quality(found.log_loss, error, reliability(found.labels, chance, level=level))


def read_calibration(path: str | Path) -> CalibrationResult:
    """Read a calibration file.

    Raises
    ------
    CalibrationError
        If it is no calibration file.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise CalibrationError(f"{path} is no calibration file: {problem}") from None
    if not isinstance(data, dict):
        raise CalibrationError(f"{path} is no calibration file: it holds no JSON object")
    return CalibrationResult.from_dict(data)
