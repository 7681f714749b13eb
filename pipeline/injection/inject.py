"""Simulated arcs in real cutouts: a labelled store whose sky nobody simulated.

Every background carries lenses and non-lenses in the same proportion, under the same turns,
mirrors and shifts, and non-lenses carry pasted light too: what surrounds the centre says nothing
of the label. Cutouts are read a block at a time, so memory does not grow with the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.injection.backgrounds import (
    Backgrounds,
    blocks,
    find_backgrounds,
)
from equilens.pipeline.injection.deflectors import DeflectorPool, centrals_of
from equilens.pipeline.injection.exposure import photon_noise
from equilens.pipeline.injection.moves import Moves, draw_moves, move_cutouts
from equilens.pipeline.injection.parents import PARENTS_FILE, lens_checks, write_parents
from equilens.pipeline.injection.plan import InjectionPlan, Schedule
from equilens.pipeline.injection.sources import (
    LENS,
    PastedLight,
    paste_sources,
)
from equilens.pipeline.quarantine import count_by_rule, write_quarantine
from equilens.pipeline.selection_function import depth_mag
from equilens.pipeline.simulation.conditions import magnitude, survey_conditions
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.exposure import Setting, prepare
from equilens.pipeline.simulation.scenes import Centrals
from equilens.pipeline.simulation.truth import truth_table, write_truth_table
from equilens.pipeline.store_writer import CutoutWriter
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.surveys.survey import Survey

INJECTION_COLUMNS = (
    "background_id",
    "psf_fwhm_arcsec",
    "depth_mag",
    "arc_colour",
    "magnification",
    "axis_ratio",
    "mirror",
    "quarter_turns",
    "shift_x",
    "shift_y",
)


def inject_store(
    background: CutoutStore | Path | str,
    survey: Survey,
    n: int,
    seed: int,
    out: Path | str,
    plan: InjectionPlan | None = None,
    *,
    progress: Callable[[int], None] | None = None,
    replace: bool = False,
) -> CutoutStore:
    """Inject into the cutouts of a store; write a labelled store, and its truth beside it.

    The truth goes to ``<out>.truth.csv``. The store also holds ``parents.csv``, the backgrounds
    used, and ``quarantine.csv``, those that could not be; its manifest names the parents.

    Parameters
    ----------
    background : real cutouts
    survey : theirs: bands, populations and noise
    n : objects to make
    progress : called with the number of objects done since the last call
    replace : overwrite a finished store

    Raises
    ------
    SimulationError
        If the store is of another survey, or none of its cutouts can be used.
    """
    store = background if isinstance(background, CutoutStore) else CutoutStore(background)
    injection = prepare_injection(store, survey, n, seed, plan or InjectionPlan())
    out, tables = Path(out), []
    writer = CutoutWriter(
        out,
        survey=survey.name,
        bands=survey.band_names,
        shape=survey.shape,
        config=injection.config(),
        replace=replace,
    )
    with torch.inference_mode(), writer:
        for batch in injection.batches():
            writer.append(batch)
            tables.append(injection_truth(batch))
            if progress is not None:
                progress(len(batch))
        injection.write_facts(out, pa.concat_tables(tables))
    write_truth_table(tables, out.with_name(out.name + ".truth.csv"))
    return CutoutStore(out)


def injection_truth(batch: CutoutBatch) -> pa.Table:
    """Truth of an injected batch: the simulator's columns, then those of `INJECTION_COLUMNS`."""
    table = truth_table(batch)
    for name in INJECTION_COLUMNS:
        values = batch.columns[name]
        table = table.append_column(name, pa.array(values.tolist()))
    return table


def prepare_injection(
    store: CutoutStore, survey: Survey, n: int, seed: int, plan: InjectionPlan
) -> Injection:
    """Check the store against the survey, look at its cutouts, and lay out who carries what."""
    if n < 1:
        raise SimulationError(f"n must be at least 1, got {n}")
    found, needed = (store.band_names, store.shape), (survey.band_names, survey.shape)
    if found != needed:
        raise SimulationError(
            f"{store.path} has bands {' '.join(found[0])} of {found[1]} pixels, {survey.name} has "
            f"{' '.join(needed[0])} of {needed[1]}: name the survey that it was ingested with"
        )
    conditions = survey_conditions(survey.name)
    if plan.arc_snr_min is not None:
        conditions = changed(conditions, arc_snr_min=plan.arc_snr_min)
    setting = prepare(survey, conditions, "cpu")
    pool = DeflectorPool.draw(setting, seed, plan.lens_mag_limit, plan.einstein_radius_arcsec)
    backgrounds = find_backgrounds(store, setting, pool, plan)
    schedule = Schedule.draw(len(backgrounds), n, seed)
    return Injection(store, setting, plan, seed, pool, backgrounds, schedule)


@dataclass(frozen=True)
class Injection:
    """Everything that decides an injected store; `batches` makes it, a chunk at a time."""

    store: CutoutStore
    setting: Setting
    plan: InjectionPlan
    seed: int
    pool: DeflectorPool
    backgrounds: Backgrounds
    schedule: Schedule

    def config(self) -> dict[str, Any]:
        """What the manifest says of the store, before a pixel is made."""
        used = self.schedule.uses > 0
        return {
            "injected": True,
            "seed": self.seed,
            **self.plan.described(),
            "identity": self.plan.identity(self.store.fingerprint, self.seed),
            "background": {"name": self.store.path.name, "fingerprint": self.store.fingerprint},
            "lens_checks": lens_checks(self.store, self.plan.known_lenses),
            "n_backgrounds": int(used.sum()),
            "parents": sorted(set(self.backgrounds.frames[used])),
            "n_quarantined": len(self.backgrounds.rejected),
            "by_rule": count_by_rule(self.backgrounds.rejected),
        }

    def batches(self) -> Iterator[CutoutBatch]:
        """Injected cutouts, chunk by chunk, in the order of the backgrounds' blocks."""
        rows, done = self.backgrounds.rows, 0
        for number, block in blocks(self.store.n_objects):
            inside = np.flatnonzero((rows >= block.start) & (rows < block.stop))
            if not self.schedule.uses[inside].any():
                continue
            pixels = self.store.read(block)
            for chunk, (who, phase) in enumerate(self.schedule.chunks(inside, number)):
                seeds = np.random.SeedSequence([self.seed, 4, number, chunk]).spawn(2)
                real = pixels.take(rows[who] - block.start)
                batch = self._inject(real, who, self.plan.classes(phase), *seeds)
                ids = [f"INJ-{self.seed}-{done + k:08d}" for k in range(len(batch))]
                yield changed(batch, ids=np.array(ids, dtype=object))
                done += len(batch)

    def write_facts(self, out: Path, truth: pa.Table) -> None:
        """Write ``parents.csv`` and ``quarantine.csv`` into the store."""
        used = np.flatnonzero(self.schedule.uses)
        ids = self.store.facts("ids")[self.backgrounds.rows[used]]
        labels = zip(truth["background_id"].to_pylist(), truth["is_lens"].to_pylist(), strict=True)
        found = Counter(labels)
        counts = {
            column: np.array([found[name, label] for name in ids])
            for column, label in (("n_lenses", 1), ("n_nonlenses", 0))
        }
        write_parents(out / PARENTS_FILE, self.store, self.backgrounds.rows[used], counts)
        write_quarantine(out / "quarantine.csv", self.backgrounds.rejected)

    def _inject(
        self,
        real: CutoutBatch,
        who: NDArray[np.int64],
        classes: NDArray[np.object_],
        drawing: np.random.SeedSequence,
        noise: np.random.SeedSequence,
    ) -> CutoutBatch:
        rng = np.random.default_rng(drawing)
        generator = torch.Generator().manual_seed(int(noise.generate_state(1)[0]))
        moves = draw_moves(rng, len(who), self.store.shape, self.plan.shift_pixels)
        moved = move_cutouts(real, moves)
        setting, scale = self.setting, self.setting.grid.pixel_scale
        light = self.backgrounds.light.take(who).turned(moves.axes, moves.shift)
        galaxies = self.pool.like(rng, self.backgrounds.mag[who])
        psf = moved.psf_fwhm_arcsec[:, setting.detection]
        centrals = centrals_of(light, galaxies, psf, scale)
        seen = ~moved.mask & moved.band_present[:, :, None, None]
        pasted = paste_sources(
            rng, setting, centrals, classes, seen, moved.noise_njy, moved.psf_fwhm_arcsec
        )
        noisy = photon_noise(setting, pasted.light, moved.noise_njy[pasted.rows], generator)
        add_light(moved, pasted.rows, noisy.numpy(), seen)
        columns = _truth(setting, moved, centrals, classes, pasted)
        columns |= self._origin(real, who, moves)
        return changed(moved, columns=columns)

    def _origin(self, real: CutoutBatch, who: NDArray, moves: Moves) -> dict[str, NDArray]:
        """Columns that say where the background comes from, and how it was moved."""
        first = self.backgrounds.first_band_njy[who]
        with np.errstate(invalid="ignore", divide="ignore"):
            mag = magnitude(np.where(first > 0, first, np.nan))
        band = self.setting.detection
        fwhm, noise = real.psf_fwhm_arcsec[:, band], real.noise_njy[:, band]
        return {
            "lens_mag": mag,
            "parent_id": self.backgrounds.frames[who],
            "background_id": real.ids,
            "psf_fwhm_arcsec": fwhm.astype(np.float64),
            "depth_mag": depth_mag(noise, fwhm, real.pixel_scale_arcsec).astype(np.float64),
            "mirror": moves.mirror.astype(np.int8),
            "quarter_turns": moves.quarters.astype(np.int8),
            "shift_x": moves.shift[:, 0].astype(np.int16),
            "shift_y": moves.shift[:, 1].astype(np.int16),
        }


def add_light(batch: CutoutBatch, rows: NDArray, light: NDArray, seen: NDArray) -> None:
    """Add light (R, B, ny, nx) to a batch in place; where there is none, not a bit changes."""
    images = batch.images[rows]
    np.add(images, light, out=images, where=(light != 0) & seen[rows])
    batch.images[rows] = images


def _truth(
    setting: Setting,
    batch: CutoutBatch,
    centrals: Centrals,
    classes: NDArray,
    pasted: PastedLight,
) -> dict[str, NDArray]:
    n, is_lens, rows, galaxies = len(batch), classes == LENS, pasted.rows, centrals.galaxies
    lens = is_lens[rows]
    light = pasted.light.numpy()
    with np.errstate(invalid="ignore"):
        above = (light[:, 0] > batch.noise_njy[rows, 0, None, None]).sum(axis=(1, 2))
    band = setting.detection
    flux = light.sum(axis=(2, 3), dtype=np.float64)
    mags = magnitude(pasted.unlensed_njy)
    bluest, reddest = (
        pick([box[0] for box in setting.boxes_nm]) for pick in (np.argmin, np.argmax)
    )

    def of_lenses(values: NDArray, fill: float) -> NDArray:
        column = np.full(n, fill, dtype=values.dtype)
        column[rows[lens]] = values[lens]
        return column

    def of_sources(values: NDArray) -> NDArray:
        column = np.full(n, np.nan)
        column[rows] = values
        return column

    return {
        "is_lens": is_lens.astype(np.int8),
        "einstein_radius_arcsec": np.where(is_lens, galaxies.einstein_radius, np.nan),
        "arc_snr": of_lenses(pasted.snr, 0.0),
        "source_mag": of_sources(mags[:, 0]),
        "object_class": classes,
        "n_arc_pixels": of_lenses(above.astype(np.int32), 0),
        "arc_flux_njy": of_lenses(flux[:, 0], 0.0),
        "z_lens": np.where(is_lens, galaxies.z_lens, np.nan),
        "z_source": of_sources(galaxies.z_source[rows]),
        "arc_colour": of_sources(mags[:, bluest] - mags[:, reddest]),
        "magnification": of_lenses(flux[:, band] / pasted.unlensed_njy[:, band], np.nan),
        "axis_ratio": centrals.axis_ratio,
    }
