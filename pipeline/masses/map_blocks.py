"""Map base pixels of a sky: what a worker does, wherever it runs.

A worker reads its part of the sky square by square, each with the margin that the network reaches,
and writes whole shards. The four base pixels of a ring are quarter turns of each other: a worker
that has several makes the stencils of each square once. What a pixel gets depends on its
surroundings alone, not on how the work was cut up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from equilens.models.spherical.mapper_checkpoint import StoredMapper, load_mapper
from equilens.models.spherical.mapper_spec import network_inputs
from equilens.models.spherical.tiles import Tile
from equilens.pipeline.errors import ScoringError
from equilens.pipeline.masses.linear_inputs import linear_columns
from equilens.pipeline.masses.patches import patch_tiling, quarter_turn
from equilens.pipeline.masses.sky_columns import sky_columns
from equilens.pipeline.masses.sky_pixels import PixelReader
from equilens.pipeline.skymaps.store import SkyMapStore
from equilens.pipeline.skymaps.writer import MapLayout, MapWriter
from equilens.pipeline.zarr_faults import read_json

IDENTITY = "_identity.json"
AGAIN = "run the same command again"
COLUMNS = ("KAPPA", "KAPPA_SIGMA", "HALO")


@dataclass(frozen=True)
class MapTask:
    """Everything but the base pixel; small enough to send with each task.

    Attributes
    ----------
    sky, sky_fingerprint : path of the shear, and the fingerprint that it must have
    linear, linear_fingerprint : the same of its linear estimates
    weights, sha256 : path of the mapper, and the hash that it must have
    out : path of the map that is written
    n_squares : along the side of a base pixel
    threads : of torch
    """

    sky: str
    sky_fingerprint: str
    linear: str
    linear_fingerprint: str
    weights: str
    sha256: str
    out: str
    n_squares: int
    threads: int = 1

    @property
    def identity(self) -> dict[str, str]:
        """What the map depends on."""
        return {
            "sky": self.sky_fingerprint,
            "linear": self.linear_fingerprint,
            "mapper": self.sha256,
        }


def map_layout(nside: int) -> MapLayout:
    """Columns of a mapper's map."""
    return MapLayout(nside, "icrs", dict.fromkeys(COLUMNS, "1"))


def map_base_pixels(task: MapTask, base_pixels: tuple[int, ...]) -> float:
    """Map base pixels of one ring and write them; only this task does. Returns seconds of work."""
    began = time.monotonic()
    if torch.get_num_threads() != task.threads:
        torch.set_num_threads(task.threads)
    mapper = _open_mapper(task.weights, task.sha256)
    sky = _open_map(task.sky, task.sky_fingerprint)
    linear, n_bins = _open_map(task.linear, task.linear_fingerprint), mapper.network.spec.n_bins
    # each base pixel has its own, so that a square still finds what its neighbour has read
    readers = {
        number: (PixelReader(sky, sky_columns(n_bins)), PixelReader(linear, linear_columns(n_bins)))
        for number in base_pixels
    }
    writer = MapWriter(task.out, map_layout(sky.nside))
    own, ring = task.n_squares**2, base_pixels[0] // 4
    tiling = patch_tiling(mapper.network.spec, task.n_squares, mapper.network.reach)
    parts: dict[int, list[dict[str, np.ndarray]]] = {number: [] for number in base_pixels}
    for square in range(own):
        tile = tiling.tile(4 * ring * own + square)
        for number, done in parts.items():
            done.append(_map_square(mapper, readers[number], tile, number % 4))
    # a driver that was killed left this task running; another mapper may own the map by now
    if read_json(Path(task.out) / IDENTITY, AGAIN) != task.identity:
        raise ScoringError(f"{task.out} is mapped by another run now: not written")
    for number, done in parts.items():
        for name in COLUMNS:
            writer.write(name, number, np.concatenate([part[name] for part in done]))
    return time.monotonic() - began


def map_tile(
    mapper: StoredMapper, sky: np.ndarray, linear: np.ndarray, tile: Tile
) -> dict[str, np.ndarray]:
    """Columns of a tile's core, NaN where nothing is observed.

    Parameters
    ----------
    sky : (K, 4, P) at the tile's pixels
    linear : (L, P)
    """
    spec = mapper.network.spec
    scalars, shear = network_inputs(spec, torch.from_numpy(sky), torch.from_numpy(linear))
    with torch.no_grad():
        estimate = mapper.network(tile.geometry, scalars[None], shear[None])
    found = {
        "KAPPA": estimate.kappa[0].numpy(),
        "KAPPA_SIGMA": torch.exp(0.5 * estimate.log_variance[0]).numpy(),
        "HALO": estimate.halo_logit[0].numpy(),
    }
    observed = np.any(sky[:, 3] > 0, axis=0)
    return {k: np.where(observed, v, np.nan)[: tile.core_size] for k, v in found.items()}


def _map_square(
    mapper: StoredMapper, readers: tuple[PixelReader, PixelReader], tile: Tile, turns: int
) -> dict[str, np.ndarray]:
    """Columns of a square of a ring's first base pixel, or of one so many quarter turns from it."""
    pixels = quarter_turn(tile.nside, tile.pixels, turns)
    of_sky, of_linear = readers
    sky = of_sky.read(pixels).reshape(mapper.network.spec.n_bins, 4, -1)
    if not (sky[:, 3, : tile.core_size] > 0).any():
        return {name: np.full(tile.core_size, np.nan, np.float32) for name in COLUMNS}
    return map_tile(mapper, sky, of_linear.read(pixels), tile)


@lru_cache(maxsize=2)
def _open_mapper(weights: str, sha256: str) -> StoredMapper:
    mapper = load_mapper(weights)
    if mapper.sha256 != sha256:
        raise ScoringError(
            f"{weights} has changed: its sha256 is {mapper.sha256[:12]}, {sha256[:12]} was asked"
        )
    return mapper


@lru_cache(maxsize=4)
def _open_map(path: str, fingerprint: str) -> SkyMapStore:
    store = SkyMapStore.open(path)
    if store.fingerprint != fingerprint:
        raise ScoringError(
            f"{path} has changed: its fingerprint is {store.fingerprint[:12]}, "
            f"{fingerprint[:12]} was asked"
        )
    return store
