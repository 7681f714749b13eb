"""Each command does what it says, on small stores."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from equilens.catalogs.submission import read_submission
from equilens.models import InputSpec, build_finder, save_checkpoint
from equilens.pipeline.demo import DemoFolder, _samples
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.stores import CutoutStore
from equilens.tasks.commands import show

SAMPLE = Path(__file__).resolve().parents[2] / "pipeline" / "sample"


@pytest.fixture
def space_files(tmp_path):
    """Six files named as the challenge names them; the last ends early."""
    folder = tmp_path / "challenge" / "Public" / "Band1"
    folder.mkdir(parents=True)
    y, x = np.mgrid[:101, :101] - 50
    for k in range(6):
        pixels = np.random.default_rng(k).normal(0, 8e-13, (101, 101))
        pixels += 1e-10 * np.exp(-(x**2 + y**2) / (30 + 10 * k))
        path = folder / f"imageEUC_VIS-{100001 + k}.fits"
        fits.writeto(path, pixels.astype(">f4"))
    path.write_bytes(path.read_bytes()[:9000])
    key = tmp_path / "key.csv"
    key.write_text("ID,is_lens\n" + "".join(f"{100001 + k},{k % 2}\n" for k in range(6)))
    return tmp_path


def test_surveys(equilens_json, equilens, tmp_path):
    code, listed = equilens_json("surveys", "list")
    names = {survey["name"] for survey in listed["surveys"]}
    assert code == 0
    assert {"bologna-space", "euclid-mer", "lsst-like"} <= names
    code, checked = equilens_json("surveys", "check", "euclid-mer")
    assert (code, checked["ok"]) == (0, True)
    code, checked = equilens_json(
        "surveys", "check", "euclid-mer", "--source", SAMPLE / "euclid_q1/lens"
    )
    assert (code, checked["ok"]) == (0, True)
    (tmp_path / "broken.toml").write_text("name = 'broken'\ncolour = 'red'\n")
    code, _, err = equilens("surveys", "check", tmp_path / "broken.toml")
    assert code == 2
    assert "colour" in err


def test_ingest_counts_what_it_rejects(equilens_json, equilens, space_files):
    words = ("ingest", space_files / "challenge", "--survey", "bologna-space")
    out = ("--out", space_files / "cut.zarr")
    code, planned = equilens_json(*words, "--dry-run")
    assert (code, planned["n_found"], planned["dry_run"]) == (3, 6, True)
    code, facts = equilens_json(*words, *out)
    assert code == 3
    assert (facts["n_found"], facts["n_objects"], facts["n_quarantined"]) == (6, 5, 1)
    assert facts["by_rule"] == {"truncated": 1}
    code, _, err = equilens(*words, *out)
    assert code == 1
    assert "--replace" in err
    code, facts = equilens_json(*words, *out, "--replace", "--tolerance", "0.2")
    assert (code, facts["n_objects"]) == (0, 5)


def test_cut_from_a_tile(equilens_json, tmp_path):
    catalog = tmp_path / "positions.csv"
    catalog.write_text("id,ra,dec\nlens,63.774803,-50.011877\nfar,10,10\n")
    code, facts = equilens_json(
        "cut",
        SAMPLE / "euclid_q1_tile",
        "--catalog",
        catalog,
        "--survey",
        "euclid-mer",
        "--out",
        tmp_path / "cut.zarr",
    )
    assert code == 3
    assert (facts["n_objects"], facts["by_rule"]) == (1, {"no-tile": 1})


def test_ingest_map_states_everything(equilens_json, equilens, tmp_path):
    source = next((SAMPLE / "healpix").glob("*.fits*"))
    code, _, err = equilens("ingest-map", source, "--out", tmp_path / "sky.zarr")
    assert code == 1
    assert "--frame" in err
    words = ("ingest-map", source, "--out", tmp_path / "sky.zarr", "--frame", "galactic")
    code, _, err = equilens(*words, "--unit", "furlongs")
    assert code == 1
    assert "--unit must be a unit that astropy.units knows" in err
    said = ("--frame", "galactic", "--unit", "cm^-2")
    words = ("ingest-map", source, "--out", tmp_path / "sky.zarr", *said)
    code, facts = equilens_json(*words)
    assert (code, facts["nside"], facts["frame"], facts["made_now"]) == (0, 64, "galactic", True)
    assert equilens_json(*words)[1]["made_now"] is False
    for other in ((*words[:-1], "K"), ("ingest-map", tmp_path / source.name, *words[2:])):
        shutil.copy(source, tmp_path)
        with open(tmp_path / source.name, "ab") as file:
            file.write(bytes(2880))
        code, _, err = equilens(*other)
        assert code == 1
        assert "--replace" in err


def test_simulate_again_is_nothing_and_otherwise_is_refused(equilens_json, equilens, made):
    words = ("simulate", "--survey", "bologna-space", "-n", "48", "--out", made / "sim.zarr")
    code, facts = equilens_json(*words, "--seed", "1")
    assert (code, facts["n_objects"], facts["made_now"]) == (0, 48, False)
    assert Path(facts["truth"]).exists()
    code, _, err = equilens(*words, "--seed", "2")
    assert code == 1
    assert "--replace" in err


def test_train(equilens_json, equilens, made, tmp_path):
    words = ("train", "--survey", "bologna-space", "--data", made / "sim.zarr")
    words = (*words, "--out", tmp_path / "weights", "--images-seen", "64", "--batch-size", "16")
    code, facts = equilens_json(*words)
    assert (code, facts["made_now"]) == (0, True)
    assert Path(facts["weights"]).exists()
    assert equilens_json(*words)[1]["made_now"] is False
    code, _, err = equilens(*words[:-2], "--batch-size", "32")
    assert code == 1
    assert "config.batch_size: 16 there, 32 asked" in err
    assert "--replace" in err
    assert equilens_json(*words[:-2], "--batch-size", "32", "--replace")[1]["made_now"] is True
    code, _, err = equilens("train", "--survey", "euclid-mer", *words[3:])
    assert code == 2
    assert "bologna-space" in err


def test_score_goes_on_and_refuses_other_scores(equilens_json, equilens, made, tmp_path):
    words = ("score", made / "sim.zarr", "--out", made / "scores.zarr", "--model")
    code, facts = equilens_json(*words, made / "untrained.safetensors")
    assert (code, facts["n_objects"], facts["n_quarantined"]) == (0, 48, 0)
    (note,) = facts["notes"]
    assert "no training domain" in note
    other = save_checkpoint(
        tmp_path / "other.safetensors",
        build_finder("d4-resnet-nano", InputSpec(("VIS",), 0.1), seed=9),
        {},
    )
    code, _, err = equilens(*words, other)
    assert code == 1
    assert "--replace" in err
    assert equilens(*words, other, "--batch-size", "33")[0] == 2
    code, _, err = equilens(*words, "no-such-network")
    assert code == 2
    assert "no-such-network" in err


def test_evaluate_by_the_store_and_by_a_key_agree(equilens_json, equilens, made, tmp_path):
    code, own = equilens_json("evaluate", made / "scores.zarr", "--out", tmp_path / "a")
    key = made / "sim.zarr.truth.csv"
    words = ("evaluate", made / "scores.zarr", "--truth", key, "--out", tmp_path / "b")
    code, keyed = equilens_json(*words)
    assert code == 0
    assert own["auroc"] == keyed["auroc"]
    assert own["n_lenses"] + own["n_nonlenses"] == 48
    assert json.loads((tmp_path / "b" / "metrics.json").read_text())["auroc"] == keyed["auroc"]
    code, out, _ = equilens(*words)
    assert code == 0
    assert "95% interval" in out


def test_export_in_every_format(equilens_json, made, tmp_path):
    files = [tmp_path / f"top.{suffix}" for suffix in ("parquet", "fits", "vot", "ecsv", "csv")]
    code, facts = equilens_json("export", made / "scores.zarr", "--out", *files, "--top", "7")
    assert (code, facts["n_candidates"]) == (0, 7)
    best = np.sort(ScoreStore(made / "scores.zarr").combined())[::-1][:7]
    for file, kind in zip(files[1:3], ("fits", "votable"), strict=True):
        assert np.array_equal(np.asarray(Table.read(file, format=kind)["score"]), best)
    code, facts = equilens_json(
        "export", made / "scores.zarr", "--out", tmp_path / "t.csv", "--threshold", float(best[2])
    )
    assert (code, facts["n_candidates"]) == (0, 3)


def test_show(equilens_json, equilens, made, tmp_path, monkeypatch):
    store = CutoutStore(made / "sim.zarr")
    name = store.table()["id"][5].as_py()
    words = ("show", name, made / "sim.zarr", "--scores", made / "scores.zarr")
    code, facts = equilens_json(*words, "--out", tmp_path / "cutout.png")
    scores = ScoreStore(made / "scores.zarr").combined()
    assert (code, facts["row"]) == (0, 5)
    assert facts["score"] == scores[5]
    assert facts["rank"] == int((scores > scores[5]).sum()) + 1
    batch = store.read(slice(5, 6))
    known = batch.images[0, 0][~batch.mask[0, 0]]
    assert facts["bands"][0]["sum_njy"] == pytest.approx(float(known.sum(dtype=float)))
    assert (tmp_path / "cutout.png").read_bytes().startswith(b"\x89PNG")
    # stdout is no terminal here, so there is no picture of characters in it
    code, out, _ = equilens(*words)
    assert (code, "▀" in out) == (0, False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, out, _ = equilens(*words)
    assert code == 0
    assert "▀" in out
    assert "store fingerprint" in out


def test_show_keeps_a_column_of_the_user_apart_from_the_score():
    shown = show._shown({"id": "a", "score": 1.5, "columns": {"score": 7, "tract": 3}, "bands": []})
    assert shown == {"id": "a", "score": 1.5, "user score": 7, "tract": 3}


def test_text_of_the_user_is_no_markup(capsys):
    from rich.console import Console

    Console(width=200).print(show._fact_table({"columns": {"note": "[/x] [red]", "[b]": 1}}))
    printed = capsys.readouterr().out
    assert "[/x] [red]" in printed
    assert "[b]" in printed


def test_models(equilens_json, equilens):
    code, facts = equilens_json("models")
    assert code == 0
    by_name = {network["name"]: network for network in facts["networks"]}
    assert by_name["d4-resnet-nano"]["macs"] > 1e6
    assert by_name["plain-resnet-nano"]["parameters"] > by_name["d4-resnet-nano"]["parameters"]
    assert all(len(weights["sha256"]) == 64 for weights in facts["weights"])
    printed = equilens("models")[1]
    assert "d4-resnet-small" in printed
    assert all(weights["name"] in printed for weights in facts["weights"])


def test_lenscat_renew(equilens_json, equilens, tmp_path):
    source = tmp_path / "catalog.csv"
    source.write_text(
        "name,RA [deg],DEC [deg],zlens,type,grading,ref\nA,10.0,-5.0,0.5,galaxy,confident,x\n"
    )
    words = ("lenscat", "renew", source, "--out", tmp_path / "l.parquet")
    code, facts = equilens_json(*words, "--release", "9.9")
    assert (code, facts["n_rows"], facts["source_version"]) == (0, 1, "9.9")
    source.write_text("name,ra\nA,1\n")
    assert equilens(*words)[0] == 1


def test_challenge_score_by_hand(equilens_json, equilens, tmp_path):
    (tmp_path / "key.csv").write_text("ID,is_lens\na,1\nb,1\nc,0\nd,0\n")
    (tmp_path / "s.csv").write_text("a 3\nb 1\nc 2\nd 0\n")
    words = ("challenge", "score", tmp_path / "s.csv", "--truth", tmp_path / "key.csv")
    code, report = equilens_json(*words)
    assert code == 0
    # of four pairs, three are in order; one lens lies above every non-lens
    assert (report["auroc"], report["tpr0"], report["tpr10"]) == (0.75, 0.5, None)
    assert (report["n_lenses"], report["n_nonlenses"]) == (2, 2)
    assert set(report["intervals"]) >= {"auroc", "tpr0"}
    (tmp_path / "s.csv").write_text("a 3\nc 2\nd 0\n")
    assert equilens(*words)[0] == 1
    code, report = equilens_json(*words, "--missing-as-lowest")
    assert (code, report["auroc"], report["n_missing"]) == (0, 0.5, 1)


def test_challenge_score_of_a_real_network(equilens_json):
    data = os.environ.get("EQUILENS_DATA")
    if not data:
        pytest.skip("EQUILENS_DATA does not point to the real data")
    file = Path(data) / "challenge" / "ground" / "real_scores_2000.csv"
    words = ("challenge", "score", file, "--truth", file, "--score-column", "probs")
    code, report = equilens_json(*words)
    assert code == 0
    assert report["auroc"] == pytest.approx(0.91680892, abs=5e-9)
    assert report["tpr0"] == 0


def test_challenge_run_gives_the_rejected_the_lowest_score(equilens_json, space_files, made):
    words = ("challenge", "run", space_files / "challenge", "--set", "space")
    words = (*words, "--model", made / "untrained.safetensors", "--out", space_files / "out")
    code, summary = equilens_json(*words, "--truth", space_files / "key.csv")
    assert code == 3
    assert (summary["n_submitted"], summary["n_lowest"], summary["n_quarantined"]) == (6, 1, 1)
    assert (summary["n_lenses"], summary["n_nonlenses"]) == (3, 3)
    submission = read_submission(space_files / "out" / "submission.csv")
    scores = dict(zip(submission.ids, submission.scores, strict=True))
    assert set(scores) == {str(100001 + k) for k in range(6)}
    assert scores.pop("100006") < min(scores.values())
    rows = (space_files / "out" / "quarantine.csv").read_text().splitlines()
    assert len(rows) == 2
    assert rows[1].startswith("100006,")
    code, summary = equilens_json(*words, "--tolerance", "0.5")
    assert (code, "auroc" in summary) == (0, False)


def test_challenge_run_with_a_key_of_other_objects(equilens, space_files, made):
    words = ("challenge", "run", space_files / "challenge", "--set", "space")
    words = (*words, "--model", made / "untrained.safetensors", "--out", space_files / "out")
    with open(space_files / "key.csv", "a") as key:
        key.write("999999,1\n")
    code, _, err = equilens(*words, "--truth", space_files / "key.csv")
    assert code == 1
    assert "missing-as-lowest" in err
    words = (*words, "--truth", space_files / "key.csv", "--missing-as-lowest")
    assert equilens(*words)[0] == 3


def test_challenge_run_of_other_files_is_refused(equilens, space_files, made):
    words = ("challenge", "run", space_files / "challenge", "--set", "space", "--tolerance", "1")
    words = (*words, "--model", made / "untrained.safetensors", "--out", space_files / "out")
    assert equilens(*words)[0] == 0
    assert equilens(*words)[0] == 0
    other = shutil.copytree(space_files / "challenge", space_files / "other")
    next(other.rglob("*100001.fits")).unlink()
    code, _, err = equilens(*words[:2], other, *words[3:])
    assert code == 1
    assert "--replace" in err
    next((space_files / "challenge").rglob("*100001.fits")).unlink()
    assert equilens(*words)[0] == 1
    assert equilens(*words, "--replace")[0] == 0
    submission = read_submission(space_files / "out" / "submission.csv")
    assert sorted(submission.ids) == [str(100002 + k) for k in range(5)]


def test_challenge_run_without_a_network_reads_no_file(equilens, space_files):
    words = ("challenge", "run", space_files / "challenge", "--set", "space")
    code, _, err = equilens(*words, "--model", "no-such-network", "--out", space_files / "out")
    assert code == 2
    assert "no-such-network" in err
    assert not (space_files / "out").exists()


@pytest.fixture
def euclid_weights(tmp_path):
    spec = InputSpec(("VIS", "NIR_Y", "NIR_J", "NIR_H"), 0.1)
    path = tmp_path / "untrained.safetensors"
    return save_checkpoint(path, build_finder("d4-resnet-nano", spec), {})


def test_demo(equilens_json, tmp_path, euclid_weights):
    out = tmp_path / "demo"
    words = ("demo", "--out", out, "-n", "64", "--no-sky", "--model", euclid_weights)
    code, facts = equilens_json(*words)
    assert code == 0
    assert facts["n_objects"] == {"euclid": 12, "des": 23, "simulated": 64}
    assert facts["quarantined"] == {"truncated": 1, "all-nan": 1, "duplicate-id": 1}
    assert facts["n_candidates"] == 12
    assert set(facts["intervals"]) >= {"auroc", "tpr0", "tpr10"}
    for name in ("report.html", "candidates.vot", "metrics.json", "quarantine.csv"):
        assert (out / name).stat().st_size > 100
    table = Table.read(out / "candidates.fits")
    assert np.isfinite(table["h1_column_density"]).all()
    page = (out / "report.html").read_text()
    assert "duplicate-id" in page
    assert 'src="http' not in page
    counts = {s.store.survey_name: s.n_candidates for s in _samples(DemoFolder(out))[:2]}
    assert counts == {"euclid-mer": 12, "des-cube": None}
    shutil.rmtree(out / "stores" / "des.scores.zarr")
    stores = {p: p.stat().st_mtime_ns for p in (out / "stores").rglob("_manifest.json")}
    shutil.rmtree(out / "stores" / "des.zarr")
    code, again = equilens_json(*words)
    assert (code, again["metrics"]) == (0, facts["metrics"])
    for path, changed in stores.items():
        assert (path.stat().st_mtime_ns == changed) == ("des" not in path.parts[-2])
