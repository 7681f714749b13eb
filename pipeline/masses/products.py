"""What a method makes of one sky, as a folder: mass map, peaks, searched area, candidates.

=====================  ===========================================================
``mass.zarr``          SkyMapStore with KAPPA and KAPPA_SIGMA
``peaks.parquet``      list of peaks
``footprint.fits``     coverage map (MOC) of the area searched for peaks
``candidates.parquet`` the peaks in the schema of the candidate catalogue
=====================  ===========================================================

Map and list carry the method, the sha256 of its weights and the fingerprint of the shear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import healpy as hp
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from equilens.catalogs.export import catalog_metadata, read_catalog, write_catalog
from equilens.catalogs.footprint import area_sq_deg, read_footprint, write_footprint
from equilens.catalogs.peaks import (
    peak_candidates,
    peak_table,
    pixels_of_footprint,
    searched_footprint,
)
from equilens.pipeline.masses.errors import SkyEvaluationError
from equilens.pipeline.masses.harmonics import Floats
from equilens.pipeline.masses.kaiser_squires import MassMap
from equilens.pipeline.masses.peaks import Peaks
from equilens.pipeline.provenance import provenance
from equilens.pipeline.skymaps.store import SkyMapStore
from equilens.pipeline.skymaps.writer import write_map_store

MASS_MAP, PEAK_LIST = "mass.zarr", "peaks.parquet"
FOOTPRINT, CANDIDATES = "footprint.fits", "candidates.parquet"


@dataclass(frozen=True)
class MassIdentity:
    """Who made a product, of what.

    Attributes
    ----------
    method : name of a filter or network
    data_fingerprint : of the shear maps
    model_sha256 : of the weights; "" for a filter
    """

    method: str
    data_fingerprint: str
    model_sha256: str = ""


@dataclass(frozen=True, eq=False)
class MassProduct:
    """A folder as read; each half may be missing.

    Attributes
    ----------
    identity : of the product
    mass : RING; None without a map
    peaks : table in the columns of `equilens.catalogs.peaks`; None without a list
    searched : (n_pixels of the map, or of nside 256) RING: where peaks were looked for
    area_sq_deg : of that
    """

    identity: MassIdentity
    mass: MassMap | None
    peaks: pa.Table | None
    searched: NDArray[np.bool_] | None
    area_sq_deg: float


def write_mass_map(
    folder: Path | str,
    mass: MassMap,
    identity: MassIdentity,
    *,
    seen: NDArray[np.bool_],
    facts: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> SkyMapStore:
    """Write ``mass.zarr``; pixels that are not `seen` are masked.

    Parameters
    ----------
    seen : (n_pixels,) RING
    facts : further entries of the manifest
    """
    columns = {"KAPPA": mass.kappa, "KAPPA_SIGMA": mass.sigma}
    masked = {k: np.where(seen, v, np.nan).astype(np.float32) for k, v in columns.items()}
    return write_map_store(
        Path(folder) / MASS_MAP,
        masked,
        ordering="ring",
        facts={**(facts or {}), "mass": asdict(identity)},
        replace=replace,
    )


def write_peaks(
    folder: Path | str,
    peaks: Peaks,
    identity: MassIdentity,
    *,
    searched: NDArray[np.bool_],
    ordering: str = "ring",
    survey: str = "sky",
) -> pa.Table:
    """Write the list of peaks, the area searched, and the peaks as candidates; gives the list.

    Parameters
    ----------
    searched : (n_pixels,) in ICRS
    survey : name of the sky in the candidate catalogue
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = peak_table(
        vars(peaks), identity.method, identity.model_sha256, identity.data_fingerprint
    )
    nested = hp.reorder(searched, r2n=True) if ordering == "ring" else searched
    facts = {**provenance(), "mass": asdict(identity)}
    write_footprint(searched_footprint(nested), folder / FOOTPRINT)
    write_catalog(peak_candidates(table, survey), folder / CANDIDATES, facts)
    write_catalog(table, folder / PEAK_LIST, facts)
    return table


def product_identity(folder: Path | str) -> MassIdentity:
    """Who made the product in a folder, of what.

    Raises
    ------
    SkyEvaluationError
        There is neither map nor list, or they are of different methods or skies.
    """
    folder = Path(folder)
    said: list[dict[str, str] | None] = []
    if (folder / MASS_MAP).exists():
        said.append(SkyMapStore.open(folder / MASS_MAP).manifest.get("mass"))
    if (folder / PEAK_LIST).exists():
        said.append(catalog_metadata(read_catalog(folder / PEAK_LIST)).get("mass"))
    if not said or said[0] is None or None in said:
        raise SkyEvaluationError(
            f"{folder} must hold {MASS_MAP} or {PEAK_LIST} with the method that made it"
        )
    if said[0] != said[-1]:
        raise SkyEvaluationError(f"{folder}: map and peaks must be of one run, got {said}")
    return MassIdentity(**said[0])


def read_product(folder: Path | str) -> MassProduct:
    """Read what `write_mass_map` and `write_peaks` left in a folder."""
    folder = Path(folder)
    identity = product_identity(folder)
    mass, peaks, searched, area, nside = None, None, None, 0.0, 256
    if (folder / MASS_MAP).exists():
        store = SkyMapStore.open(folder / MASS_MAP)
        kappa, sigma = (store.read(c, "ring").astype(float) for c in ("KAPPA", "KAPPA_SIGMA"))
        mass, nside = MassMap(kappa, sigma, identity.method), store.nside
    if (folder / PEAK_LIST).exists():
        peaks = read_catalog(folder / PEAK_LIST)
        searched, area = _searched(folder / FOOTPRINT, nside)
    return MassProduct(identity, mass, peaks, searched, area)


def _searched(path: Path, nside: int) -> tuple[NDArray[np.bool_], float]:
    moc = read_footprint(path)
    lon, lat = hp.pix2ang(nside, np.arange(12 * nside**2), lonlat=True)
    return pixels_of_footprint(moc, lon, lat), area_sq_deg(moc)


def peaks_of(table: pa.Table) -> dict[str, Floats]:
    """Position and score of a list, by name."""
    return {name: table[name].to_numpy() for name in ("ra", "dec", "score")}
