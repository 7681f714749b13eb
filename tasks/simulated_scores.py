"""Scores of simulated objects, without their pixels."""

from __future__ import annotations

from equilens.pipeline.simulated_scores import IDENTITY, score_simulated
from equilens.pipeline.surveys.registry import get_survey
from equilens.tasks.engine import ObjectParameter, RemadeTask, luigi


class ScoreSimulatedTask(RemadeTask):
    """Simulate, score, forget; parts that an equal run left are kept, so it is safe to repeat."""

    survey = luigi.Parameter()
    model = luigi.Parameter()
    n_objects = luigi.IntParameter()
    seed = luigi.IntParameter()
    lens_fraction = luigi.FloatParameter(default=0.5)
    out = luigi.Parameter()
    device = luigi.Parameter(default="cpu", significant=False)
    progress = ObjectParameter()

    def output(self) -> luigi.LocalTarget:
        """What the scores depend on; the parts lie beside it."""
        return luigi.LocalTarget(f"{self.out}/{IDENTITY}")

    def make(self) -> None:
        """Part by part."""
        score_simulated(
            get_survey(self.survey),
            self.model,
            self.n_objects,
            self.seed,
            self.out,
            lens_fraction=self.lens_fraction,
            device=self.device,
            progress=self.progress,
        )
