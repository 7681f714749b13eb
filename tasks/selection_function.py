"""A selection function, as a file with its model and a picture beside it."""

from __future__ import annotations

from equilens.catalogs.selection_fit import DEFAULT_BOOTSTRAP
from equilens.pipeline.evaluation import DEFAULT_FPR
from equilens.pipeline.selection_function import measure_selection
from equilens.tasks.engine import RemadeTask, luigi


class SelectionFunctionTask(RemadeTask):
    """Measure which lenses a cut on a finished ScoreStore finds.

    Made anew each time: another cut gives another file of the same name.
    """

    scores = luigi.Parameter()
    truth = luigi.OptionalParameter(default=None)
    out = luigi.Parameter()
    threshold = luigi.OptionalFloatParameter(default=None)
    fpr = luigi.FloatParameter(default=DEFAULT_FPR)
    columns = luigi.ListParameter(default=())
    band = luigi.OptionalParameter(default=None)
    arc_snr_from = luigi.OptionalFloatParameter(default=None)
    bootstrap = luigi.IntParameter(default=DEFAULT_BOOTSTRAP)
    missing_as_lowest = luigi.BoolParameter(default=False)
    seed = luigi.IntParameter(default=0)

    def output(self) -> luigi.LocalTarget:
        """The table; its model and its picture lie beside it."""
        return luigi.LocalTarget(self.out)

    def make(self) -> None:
        """Join, fit, check, write."""
        measure_selection(
            self.scores,
            self.truth,
            self.out,
            threshold=self.threshold,
            fpr=self.fpr,
            columns=tuple(self.columns),
            band=self.band,
            arc_snr_from=self.arc_snr_from,
            n_bootstrap=self.bootstrap,
            missing_as_lowest=self.missing_as_lowest,
            seed=self.seed,
        )
