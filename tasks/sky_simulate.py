"""Simulated skies as stores."""

from __future__ import annotations

from equilens.pipeline.skies.settings import SkySettings
from equilens.pipeline.skies.simulate import simulate_sky, simulator_for
from equilens.tasks.engine import ObjectParameter, ProductTask, luigi
from equilens.tasks.targets import ManifestTarget


class SettingsParameter(luigi.Parameter[SkySettings]):
    """Settings of a sky: other settings are another task."""


class SkySimulateTask(ProductTask):
    """Simulate one whole sky, with its truth beside it."""

    settings = SettingsParameter()
    seed = luigi.IntParameter()
    out = luigi.Parameter()
    cache = luigi.OptionalParameter(default=None)
    progress = ObjectParameter()

    def output(self) -> ManifestTarget:
        """The sky, if it is of these settings and this seed."""
        expected = {"sky.seed": self.seed, "sky.settings_sha256": self.settings.fingerprint}
        return ManifestTarget(self.out, "sky map", expected)

    def make(self) -> None:
        """Draw and write."""
        simulator = simulator_for(self.settings, self.cache)
        advance = self.progress or (lambda _: None)
        simulate_sky(simulator, self.seed, self.out, replace=self.replace, advance=advance)
