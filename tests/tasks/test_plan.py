"""`equilens plan`: figures with their origin, the promised command, refusals that name a remedy."""

import json
from pathlib import Path

import pytest

from equilens.pipeline.planning import measure
from equilens.pipeline.planning.rates import load_rates

RATES = Path(__file__).resolve().parents[1] / "pipeline" / "planning" / "rates.json"
SURVEY = ("plan", "--objects", "1e6", "--bands", "4", "--rates", RATES, "--replays", "4")


def test_a_plan_says_all_that_it_rests_on(equilens_json):
    code, facts = equilens_json(*SURVEY, "--workers", "16", "--workers-per-node", "8")
    assert code == 0
    assert facts["campaign"]["n_objects"] == 1_000_000
    hours = facts["forecast"]["stormy_s"]
    assert hours["low"] <= hours["median"] <= hours["high"]
    assert facts["node_hours"] == pytest.approx(2 * hours["median"] / 3600)
    assert facts["sizes"]["n_stores"] == 1
    assert facts["bottleneck"] == "network"
    assert facts["advice"]
    assert facts["rates"] == json.loads(RATES.read_text())
    said = " ".join(facts["assumptions"])
    assert "N = 3 repeats" in said
    assert "sha256 000000000000" in said
    assert "0.1 failures a worker and day: assumed" in said


def test_the_table_reads_top_to_bottom(equilens):
    code, printed, _ = equilens(*SURVEY, "--gpus", "64", "--gpu-rate", "20000", "--per-gpu", "2")
    printed = " ".join(printed.split())
    assert code == 0
    assert "1,000,000 objects of 4 bands on 64 GPUs" in printed
    for words in (
        "scoring, ideal",
        "scoring, with failures",
        "GPU hours of scoring",
        "read bandwidth",
        "Dask tasks",
        "memory in all",
        "Scoring is held up by",
        "20,000 cutouts/s a GPU was given, not measured",
    ):
        assert words in printed


def test_a_given_number_of_failures_is_not_called_assumed(equilens_json):
    _, facts = equilens_json(*SURVEY, "--workers", "4", "--failures-per-day", "0")
    assert facts["forecast"]["n_kills"]["high"] == 0
    assert "0 failures a worker and day: given" in facts["assumptions"]


def test_a_rate_of_a_gpu_is_asked_for(equilens, monkeypatch):
    code, out, err = equilens(*SURVEY, "--gpus", "64")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--gpu-rate" in err
    assert "--device cuda" in err
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, out, err = equilens("plan", "--objects", "1e9", "--bands", "4", "--gpus", "64")
    assert (code, out) == (2, "")
    assert "--gpu-rate" in err


def test_rates_are_measured_and_kept(equilens_json, equilens, monkeypatch, tmp_path):
    asked = []

    def measured(*args, **options):
        asked.append((args, options))
        return load_rates(RATES)

    monkeypatch.setattr(measure, "measure_rates", measured)
    out = tmp_path / "rates.json"
    code, facts = equilens_json("plan", "--measure", out, "--bands", "4")
    assert (code, facts["kind"]) == (0, "rates")
    assert load_rates(out) == load_rates(RATES)
    assert asked[0][0] == (None, 4)
    assert asked[0][1]["device"] == "cpu"
    code, printed, _ = equilens("plan", "--measure", out, "--bands", "4")
    assert "network_s" in printed
    # rates that nobody keeps serve one plan
    code, facts = equilens_json("plan", "--objects", "5000", "--workers", "2", "--bands", "4")
    assert (code, facts["sizes"]["n_stores"]) == (0, 1)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("plan",), "--objects"),
        (("plan", "--objects", "1.5", "--workers", "1"), "whole number"),
        (("plan", "--objects", "1e6", "--rates", RATES), "--gpus or --workers"),
        ((*SURVEY, "--workers", "1", "--gpus", "1"), "not allowed with"),
        ((*SURVEY, "--workers", "1", "--model", "euclid-mer"), "leave --model"),
        ((*SURVEY, "--workers", "1", "--at-once", "2"), "at_once"),
        ((*SURVEY, "--workers", "1", "--failures-per-day", "-1"), "must lie"),
        (("plan", "--measure", "rates.toml", "--bands", "4"), "rates.json"),
        (("plan", "--measure", "rates.json"), "how many bands"),
        (("plan", "--measure", "rates.json", "--model", "no-such"), "no-such"),
    ],
)
def test_wrong_use_names_the_remedy(equilens, words, remedy):
    code, out, err = equilens(*words)
    assert (code, out) == (2, "")
    assert remedy in err
