"""`equilens challenge` from files to figures and weights; synthetic files of official layouts."""

import json
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from astropy.io import fits

from equilens.models import InputSpec, build_finder, save_checkpoint
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.surveys import registry
from equilens.tasks.commands import challenge

FACTORIES = {"bologna2": "bologna2", "bologna2-vis": "bologna2_vis", "bologna2-nir": "bologna2_nir"}


@pytest.fixture
def registered(monkeypatch):
    """Surveys of challenge 2.0 by name, whether or not this install lists them."""
    module = "equilens.pipeline.surveys.bologna2"
    own = [
        EntryPoint(name, f"{module}:{function}", registry.GROUP)
        for name, function in FACTORIES.items()
    ]
    known = [p for p in registry.entry_points(group=registry.GROUP) if p.name not in FACTORIES]
    monkeypatch.setattr(registry, "entry_points", lambda group: (*known, *own))


def write_cutout(path, seed, bright, side=101, sigma=8e-13):
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:side, :side] - side // 2
    pixels = np.random.default_rng(seed).normal(0, sigma, (side, side))
    pixels += sigma * 20 * np.exp(-(x**2 + y**2) / 40)
    pixels += bright * sigma * 10 * np.exp(-((np.hypot(x, y) - 15) ** 2) / 8)
    fits.writeto(path, pixels.astype(">f4"))


@pytest.fixture
def training_set(tmp_path):
    """40 objects of the space set; the key has one more, and lacks one."""
    rows = []
    for k in range(40):
        write_cutout(tmp_path / f"set/Public/Band1/imageEUC_VIS-{100000 + k}.fits", k, k % 2)
        rows.append(f"{100000 + k},{k % 2},7.38e-11,{60 * (k % 2)},{90.0 * (k % 2)}")
    rows[5] = "100999,1,7.38e-11,5,9.0"
    header = "ID,is_lens,Einstein_area,numb_pix_lensed_image,flux_lensed_image_in_sigma"
    (tmp_path / "key.csv").write_text("\n".join([header, *rows]) + "\n")
    return tmp_path


def test_sets_are_those_of_the_pipeline():
    from equilens.pipeline.challenge import SURVEYS

    assert tuple(SURVEYS) == challenge.SETS


def test_help_says_what_is_untried(equilens, capsys):
    with pytest.raises(SystemExit):
        equilens("challenge", "run", "--help")
    assert "UNTRIED" in capsys.readouterr().out


def test_train_on_the_official_training_set(equilens_json, equilens, training_set):
    words = ("challenge", "train", training_set / "set", "--set", "space")
    words = (*words, "--key", training_set / "key.csv", "--out", training_set / "out")
    words = (*words, "--batch-size", "8", "--images-seen")
    assert equilens(*words, "many")[0] == 2
    assert not (training_set / "out").exists(), "wrong words are told before a file is read"
    code, facts = equilens_json(*words, "16", "--tolerance", "0.1")
    assert (code, facts["made_now"], facts["images_seen"] >= 16) == (0, True, True)
    assert facts["cutouts"]["by_rule"] == {"no-key-row": 1, "missing-image": 1}
    labels = CutoutStore(training_set / "out" / "cutouts.zarr").table()["is_lens"].to_pylist()
    assert (len(labels), sum(labels)) == (39, 19)
    assert equilens_json(*words, "16", "--tolerance", "0.1")[1]["made_now"] is False
    assert equilens(*words, "16", "--tolerance", "0.04")[0] == 3, "2 of 41 were rejected"


def test_other_labels_are_another_training_set(equilens, training_set):
    words = ("challenge", "train", training_set / "set", "--set", "space", "--tolerance", "1")
    words = (*words, "--key", training_set / "key.csv", "--out", training_set / "out")
    words = (*words, "--batch-size", "8", "--images-seen", "16")
    assert equilens(*words)[0] == 0
    text = (training_set / "key.csv").read_text()
    (training_set / "key.csv").write_text(text.replace("100001,1,", "100001,0,"))
    code, _, err = equilens(*words)
    assert code == 1
    assert "--replace" in err


def test_run_lists_what_key_and_images_lack(equilens, training_set, made):
    words = ("challenge", "run", training_set / "set", "--set", "space", "--tolerance", "0.1")
    words = (*words, "--model", made / "untrained.safetensors", "--out", training_set / "out")
    # one quantity is one plot: the rest of the key is read elsewhere
    rows = [line.split(",")[:3] for line in (training_set / "key.csv").read_text().splitlines()]
    (training_set / "key.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    words = (*words, "--truth", training_set / "key.csv", "--missing-as-lowest")
    code, out, _ = equilens(*words)
    summary = json.loads((training_set / "out" / "summary.json").read_text())
    assert (code, summary["n_quarantined"], summary["n_missing"]) == (0, 1, 1)
    assert (summary["key"]["without_image"], summary["key"]["without_row"]) == (
        ["100999"],
        ["100005"],
    )
    assert "100999,,missing-image" in (training_set / "out" / "quarantine.csv").read_text()
    assert [curve["quantity"] for curve in summary["curves"]] == ["einstein_radius_arcsec"]
    assert "1 objects of the key have no image (such as 100999)" in out
    assert "A place counts only on the challenge's own test objects" in out
    assert (training_set / "out" / "ranking.png").exists()


def test_run_on_challenge_2(equilens, tmp_path, registered):
    for k in range(4):
        for band, side, sigma in (("VIS", 200, 8e-13), *((b, 66, 2e-11) for b in "JYH")):
            path = tmp_path / f"set/Public/EUC_{band}/imageEUC_{band}-{200000 + k}.fits"
            write_cutout(path, 10 * k + side + ord(band[0]), k % 2, side, sigma)
    path.unlink()
    spec = InputSpec(("VIS", "J", "Y", "H"), 0.1, (197, 197), field_px=101)
    weights = save_checkpoint(tmp_path / "w.safetensors", build_finder("d4-resnet-nano", spec), {})
    words = ("challenge", "run", tmp_path / "set", "--set", "2.0", "--out", tmp_path / "out")
    code, _, err = equilens(*words)
    assert code == 2
    assert "challenge train" in err
    code, _, err = equilens(*words, "--model", weights, "--tolerance", "0.5")
    assert code == 0
    assert "never tried on its real files" in err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["n_submitted"], summary["n_lowest"], summary["n_quarantined"]) == (4, 1, 1)
    assert "never tried" in summary["untried"]
    lines = (tmp_path / "out" / "submission.csv").read_text().splitlines()
    assert all(line.startswith("20000") and line.count(",") == 1 for line in lines)
    store = CutoutStore(tmp_path / "out" / "cutouts.zarr")
    assert (store.band_names, store.shape) == (("VIS", "J", "Y", "H"), (197, 197))


def test_run_says_when_the_network_was_trained_on_these_images(
    equilens, training_set, made, monkeypatch
):
    words = ("challenge", "run", training_set / "set", "--set", "space", "--tolerance", "0.1")
    words = (*words, "--model", made / "untrained.safetensors", "--out", training_set / "out")
    said = "the network was trained on these cutouts"
    assert said not in "".join(map(str, equilens(*words)))
    monkeypatch.setattr("equilens.pipeline.scores.ScoreStore.seen_in_training", True)
    assert said in "".join(map(str, equilens(*words)))
