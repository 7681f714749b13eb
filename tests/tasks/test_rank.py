"""`equilens score-simulated` and `equilens rank`: from scores to a table, and honest refusals."""

import json

import numpy as np
import pytest

from equilens.catalogs.export import read_catalog
from equilens.models import InputSpec, build_finder, save_checkpoint
from equilens.pipeline import simulated_scores
from equilens.pipeline.ranks import rank_among
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.simulated_scores import SimulatedScores
from equilens.tasks.cli import main


@pytest.fixture(scope="module")
def streamed(made, tmp_path_factory):
    """64 simulated non-lenses, scored by the weights of `made`."""
    out = tmp_path_factory.mktemp("streamed") / "scores"
    words = ("--survey", "bologna-space", "-n", "64", "--seed", "9", "--out", str(out))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated_scores, "PART", 64)
        model = str(made / "untrained.safetensors")
        assert main(["score-simulated", *words, "--model", model, "--json"]) == 0
    return out


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(simulated_scores, "PART", 64)


def test_ranks_are_counted_among_the_stream(made, streamed, equilens_json, tmp_path):
    out = tmp_path / "ranks.csv"
    code, facts = equilens_json("rank", made / "scores.zarr", "--among", streamed, "--out", out)
    assert code == 0
    store = ScoreStore(made / "scores.zarr")
    nonlenses = SimulatedScores(streamed).table()["score"].to_numpy()
    by_hand = {
        name: 1 + sum(other >= value for other in nonlenses)
        for name, value in zip(store.ids(), store.combined(), strict=True)
    }
    assert {r["id"]: r["rank_in_nonlenses"] for r in facts["rows"]} == by_hand
    assert read_catalog(out)["score"].to_pylist() == sorted(store.combined(), reverse=True)
    written = json.loads(out.with_suffix(".json").read_text())
    assert SimulatedScores(streamed).identity["lens_fraction"] == 0
    assert (written["n_nonlenses"], written["n_objects"]) == (64, 48)
    assert written["network"]["sha256"] == facts["network"]["sha256"]
    # the simulated "real" objects carry their own truth: half of them are the field
    assert written["field"]["n"] + written["lenses"]["n"] == 48
    assert "measure nothing" in written["field_statement"]


def test_a_key_says_who_is_field(made, streamed, equilens, equilens_json, tmp_path):
    ids = ScoreStore(made / "scores.zarr").ids()
    key = tmp_path / "key.csv"
    key.write_text(f"id,is_lens\n{ids[0]},1\n{ids[1]},0\nquarantined,1\n")
    words = ("rank", made / "scores.zarr", "--among", streamed, "--labels", key)
    code, facts = equilens_json(*words, "--out", tmp_path / "ranks.parquet")
    rows = {row["id"]: row for row in facts["rows"]}
    assert (code, facts["field"]["n"], facts["lenses"]["n"]) == (0, 1, 1)
    assert (facts["field"]["n_without_score"], facts["lenses"]["n_without_score"]) == (0, 1)
    assert (rows[ids[0]]["is_lens"], rows[ids[2]]["is_lens"]) == (1, None)
    assert (rows[ids[0]]["n_field"], rows[ids[1]]["rank_in_field"]) == (1, None)
    code, text, _ = equilens(*words, "--out", tmp_path / "ranks.ecsv")
    assert (code, "and 8 more" in text) == (0, True)
    key.write_text("id,is_lens\nstranger,1\n")
    code, _, err = equilens(*words, "--out", tmp_path / "ranks.csv")
    assert (code, "stranger" in err) == (1, True)


def test_a_simulated_store_serves_as_well(made, equilens_json, tmp_path):
    scores = made / "scores.zarr"
    code, facts = equilens_json("rank", scores, "--among", scores, "--out", tmp_path / "r.csv")
    assert code == 0
    # non-lenses among themselves: the best one has itself at or above it
    field = [row["rank_in_nonlenses"] for row in facts["rows"] if row["is_lens"] == 0]
    assert field == list(range(2, 2 + len(field)))


def test_what_can_not_be_compared_is_refused(made, streamed, equilens, tmp_path):
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, build_finder("d4-resnet-nano", InputSpec(("VIS",), 0.1), seed=2), {})
    store, out = made / "sim.zarr", tmp_path / "other.zarr"
    assert equilens("score", store, "--model", other, "--out", out)[0] == 0
    words = ("--among", streamed, "--out", tmp_path / "ranks.csv")
    code, _, err = equilens("rank", out, *words)
    assert code == 1
    assert "share no scale" in err
    assert not (tmp_path / "ranks.csv").exists()
    code, _, err = equilens("rank", out, "--among", streamed, "--out", tmp_path / "ranks.txt")
    assert (code, "suffix" in err) == (2, True)
    words = ("--model", other, "-n", "64", "--seed", "1", "--out", tmp_path / "s")
    code, _, err = equilens("score-simulated", "--survey", "bologna-ground", *words)
    assert (code, "bologna-ground" in err) == (1, True)


def test_objects_out_of_the_domain_are_marked(made, streamed, equilens_json, tmp_path, monkeypatch):
    monkeypatch.setattr(
        ScoreStore, "outside", lambda self: np.arange(self.n_objects, dtype=np.uint64) % 2
    )
    scores = ScoreStore(made / "scores.zarr")
    check = {
        "quantity": "noise_njy",
        "band": "VIS",
        "low": 1,
        "high": 2,
        "n_outside": 24,
        "worst": 9,
    }
    manifest = {**scores.manifest, "guard": {"checks": [check]}}

    scores.manifest = manifest
    facts = rank_among(scores, streamed, tmp_path / "ranks.csv")
    assert facts["n_out_of_domain"] == 24
    told = read_catalog(tmp_path / "ranks.csv")["out_of_domain"].to_pylist()
    assert sum(text is not None and "noise_njy in VIS" in text for text in told) == 24


def test_frames_that_were_trained_on_are_refused(made, streamed, equilens, tmp_path):
    cutouts, scores = ScoreStore(made / "scores.zarr").cutouts_path, made / "scores.zarr"
    out = tmp_path / "injected.zarr"
    words = ("--survey", "bologna-space", "-n", "16", "--seed", "2", "--out", out)
    assert equilens("inject", cutouts, *words)[0] == 0
    ranked = ("rank", scores, "--among", streamed, "--out", tmp_path / "r.csv")
    code, _, err = equilens(*ranked, "--injected", out)
    assert (code, "frames that the finder was trained on" in err) == (1, True)
    assert not (tmp_path / "r.csv").exists()
