"""`equilens score` with several models, and with a batch size that is timed."""

from equilens.pipeline.scores import ScoreStore


def test_several_models_score_in_one_read(equilens_json, equilens, made, tmp_path):
    from equilens.models import InputSpec, build_finder, save_checkpoint

    finder = build_finder("d4-resnet-nano", InputSpec(("VIS",), 0.1), seed=2)
    other = save_checkpoint(tmp_path / "other.safetensors", finder, {})
    models = ("--model", made / "untrained.safetensors", "--model", other)
    words = ("score", made / "sim.zarr", *models, "--out", tmp_path / "scores")
    code, facts = equilens_json(*words)
    assert (code, facts["n_objects"]) == (0, 48)
    assert [entry["network"] for entry in facts["networks"]] == ["untrained", "other"]
    alone, ours = ScoreStore(made / "scores.zarr"), ScoreStore(facts["networks"][0]["scores"])
    assert ours.fingerprint == alone.fingerprint
    assert (ours.scores() == alone.scores()).all()
    assert (ScoreStore(facts["networks"][1]["scores"]).scores() != alone.scores()).any()
    assert equilens_json(*words) == (code, facts)
    code, _, err = equilens(*words, "--model", other)
    assert code == 1
    assert "both called other" in err


def test_a_batch_size_is_timed_where_it_is_asked(
    equilens_json, equilens, made, tmp_path, monkeypatch
):
    monkeypatch.setattr("equilens.pipeline.scoring.batch_size.SIZES", (64,))
    out = tmp_path / "scores.zarr"
    words = ("score", made / "sim.zarr", "--model", made / "untrained.safetensors", "--out", out)
    code, facts = equilens_json(*words, "--batch-size", "auto")
    assert code == 0
    timing = ScoreStore(out).manifest["batch_timing"]
    assert timing["chosen"] == facts["batch_size"]
    assert timing["n_cutouts"] == 48
    assert equilens_json(*words, "--batch-size", "auto") == (0, facts)
    code, _, err = equilens(*words, "--batch-size", "100")
    assert code == 2
    assert "power of two" in err
