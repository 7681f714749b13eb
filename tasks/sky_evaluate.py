"""Skies judged against their truth, and spectra of maps."""

from __future__ import annotations

import math

from equilens.catalogs.halo_matching import HaloTargets
from equilens.pipeline.masses.baselines import METHODS, SCALES_ARCMIN, BaselineSettings
from equilens.pipeline.masses.control_skies import write_control_sky
from equilens.pipeline.masses.evaluation import MATCH_RADIUS_ARCMIN
from equilens.pipeline.masses.evaluation_summary import DENSITIES
from equilens.pipeline.masses.prior import measure_prior, read_prior
from equilens.pipeline.masses.sky_evaluation import FIGURES, evaluate_skies
from equilens.pipeline.masses.spectrum import DEFAULT_ITERATIONS, sky_spectrum, write_spectrum
from equilens.pipeline.skymaps.store import SkyMapStore
from equilens.tasks.engine import RemadeTask, luigi
from equilens.tasks.targets import ManifestTarget


class SkySpectrumTask(RemadeTask):
    """Measure the spectrum of a map; quick, so it is made anew each time."""

    sky = luigi.Parameter()
    out = luigi.Parameter()
    lmax = luigi.OptionalIntParameter(default=None)
    column = luigi.OptionalParameter(default=None)
    mask = luigi.OptionalParameter(default=None)
    iterations = luigi.IntParameter(default=DEFAULT_ITERATIONS)

    def output(self) -> luigi.LocalTarget:
        """The table."""
        return luigi.LocalTarget(self.out)

    def make(self) -> None:
        """Read, transform, write."""
        spectrum = sky_spectrum(
            SkyMapStore.open(self.sky),
            lmax=self.lmax,
            column=self.column,
            mask=SkyMapStore.open(self.mask) if self.mask else None,
            iterations=self.iterations,
        )
        write_spectrum(self.out, spectrum)


class SkyPriorTask(RemadeTask):
    """Measure the prior of the filters on the truths of simulated skies."""

    skies = luigi.ListParameter()
    out = luigi.Parameter()

    def output(self) -> luigi.LocalTarget:
        """The spectra."""
        return luigi.LocalTarget(self.out)

    def make(self) -> None:
        """Read, average, write."""
        measure_prior(self.skies).save(self.out)


class SkyControlTask(RemadeTask):
    """Write a sky without mass that has the noise and mask of another."""

    sky = luigi.Parameter()
    kind = luigi.Parameter()
    out = luigi.Parameter()
    seed = luigi.IntParameter(default=0)

    def output(self) -> ManifestTarget:
        """The store."""
        return ManifestTarget(self.out, "sky map")

    def make(self) -> None:
        """Read, take the mass away, write."""
        write_control_sky(self.sky, self.kind, self.out, seed=self.seed, replace=self.replace)


class SkyEvaluateTask(RemadeTask):
    """Judge maps and peaks of simulated skies, filters' and networks'.

    Made anew each time: other results can lie in the same folders.
    """

    skies = luigi.ListParameter()
    out = luigi.Parameter()
    scored = luigi.ListParameter(default=())
    controls = luigi.ListParameter(default=())
    methods = luigi.ListParameter(default=METHODS)
    prior = luigi.OptionalParameter(default=None)
    densities = luigi.ListParameter(default=DENSITIES)
    radius_arcmin = luigi.FloatParameter(default=MATCH_RADIUS_ARCMIN)
    lmax = luigi.OptionalIntParameter(default=None)
    fwhm_arcmin = luigi.FloatParameter(default=BaselineSettings.fwhm_arcmin)
    scales_arcmin = luigi.ListParameter(default=SCALES_ARCMIN)
    tolerance = luigi.FloatParameter(default=BaselineSettings.tolerance)
    realisations = luigi.IntParameter(default=0)
    strict = luigi.BoolParameter(default=False)

    def output(self) -> luigi.LocalTarget:
        """The figures."""
        return luigi.LocalTarget(f"{self.out}/{FIGURES}")

    def make(self) -> None:
        """Map, search, compare, write."""
        evaluate_skies(
            list(self.skies),
            self.out,
            scored=list(self.scored),
            controls=list(self.controls),
            methods=tuple(self.methods),
            prior=read_prior(self.prior) if self.prior else None,
            settings=BaselineSettings(
                lmax=self.lmax,
                fwhm_arcmin=self.fwhm_arcmin,
                tolerance=self.tolerance,
                n_realisations=self.realisations,
                scales_arcmin=tuple(self.scales_arcmin),
            ),
            targets=HaloTargets(real_msun=math.inf) if self.strict else HaloTargets(),
            radius_arcmin=self.radius_arcmin,
            densities=tuple(self.densities),
        )
