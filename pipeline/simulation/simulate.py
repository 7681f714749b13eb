"""Simulated cutouts of any survey, with truth: one call from a survey to pixels.

Objects are made in chunks of `CHUNK`, each from its own random streams, so that object k of a seed
is the same whatever the batch it is made in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.cutouts import CutoutBatch, CutoutFlag
from equilens.pipeline.simulation.arcs import render_arcs
from equilens.pipeline.simulation.composition import (
    Objects,
    draw_objects,
    is_lensed_alignment,
    render_scene,
)
from equilens.pipeline.simulation.conditions import (
    SurveyConditions,
    flux_njy,
    survey_conditions,
)
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.exposure import (
    CHUNK,
    Exposure,
    Setting,
    add_exposure_noise,
    draw_exposure,
    observe,
    prepare,
    to_tensor,
)
from equilens.pipeline.simulation.lensed import (
    draw_systems,
    source_flux,
    source_mags,
    total_snr,
)
from equilens.pipeline.simulation.noise import draw_masks
from equilens.pipeline.simulation.scenes import Centrals
from equilens.pipeline.simulation.seds import band_ratios
from equilens.pipeline.simulation.truth import (
    colour_bands,
    tan_header,
    truth_table,
    uniform_sky,
    write_truth_table,
)
from equilens.pipeline.store_writer import CutoutWriter
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.surveys.survey import Survey

_OBJECTS_A_STEP = 256
__all__ = ["simulate_batch", "simulate_store", "truth_table"]


@dataclass(frozen=True)
class NoiselessChunk:
    """A chunk of objects before noise and masks.

    Parameters
    ----------
    exposure : how it is observed
    images : (CHUNK, B, ny, nx) Tensor, nJy, observed without the light of sources
    rows : (L,) int64 Tensor, objects with a source behind them
    arcs : (L, B, ny, nx) Tensor, nJy, observed light of those sources
    truth : columns of the truth
    parents : (CHUNK,) int, row of the first cutout of the same object
    rng, generator : what draws the rest
    """

    exposure: Exposure
    images: Tensor
    rows: Tensor
    arcs: Tensor
    truth: dict[str, NDArray]
    parents: NDArray
    rng: np.random.Generator
    generator: torch.Generator


def simulate_batch(
    survey: Survey,
    n: int,
    seed: int,
    *,
    lens_fraction: float = 0.5,
    first: int = 0,
    conditions: SurveyConditions | None = None,
    mixture: Mapping[str, float] | None = None,
    device: torch.device | str = "cpu",
) -> CutoutBatch:
    """Simulate objects `first` to `first + n` of the endless sequence that a seed stands for.

    Parameters
    ----------
    survey : Survey
        Bands, pixel scale, shape, PSF widths and noise.
    lens_fraction : share of lenses; a lens is a galaxy with a multiply imaged source behind it
    conditions : `SurveyConditions`; by default those known for the survey's name
    mixture : shares of the non-lens classes, in place of the conditions' own
    device : where pixels are computed; results are numpy arrays

    Returns
    -------
    CutoutBatch
        With the truth in `columns`. `noise_njy` is the true background sigma (of the white field
        before resampling where noise is correlated).
    """
    if n < 1 or first < 0:
        raise SimulationError(f"n must be at least 1 and first 0, got n={n}, first={first}")
    if not 0 <= lens_fraction <= 1:
        raise SimulationError(f"lens_fraction must lie in [0, 1], got {lens_fraction}")
    known = conditions or survey_conditions(survey.name)
    setting = prepare(survey, replace(known, mixture=mixture) if mixture else known, device)
    chunks = range(first // CHUNK, (first + n - 1) // CHUNK + 1)
    with torch.inference_mode():
        made = (_simulate_chunk(setting, seed, chunk, lens_fraction) for chunk in chunks)
        joined = _join(made, len(chunks))
    start = first - chunks.start * CHUNK
    return joined.take(slice(start, start + n))


def _join(chunks: Iterable[CutoutBatch], n_chunks: int) -> CutoutBatch:
    # pixels go to their final place one chunk at a time, so that chunks reuse each other's memory
    pixels: dict[str, NDArray] = {}
    facts: list[CutoutBatch] = []
    for k, batch in enumerate(chunks):
        for name in ("images", "mask"):
            source = getattr(batch, name)
            if not k:
                pixels[name] = np.empty((n_chunks * CHUNK, *source.shape[1:]), source.dtype)
            pixels[name][k * CHUNK : (k + 1) * CHUNK] = source
        images, mask = batch.images[:, :, :0].copy(), batch.mask[:, :, :0].copy()
        facts.append(replace(batch, images=images, mask=mask))
    joined = CutoutBatch.concatenate(facts)
    return replace(joined, images=pixels["images"], mask=pixels["mask"])


def simulate_store(
    survey: Survey,
    n: int,
    seed: int,
    out: Path | str,
    *,
    progress: Callable[[int], None] | None = None,
    replace: bool = False,
    lens_fraction: float = 0.5,
) -> CutoutStore:
    """Simulate n objects into a CutoutStore, shard by shard, and its truth as `<out>.truth.csv`.

    Parameters
    ----------
    progress : called with the number of objects done since the last call
    replace : overwrite a finished store

    Returns
    -------
    CutoutStore
    """
    out = Path(out)
    config = {"seed": seed, "lens_fraction": lens_fraction, "simulated": True}
    tables = []
    with CutoutWriter(
        out,
        survey=survey.name,
        bands=survey.band_names,
        shape=survey.shape,
        config=config,
        replace=replace,
    ) as writer:
        for start in range(0, n, _OBJECTS_A_STEP):
            size = min(_OBJECTS_A_STEP, n - start)
            batch = simulate_batch(survey, size, seed, lens_fraction=lens_fraction, first=start)
            writer.append(batch)
            tables.append(truth_table(batch))
            if progress is not None:
                progress(size)
    write_truth_table(tables, out.with_name(out.name + ".truth.csv"))
    return CutoutStore(out)


def noiseless_chunk(
    setting: Setting, seed: int, chunk: int, lens_fraction: float
) -> NoiselessChunk:
    """Draw a chunk of the sequence that a seed stands for, and observe it without noise."""
    population, noise = np.random.SeedSequence([seed, chunk]).spawn(2)
    rng = np.random.default_rng(population)
    generator = torch.Generator(setting.device).manual_seed(int(noise.generate_state(1)[0]))
    objects = draw_objects(rng, setting, lens_fraction, setting.conditions.mixture)
    exposure = draw_exposure(rng, setting)
    images = render_scene(rng, setting, objects)
    truth = _add_sources(rng, setting, objects, exposure)
    images = observe(setting, images, exposure, np.arange(CHUNK))
    rows, arcs = truth.pop("rows"), truth.pop("arcs")
    return NoiselessChunk(exposure, images, rows, arcs, truth, objects.parents, rng, generator)


def _simulate_chunk(setting: Setting, seed: int, chunk: int, lens_fraction: float) -> CutoutBatch:
    scene = noiseless_chunk(setting, seed, chunk, lens_fraction)
    images = scene.images
    images[scene.rows] += scene.arcs
    add_exposure_noise(scene.rng, setting, scene.exposure, images, scene.generator)
    return pack_chunk(setting, seed, chunk, scene, images)


def _add_sources(
    rng: np.random.Generator,
    setting: Setting,
    objects: Objects,
    exposure: Exposure,
) -> dict[str, Any]:
    """Return truth columns, and `rows` and `arcs`: observed light of sources, nJy.

    The sources of chance alignments come back with the lenses'.
    """
    classes, centrals = objects.classes, objects.centrals
    is_lens, device = classes == "lens", setting.device
    rows = np.flatnonzero(is_lens | is_lensed_alignment(classes))
    systems = draw_systems(
        rng,
        centrals.take(rows),
        is_lens[rows],
        setting.boxes_nm,
        setting.detection,
        setting.conditions,
        objects.partners,
    )
    layers = render_arcs(systems.lens.to(device), systems.source.to(device), setting.grid)
    unit = torch.einsum("lkyx,lbk->lbyx", layers, systems.weights.to(device))
    arcs = observe(setting, unit, exposure, rows)
    noise = to_tensor(exposure.noise_njy[rows], setting)
    present = torch.from_numpy(exposure.present[rows]).to(device)
    snr = total_snr(arcs, noise, present).cpu().numpy().astype(float)
    mag = source_mags(rng, snr, setting.conditions, systems.brighter)
    arcs *= source_flux(mag).to(device)[:, None, None, None]
    truth = _empty_truth(setting, centrals, classes)
    _count_deflectors(truth, objects)
    truth["z_source"][rows] = centrals.galaxies.z_source[rows]
    flux = systems.weights.sum(dim=2).double().numpy()
    truth["source_mag"][rows] = mag - 2.5 * np.log10(flux[:, 0])
    bluest, reddest = colour_bands(setting.survey.bands)
    truth["source_colour"][rows] = 2.5 * np.log10(flux[:, reddest] / flux[:, bluest])
    truth["source_kind"][rows] = systems.kinds
    lens = is_lens[rows]
    truth["slope"][rows[lens]] = systems.slope[lens]
    reference = arcs[:, 0]
    above = (reference > noise[:, :1, None]).sum(dim=(1, 2)).cpu().numpy()
    truth["arc_snr"][rows[lens]] = snr[lens] * flux_njy(mag[lens])
    truth["n_arc_pixels"][rows[lens]] = above[lens]
    truth["arc_flux_njy"][rows[lens]] = reference.sum(dim=(1, 2)).cpu().numpy()[lens]
    return truth | {"rows": torch.from_numpy(rows).to(device), "arcs": arcs}


def _count_deflectors(truth: dict[str, NDArray], objects: Objects) -> None:
    """A pair deflects as one lens of both Einstein radii, from well outside of it."""
    partner_radius, _, _ = objects.partners.of(np.arange(CHUNK))
    truth["n_deflectors"] = (truth["is_lens"] * (1 + (partner_radius > 0))).astype(np.int8)
    truth["einstein_radius_arcsec"] += partner_radius


def _empty_truth(setting: Setting, centrals: Centrals, classes: NDArray) -> dict[str, NDArray]:
    n, g, is_lens = len(classes), centrals.galaxies, classes == "lens"
    nothing = np.full(n, np.nan)
    ratios = band_ratios(setting.boxes_nm, g.z_lens, g.youth, setting.detection)
    bands = setting.survey.bands
    bluest, reddest = colour_bands(bands)
    pair = f"{bands[bluest].name}-{bands[reddest].name}"
    return {
        "is_lens": is_lens.astype(np.int8),
        "einstein_radius_arcsec": np.where(is_lens, g.einstein_radius, np.nan),
        "arc_snr": np.zeros(n),
        "lens_mag": g.mag - 2.5 * np.log10(ratios[:, 0]),
        "source_mag": nothing.copy(),
        "object_class": classes,
        "n_arc_pixels": np.zeros(n, dtype=np.int32),
        "arc_flux_njy": np.zeros(n),
        "z_lens": np.where(is_lens, g.z_lens, np.nan),
        "z_source": nothing.copy(),
        "lens_colour": 2.5 * np.log10(ratios[:, reddest] / ratios[:, bluest]),
        "source_colour": nothing.copy(),
        "band_pair": np.full(n, pair, dtype=object),
        "source_kind": np.full(n, "", dtype=object),
        "slope": nothing.copy(),
    }


def pack_chunk(
    setting: Setting, seed: int, chunk: int, scene: NoiselessChunk, images: Tensor
) -> CutoutBatch:
    """Return a chunk's noisy `images` with masks, positions, headers and truth."""
    survey, rng, exposure = setting.survey, scene.rng, scene.exposure
    present = exposure.present
    mask = draw_masks(
        rng, CHUNK, setting.n_bands, survey.shape, setting.conditions.defect_probability
    )
    mask |= ~present[:, :, None, None]
    pixels = images.cpu().numpy()
    pixels[mask] = 0.0
    ra, dec = uniform_sky(rng, CHUNK)
    ids = np.array([f"SIM-{seed}-{chunk * CHUNK + k:08d}" for k in range(CHUNK)], dtype=object)
    scale = float(survey.pixel_scale_arcsec)
    headers = [tan_header(*p, scale, survey.shape) for p in zip(ra, dec, strict=True)]
    empty = np.full(CHUNK, "", dtype=object)
    return CutoutBatch(
        ids=ids,
        images=pixels,
        mask=mask,
        ra=ra,
        dec=dec,
        noise_njy=np.where(present, exposure.noise_njy, np.nan).astype(np.float32),
        noise_method=np.full(CHUNK, "simulated", dtype=object),
        psf_fwhm_arcsec=exposure.psf_fwhm_arcsec.astype(np.float32),
        pixel_scale_arcsec=np.full(CHUNK, scale, dtype=np.float32),
        band_present=present,
        flags=_flags(present, mask),
        wcs_header=np.array(headers, dtype=object),
        source_file=empty,
        source_checksum=empty.copy(),
        columns={**scene.truth, "parent_id": ids[scene.parents]},
    )


def _flags(present: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.uint32]:
    centre = mask[:, :, mask.shape[2] // 2, mask.shape[3] // 2]
    incomplete = np.where(present.all(axis=1), 0, int(CutoutFlag.MISSING_BAND))
    hidden = np.where((centre & present).any(axis=1), int(CutoutFlag.MASKED_CENTRE), 0)
    return (incomplete | hidden).astype(np.uint32)
