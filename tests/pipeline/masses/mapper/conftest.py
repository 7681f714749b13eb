"""Small skies: a Gaussian convergence with lumps, its shear in two bins, noise and a mask."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import healpy as hp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from equilens.pipeline.masses.harmonics import Harmonics, gaussian_window
from equilens.pipeline.masses.mapper_config import MapperConfig
from equilens.pipeline.masses.training import MapperReport, train_mapper
from equilens.pipeline.skymaps.writer import write_map_store

NSIDE, N_BINS, N_HALOES = 16, 2, 60
STRENGTH = (0.6, 1.0)
GALAXIES = 80.0


def write_sky(path: Path, seed: int, n_haloes: int = N_HALOES) -> Path:
    """A sky with its truth and haloes beside it."""
    rng = np.random.default_rng(seed)
    harmonics = Harmonics(NSIDE, 2 * NSIDE)
    kappa = _convergence(rng, harmonics, n_haloes, path)
    columns: dict[str, np.ndarray] = {}
    seen = np.abs(hp.pix2vec(NSIDE, np.arange(kappa.size))[2]) > 0.2
    for k, strength in enumerate(STRENGTH, start=1):
        alm = harmonics.scalar_analysis(strength * kappa)
        count = rng.poisson(GALAXIES, kappa.size) * seen
        weight = count / 0.26**2
        noise = rng.standard_normal((2, kappa.size)) / np.sqrt(np.maximum(weight, 1.0))
        shear = np.where(seen, harmonics.shear_from_kappa(alm) + noise, np.nan)
        columns |= {f"G1_BIN{k}": shear[0], f"G2_BIN{k}": shear[1]}
        columns |= {f"COUNT_BIN{k}": count, f"WEIGHT_BIN{k}": weight}
    single = {name: values.astype(np.float32) for name, values in columns.items()}
    facts = {"sky": {"n_bins": N_BINS, "seed": seed}}
    write_map_store(path, single, ordering="ring", facts=facts)
    truth = {f"KAPPA_BIN{k}": (s * kappa).astype(np.float32) for k, s in enumerate(STRENGTH, 1)}
    write_map_store(Path(f"{path}.truth.zarr"), truth, ordering="ring")
    return path


def _convergence(
    rng: np.random.Generator, harmonics: Harmonics, n_haloes: int, path: Path
) -> np.ndarray:
    """Red Gaussian noise and Gaussian lumps of a pixel's size."""
    n_pixels = hp.nside2npix(NSIDE)
    ell = np.arange(harmonics.lmax + 1)
    white = harmonics.scalar_analysis(rng.standard_normal(n_pixels), 0)
    smooth = harmonics.scalar(harmonics.scale(white, 0.6 / (1 + ell)))
    places = rng.integers(n_pixels, size=n_haloes)
    mass = 2e14 * rng.pareto(2.0, n_haloes) + 1e14
    lumps = np.bincount(places, mass / 2e14, n_pixels)
    beam = gaussian_window(hp.nside2resol(NSIDE, arcmin=True), harmonics.lmax)
    ra, dec = hp.pix2ang(NSIDE, places, lonlat=True)
    table = {
        "halo_id": np.arange(n_haloes),
        "ra_deg": ra,
        "dec_deg": dec,
        "redshift": rng.uniform(0.11, 0.59, n_haloes),
        "m200c_msun": mass,
        "theta200_arcmin": np.full(n_haloes, 60.0),
    }
    pq.write_table(pa.table(table), f"{path}.haloes.parquet")
    return 0.02 * smooth + 0.05 * harmonics.smooth(lumps - lumps.mean(), beam)


@pytest.fixture(scope="session")
def toy_skies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three skies: two to learn from, one held out."""
    folder = tmp_path_factory.mktemp("toy-skies")
    return [write_sky(folder / f"sky-{seed}.zarr", seed) for seed in range(3)]


@pytest.fixture(scope="session")
def toy_size() -> dict[str, int]:
    """Of a network that fits the toy skies."""
    return {"scalars": 4, "vectors": 1, "tensors": 2, "depth": 1}


@pytest.fixture(scope="session")
def toy_config() -> MapperConfig:
    """Four steps on whole base pixels."""
    return MapperConfig(
        patches_seen=32,
        batch_size=8,
        n_squares=1,
        margin_pixels=0,
        geometries=2,
        validation_patches=16,
        validations=2,
        learning_rate=5e-3,
        ema_decay=0.9,
    )


@pytest.fixture(scope="session")
def trained_mapper(
    toy_skies: list[Path],
    toy_config: MapperConfig,
    toy_size: dict[str, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Folder of a mapper that has learned something."""
    out = tmp_path_factory.mktemp("trained")
    config = replace(toy_config, patches_seen=320)
    train_mapper(toy_skies[:2], out, held_out=toy_skies[2:], config=config, size=toy_size)
    return out


@pytest.fixture
def train(
    toy_skies: list[Path], toy_config: MapperConfig, toy_size: dict[str, int], trained_mapper: Path
) -> Callable[..., MapperReport]:
    """Train on two toy skies, the third held out; their linear estimates are there already."""

    def run(out: Path, **changes: Any) -> MapperReport:
        for made in (trained_mapper / "prior.json", *trained_mapper.glob("linear-*.zarr")):
            copy = shutil.copytree if made.is_dir() else shutil.copy
            if not (out / made.name).exists():
                out.mkdir(exist_ok=True)
                copy(made, out / made.name)
        config = replace(toy_config, **changes)
        return train_mapper(
            toy_skies[:2], out, held_out=toy_skies[2:], config=config, size=toy_size
        )

    return run
