"""Survey files as a store."""

from __future__ import annotations

from equilens.pipeline.ingest import ingest
from equilens.pipeline.surveys.registry import get_survey
from equilens.tasks.engine import ObjectParameter, ProductTask, luigi
from equilens.tasks.targets import ManifestTarget


class IngestTask(ProductTask):
    """Ingest the objects of a survey; what can not be used goes to quarantine."""

    source = luigi.Parameter()
    survey = luigi.Parameter()
    out = luigi.Parameter()
    workers = luigi.OptionalIntParameter(default=None)
    night = luigi.OptionalParameter(default=None)
    positions = luigi.OptionalParameter(default=None)
    progress = ObjectParameter()

    def output(self) -> ManifestTarget:
        """The store, if it is of this survey."""
        return ManifestTarget(self.out, "cutouts", {"survey": get_survey(self.survey).name})

    def make(self) -> None:
        """Read, calibrate, write."""
        ingest(
            self.source,
            get_survey(self.survey),
            self.out,
            replace=self.replace,
            workers=self.workers,
            night=self.night,
            positions=self.positions,
            progress=self.progress,
        )
