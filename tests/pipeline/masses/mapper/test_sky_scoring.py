"""Whole skies through a mapper: out of core, resumable, into peaks and tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch

from equilens.models.spherical.mapper_checkpoint import load_mapper
from equilens.models.spherical.mapper_spec import network_inputs
from equilens.models.spherical.tile_geometry import TileGeometry
from equilens.pipeline.errors import DomainError, ScoringError
from equilens.pipeline.masses import map_blocks, scoring
from equilens.pipeline.masses.products import read_product
from equilens.pipeline.masses.scoring import LINEAR, map_sky, squares_of
from equilens.pipeline.masses.sky_columns import sky_columns
from equilens.pipeline.masses.sky_products import SkyProducts, score_sky
from equilens.pipeline.skymaps.store import SkyMapStore
from equilens.pipeline.skymaps.writer import write_map_store


@pytest.fixture(scope="module")
def scored(toy_skies, trained_mapper, tmp_path_factory) -> SkyProducts:
    out = tmp_path_factory.mktemp("scored") / "held-out"
    return score_sky(toy_skies[2], out, model=trained_mapper)


def test_out_of_core_is_in_core(toy_skies, trained_mapper, scored):
    mapper, store = load_mapper(trained_mapper), SkyMapStore.open(toy_skies[2])
    linear_store = SkyMapStore.open(scored.mass.parent / LINEAR)
    sky = np.stack([store.read(name, "nested") for name in sky_columns(2)]).reshape(2, 4, -1)
    linear = np.stack([linear_store.read(name, "nested") for name in linear_store.columns])
    inputs = (torch.from_numpy(part)[None] for part in (sky, linear))
    spec = mapper.network.spec
    whole = TileGeometry(spec.nside, np.arange(12 * spec.nside**2))
    with torch.no_grad():
        estimate = mapper.network(whole, *network_inputs(spec, *inputs))
    mass = SkyMapStore.open(scored.mass)
    seen = ~mass.read_mask("KAPPA")
    assert np.array_equal(seen, (sky[:, 3] > 0).any(axis=0))
    for name, expected in {
        "KAPPA": estimate.kappa[0].numpy(),
        "KAPPA_SIGMA": torch.exp(0.5 * estimate.log_variance[0]).numpy(),
        "HALO": estimate.halo_logit[0].numpy(),
    }.items():
        np.testing.assert_allclose(mass.read(name)[seen], expected[seen], rtol=1e-4, atol=1e-5)


def test_map_and_peaks_say_who_made_them(toy_skies, trained_mapper, scored):
    product = read_product(scored.mass.parent)
    assert product.identity.method == "mass-mapper"
    assert product.identity.model_sha256 == load_mapper(trained_mapper).sha256
    assert product.identity.data_fingerprint == SkyMapStore.open(toy_skies[2]).fingerprint
    assert product.peaks.num_rows == scored.n_peaks > 0


def test_every_peak_becomes_a_tile(scored):
    tiles, peaks = pyarrow.csv.read_csv(scored.tiles), pq.read_table(scored.peaks)
    assert set(tiles["peak_id"].to_pylist()) == set(peaks["peak_id"].to_pylist())
    assert len(set(tiles["id"].to_pylist())) == tiles.num_rows == scored.n_tiles


def test_what_is_mapped_stays_and_what_is_lost_is_done_again(
    toy_skies, trained_mapper, tmp_path, scored, monkeypatch
):
    done: list[int] = []

    def counted(task, base_pixels):
        if done:
            raise ScoringError("the machine went away")
        done.extend(base_pixels)
        # of a ring of four that was begun, one base pixel gets written
        return map_blocks.map_base_pixels(task, base_pixels[:1])

    with monkeypatch.context() as patched:
        patched.setattr(scoring, "map_base_pixels", counted)
        with pytest.raises(ScoringError, match="went away"):
            map_sky(toy_skies[2], trained_mapper, tmp_path)
    finished = map_sky(toy_skies[2], trained_mapper, tmp_path)
    assert finished.n_mapped_now == 11
    assert map_sky(toy_skies[2], trained_mapper, tmp_path).n_mapped_now == 0
    first, second = SkyMapStore.open(finished.path), SkyMapStore.open(scored.mass)
    np.testing.assert_array_equal(first.read("KAPPA"), second.read("KAPPA"))
    with pytest.raises(ScoringError, match="another sky or mapper"):
        map_sky(toy_skies[1], trained_mapper, tmp_path)


@pytest.mark.parametrize(
    ("nside", "depth", "squares"), [(16, 1, 2), (512, 1, 2), (1024, 2, 4), (2048, 1, 8), (2, 1, 1)]
)
def test_squares_are_no_larger_than_memory_allows(nside, depth, squares):
    assert squares_of(nside, depth) == squares


def test_smaller_squares_make_the_same_map(
    toy_skies, trained_mapper, scored, tmp_path, monkeypatch
):
    monkeypatch.setattr(scoring, "MOST_SIDE_PIXELS", 2)
    made = map_sky(toy_skies[2], trained_mapper, tmp_path)
    once, again = SkyMapStore.open(scored.mass), SkyMapStore.open(made.path)
    for name in once.columns:
        np.testing.assert_allclose(again.read(name), once.read(name), rtol=1e-4, atol=1e-6)


def test_a_sky_that_the_mapper_was_not_made_for_is_refused(trained_mapper, tmp_path):
    columns = {name: np.ones(12 * 8**2, np.float32) for name in sky_columns(2)}
    coarse = write_map_store(tmp_path / "coarse.zarr", columns, ordering="nested")
    with pytest.raises(DomainError, match=r"maps skies of nside 16, .* has nside 8"):
        map_sky(coarse.path, trained_mapper, tmp_path / "out")


@pytest.mark.parametrize("method", ["wiener", "kaiser-squires", "matched-filter"])
def test_baselines_leave_the_same_products(toy_skies, trained_mapper, tmp_path, method):
    made = score_sky(toy_skies[2], tmp_path, method=method, model=trained_mapper)
    product = read_product(tmp_path)
    assert product.identity.method == method
    assert (product.mass is None) == (method == "matched-filter") == (made.mass is None)
    assert made.n_peaks == product.peaks.num_rows


def test_a_method_without_what_it_needs_is_refused(toy_skies, tmp_path: Path):
    with pytest.raises(ScoringError, match="wiener needs spectra"):
        score_sky(toy_skies[2], tmp_path, method="wiener")
    with pytest.raises(ScoringError, match="needs a model"):
        score_sky(toy_skies[2], tmp_path)
    with pytest.raises(ScoringError, match="method must be one of"):
        score_sky(toy_skies[2], tmp_path, method="guess")
