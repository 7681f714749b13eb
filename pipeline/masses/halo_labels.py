"""What a halo finder is taught: a bump on the sky around each massive halo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np
import pyarrow.parquet as pq

from equilens.pipeline.errors import TrainingError

COLUMNS = ("ra_deg", "dec_deg", "redshift", "m200c_msun")


@dataclass(frozen=True)
class HaloSelection:
    """Which haloes count as massive.

    Attributes
    ----------
    m200c_msun : least mass within 200 times the critical density, in solar masses, without h
    z_min, z_max : redshifts, both exclusive
    width_pixels : standard deviation of a label's bump, in sides of a pixel: wide enough that a
        pixel beside the centre knows of it, and that a peak can be placed between pixels
    """

    m200c_msun: float = 2e14
    z_min: float = 0.1
    z_max: float = 0.6
    width_pixels: float = 0.75

    def choose(self, table: Mapping[str, np.ndarray]) -> np.ndarray:
        """Rows of a halo table that count, bool."""
        z = table["redshift"]
        return (table["m200c_msun"] >= self.m200c_msun) & (z > self.z_min) & (z < self.z_max)


def read_haloes(path: Path | str) -> dict[str, np.ndarray]:
    """Position, redshift and mass of a sky's true haloes.

    Raises
    ------
    TrainingError
        A column is missing.
    """
    table = pq.read_table(path)
    if missing := sorted(set(COLUMNS) - set(table.column_names)):
        raise TrainingError(f"{path} must have the columns {', '.join(COLUMNS)}; lacks {missing}")
    return {name: table[name].to_numpy() for name in COLUMNS}


def halo_label_map(
    table: Mapping[str, np.ndarray], nside: int, selection: HaloSelection
) -> np.ndarray:
    """exp(−d²/2σ²) of the distance d to the nearest chosen halo, (12 nside²,) float32, NESTED.

    A halo reaches the pixels within two steps of its own.
    """
    chosen = selection.choose(table)
    label = np.zeros(hp.nside2npix(nside), np.float32)
    if not chosen.any():
        return label
    ra, dec = table["ra_deg"][chosen], table["dec_deg"][chosen]
    centre = np.asarray(hp.ang2vec(ra, dec, lonlat=True))
    pixels = _two_rings(nside, hp.ang2pix(nside, ra, dec, nest=True, lonlat=True))
    sigma = selection.width_pixels * hp.nside2resol(nside)
    for ring in pixels:
        there = ring >= 0
        vectors = np.stack(hp.pix2vec(nside, ring[there], nest=True), axis=-1)
        squared = ((vectors - centre[there]) ** 2).sum(axis=-1)
        np.maximum.at(label, ring[there], np.exp(-0.5 * squared / sigma**2).astype(np.float32))
    return label


def _two_rings(nside: int, pixels: np.ndarray) -> np.ndarray:
    """Pixels and all within two steps, (73, N), with repetitions; -1 where there is none."""
    first = np.concatenate([pixels[None], hp.get_all_neighbours(nside, pixels, nest=True)])
    around = hp.get_all_neighbours(nside, np.maximum(first[1:], 0).ravel(), nest=True)
    second = around.reshape(64, -1)
    second[:, :] = np.where(np.tile(first[1:], (8, 1)) >= 0, second, -1)
    return np.concatenate([first, second])
