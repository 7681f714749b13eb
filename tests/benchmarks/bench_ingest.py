"""Whole ingest of 4x101x101 FITS cubes into a store: noise, checksum, masks, WCS, codec.

The baseline is the least that anybody would do to have the pixels in Zarr: astropy, one cube after
the other, into one array with the same chunks and codec; no noise, no checksum, no position.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from comparison import arguments, take_turns

BASELINE = "astropy into a Zarr array"


def main() -> None:
    options = arguments(__doc__, n=4000, turns=3)
    from fits_cubes import folder_of_cubes, write_survey

    from equilens.pipeline.ingest import ingest
    from equilens.pipeline.stores import CutoutStore
    from equilens.pipeline.surveys.registry import get_survey

    with folder_of_cubes(options.n) as paths, TemporaryDirectory() as scratch:
        survey, out = get_survey(str(write_survey(Path(scratch)))), Path(scratch) / "out.zarr"

        def ours(workers):
            ingest(paths[0].parent, survey, out, replace=True, workers=workers)

        ours(1)
        assert CutoutStore(out).n_objects == options.n, "every cube must be stored"
        contenders = {
            BASELINE: lambda: by_astropy(paths, Path(scratch) / "plain.zarr"),
            "equilens, 1 worker": lambda: ours(1),
            "equilens, 2 workers": lambda: ours(2),
        }
        found = take_turns(contenders, options.n, options.turns, BASELINE)
    found.show("Ingest of 4x101x101 FITS cubes", target="2,000 objects/s on 2 cores, whole ingest")


def by_astropy(paths, out):
    """Pixels alone, into chunks of 16 and shards of 2,048."""
    import numpy as np
    import zarr
    from astropy.io import fits
    from fits_cubes import N_BANDS, SIDE
    from zarr.codecs import BloscCodec

    cube = (N_BANDS, SIDE, SIDE)
    array = zarr.create_array(
        out,
        shape=(len(paths), *cube),
        dtype="f4",
        chunks=(16, *cube),
        shards=(2048, *cube),
        compressors=[BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle")],
        overwrite=True,
    )
    for start in range(0, len(paths), 2048):
        part = paths[start : start + 2048]
        array[start : start + len(part)] = np.stack([fits.getdata(p, memmap=False) for p in part])


if __name__ == "__main__":
    main()
