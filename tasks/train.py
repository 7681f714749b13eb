"""A training, as a task that goes on where it was stopped."""

from __future__ import annotations

from typing import Any

from equilens.pipeline.training import TrainConfig, train
from equilens.tasks.engine import ObjectParameter, ProductTask, luigi
from equilens.tasks.errors import TaskError


class TrainTask(ProductTask):
    """Train a finder on labelled stores, into a folder."""

    stores = luigi.ListParameter()
    out = luigi.Parameter()
    architecture = luigi.Parameter()
    config: Any = luigi.DictParameter(default={})
    name = luigi.OptionalParameter(default=None)
    resume = luigi.BoolParameter(default=True)
    progress = ObjectParameter()

    def output(self) -> luigi.LocalTarget:
        """The weights: written at the very end."""
        return luigi.LocalTarget(f"{self.out}/model.safetensors")

    def make(self) -> None:
        """Train until the budget ends."""
        report = train(
            list(self.stores),
            self.out,
            architecture=self.architecture,
            config=TrainConfig(**self.config),
            name=self.name,
            resume=self.resume,
            progress=self.progress,
        )
        if not report.complete:
            raise TaskError(
                f"the training was stopped after {report.steps} steps: run the same command again "
                "to go on with it"
            )
