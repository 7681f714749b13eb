"""A calibration of scores, as a file."""

from __future__ import annotations

from equilens.catalogs.calibration_purity import LensDensity
from equilens.pipeline.score_calibration import calibrate_scores
from equilens.tasks.engine import RemadeTask, luigi


class CalibrateTask(RemadeTask):
    """Calibrate a finished ScoreStore; quick, so it is made anew each time."""

    scores = luigi.Parameter()
    truth = luigi.OptionalParameter(default=None)
    out = luigi.Parameter()
    prior = luigi.FloatParameter()
    density = luigi.FloatParameter()
    family = luigi.OptionalParameter(default=None)
    training_prior = luigi.OptionalFloatParameter(default=None)
    graded_scores = luigi.OptionalParameter(default=None)
    graded = luigi.OptionalParameter(default=None)
    missing_as_lowest = luigi.BoolParameter(default=False)
    seed = luigi.IntParameter(default=0)

    def output(self) -> luigi.LocalTarget:
        """The calibration."""
        return luigi.LocalTarget(self.out)

    def make(self) -> None:
        """Join, fit, check, write."""
        graded = None
        if self.graded_scores and self.graded:
            graded = (self.graded_scores, self.graded)
        calibrate_scores(
            self.scores,
            self.truth,
            self.out,
            LensDensity(self.prior, self.density),
            family=self.family,
            training_prior=self.training_prior,
            graded=graded,
            missing_as_lowest=self.missing_as_lowest,
            seed=self.seed,
        )
