"""Rate of an ingest: FITS cubes of noise into a store, by one process."""

from __future__ import annotations

import time
from pathlib import Path

from equilens.models.inputs import InputSpec
from equilens.pipeline.ingest import ingest
from equilens.pipeline.surveys.loading import parse_survey
from equilens.pipeline.surveys.synthetic import write_objects

_SURVEY = """
name = "planning"
version = "1"
title = "cubes for timing"
pixel_scale_arcsec = {scale}
shape = [{side}, {side}]
"""
_BAND = """
[[bands]]
name = "{name}"
generic = "{name}"
wavelength_nm = {wavelength}
psf_fwhm_arcsec = 0.8
noise_njy = 10.0
zeropoint = 31.4
"""
_LAYOUT = """
[layout]
kind = "cube"
pattern = "{id}.fits"
"""


class IngestBench:
    """A folder of FITS cubes, ingested again and again."""

    def __init__(self, scratch: Path, spec: InputSpec, n: int) -> None:
        head = _SURVEY.format(scale=spec.pixel_scale_arcsec, side=spec.shape[0])
        bands = (
            _BAND.format(name=f"band{k + 1}", wavelength=400 + 50 * k) for k in range(spec.n_bands)
        )
        self._survey = parse_survey(head + "".join(bands) + _LAYOUT)
        self._source, self._out, self._n = scratch / "cubes", scratch / "ingested.zarr", n
        write_objects(self._survey, self._source, n)

    def turn(self) -> dict[str, float]:
        """The rate once."""
        began = time.perf_counter()
        ingest(self._source, self._survey, self._out, replace=True, workers=1)
        return {"ingest_s": (time.perf_counter() - began) / self._n}
