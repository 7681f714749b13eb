"""Full-sky HEALPix maps: read from FITS, kept as a Zarr store, looked up by position.

>>> from equilens.pipeline.skymaps import attach_maps, ingest_map
>>> store = ingest_map("nh.fits", "nh.zarr", frame="galactic", units="cm^-2")  # doctest: +SKIP
>>> attach_maps(ra, dec, {"column_density": store})  # doctest: +SKIP
"""

from equilens.pipeline.skymaps.attach import attach_maps, attached_units
from equilens.pipeline.skymaps.frames import FRAMES
from equilens.pipeline.skymaps.ingest import ingest_map
from equilens.pipeline.skymaps.store import SkyMapStore

__all__ = ["FRAMES", "SkyMapStore", "attach_maps", "attached_units", "ingest_map"]
