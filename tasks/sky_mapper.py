"""Training a mass mapper, and scoring a sky, as tasks."""

from __future__ import annotations

from typing import Any

from equilens.models.errors import CheckpointError
from equilens.models.spherical.mapper_checkpoint import load_mapper
from equilens.pipeline.masses.mapper_config import MapperConfig
from equilens.pipeline.masses.sky_products import TILES, SkyProducts, score_sky
from equilens.pipeline.masses.training import mapper_identity, train_mapper
from equilens.pipeline.training.identity import differences
from equilens.tasks.engine import ObjectParameter, RemadeTask, luigi
from equilens.tasks.train import TrainingTask


class SkyTrainTask(TrainingTask):
    """Train a mass mapper on simulated skies, into a folder."""

    skies = luigi.ListParameter()
    held_out = luigi.ListParameter()
    size: Any = luigi.DictParameter(default={})
    name = luigi.Parameter(default="mass-mapper")

    def train(self) -> tuple[bool, int]:
        """One mapper."""
        report = train_mapper(
            list(self.skies),
            self.out,
            held_out=list(self.held_out),
            config=MapperConfig.from_dict(self.config),
            size=dict(self.size),
            name=self.name,
            resume=self.resume,
            progress=self.progress,
        )
        return report.complete, report.steps

    def differences(self) -> list[str]:
        """By data, settings and size."""
        wanted = mapper_identity(
            list(self.skies),
            list(self.held_out),
            MapperConfig.from_dict(self.config),
            dict(self.size),
            self.name,
        )
        try:
            card = load_mapper(self.output().path).card
        except CheckpointError as error:
            return [str(error)]
        return differences({key: card.get(key) for key in wanted}, wanted)


class SkyScoreTask(RemadeTask):
    """Mass map, peaks and tiles of a sky; what a mapper has mapped already stays.

    Run each time: `score_sky` itself knows what is missing or another mapper's.
    """

    sky = luigi.Parameter()
    out = luigi.Parameter()
    method = luigi.Parameter(default="mass-mapper")
    model = luigi.OptionalParameter(default=None)
    prior = luigi.OptionalParameter(default=None)
    threshold = luigi.OptionalFloatParameter(default=None)
    cutouts = luigi.OptionalParameter(default=None)
    scheduler = luigi.OptionalParameter(default=None)
    workers = luigi.OptionalIntParameter(default=None)
    progress = ObjectParameter()
    summary: SkyProducts

    def output(self) -> luigi.LocalTarget:
        """The tiles: written last."""
        return luigi.LocalTarget(f"{self.out}/{TILES}")

    def make(self) -> None:
        """Map, search, tile."""
        self.summary = score_sky(
            self.sky,
            self.out,
            method=self.method,
            model=self.model,
            prior=self.prior,
            threshold=self.threshold,
            cutouts=self.cutouts,
            scheduler=self.scheduler,
            workers=self.workers,
            replace=self.replace,
            progress=self.progress,
        )
