"""A night as a graph of Luigi tasks, ten stages whatever its size; and nights by date."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from equilens.pipeline.nightly.config import NightConfig, load_night_config
from equilens.pipeline.nightly.run import STAGES, NightRun
from equilens.pipeline.nightly.state import night_state
from equilens.tasks.engine import ObjectParameter, ProductTask, RemadeTask, luigi


class NightStageTask(RemadeTask):
    """One stage of a night: done anew in every run, where it does only what is missing."""

    night = luigi.DateParameter()
    stage = luigi.Parameter()
    config = luigi.Parameter()
    shared = ObjectParameter()

    def make(self) -> None:
        """Hand over to the run that all stages share."""
        self.shared.stage(self.stage)


class NightTask(ProductTask):
    """A night, from the files that arrived to its catalogue.

    The night comes first, so that ``RangeDaily`` can fill in a range of them::

        luigi --module equilens.tasks.nightly RangeDaily --of NightTask \\
            --of-params '{"config": "survey.toml"}' --start 2026-11-01 --stop 2026-11-21
    """

    night = luigi.DateParameter()
    config = luigi.Parameter()
    # again, so that they come after the night
    replace = luigi.BoolParameter(default=False, significant=False)
    after = ObjectParameter(default=())
    shared: NightRun | None = None

    @property
    def loaded(self) -> NightConfig:
        """The configuration."""
        return load_night_config(str(self.config))

    def complete(self) -> bool:
        """Whether its products are those of the files, network and rules there are now."""
        return self.made or night_state(self.loaded, self.night).is_complete

    @classmethod
    def bulk_complete(cls, parameter_tuples: Iterable[date]) -> list[date]:
        """Which of these nights are complete: what ``RangeDaily`` asks."""
        return [night for night in parameter_tuples if cls(night=night).complete()]

    def requires(self) -> tuple[luigi.Task, ...]:
        """The stages, each after the one before it."""
        if self.shared is None:
            self.shared = NightRun(self.loaded, self.night)
        task: tuple[luigi.Task, ...] = self.after
        for stage in STAGES:
            task = (
                NightStageTask(
                    night=self.night,
                    stage=stage,
                    config=self.config,
                    shared=self.shared,
                    after=task,
                ),
            )
        return task

    def make(self) -> None:
        """Nothing is left to do: the last stage has published the night."""
