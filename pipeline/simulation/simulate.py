"""Simulated cutouts of any survey, with truth: one call from a survey to pixels.

Objects are made in chunks of `CHUNK`, each from its own random streams, so that object k of a seed
is the same whatever the batch it is made in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.cutouts import CutoutBatch, CutoutFlag
from equilens.pipeline.simulation.arcs import render_arcs
from equilens.pipeline.simulation.conditions import (
    SurveyConditions,
    aperture_magnitude,
    flux_njy,
    survey_conditions,
)
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.lensed import (
    draw_systems,
    source_flux,
    source_mags,
    total_snr,
)
from equilens.pipeline.simulation.noise import (
    add_noise,
    draw_masks,
    draw_missing_bands,
    electrons_per_njy,
)
from equilens.pipeline.simulation.populations import draw_galaxies, draw_neighbours
from equilens.pipeline.simulation.psf import (
    convolve,
    fast_grid_size,
    psf_kernel,
    transfer_function,
)
from equilens.pipeline.simulation.rendering import Grid, add_compact, add_full, add_patterns
from equilens.pipeline.simulation.scenes import (
    MORPHOLOGIES,
    Centrals,
    SceneBuilder,
    add_early_type,
    add_neighbours,
    add_projections,
)
from equilens.pipeline.simulation.seds import band_box_nm
from equilens.pipeline.simulation.truth import (
    tan_header,
    truth_table,
    uniform_sky,
    write_truth_table,
)
from equilens.pipeline.stores import SHARD_SIZE, CutoutStore, CutoutWriter
from equilens.pipeline.surveys.survey import Survey

CHUNK = 32
_PSFS_A_CHUNK = 8  # neighbours share an exposure, and so its PSF
_LATE_TYPE_SHARE = {"lens": (0.07, 0.03), "alignment": (0.07, 0.03), "galaxy": (0.1, 0.05)}
_COMPACT_HALVES = (12, 24)  # pixels; full frames beyond
_REACH_IN_RADII = 4.5
_CONVOLVED_AT_ONCE = 8  # objects: their spectra stay in cache
__all__ = ["simulate_batch", "simulate_store", "truth_table"]


@dataclass(frozen=True)
class _Setting:
    """One survey's fixed numbers: grid, bands, depths."""

    survey: Survey
    conditions: SurveyConditions
    grid: Grid
    boxes_nm: list[tuple[float, float]]
    kernel_size: int
    device: torch.device

    @property
    def n_bands(self) -> int:
        return len(self.boxes_nm)

    @property
    def mag_limit(self) -> float:
        reference = self.survey.bands[0].noise_njy
        limit = aperture_magnitude(reference, self.survey.pixel_scale_arcsec, 40.0)
        return self.conditions.lens_mag_limit or limit

    @property
    def faintest_neighbour(self) -> float:
        reference = self.survey.bands[0].noise_njy
        return aperture_magnitude(reference, self.survey.pixel_scale_arcsec, 2.0)

    def crop(self, images: Tensor) -> Tensor:
        ny, nx = self.survey.shape
        top, left = self.grid.centre - ny // 2, self.grid.centre - nx // 2
        return images[..., top : top + ny, left : left + nx]


@dataclass(frozen=True)
class _Exposure:
    """How a chunk was observed: noise, PSF and bands of each object."""

    noise_njy: NDArray
    psf_fwhm_arcsec: NDArray
    transfer: Tensor
    present: NDArray


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
    setting = _prepare(survey, replace(known, mixture=mixture) if mixture else known, device)
    chunks = range(first // CHUNK, (first + n - 1) // CHUNK + 1)
    with torch.inference_mode():
        made = [_simulate_chunk(setting, seed, chunk, lens_fraction) for chunk in chunks]
    start = first - chunks.start * CHUNK
    return CutoutBatch.concatenate(made).take(slice(start, start + n))


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
        step = SHARD_SIZE // 8
        for start in range(0, n, step):
            size = min(step, n - start)
            batch = simulate_batch(survey, size, seed, lens_fraction=lens_fraction, first=start)
            writer.append(batch)
            tables.append(truth_table(batch))
            if progress is not None:
                progress(size)
    write_truth_table(tables, out.with_name(out.name + ".truth.csv"))
    return CutoutStore(out)


def _prepare(
    survey: Survey, conditions: SurveyConditions, device: torch.device | str
) -> _Setting:
    widest = max(band.psf_fwhm_arcsec for band in survey.bands) / survey.pixel_scale_arcsec
    size = fast_grid_size(max(survey.shape), int(np.ceil(2 * widest)) + 2)
    half = min(int(np.ceil(4 * widest)) + 2, (size - 1) // 2)
    centre = (size - max(survey.shape)) // 2 + max(survey.shape) // 2
    return _Setting(
        survey=survey,
        conditions=conditions,
        grid=Grid(size, centre, float(survey.pixel_scale_arcsec)),
        boxes_nm=[band_box_nm(band.generic, band.wavelength_nm) for band in survey.bands],
        kernel_size=2 * half + 1,
        device=torch.device(device),
    )


def _simulate_chunk(
    setting: _Setting, seed: int, chunk: int, lens_fraction: float
) -> CutoutBatch:
    population, noise = np.random.SeedSequence([seed, chunk]).spawn(2)
    rng = np.random.default_rng(population)
    generator = torch.Generator(setting.device).manual_seed(int(noise.generate_state(1)[0]))
    classes = _draw_classes(rng, lens_fraction, setting.conditions.mixture)
    centrals = _draw_centrals(rng, setting)
    exposure = _draw_exposure(rng, setting)
    images = _render_scene(rng, setting, centrals, classes)
    truth = _add_sources(rng, setting, centrals, classes, exposure)
    images = _observe(setting, images, exposure, np.arange(CHUNK))
    images[truth.pop("rows")] += truth.pop("arcs")
    _finish(rng, setting, exposure, images, generator)
    return _pack(rng, setting, seed, chunk, exposure, images, truth)


def _draw_classes(
    rng: np.random.Generator, lens_fraction: float, mixture: Mapping[str, float]
) -> NDArray:
    names, shares = list(mixture), np.array(list(mixture.values()), dtype=float)
    others = rng.choice(np.array(names, dtype=object), CHUNK, p=shares / shares.sum())
    return np.where(rng.random(CHUNK) < lens_fraction, "lens", others).astype(object)


def _draw_centrals(rng: np.random.Generator, setting: _Setting) -> Centrals:
    galaxies = draw_galaxies(
        rng, CHUNK, setting.conditions, setting.boxes_nm[0], setting.mag_limit
    )
    offset = np.clip(rng.normal(0, 0.5, (2, CHUNK)), -1.5, 1.5) * setting.grid.pixel_scale
    return Centrals(
        rows=np.arange(CHUNK),
        galaxies=galaxies,
        x=offset[0],
        y=offset[1],
        axis_ratio=np.clip(rng.beta(5, 2, CHUNK), 0.35, 1.0),
        angle=rng.uniform(0, np.pi, CHUNK),
    )


def _draw_exposure(rng: np.random.Generator, setting: _Setting) -> _Exposure:
    conditions, bands = setting.conditions, setting.survey.bands
    typical = np.array([band.noise_njy for band in bands])
    depth = rng.normal(0, conditions.depth_scatter, (CHUNK, 1))
    depth = depth + rng.normal(0, 0.3 * conditions.depth_scatter, (CHUNK, len(bands)))
    p = (_PSFS_A_CHUNK, 1), (_PSFS_A_CHUNK, len(bands))
    scatter = rng.normal(0, conditions.psf_scatter, p[0])
    scatter = scatter + rng.normal(0, 0.4 * conditions.psf_scatter, p[1])
    fwhm = np.array([b.psf_fwhm_arcsec for b in bands]) * np.exp(np.clip(scatter, -0.4, 0.4))
    ellipticity = np.clip(rng.normal(0, conditions.psf_ellipticity, (2, *p[1])), -0.15, 0.15)
    beta = torch.tensor(conditions.per_band("moffat_beta", len(bands)))
    kernels = psf_kernel(
        _float(fwhm / setting.grid.pixel_scale, setting),
        *(_float(e, setting) for e in ellipticity),
        setting.kernel_size,
        beta.to(setting.device).expand(*p[1]),
    )
    return _Exposure(
        noise_njy=typical * np.exp(depth),
        psf_fwhm_arcsec=np.repeat(fwhm, CHUNK // _PSFS_A_CHUNK, axis=0),
        transfer=transfer_function(kernels, setting.grid.size),
        present=draw_missing_bands(
            rng,
            CHUNK,
            len(bands),
            conditions.missing_band_probability,
            setting.survey.max_missing_bands,
        ),
    )


def _render_scene(
    rng: np.random.Generator, setting: _Setting, centrals: Centrals, classes: NDArray
) -> Tensor:
    scene, grid = SceneBuilder(rng, setting.boxes_nm), setting.grid
    for name, rows in _by_morphology(rng, classes).items():
        MORPHOLOGIES[name](scene, centrals.take(rows))
    projected = np.flatnonzero((classes == "alignment") & ~_is_lensed_alignment(classes))
    if len(projected):
        add_projections(scene, centrals.take(projected))
    half_width = 0.5 * grid.size * grid.pixel_scale
    neighbours = draw_neighbours(rng, CHUNK, half_width, setting.faintest_neighbour)
    add_neighbours(scene, neighbours, grid.pixel_scale)
    sersic, patterns = (t.to(setting.device) if t is not None else None for t in scene.tables())
    images = torch.zeros(CHUNK, setting.n_bands, grid.size, grid.size, device=setting.device)
    reach = _REACH_IN_RADII * sersic.radius / sersic.axis_ratio.sqrt() / grid.pixel_scale
    reach = torch.where(sersic.index > 2, 2.5 * reach, reach)
    small, medium = _COMPACT_HALVES
    add_compact(images, sersic.select(reach <= small), grid, small)
    add_compact(images, sersic.select((reach > small) & (reach <= medium)), grid, medium)
    add_full(images, sersic.select(reach > medium), grid)
    if patterns is not None:
        add_patterns(images, patterns, grid)
    return images


def _by_morphology(rng: np.random.Generator, classes: NDArray) -> dict[str, NDArray]:
    chance = rng.random(len(classes))
    morphology = np.array(
        [name if name in MORPHOLOGIES else "early" for name in classes], dtype=object
    )
    for row, name in enumerate(classes):
        spiral, edge_on = _LATE_TYPE_SHARE.get(name, (0.0, 0.0))
        if chance[row] < spiral:
            morphology[row] = "spiral"
        elif chance[row] < spiral + edge_on:
            morphology[row] = "edge_on"
    rows = {name: np.flatnonzero(morphology == name) for name in MORPHOLOGIES}
    return {name: found for name, found in rows.items() if len(found)}


def _is_lensed_alignment(classes: NDArray) -> NDArray[np.bool_]:
    # two in three chance alignments are background galaxies that the deflector shears
    return (classes == "alignment") & (np.arange(len(classes)) % 3 > 0)


def _observe(setting: _Setting, scene: Tensor, exposure: _Exposure, rows: NDArray) -> Tensor:
    """Return scenes (n, B, G, G) of the chunk's `rows` convolved and cropped to the cutout."""
    psf = torch.from_numpy(rows // (CHUNK // _PSFS_A_CHUNK)).to(setting.device)
    observed = scene.new_empty((len(scene), setting.n_bands, *setting.survey.shape))
    for start in range(0, len(scene), _CONVOLVED_AT_ONCE):
        part = slice(start, start + _CONVOLVED_AT_ONCE)
        observed[part] = setting.crop(convolve(scene[part], exposure.transfer[psf[part]]))
    return observed


def _add_sources(
    rng: np.random.Generator,
    setting: _Setting,
    centrals: Centrals,
    classes: NDArray,
    exposure: _Exposure,
) -> dict:
    """Return truth columns, and `rows` and `arcs`: observed light of sources, nJy.

    The sources of chance alignments come back with the lenses'.
    """
    is_lens, device = classes == "lens", setting.device
    rows = np.flatnonzero(is_lens | _is_lensed_alignment(classes))
    systems = draw_systems(
        rng, centrals.take(rows), is_lens[rows], setting.boxes_nm, setting.conditions
    )
    layers = render_arcs(_to(systems.lens, device), _to(systems.source, device), setting.grid)
    unit = torch.einsum("lkyx,lbk->lbyx", layers, systems.weights.to(device))
    arcs = _observe(setting, unit, exposure, rows)
    noise = _float(exposure.noise_njy[rows], setting)
    present = torch.from_numpy(exposure.present[rows]).to(device)
    snr = total_snr(arcs, noise, present).cpu().numpy().astype(float)
    mag = source_mags(rng, snr, setting.conditions)
    arcs *= source_flux(mag).to(device)[:, None, None, None]
    truth = _empty_truth(centrals, classes)
    truth["source_mag"][rows], truth["z_source"][rows] = mag, centrals.galaxies.z_source[rows]
    lens = is_lens[rows]
    reference = arcs[:, 0]
    above = (reference > noise[:, :1, None]).sum(dim=(1, 2)).cpu().numpy()
    truth["arc_snr"][rows[lens]] = snr[lens] * flux_njy(mag[lens])
    truth["n_arc_pixels"][rows[lens]] = above[lens]
    truth["arc_flux_njy"][rows[lens]] = reference.sum(dim=(1, 2)).cpu().numpy()[lens]
    return truth | {"rows": torch.from_numpy(rows).to(device), "arcs": arcs}


def _empty_truth(centrals: Centrals, classes: NDArray) -> dict[str, NDArray]:
    n, g, is_lens = len(classes), centrals.galaxies, classes == "lens"
    nothing = np.full(n, np.nan)
    return {
        "is_lens": is_lens.astype(np.int8),
        "einstein_radius_arcsec": np.where(is_lens, g.einstein_radius, np.nan),
        "arc_snr": np.zeros(n),
        "lens_mag": g.mag.copy(),
        "source_mag": nothing.copy(),
        "object_class": classes,
        "n_arc_pixels": np.zeros(n, dtype=np.int32),
        "arc_flux_njy": np.zeros(n),
        "z_lens": np.where(is_lens, g.z_lens, np.nan),
        "z_source": nothing.copy(),
    }


def _finish(
    rng: np.random.Generator,
    setting: _Setting,
    exposure: _Exposure,
    images: Tensor,
    generator: torch.Generator,
) -> None:
    conditions = setting.conditions
    noise = _float(exposure.noise_njy, setting)
    gain = electrons_per_njy(noise, setting.grid.pixel_scale, conditions)
    correlation = conditions.per_band("noise_correlation_pixels", setting.n_bands)
    add_noise(images, noise, gain, correlation, generator)
    offset = rng.normal(0, conditions.sky_offset, exposure.noise_njy.shape)
    images += _float(offset * exposure.noise_njy, setting)[:, :, None, None]


def _pack(
    rng: np.random.Generator,
    setting: _Setting,
    seed: int,
    chunk: int,
    exposure: _Exposure,
    images: Tensor,
    truth: dict[str, NDArray],
) -> CutoutBatch:
    survey, present = setting.survey, exposure.present
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
        flags=np.where(present.all(axis=1), 0, int(CutoutFlag.MISSING_BAND)).astype(np.uint32),
        wcs_header=np.array(headers, dtype=object),
        source_file=empty,
        source_checksum=empty.copy(),
        columns={**truth, "parent_id": ids.copy()},
    )


def _float(values: NDArray, setting: _Setting) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(setting.device)


def _to(table, device: torch.device):
    return type(table)(**{name: value.to(device) for name, value in vars(table).items()})
