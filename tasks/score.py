"""The scores of a store."""

from __future__ import annotations

from equilens.pipeline.scoring import score_paths, score_together
from equilens.tasks.engine import ObjectParameter, RemadeTask, luigi
from equilens.tasks.targets import ManifestTarget


class ScoreTask(RemadeTask):
    """Score a CutoutStore with one or more networks; what is scored already stays.

    Run each time: `score_together` itself knows what is missing, damaged or another network's.
    """

    cutouts = luigi.Parameter()
    models = luigi.ListParameter()
    # a ScoreStore; of several networks the folder that holds theirs
    out = luigi.Parameter()
    scheduler = luigi.OptionalParameter(default=None)
    workers = luigi.OptionalIntParameter(default=None)
    # None to have it timed
    batch_size = luigi.OptionalIntParameter(default=64)
    device = luigi.Parameter(default="cpu")
    progress = ObjectParameter()

    def output(self) -> list[ManifestTarget]:
        """The ScoreStore of each network."""
        paths = score_paths(self.models, self.out)
        return [ManifestTarget(path, "scores") for path in paths.values()]

    def make(self) -> None:
        """Score what is missing."""
        score_together(
            self.cutouts,
            score_paths(self.models, self.out),
            scheduler=self.scheduler,
            workers=self.workers,
            replace=self.replace,
            batch_size=self.batch_size,
            device=self.device,
            progress=self.progress,
        )
