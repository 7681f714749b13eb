"""A training, as a task that goes on where it was stopped."""

from __future__ import annotations

from typing import Any

from equilens.pipeline.training import Augmentation, TrainConfig, other_training, train
from equilens.tasks.engine import ObjectParameter, ProductTask, luigi
from equilens.tasks.errors import TaskError


class TrainTask(ProductTask):
    """Train a finder on labelled stores, into a folder."""

    stores = luigi.ListParameter()
    out = luigi.Parameter()
    architecture = luigi.Parameter()
    config: Any = luigi.DictParameter(default={})
    augmentation: Any = luigi.DictParameter(default={})
    field_px = luigi.OptionalIntParameter(default=None)
    name = luigi.OptionalParameter(default=None)
    resume = luigi.BoolParameter(default=True)
    progress = ObjectParameter()

    def output(self) -> luigi.LocalTarget:
        """The weights: written at the very end."""
        return luigi.LocalTarget(f"{self.out}/model.safetensors")

    def complete(self) -> bool:
        """Whether the weights are there, and are those of this training."""
        return self.made or (super().complete() and not self._differences())

    def make(self) -> None:
        """Train until the budget ends."""
        if not self.replace and self.output().exists():
            raise TaskError(
                f"{self.out} holds the weights of another training "
                f"({'; '.join(self._differences())}): add --replace, or choose another --out"
            )
        report = train(
            list(self.stores),
            self.out,
            **self._settings(),
            resume=self.resume,
            progress=self.progress,
        )
        if not report.complete:
            raise TaskError(
                f"the training was stopped after {report.steps} steps: run the same command again "
                "to go on with it"
            )

    def _settings(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture,
            "field_px": self.field_px,
            "config": TrainConfig(**self.config, augmentation=Augmentation(**self.augmentation)),
            "name": self.name,
        }

    def _differences(self) -> list[str]:
        return other_training(self.output().path, list(self.stores), **self._settings())
