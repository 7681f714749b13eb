"""A HEALPix map as a store."""

from __future__ import annotations

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
        """The store, if it is of a file of this name and these statements."""
        said = {"frame": self.frame, "original_ordering": self.ordering}
        expected = {key: value for key, value in said.items() if value is not None}
        file = str(self.source).rsplit("/", 1)[-1]
        return ManifestTarget(self.out, "sky map", {"source.file": file, **expected})

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
