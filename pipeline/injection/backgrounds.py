"""Real cutouts that can carry a lens: a galaxy at the centre, noise and PSF known, no lens yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.injection.deflectors import DeflectorPool
from equilens.pipeline.injection.light import (
    CentralLight,
    aperture_flux,
    measure_centrals,
)
from equilens.pipeline.injection.parents import (
    known_lens_rows,
    parent_frames,
)
from equilens.pipeline.injection.plan import InjectionPlan
from equilens.pipeline.quarantine import QuarantineRow, Rule, count_by_rule
from equilens.pipeline.simulation.conditions import magnitude
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.exposure import Setting
from equilens.pipeline.stores import CutoutStore

BLOCK = 256  # cutouts in memory at once
_LEAST_SNR = 10.0
_LEAST_AREA = 1.7  # of the PSF's: real stars with wings and noise reach 1.6
_MOST_HIDDEN = 0.2
NO_CENTRAL = Rule("no-central-galaxy", "cut the object so that a galaxy lies at its centre")
NO_DEFLECTOR = Rule(
    "no-deflector", "no lens of the population is like it; for fainter ones, widen its magnitudes"
)
UNKNOWN_CONDITIONS = Rule("unknown-noise-or-psf", "ingest anew with noise and PSF of every band")
OTHER_GRID = Rule("other-pixel-scale", "give cutouts of the survey's own pixel scale")


@dataclass(frozen=True)
class Backgrounds:
    """Cutouts of a store that are injected into.

    Attributes
    ----------
    rows : (P,) int, rows of the store, rising
    frames : (P,) names of the frames that they were cut from
    light : of their central galaxies, in the detection band
    first_band_njy : (P,) flux of the same apertures in the first band; NaN where it is missing
    rejected : rows of the quarantine table; parents on the other side of a split are not among them
    """

    rows: NDArray[np.int64]
    frames: NDArray[np.object_]
    light: CentralLight
    first_band_njy: NDArray[np.float64]
    rejected: tuple[QuarantineRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def mag(self) -> NDArray[np.float64]:
        """AB magnitudes in the detection band, (P,)."""
        return magnitude(self.light.flux)


def blocks(n_objects: int) -> Iterator[tuple[int, slice]]:
    """Number and rows of each block of a store."""
    for number, start in enumerate(range(0, n_objects, BLOCK)):
        yield number, slice(start, min(start + BLOCK, n_objects))


def find_backgrounds(
    store: CutoutStore, setting: Setting, pool: DeflectorPool, plan: InjectionPlan
) -> Backgrounds:
    """Look at every cutout of a store, and keep those that can be injected into.

    Raises
    ------
    SimulationError
        If none can.
    """
    frames = parent_frames(store)
    rejected = known_lens_rows(store, plan.known_lenses)
    taken = plan.split.takes(frames)
    parts = []
    for _, rows in blocks(store.n_objects):
        batch = store.read(rows)
        light, first = _measure(batch, setting)
        parts.append((light, first))
        for k, (rule, value) in _faults(batch, light, setting, pool).items():
            row = QuarantineRow.of(str(batch.ids[k]), rule.broken(value, batch.source_file[k]))
            rejected.setdefault(rows.start + k, row)
    light = CentralLight.concatenate([part for part, _ in parts])
    usable = taken.copy()
    usable[list(rejected)] = False
    kept = np.flatnonzero(usable)
    listed = tuple(rejected[row] for row in sorted(rejected) if taken[row])
    if not len(kept):
        why = ", ".join(f"{count} {rule}" for rule, count in count_by_rule(listed).items())
        raise SimulationError(
            f"no object of {store.path} can be injected into: {int((~taken).sum())} of "
            f"{store.n_objects} are on the other side of the split{', ' * bool(why)}{why}; give "
            "more parents, or another split"
        )
    first_band = np.concatenate([first for _, first in parts])
    return Backgrounds(kept, frames[kept], light.take(kept), first_band[kept], listed)


def _measure(batch: CutoutBatch, setting: Setting) -> tuple[CentralLight, NDArray]:
    band = setting.detection
    mask = batch.mask | ~batch.band_present[:, :, None, None]
    light = measure_centrals(
        batch.images[:, band],
        mask[:, band],
        batch.noise_njy[:, band],
        setting.grid.pixel_scale,
    )
    found = np.flatnonzero(np.isfinite(light.x))
    place = light.take(found)
    first = np.full(len(batch), np.nan)
    first[found], _ = aperture_flux(
        batch.images[found, 0], mask[found, 0], place.x, place.y, place.radius
    )
    first[~batch.band_present[:, 0]] = np.nan
    return light, first


def _faults(
    batch: CutoutBatch, light: CentralLight, setting: Setting, pool: DeflectorPool
) -> dict[int, tuple[Rule, str]]:
    """What speaks against each cutout, by its place in the batch: the first rule that it breaks."""
    scale, present, band = setting.grid.pixel_scale, batch.band_present, setting.detection
    off_grid = np.abs(batch.pixel_scale_arcsec / scale - 1) > 1e-3
    known = ((batch.noise_njy > 0) & (batch.psf_fwhm_arcsec > 0)) | ~present
    hidden, centre = _hidden_share(batch.mask[:, band] | ~present[:, band, None, None])
    snr = np.nan_to_num(light.snr)
    mag = magnitude(np.where(snr > 0, light.flux, 1.0))
    area = light.area_over_psf(batch.psf_fwhm_arcsec[:, band] / scale)
    limit = f"the faintest lens is {pool.mag_limit:.1f}"
    checks: tuple[tuple[Rule, NDArray, Callable[[int], str]], ...] = (
        (OTHER_GRID, off_grid, lambda k: f"{batch.pixel_scale_arcsec[k]:.4g} for {scale:.4g}"),
        (UNKNOWN_CONDITIONS, ~known.all(axis=1), lambda k: "in a band that is present"),
        (
            NO_CENTRAL,
            centre | (hidden > _MOST_HIDDEN),
            lambda k: f"{hidden[k]:.0%} of the middle, or its very centre, is masked",
        ),
        (
            NO_CENTRAL,
            snr < _LEAST_SNR,
            lambda k: f"signal-to-noise {snr[k]:.1f}, need {_LEAST_SNR:g}",
        ),
        (
            NO_CENTRAL,
            area < _LEAST_AREA,
            lambda k: f"a star: {area[k]:.1f} times the area of the PSF, need {_LEAST_AREA:g}",
        ),
        (NO_DEFLECTOR, ~pool.covers(mag), lambda k: f"AB magnitude {mag[k]:.1f}, {limit}"),
    )
    found: dict[int, tuple[Rule, str]] = {}
    for rule, broken, value in checks:
        for k in np.flatnonzero(broken).tolist():
            found.setdefault(k, (rule, value(k)))
    return found


def _hidden_share(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Masked share of the middle of planes (N, ny, nx), a quarter of a side around the centre."""
    ny, nx = mask.shape[-2:]
    y, x = np.ogrid[:ny, :nx]
    middle = np.hypot(y - ny // 2, x - nx // 2) <= min(ny, nx) / 4
    return mask[:, middle].mean(axis=1), mask[:, ny // 2, nx // 2]
