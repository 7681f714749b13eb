"""Square tiles of tangent planes, which a planar network sees instead of the sphere.

Maps are brought onto a tile by bilinear interpolation, shear turned from the meridian to the tile's
own north.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import healpy as hp
import numpy as np

from equilens.pipeline.errors import SkyMapError
from equilens.pipeline.masses.mapper_config import MapperConfig
from equilens.pipeline.masses.patches import quarter_turn
from equilens.pipeline.masses.tangent import tangent_axes
from equilens.pipeline.masses.training_skies import Batch, Plan, TrainingSky, stacked


@dataclass(frozen=True, eq=False)
class GnomonicTile:
    """A square of the tangent plane about a point.

    Attributes
    ----------
    nside : of the maps
    lon, lat : of the centre, degrees
    side : pixels along a side; even
    pixels, weights : (4, side²) HEALPix pixels and weights that interpolate at each tile pixel
    turn : (side²,) angle from the local meridian to the tile's north, radians
    """

    nside: int
    lon: float
    lat: float
    side: int
    pixels: np.ndarray
    weights: np.ndarray
    turn: np.ndarray

    @classmethod
    def at(cls, nside: int, lon: float, lat: float, side: int) -> GnomonicTile:
        """The tile about a centre, its pixels as large as the map's at the centre."""
        if side < 8 or side % 4:
            raise SkyMapError(f"a tile's side must be a multiple of 4 from 8 on, got {side}")
        centre, east, north = tangent_axes(lon, lat)
        steps = (np.arange(side) - (side - 1) / 2) * hp.nside2resol(nside)
        y, x = (axis.ravel()[:, None] for axis in np.meshgrid(steps, steps, indexing="ij"))
        there = centre + x * east + y * north
        there /= np.linalg.norm(there, axis=1, keepdims=True)
        theta, phi = hp.vec2ang(there)
        pixels, weights = hp.get_interp_weights(nside, theta, phi, nest=True)
        return cls(nside, lon, lat, side, pixels, weights, _turn(there, north))

    def scalars(self, maps: np.ndarray) -> np.ndarray:
        """Maps (..., n_pixels) on the tile, (..., side²)."""
        return (maps[..., self.pixels] * self.weights).sum(axis=-2).astype(np.float32)

    def shear_sky(self, sky: np.ndarray) -> np.ndarray:
        """Shear along the tile's own axes, counts and weights, (K, 4, side²).

        Shear is averaged by weight, so that masked pixels have no part in it. The neighbours of a
        tile pixel lie within a pixel of it: one turn serves all four.

        Parameters
        ----------
        sky : (K, 4, n_pixels): g1, g2, galaxies, weight
        """
        there = sky[:, :, self.pixels]
        share = np.nan_to_num(there[:, 3]) * self.weights
        total = share.sum(axis=1)
        shear = (np.nan_to_num(there[:, :2]) * share[:, None]).sum(axis=2)
        known = np.where(total > 0, total, 1.0)[:, None]
        turned = (shear[:, 0] + 1j * shear[:, 1]) / known[:, 0] * np.exp(2j * self.turn)
        counts = (np.nan_to_num(there[:, 2]) * self.weights).sum(axis=1)
        return np.stack([turned.real, turned.imag, counts, total], axis=1).astype(np.float32)

    def places(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and y of sky pixels on the tile, in −1…1 from edge pixel to edge pixel."""
        centre, east, north = tangent_axes(self.lon, self.lat)
        there = np.stack(hp.pix2vec(self.nside, pixels, nest=True), axis=-1)
        depth = there @ centre
        half = (self.side - 1) / 2 * hp.nside2resol(self.nside)
        return there @ east / depth / half, there @ north / depth / half


def _turn(there: np.ndarray, north: np.ndarray) -> np.ndarray:
    """Angle by which directions e_θ to e_φ are turned against the tile's south to east."""
    theta, phi = hp.vec2ang(there)
    south = np.stack([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), -np.sin(theta)], 1)
    east = np.stack([-np.sin(phi), np.cos(phi), np.zeros_like(phi)], 1)
    # the tile's own south, as it points at each place
    own = -(north - (there @ north)[:, None] * there)
    return -np.arctan2((own * east).sum(axis=1), (own * south).sum(axis=1))


@dataclass(frozen=True)
class TilePlan(Plan):
    """Patches of tangent planes: what the planar network is taught with.

    Attributes
    ----------
    tiles : places on the sky; a quarter turn of a sky stands for another one
    edge : pixels of a tile whose answers do not count, since the network pads with zeros there
    """

    tiles: Sequence[GnomonicTile]
    edge: int = 8

    @property
    def n_places(self) -> int:
        return len(self.tiles)

    def geometry(self, place: int) -> int:
        return self.tiles[place].side

    def observed(self, place: int, sky: int, turns: int) -> float:
        tile = self.tiles[place]
        pixels = quarter_turn(tile.nside, tile.pixels[0], turns)
        return float(self.skies[sky].seen[pixels].mean())

    def batch(self, place: int, drawn: Sequence[tuple[int, int]]) -> Batch:
        return stacked([self._at(self.tiles[place], self.skies[k], turns) for k, turns in drawn])

    def _at(self, tile: GnomonicTile, sky: TrainingSky, turns: int) -> tuple[np.ndarray, ...]:
        turned = replace(tile, pixels=quarter_turn(tile.nside, tile.pixels, turns))
        middle = np.zeros((tile.side, tile.side), bool)
        inside = slice(self.edge, tile.side - self.edge)
        middle[inside, inside] = True
        shear = turned.shear_sky(sky.sky)
        return (
            shear,
            turned.scalars(sky.linear),
            turned.scalars(sky.kappa),
            turned.scalars(sky.label),
            np.any(shear[:, 3] > 0, axis=0) & middle.ravel(),
        )


def training_tiles(nside: int, config: MapperConfig, edge: int = 8) -> list[GnomonicTile]:
    """As many tiles as a mapper's training has places, as large as its patches, anywhere."""
    side = -(-(nside // config.n_squares + 2 * edge) // 4) * 4
    rng = np.random.default_rng([config.seed, 2**33])
    lon = rng.uniform(0, 360, config.geometries)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, config.geometries)))
    return [
        GnomonicTile.at(nside, *at, side) for at in zip(lon.tolist(), lat.tolist(), strict=True)
    ]
