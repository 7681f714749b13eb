"""Write a SkyMapStore base pixel by base pixel, so that no whole sky is ever in memory.

The arrays are made first; whoever computes a base pixel writes its shard, in any order and from
any process; the manifest comes last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr

from equilens.pipeline.provenance import fingerprint, provenance, write_json_atomic
from equilens.pipeline.skymaps.arrays import create_map_array
from equilens.pipeline.skymaps.store import KIND, MapColumn, SkyMapStore, shard_checksums
from equilens.pipeline.stores import MANIFEST


@dataclass(frozen=True)
class MapLayout:
    """What a map will hold.

    Attributes
    ----------
    nside : of the map
    frame : "icrs", "galactic" or "ecliptic"
    units : by column, in order; "1" for a pure number
    """

    nside: int
    frame: str
    units: Mapping[str, str]

    def array(self, name: str) -> str:
        """Name of a column's arrays."""
        return f"{list(self.units).index(name) + 1}_{name}"


def create_map(path: Path, layout: MapLayout) -> None:
    """Make the empty arrays of a map; what lies there is swept."""
    attributes: dict[str, Any] = {
        "frame": layout.frame,
        "original_ordering": "nested",
        "units": dict(layout.units),
        "nside": layout.nside,
        "ordering": "nested",
    }
    group = zarr.open_group(path, mode="w", zarr_format=3, attributes=attributes)
    for name, unit in layout.units.items():
        for kind, dtype in (("values", np.float32), ("mask", np.bool_)):
            said = {"unit": unit} if kind == "values" else {}
            array = f"{kind}/{layout.array(name)}"
            create_map_array(group, array, layout.nside, np.dtype(dtype), said)


def write_base_pixel(
    path: Path, layout: MapLayout, base_pixel: int, values: Mapping[str, np.ndarray]
) -> None:
    """Write one shard of every column; what is not finite is masked.

    Parameters
    ----------
    values : (nside²,) by column, NESTED
    """
    group = zarr.open_group(path, mode="r+")
    where = slice(base_pixel * layout.nside**2, (base_pixel + 1) * layout.nside**2)
    for name in layout.units:
        masked = ~np.isfinite(values[name])
        block = np.where(masked, np.nan, values[name]).astype(np.float32)
        cast(zarr.Array, group[f"mask/{layout.array(name)}"])[where] = masked
        cast(zarr.Array, group[f"values/{layout.array(name)}"])[where] = block


def is_written(path: Path, layout: MapLayout, base_pixel: int) -> bool:
    """Whether a base pixel's shards are all there: each file appears whole or not at all."""
    return all(
        (path / kind / layout.array(name) / "c" / str(base_pixel)).exists()
        for name in layout.units
        for kind in ("values", "mask")
    )


def finish_map(path: Path, layout: MapLayout, about: Mapping[str, Any]) -> SkyMapStore:
    """Write the manifest: the map is complete.

    Parameters
    ----------
    about : what else the manifest says; part of the fingerprint
    """
    group = zarr.open_group(path, mode="r")
    columns = []
    for name, unit in layout.units.items():
        masks = cast(zarr.Array, group[f"mask/{layout.array(name)}"])
        n_masked = int(np.count_nonzero(np.asarray(masks[:])))
        columns.append(MapColumn(name, layout.array(name), unit, 0, n_masked))
    content = {
        "kind": KIND,
        "format": 1,
        "nside": layout.nside,
        "ordering": "nested",
        "frame": layout.frame,
        "original_ordering": "nested",
        "units": dict(layout.units),
        "columns": [asdict(column) for column in columns],
        "shards": shard_checksums(path, columns),
        **about,
    }
    manifest = {**content, "fingerprint": fingerprint(content), "provenance": provenance()}
    write_json_atomic(path / MANIFEST, manifest)
    return SkyMapStore.open(path)
