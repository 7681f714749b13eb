"""Simulated arcs in the real cutouts of a store, as another store."""

from __future__ import annotations

from equilens.pipeline.injection.inject import inject_store
from equilens.pipeline.injection.parents import ParentSplit
from equilens.pipeline.injection.plan import InjectionPlan
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.surveys.registry import get_survey
from equilens.tasks.engine import ObjectParameter, ProductTask, luigi
from equilens.tasks.targets import ManifestTarget


class InjectTask(ProductTask):
    """Inject lensed and unlensed sources into real cutouts, with their truth beside the store."""

    background = luigi.Parameter()
    survey = luigi.Parameter()
    n_objects = luigi.IntParameter()
    seed = luigi.IntParameter()
    out = luigi.Parameter()
    lens_fraction = luigi.FloatParameter(default=0.5)
    pasted_fraction = luigi.FloatParameter(default=0.5)
    parents_from = luigi.Parameter(default="training")
    hold_out = luigi.FloatParameter(default=0.0)
    hold_out_parents = luigi.ListParameter(default=())
    einstein_radius = luigi.ListParameter(default=())
    faintest_lens = luigi.OptionalFloatParameter(default=None)
    arc_snr_min = luigi.OptionalFloatParameter(default=None)
    max_shift = luigi.IntParameter(default=2)
    known_lenses = luigi.ListParameter(default=())
    progress = ObjectParameter()

    @property
    def plan(self) -> InjectionPlan:
        """What is injected into whom."""
        names: tuple[str, ...] = tuple(self.hold_out_parents)
        limits: tuple[float, ...] = tuple(self.einstein_radius)
        return InjectionPlan(
            lens_fraction=self.lens_fraction,
            pasted_fraction=self.pasted_fraction,
            split=ParentSplit(self.parents_from, self.hold_out, names),
            einstein_radius_arcsec=(limits[0], limits[1]) if limits else None,
            lens_mag_limit=self.faintest_lens,
            arc_snr_min=self.arc_snr_min,
            shift_pixels=self.max_shift,
            known_lenses=tuple(self.known_lenses),
        )

    def output(self) -> ManifestTarget:
        """The store, if it holds these objects."""
        identity = self.plan.identity(CutoutStore(self.background).fingerprint, self.seed)
        expected = {"n_objects": self.n_objects, "config.identity": identity}
        return ManifestTarget(self.out, "cutouts", expected)

    def make(self) -> None:
        """Inject and write, block by block."""
        inject_store(
            self.background,
            get_survey(self.survey),
            self.n_objects,
            self.seed,
            self.out,
            self.plan,
            progress=self.progress,
            replace=self.replace,
        )
