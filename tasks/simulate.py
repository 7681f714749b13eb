"""Simulated cutouts as a store."""

from __future__ import annotations

from pathlib import Path

from equilens.pipeline.simulation.simulate import simulate_store
from equilens.pipeline.surveys.registry import get_survey
from equilens.tasks.engine import ObjectParameter, ProductTask, luigi
from equilens.tasks.targets import ManifestTarget


def truth_path(store: Path | str) -> Path:
    """Where `simulate_store` leaves the truth of a store."""
    return Path(f"{store}.truth.csv")


class SimulateTask(ProductTask):
    """Simulate objects of a survey, with their truth beside the store."""

    survey = luigi.Parameter()
    n_objects = luigi.IntParameter()
    seed = luigi.IntParameter()
    out = luigi.Parameter()
    lens_fraction = luigi.FloatParameter(default=0.5)
    progress = ObjectParameter()

    def output(self) -> ManifestTarget:
        """The store, if it holds these objects."""
        expected = {
            "survey": get_survey(self.survey).name,
            "n_objects": self.n_objects,
            "config.seed": self.seed,
            "config.lens_fraction": self.lens_fraction,
            "config.simulated": True,
        }
        return ManifestTarget(self.out, "cutouts", expected)

    def make(self) -> None:
        """Simulate and write, shard by shard."""
        simulate_store(
            get_survey(self.survey),
            self.n_objects,
            self.seed,
            self.out,
            progress=self.progress,
            replace=self.replace,
            lens_fraction=self.lens_fraction,
        )
