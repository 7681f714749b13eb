"""The arrays of a SkyMapStore: one shard a base pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from equilens.pipeline.skymaps.ordering import N_BASE_PIXELS

LARGEST_CHUNK = 4**8


def create_map_array(
    group: zarr.Group, name: str, nside: int, dtype: np.dtype, attributes: dict[str, Any]
) -> zarr.Array:
    """An empty array of a whole sky, (12 nside²,) NESTED."""
    return group.create_array(
        name,
        shape=(N_BASE_PIXELS * nside**2,),
        dtype=dtype,
        chunks=(min(LARGEST_CHUNK, nside**2),),
        shards=(nside**2,),
        compressors=[BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle")],
        fill_value=0,
        dimension_names=["pixel"],
        attributes=attributes,
        # an absent file would look like a lost one
        config={"write_empty_chunks": True},
    )
