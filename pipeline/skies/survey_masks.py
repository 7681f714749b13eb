"""Which part of each pixel a survey can measure shapes in."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np

from equilens.pipeline.skies.errors import SkyError
from equilens.pipeline.skymaps import SkyMapStore, ingest_map

_STAR_ORDER = 2
_MOST_CROWDED = 5.0
_SQUARE_DEGREES = 4 * np.pi * np.degrees(1.0) ** 2


@dataclass(frozen=True)
class SurveyMask:
    """What a survey stays away from.

    Attributes
    ----------
    galactic_latitude_deg : |b| below which nothing is observed
    ecliptic_latitude_deg : |β| below which nothing is observed
    stars_per_deg2 : bright stars at the Galactic poles; as 1/sin|b| elsewhere, at most 5 fold
    star_radius_arcmin : smallest and largest disc around a star, uniform in the logarithm
    column_density_map : SkyMapStore or FITS file of hydrogen column density, such as HI4PI's
    column_density_max_cm2 : above which nothing is observed
    smallest_share : of a pixel that must be left
    """

    galactic_latitude_deg: float = 23.0
    ecliptic_latitude_deg: float = 15.0
    stars_per_deg2: float = 3.0
    star_radius_arcmin: tuple[float, float] = (1.0, 8.0)
    column_density_map: str | None = None
    column_density_max_cm2: float = 6e20
    smallest_share: float = 0.5

    def __post_init__(self) -> None:
        for name in ("galactic_latitude_deg", "ecliptic_latitude_deg"):
            if not 0 <= getattr(self, name) < 90:
                raise SkyError(f"{name} must lie in 0..90, got {getattr(self, name)}")
        if not 0 <= self.stars_per_deg2 <= 100:
            raise SkyError(f"stars per deg² must lie in 0..100, got {self.stars_per_deg2}")
        low, high = self.star_radius_arcmin
        if not 0 < low <= high <= 600:
            raise SkyError(
                f"star radii need 0 < smallest <= largest <= 600 arcmin, got {low, high}"
            )


WHOLE_SKY = SurveyMask(0.0, 0.0, 0.0)


def observable(mask: SurveyMask, nside: int) -> np.ndarray:
    """Pixels that latitudes and column density allow, RING, (12 nside²,) bool.

    Raises
    ------
    SkyError
        No pixel is left.
    """
    vectors = np.stack(hp.pix2vec(nside, np.arange(hp.nside2npix(nside))))
    allowed = np.ones(vectors.shape[1], bool)
    cuts = {"G": mask.galactic_latitude_deg, "E": mask.ecliptic_latitude_deg}
    for frame, latitude in cuts.items():
        if latitude:
            sine = _sine_of_latitude(vectors, frame)
            allowed &= np.abs(sine) >= np.sin(np.radians(latitude))
    if mask.column_density_map is not None:
        density = _column_density(mask.column_density_map, nside, np.flatnonzero(allowed))
        allowed[allowed] = density <= mask.column_density_max_cm2
    if not allowed.any():
        raise SkyError(
            f"the footprint has no pixel left: latitudes |b| >= {mask.galactic_latitude_deg}, "
            f"|β| >= {mask.ecliptic_latitude_deg} and column density <= "
            f"{mask.column_density_max_cm2:g} cm^-2 must overlap; lower one of them"
        )
    return allowed


def unmasked_share(mask: SurveyMask, allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Share of each pixel that is observed, RING float32: 0 off the footprint or under stars.

    Parameters
    ----------
    allowed : of `observable`
    """
    nside = hp.get_nside(allowed)
    share = allowed.astype(np.float32)
    finer = nside * 2**_STAR_ORDER
    hidden = _starred_pixels(mask, finer, allowed, rng)
    if hidden.size:
        parents, counts = np.unique(hidden >> (2 * _STAR_ORDER), return_counts=True)
        pixels = hp.nest2ring(nside, parents)
        share[pixels] *= (1 - counts / 4**_STAR_ORDER).astype(np.float32)
    share[share < mask.smallest_share] = 0
    return share


def _starred_pixels(
    mask: SurveyMask, nside: int, allowed: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Fine NESTED pixels under the discs of stars, each once."""
    n = rng.poisson(mask.stars_per_deg2 * _MOST_CROWDED * _SQUARE_DEGREES)
    z, phi = rng.uniform(-1, 1, n), rng.uniform(0, 2 * np.pi, n)
    s = np.sqrt(1 - z**2)
    vectors = np.stack([s * np.cos(phi), s * np.sin(phi), z])
    low, high = np.log(mask.star_radius_arcmin)
    radius = np.radians(np.exp(rng.uniform(low, high, n)) / 60)
    crowding = 1 / np.maximum(np.abs(_sine_of_latitude(vectors, "G")), 1 / _MOST_CROWDED)
    kept = crowding > rng.random(n) * _MOST_CROWDED
    kept &= allowed[hp.vec2pix(hp.get_nside(allowed), *vectors)]
    discs = [
        hp.query_disc(nside, vector, r, nest=True)
        for vector, r in zip(vectors.T[kept], radius[kept], strict=True)
    ]
    return np.unique(np.concatenate(discs)) if discs else np.empty(0, int)


def _sine_of_latitude(vectors: np.ndarray, frame: str) -> np.ndarray:
    """Sine of the latitude in healpy's frame "G" or "E" of ICRS unit vectors (3, n)."""
    pole = hp.Rotator(coord=["C", frame]).mat[2]
    return pole @ vectors


def _column_density(path: str, nside: int, pixels: np.ndarray) -> np.ndarray:
    """Column density at pixel centres, infinite where the map is masked."""
    if not Path(path).exists():
        raise SkyError(f"the column density map {path} does not exist")
    ra, dec = hp.pix2ang(nside, pixels, lonlat=True)
    if Path(path).is_dir():
        return _first_column(SkyMapStore.open(path), ra, dec)
    with tempfile.TemporaryDirectory() as folder:
        # such maps rarely state what HI4PI's does not: Galactic, atoms per cm²
        store = ingest_map(path, Path(folder) / "map.zarr", frame="galactic", units="cm^-2")
        return _first_column(store, ra, dec)


def _first_column(store: SkyMapStore, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    name = store.scalar_columns[0]
    values = store.lookup(ra, dec, [name])[name]
    return np.where(np.isfinite(values), values, np.inf)
