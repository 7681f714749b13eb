"""Scores against their truth, as a folder of figures."""

from __future__ import annotations

from equilens.pipeline.evaluation import PREVALENCES, evaluate
from equilens.tasks.engine import RemadeTask, luigi


class EvaluateTask(RemadeTask):
    """Evaluate a finished ScoreStore; quick, so it is made anew each time."""

    scores = luigi.Parameter()
    truth = luigi.OptionalParameter(default=None)
    out = luigi.Parameter()
    threshold = luigi.OptionalFloatParameter(default=None)
    prevalences = luigi.ListParameter(default=PREVALENCES)
    missing_as_lowest = luigi.BoolParameter(default=False)

    def output(self) -> luigi.LocalTarget:
        """The figures."""
        return luigi.LocalTarget(f"{self.out}/metrics.json")

    def make(self) -> None:
        """Join, measure, write."""
        evaluate(
            self.scores,
            self.truth,
            self.out,
            threshold=self.threshold,
            prevalences=tuple(self.prevalences),
            missing_as_lowest=self.missing_as_lowest,
        )
