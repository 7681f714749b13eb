"""From a sky of shear to a mass map, a list of peaks, and tiles for the planar finder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np

from equilens.models.spherical.mapper_checkpoint import load_mapper
from equilens.pipeline.errors import ScoringError
from equilens.pipeline.masses.baselines import (
    MATCHED_FILTER,
    BaselineSettings,
    halo_maps,
    mass_map,
)
from equilens.pipeline.masses.kaiser_squires import kaiser_squires
from equilens.pipeline.masses.peaks import Peaks, find_peaks
from equilens.pipeline.masses.prior import ConvergencePrior, read_prior
from equilens.pipeline.masses.products import (
    MASS_MAP,
    PEAK_LIST,
    MassIdentity,
    write_mass_map,
    write_peaks,
)
from equilens.pipeline.masses.scoring import map_sky, prior_of
from equilens.pipeline.masses.shear import ShearMaps, read_shear
from equilens.pipeline.masses.tiles import Objects, write_peak_tiles
from equilens.pipeline.skymaps.store import SkyMapStore

MAPPER, WIENER, KAISER_SQUIRES = "mass-mapper", "wiener", "kaiser-squires"
METHODS = (MAPPER, WIENER, KAISER_SQUIRES, MATCHED_FILTER)
TILES = "tiles.csv"
# false peaks are counted by the square degree; a list goes well below what anyone will use
HALO_LOGIT, SNR = -4.0, 2.0
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SkyProducts:
    """What scoring a sky gave.

    Attributes
    ----------
    mass : path of the mass map; None for the matched filter, which makes none
    peaks, tiles : paths
    n_peaks, n_tiles : rows in them
    """

    mass: Path | None
    peaks: Path
    tiles: Path
    n_peaks: int
    n_tiles: int


def score_sky(
    sky: Path | str,
    out: Path | str,
    *,
    method: str = MAPPER,
    model: str | Path | None = None,
    prior: Path | str | None = None,
    threshold: float | None = None,
    cutouts: Path | str | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> SkyProducts:
    """Map a sky, find its peaks, and say where to look for arcs.

    Parameters
    ----------
    sky : path of a shear sky
    out : folder for ``mass.zarr``, ``peaks.parquet`` and ``tiles.csv``
    method : one of `METHODS`
    model : of the mapper; also brings the spectra of the linear methods
    prior : file of spectra, in their place
    threshold : lowest score of a peak that is listed: a logit for the mapper, else a
        signal-to-noise ratio
    cutouts : store, or table with id, ra and dec, whose objects near the peaks are the tiles
    scheduler, workers, progress : see `map_sky`
    replace : give up what another run left in `out`

    Raises
    ------
    ScoringError
        An unknown method, or one without what it needs.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    data = SkyMapStore.open(sky).fingerprint
    if method == MAPPER:
        if model is None:
            raise ScoringError("the mass mapper needs a model: a shipped name, a folder or a file")
        done = map_sky(
            sky,
            model,
            out,
            scheduler=scheduler,
            workers=workers,
            replace=replace,
            progress=progress,
        )
        found = mapper_peaks(SkyMapStore.open(done.path), threshold)
        identity = MassIdentity(MAPPER, data, done.sha256)
    else:
        identity = MassIdentity(method, data)
        found = baseline(
            read_shear(sky), out, identity, _spectra(method, model, prior), threshold, replace
        )
    table = write_peaks(
        out, found.peaks, identity, searched=found.searched, ordering=found.ordering
    )
    objects = None if cutouts is None else Objects.read(cutouts)
    n_tiles = write_peak_tiles(table, objects, out / TILES)
    mass = out / MASS_MAP if (out / MASS_MAP).exists() else None
    return SkyProducts(mass, out / PEAK_LIST, out / TILES, table.num_rows, n_tiles)


@dataclass(frozen=True, eq=False)
class Found:
    """Peaks, and where they were looked for.

    Attributes
    ----------
    peaks : the list
    searched : (n_pixels,) bool
    ordering : "ring" or "nested", of `searched`
    """

    peaks: Peaks
    searched: np.ndarray
    ordering: str


def mapper_peaks(mass: SkyMapStore, threshold: float | None = None) -> Found:
    """Peaks of a mapper's halo channel, with the signal-to-noise ratio of κ there."""
    score, ratio = mass.read("HALO", "nested"), mass.read("KAPPA", "nested")
    searched = np.isfinite(score)
    np.divide(ratio, mass.read("KAPPA_SIGMA", "nested"), out=ratio, where=searched)
    score[~searched] = ratio[~searched] = 0.0
    peaks = find_peaks(
        ratio,
        searched,
        threshold=HALO_LOGIT if threshold is None else threshold,
        size_arcmin=hp.nside2resol(mass.nside, arcmin=True),
        method=MAPPER,
        score=score,
        ordering="nested",
    )
    return Found(peaks, searched, "nested")


def baseline(
    maps: ShearMaps,
    out: Path,
    identity: MassIdentity,
    prior: ConvergencePrior | None,
    threshold: float | None = None,
    replace: bool = False,
) -> Found:
    """Map or filter a sky without a network; the map is written, the peaks are returned."""
    limit = SNR if threshold is None else threshold
    settings = BaselineSettings()
    if identity.method == MATCHED_FILTER:
        assert prior is not None
        filtered, peaks = halo_maps(maps, prior, settings)
        searched = np.any([one.searched for one in filtered], axis=0)
        return Found(peaks.take(peaks.score >= limit), searched, "ring")
    if identity.method == WIENER:
        assert prior is not None
        mass = mass_map(WIENER, maps, prior, settings)
    else:
        mass = kaiser_squires(maps, fwhm_arcmin=settings.fwhm_arcmin)
    write_mass_map(out, mass, identity, seen=maps.observed, replace=replace)
    ratio = np.divide(mass.kappa, mass.sigma, out=np.zeros_like(mass.kappa), where=maps.observed)
    resolution = hp.nside2resol(maps.nside, arcmin=True)
    peaks = find_peaks(
        ratio, maps.observed, threshold=limit, size_arcmin=resolution, method=identity.method
    )
    return Found(peaks, maps.observed, "ring")


def _spectra(
    method: str, model: str | Path | None, prior: Path | str | None
) -> ConvergencePrior | None:
    if method not in METHODS:
        raise ScoringError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if method == KAISER_SQUIRES:
        return None
    if prior is not None:
        return read_prior(prior)
    if model is None:
        raise ScoringError(f"{method} needs spectra: give a file of them, or a mapper's name")
    return prior_of(load_mapper(model))
