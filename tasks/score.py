"""The scores of a store."""

from __future__ import annotations

from pathlib import Path

from equilens.pipeline.scoring import score
from equilens.tasks.engine import ObjectParameter, RemadeTask, luigi
from equilens.tasks.targets import ManifestTarget


class ScoreTask(RemadeTask):
    """Score a CutoutStore; what is scored already stays.

    Run each time: `score` itself knows what is missing, damaged or another network's.
    """

    cutouts = luigi.Parameter()
    model = luigi.Parameter()
    out = luigi.Parameter()
    scheduler = luigi.OptionalParameter(default=None)
    workers = luigi.OptionalIntParameter(default=None)
    batch_size = luigi.IntParameter(default=64)
    device = luigi.Parameter(default="cpu")
    progress = ObjectParameter()

    def output(self) -> ManifestTarget:
        """The ScoreStore."""
        return ManifestTarget(self.out, "scores")

    def make(self) -> None:
        """Score what is missing."""
        score(
            self.cutouts,
            str(self.model),
            Path(self.out),
            scheduler=self.scheduler,
            workers=self.workers,
            replace=self.replace,
            batch_size=self.batch_size,
            device=self.device,
            progress=self.progress,
        )
