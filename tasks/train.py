"""A training, as a task that goes on where it was stopped."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from equilens.models.checkpoint import TRAINED_WEIGHTS
from equilens.pipeline.training import (
    TrainConfig,
    WarmStart,
    other_training,
    train,
    train_committee,
)
from equilens.tasks.engine import ObjectParameter, ProductTask, luigi
from equilens.tasks.errors import TaskError
from equilens.tasks.simulate import SimulateTask

PART_OBJECTS = 4096


class TrainingTask(ProductTask):
    """Train into a folder: goes on where an equal training stopped, and never replaces another.

    Subclasses train, and say how weights that are there differ from those that they would make.
    """

    out = luigi.Parameter()
    config: Any = luigi.DictParameter(default={})
    resume = luigi.BoolParameter(default=True)
    progress = ObjectParameter()

    def output(self) -> luigi.LocalTarget:
        """The weights: written at the very end."""
        return luigi.LocalTarget(f"{self.out}/{TRAINED_WEIGHTS}")

    def complete(self) -> bool:
        """Whether the weights are there, and are those of this training."""
        return self.made or (super().complete() and not self.differences())

    def make(self) -> None:
        """Train until the budget ends."""
        if not self.replace and self.output().exists():
            raise TaskError(
                f"{self.out} holds the weights of another training "
                f"({'; '.join(self.differences())}): add --replace, or choose another --out"
            )
        complete, steps = self.train()
        if not complete:
            raise TaskError(
                f"the training was stopped after {steps} steps: run the same command again "
                "to go on with it"
            )

    def train(self) -> tuple[bool, int]:
        """Whether the training ended, and the steps taken."""
        raise NotImplementedError

    def differences(self) -> list[str]:
        """What tells the weights that are there from those of this training."""
        raise NotImplementedError


class TrainTask(TrainingTask):
    """Train a finder, or a committee, on labelled stores, into a folder."""

    stores = luigi.ListParameter()
    architecture = luigi.Parameter()
    start: Any = luigi.DictParameter(default={})
    members = luigi.IntParameter(default=1)
    field_px = luigi.OptionalIntParameter(default=None)
    name = luigi.OptionalParameter(default=None)

    def train(self) -> tuple[bool, int]:
        """One finder, or all members."""
        settings = self._settings() | {"resume": self.resume, "progress": self.progress}
        stores = list(self.stores)
        if self.members > 1:
            report = train_committee(stores, self.out, members=self.members, **settings)
        else:
            report = train(stores, self.out, **settings)
        return report.complete, report.steps

    def _settings(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture,
            "field_px": self.field_px,
            "config": TrainConfig.from_dict(self.config),
            "name": self.name,
            "start": WarmStart(**self.start) if self.start else None,
        }

    def differences(self) -> list[str]:
        """By data, settings and start."""
        settings = self._settings() | {"members": self.members}
        return other_training(self.output().path, list(self.stores), **settings)


def training_data_tasks(
    survey: str, n_objects: int, seed: int, folder: Path, progress: Any = None
) -> list[SimulateTask]:
    """Tasks that simulate training cutouts, in parts: a part that is finished is not made again.

    Seeds of the parts follow from `seed` by a hash, so that no `equilens simulate --seed` of a
    small number makes objects that were trained on.
    """
    starts = range(0, n_objects, PART_OBJECTS)
    return [
        SimulateTask(
            survey=survey,
            n_objects=min(PART_OBJECTS, n_objects - start),
            seed=_part_seed(seed, number),
            out=str(folder / f"part-{number:03d}.zarr"),
            progress=progress,
        )
        for number, start in enumerate(starts)
    ]


def _part_seed(seed: int, number: int) -> int:
    digest = hashlib.blake2b(f"training/{seed}/{number}".encode(), digest_size=4).digest()
    return 2**32 + int.from_bytes(digest, "big")
