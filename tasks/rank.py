"""Ranks of real objects among simulated non-lenses, as a table."""

from __future__ import annotations

from equilens.pipeline.ranks import rank_among
from equilens.tasks.engine import RemadeTask, luigi


class RankTask(RemadeTask):
    """Rank a finished ScoreStore; quick, so it is made anew each time."""

    scores = luigi.Parameter()
    among = luigi.Parameter()
    labels = luigi.OptionalParameter(default=None)
    injected = luigi.ListParameter(default=())
    out = luigi.Parameter()

    def output(self) -> luigi.LocalTarget:
        """The table; what it stands on lies beside it, as JSON."""
        return luigi.LocalTarget(self.out)

    def make(self) -> None:
        """Read, rank, write."""
        rank_among(self.scores, self.among, self.out, labels=self.labels, injected=self.injected)
