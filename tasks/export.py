"""The candidate catalogue as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equilens.catalogs.calibration_result import read_calibration
from equilens.catalogs.export import write_catalog
from equilens.pipeline.candidates import candidate_table
from equilens.pipeline.disk_faults import disk_faults
from equilens.pipeline.provenance import provenance, sha256_file
from equilens.pipeline.skymaps import SkyMapStore
from equilens.tasks.engine import RemadeTask, luigi


class ExportTask(RemadeTask):
    """Rank, cut and cross-match, and write in the format of each file's suffix.

    Made anew each time: another cut gives other files of the same name.
    """

    scores = luigi.Parameter()
    out = luigi.ListParameter()
    maps: Any = luigi.DictParameter(default={})
    top = luigi.OptionalIntParameter(default=None)
    threshold = luigi.OptionalFloatParameter(default=None)
    radius_arcsec = luigi.FloatParameter(default=2.0)
    calibration = luigi.OptionalParameter(default=None)

    def output(self) -> list[luigi.LocalTarget]:
        """The catalogues."""
        return [luigi.LocalTarget(path) for path in self.out]

    def make(self) -> None:
        """Build the table once, write it in each format."""
        file = self.calibration
        fitted = read_calibration(file) if file else None
        table = candidate_table(
            self.scores,
            top=self.top,
            threshold=self.threshold,
            maps={name: SkyMapStore(path) for name, path in self.maps.items()},
            calibration=fitted,
            crossmatch_radius_arcsec=self.radius_arcsec,
        )
        facts = provenance()
        if file and fitted:
            facts["calibration"] = {"sha256": sha256_file(file), **fitted.summary()}
        for path in self.out:
            with disk_faults(path):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_catalog(table, path, facts)
