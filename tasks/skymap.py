"""A HEALPix map as a store."""

from __future__ import annotations

from equilens.pipeline.provenance import sha256_file
from equilens.pipeline.skymaps import ingest_map
from equilens.tasks.engine import ProductTask, luigi
from equilens.tasks.targets import ManifestTarget


class SkyMapTask(ProductTask):
    """Ingest one full-sky FITS map."""

    source = luigi.Parameter()
    out = luigi.Parameter()
    frame = luigi.OptionalParameter(default=None)
    unit = luigi.OptionalParameter(default=None)
    ordering = luigi.OptionalParameter(default=None)

    def output(self) -> ManifestTarget:
        """The store, if it is of this very file and these statements."""
        said = {"frame": self.frame, "original_ordering": self.ordering, "units.*": self.unit}
        expected = {key: value for key, value in said.items() if value is not None}
        expected["source.sha256"] = sha256_file(self.source)
        return ManifestTarget(self.out, "sky map", expected)

    def make(self) -> None:
        """Read, reorder, write."""
        ingest_map(
            self.source,
            self.out,
            frame=self.frame,
            units=self.unit,
            ordering=self.ordering,
            replace=self.replace,
        )
