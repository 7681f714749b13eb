"""The arrays of a SkyMapStore: one shard a base pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from equilens.pipeline.skymaps.ordering import N_BASE_PIXELS

if TYPE_CHECKING:
    from zarr.core.array_spec import ArrayConfigParams

LARGEST_CHUNK = 4**8
# an absent file would look like a lost one; Zarr does not keep this with the array
_WRITE_ALL: ArrayConfigParams = {"write_empty_chunks": True}


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
        config=_WRITE_ALL,
    )


def writable_array(group: zarr.Group, name: str) -> zarr.Array:
    """One of these arrays, opened again to be written."""
    return cast(zarr.Array, group[name]).with_config(_WRITE_ALL)
