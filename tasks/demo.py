"""The demonstration as one graph: everything equilens does, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equilens.models.checkpoint import shipped_weights
from equilens.pipeline.demo import (
    CONVERGENCE_FILE,
    CUBE_SURVEY,
    LENS_SHARE,
    LENSES_PER_SQUARE_DEGREE,
    MAP_FILE,
    MAP_NAME,
    MAPPER,
    REAL_SURVEY,
    SHEAR_FILE,
    DemoFolder,
    prepare_files,
    sample_path,
    unless_impossible,
    write_demo_report,
)
from equilens.tasks.calibrate import CalibrateTask
from equilens.tasks.engine import ProductTask, RemadeTask, luigi
from equilens.tasks.evaluate import EvaluateTask
from equilens.tasks.export import ExportTask
from equilens.tasks.ingest import IngestTask
from equilens.tasks.rank import RankTask
from equilens.tasks.score import ScoreTask
from equilens.tasks.selection_function import SelectionFunctionTask
from equilens.tasks.simulate import SimulateTask, truth_path
from equilens.tasks.sky_mapper import SkyScoreTask
from equilens.tasks.skymap import SkyMapTask


class DemoFilesTask(ProductTask):
    """Copy the sample, with a few spoilt files."""

    out = luigi.Parameter()

    def output(self) -> luigi.LocalTarget:
        """The manifest."""
        return luigi.LocalTarget(str(DemoFolder(Path(self.out)).manifest))

    def make(self) -> None:
        """Copy, spoil, list."""
        prepare_files(DemoFolder(Path(self.out)))


class DemoCalibrateTask(CalibrateTask):
    """Calibrate the simulated scores, or keep the reason why they allow it not."""

    def make(self) -> None:
        """As the command does."""
        with unless_impossible(Path(self.out)):
            super().make()


class DemoSelectionTask(SelectionFunctionTask):
    """Measure which simulated lenses a cut finds, or keep the reason why it can not be done."""

    def make(self) -> None:
        """As the command does."""
        with unless_impossible(Path(self.out)):
            super().make()


class DemoReportTask(RemadeTask):
    """The report on everything that came before: it tells of this very run."""

    out = luigi.Parameter()
    with_sky = luigi.BoolParameter(default=True)

    def output(self) -> luigi.LocalTarget:
        """The page."""
        return luigi.LocalTarget(str(DemoFolder(Path(self.out)).report))

    def make(self) -> None:
        """Gather and write."""
        write_demo_report(DemoFolder(Path(self.out)), with_sky=self.with_sky)


def demo_tasks(
    out: Path | str,
    *,
    n_simulated: int,
    seed: int,
    model: str = REAL_SURVEY,
    with_sky: bool = True,
    replace: bool = False,
    progress: dict[str, Any] | None = None,
) -> DemoReportTask:
    """The graph of the demonstration.

    Parameters
    ----------
    model : network for the Euclid cutouts, real and simulated
    with_sky : map the mass of the shear that ships, too
    progress : callbacks by ``simulate`` and ``score``
    """
    folder, bars = DemoFolder(Path(out)), progress or {}
    stores = _store_tasks(folder, n_simulated, seed, replace, bars)
    models = {"euclid": model, "simulated": model}
    if CUBE_SURVEY in shipped_weights():
        models["des"] = CUBE_SURVEY
    scores = {
        name: ScoreTask(
            cutouts=folder.store(name),
            models=[network],
            out=folder.scores(name),
            replace=True,
            progress=bars.get("score"),
            after=(stores[name],),
        )
        for name, network in models.items()
    }
    measured = _measuring_tasks(folder, scores["simulated"], scores["euclid"])
    export = ExportTask(
        scores=folder.scores("euclid"),
        out=folder.catalogs,
        maps={MAP_NAME: folder.store("sky")},
        after=(scores["euclid"], stores["sky"]),
    )
    mapped = _sky_tasks(folder, replace) if with_sky else ()
    return DemoReportTask(
        out=str(out),
        with_sky=with_sky,
        after=(*measured, export, *scores.values(), stores["des"], *mapped),
    )


def _sky_tasks(folder: DemoFolder, replace: bool) -> tuple[ProductTask, ...]:
    """Mass map and peaks of the shear that ships, and the truth beside it."""
    shear, truth = (
        SkyMapTask(
            source=str(sample_path(file)),
            out=folder.store(name),
            frame="icrs",
            unit="1",
            replace=replace,
        )
        for name, file in (("shear", SHEAR_FILE), ("convergence", CONVERGENCE_FILE))
    )
    mass = SkyScoreTask(
        sky=folder.store("shear"),
        model=MAPPER,
        out=str(folder.mass),
        replace=replace,
        after=(shear,),
    )
    return mass, truth


def _measuring_tasks(
    folder: DemoFolder, scored: ProductTask, real: ProductTask
) -> tuple[ProductTask, ...]:
    """What the simulated truth can tell of the scores, and of the real objects' ones."""
    scores = folder.scores("simulated")
    return (
        EvaluateTask(
            scores=scores,
            truth=str(truth_path(folder.store("simulated"))),
            out=str(folder.path),
            after=(scored,),
        ),
        DemoCalibrateTask(
            scores=scores,
            out=str(folder.calibration),
            prior=LENS_SHARE,
            density=LENSES_PER_SQUARE_DEGREE,
            after=(scored,),
        ),
        DemoSelectionTask(scores=scores, out=str(folder.selection), after=(scored,)),
        RankTask(
            scores=folder.scores("euclid"),
            among=scores,
            out=str(folder.ranks),
            after=(scored, real),
        ),
    )


def _store_tasks(
    folder: DemoFolder, n_simulated: int, seed: int, replace: bool, bars: dict[str, Any]
) -> dict[str, ProductTask]:
    files = DemoFilesTask(out=str(folder.path), replace=replace)
    return {
        "euclid": IngestTask(
            source=str(folder.manifest),
            survey=REAL_SURVEY,
            out=folder.store("euclid"),
            replace=replace,
            after=(files,),
        ),
        "des": IngestTask(
            source=str(sample_path("des_lrg")),
            survey=CUBE_SURVEY,
            out=folder.store("des"),
            replace=replace,
        ),
        "simulated": SimulateTask(
            survey=REAL_SURVEY,
            n_objects=n_simulated,
            seed=seed,
            out=folder.store("simulated"),
            replace=replace,
            progress=bars.get("simulate"),
        ),
        "sky": SkyMapTask(
            source=str(sample_path(MAP_FILE)),
            out=folder.store("sky"),
            frame="galactic",
            unit="cm^-2",
            replace=replace,
        ),
    }
