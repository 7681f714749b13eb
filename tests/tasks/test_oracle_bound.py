"""`equilens oracle-bound`: figures with their N, a file that agrees, and honest refusals."""

import json


def test_figures_come_with_counts_and_intervals(equilens_json, tmp_path):
    out = tmp_path / "new" / "bound.json"
    words = ("oracle-bound", "bologna-space", "-n", "64", "--seed", "2")
    code, facts = equilens_json(*words, "--out", out)
    assert code == 0
    assert (facts["survey"], facts["seed"]) == ("bologna-space", 2)
    assert (facts["n_lenses"], facts["n_nonlenses"]) == (32, 32)
    low, high = facts["intervals"]["auroc"]
    assert 0.8 < low <= facts["auroc"] <= high <= 1
    assert abs(facts["closed_form_auroc"] - facts["auroc"]) < 0.1
    assert "same fields without their arcs" in facts["meaning"]
    for row in facts["bins"]["einstein_radius_arcsec"]:
        assert row["n_lenses"] >= 10
    written = json.loads(out.read_text())
    assert written["auroc"] == facts["auroc"]
    assert written["bins"] == facts["bins"]


def test_the_table_says_what_is_bounded(equilens):
    code, printed, _ = equilens("oracle-bound", "bologna-space", "-n", "64")
    assert code == 0
    assert "32 lenses and 32 fields" in printed
    assert "AUROC at most" in printed
    assert "a finder may score higher or lower" in " ".join(printed.split())


def test_wrong_use_and_impossible_surveys(equilens):
    code, _, err = equilens("oracle-bound", "no-such-survey")
    assert code == 2
    assert "no-such-survey" in err
    assert equilens("oracle-bound", "bologna-space", "-n", "0")[0] == 2
    code, _, err = equilens("oracle-bound", "euclid-mer", "-n", "4")
    assert (code, err.count("\n")) == (1, 1)
    assert "correlated" in err
