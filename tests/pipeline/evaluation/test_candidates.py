"""The catalogue ranks the scored objects and tells what was known of each."""

import numpy as np
import pytest

from equilens.catalogs.schema import check_catalog
from equilens.models.checkpoint import save_checkpoint
from equilens.models.inputs import InputSpec
from equilens.models.networks import build_finder
from equilens.pipeline.candidates import candidate_table
from equilens.pipeline.domain import measure_domain
from equilens.pipeline.errors import StoreError
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.scoring import score
from equilens.pipeline.toy import toy_cutouts, write_toy_store

N = 60


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("candidates")
    batch = toy_cutouts(N)
    batch.noise_njy[5, 1] = 50
    batch.ra[7] = batch.dec[7] = np.nan
    batch.columns["magnitude"] = np.arange(N) / 2
    batch.columns["score"] = np.zeros(N)
    store = write_toy_store(folder / "cutouts.zarr", batch)
    like = write_toy_store(folder / "like.zarr", toy_cutouts(200, seed=2))
    domain = measure_domain([like.table()], ("a", "b"), ("a", "b")).to_dict()
    finder = build_finder("d4-resnet-nano", InputSpec(("a", "b"), 0.1, (33, 33)))
    weights = save_checkpoint(folder / "w.safetensors", finder, {"training_domain": domain})
    score(store.path, weights, folder / "scores.zarr")
    return folder / "scores.zarr", batch


def test_ranked_by_score_with_each_object_s_own_values(scored):
    path, batch = scored
    table = candidate_table(path)
    check_catalog(table)
    assert table.num_rows == N
    scores = dict(zip(batch.ids, ScoreStore(path).combined(), strict=True))
    order = sorted(scores, key=lambda name: (-scores[name], name))
    assert table["id"].to_pylist() == order
    row = {name: k for k, name in enumerate(batch.ids)}
    for name, magnitude, noise, dec in zip(
        *(table[c].to_pylist() for c in ("id", "magnitude", "noise_njy_b", "dec")), strict=True
    ):
        assert magnitude == row[name] / 2
        assert noise == batch.noise_njy[row[name], 1]
        assert dec == batch.dec[row[name]] or (dec is None and row[name] == 7)


def test_conditions_and_provenance(scored):
    path, batch = scored
    table = candidate_table(path).to_pylist()
    odd = next(row for row in table if row["id"] == batch.ids[5])
    assert "out_of_domain" in odd["flags"]
    assert odd["out_of_domain"].startswith("noise_njy in b outside")
    nowhere = next(row for row in table if row["id"] == batch.ids[7])
    assert (nowhere["ra"], nowhere["_healpix_29"]) == (None, -1)
    assert {row["model_sha256"] for row in table} == {
        ScoreStore(path).manifest["network"]["sha256"]
    }
    # a user's own column called score does not hide the network's
    assert all(row["user_score"] == 0 for row in table)
    assert any(row["score"] != 0 for row in table)


def test_cuts(scored):
    path, _ = scored
    whole = candidate_table(path)
    best = candidate_table(path, top=7)
    assert best["id"].to_pylist() == whole["id"].to_pylist()[:7]
    cut = whole["score"][10].as_py()
    assert candidate_table(path, threshold=cut).num_rows == 11
    assert candidate_table(path, threshold=cut, top=3).num_rows == 3
    assert candidate_table(path, threshold=1e9).num_rows == 0
    assert candidate_table(path, top=0).num_rows == 0


def test_another_store_is_refused(scored, tmp_path):
    other = write_toy_store(tmp_path / "other.zarr", toy_cutouts(N, seed=8))
    with pytest.raises(StoreError, match="is not what"):
        candidate_table(scored[0], other)
