"""The candidate catalogue as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equilens.catalogs.export import write_catalog
from equilens.pipeline.candidates import candidate_table
from equilens.pipeline.provenance import provenance
from equilens.pipeline.skymaps import SkyMapStore
from equilens.tasks.engine import ProductTask, luigi


class ExportTask(ProductTask):
    """Rank, cut and cross-match, and write in the format of each file's suffix."""

    scores = luigi.Parameter()
    out = luigi.ListParameter()
    maps: Any = luigi.DictParameter(default={})
    top = luigi.OptionalIntParameter(default=None)
    threshold = luigi.OptionalFloatParameter(default=None)
    radius_arcsec = luigi.FloatParameter(default=2.0)

    def complete(self) -> bool:
        """Never beforehand: another cut gives other files of the same name."""
        return self.made

    def output(self) -> list[luigi.LocalTarget]:
        """The catalogues."""
        return [luigi.LocalTarget(path) for path in self.out]

    def make(self) -> None:
        """Build the table once, write it in each format."""
        table = candidate_table(
            self.scores,
            top=self.top,
            threshold=self.threshold,
            maps={name: SkyMapStore(path) for name, path in self.maps.items()},
            crossmatch_radius_arcsec=self.radius_arcsec,
        )
        facts = provenance()
        for path in self.out:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_catalog(table, path, facts)
