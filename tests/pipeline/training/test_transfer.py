"""What one survey taught comes over to another by band, and what is random is never frozen."""

import json

import pytest
import torch

from equilens.models.checkpoint import load_checkpoint, save_checkpoint
from equilens.models.inputs import InputSpec
from equilens.models.networks import build_finder
from equilens.models.testing import random_inputs
from equilens.pipeline.errors import TrainingError
from equilens.pipeline.network_inputs import store_spec
from equilens.pipeline.toy import toy_cutouts, write_toy_store
from equilens.pipeline.training import TrainConfig, WarmStart, other_training, train
from equilens.pipeline.training.data import TrainingSet
from equilens.pipeline.training.transfer import blend_with_base, channel_bands, inherit

SHORT = TrainConfig(images_seen=48, batch_size=24, validation_fraction=0.3, validations=1)


def weights(folder, bands, generic, architecture="d4-resnet-nano", seed=5):
    spec = InputSpec(bands, 0.1, (37, 37))
    finder = build_finder(architecture, spec, seed)
    nothing = dict.fromkeys(bands)
    domain = {"bands": bands, "generic": generic, "pixel_scale_arcsec": 0.1}
    domain |= {"psf_fwhm_arcsec": nothing, "noise_njy": nothing, "max_missing_bands": 0}
    path = folder / f"{'-'.join(bands)}.safetensors"
    save_checkpoint(path, finder, {"training_domain": domain})
    return path, finder.eval()


def new(bands, architecture="d4-resnet-nano"):
    return build_finder(architecture, InputSpec(bands, 0.2, (37, 37)), seed=9)


def test_equal_bands_bring_every_tensor(tmp_path):
    path, base = weights(tmp_path, ("MY_g", "MY_r"), ("g", "r"))
    finder = new(("G", "R"))
    told = inherit(finder, WarmStart(path), ("g", "r"))
    assert (told.fresh, told.partly_fresh) == ((), ())
    assert told.bands == {"G": "MY_g", "R": "MY_r"}
    for name, tensor in base.state_dict().items():
        assert torch.equal(finder.state_dict()[name], tensor), name


@pytest.mark.parametrize("architecture", ["d4-resnet-nano", "c8-resnet-nano", "d4-convnext-nano"])
def test_swapped_bands_give_the_scores_of_swapped_cutouts(tmp_path, architecture):
    path, base = weights(tmp_path, ("g", "r", "i"), ("g", "r", "i"), architecture)
    finder = new(("i", "g", "r"), architecture).eval()
    assert inherit(finder, WarmStart(path), ("i", "g", "r")).partly_fresh == ()
    inputs = random_inputs(base.spec, 4)
    with torch.no_grad():
        swapped = finder(*(values[:, [2, 0, 1]] for values in inputs))
        torch.testing.assert_close(swapped, base(*inputs), rtol=1e-4, atol=1e-5)
        # negative control: the order matters
        assert not torch.allclose(finder(*inputs), base(*inputs), rtol=1e-2)


def test_new_bands_start_fresh_and_known_ones_do_not(tmp_path):
    path, base = weights(tmp_path, ("g", "r"), ("g", "r"))
    finder, before = new(("r", "z", "g")), new(("r", "z", "g"))
    told = inherit(finder, WarmStart(path), ("r", "z", "g"))
    assert told.bands == {"r": "r", "z": None, "g": "g"}
    assert told.fresh == ()
    (name,) = told.partly_fresh
    assert name.startswith("stem.")
    mine, theirs, random = (n.state_dict()[name] for n in (finder, base, before))
    for kind in range(3):
        assert torch.equal(mine[:, 3 * kind], theirs[:, 2 * kind + 1])
        assert torch.equal(mine[:, 3 * kind + 1], random[:, 3 * kind + 1])
        assert torch.equal(mine[:, 3 * kind + 2], theirs[:, 2 * kind])
    head = next(key for key in mine_keys(finder) if key.startswith("head."))
    assert torch.equal(finder.state_dict()[head], base.state_dict()[head])


def mine_keys(finder):
    return [key for key, tensor in finder.state_dict().items() if tensor.numel() > 1]


def test_channels_know_their_bands():
    keys = channel_bands(new(("a", "b")), ("g", "r"))
    assert len(keys) == new(("a", "b")).spec.n_channels
    g, r = frozenset("g"), frozenset("r")
    assert set(keys) >= {(g, 0), (r, 0)}
    assert len(set(keys)) == len(keys)


def test_what_can_not_come_over_is_refused(tmp_path):
    path, _ = weights(tmp_path, ("VIS",), ("VIS",))
    with pytest.raises(TrainingError, match=r"none of the bands g, r.*trained on VIS"):
        inherit(new(("g", "r")), WarmStart(path), ("g", "r"))
    with pytest.raises(TrainingError, match="--architecture d4-resnet-nano"):
        inherit(new(("VIS",), "plain-resnet-nano"), WarmStart(path), ("VIS",))
    with pytest.raises(TrainingError, match="what is random must not be frozen"):
        inherit(new(("VIS", "J")), WarmStart(path, "stem"), ("VIS", "J"))
    with pytest.raises(TrainingError, match="freeze must be one of none, stem, stages"):
        WarmStart(path, "head")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "toy.zarr"
    write_toy_store(path, toy_cutouts(80, bands=1, side=37))
    return path


def new_of(store):
    data = TrainingSet.of([store], SHORT)
    return build_finder("d4-resnet-nano", store_spec(data.first))


@pytest.mark.parametrize("freeze", ["none", "stages"])
def test_frozen_parts_stay_bit_for_bit(store, tmp_path, freeze):
    path, base = weights(tmp_path, ("a",), ("a",))
    report = train([store], tmp_path / "out", config=SHORT, start=WarmStart(path, freeze))
    tuned = load_checkpoint(report.weights)[0].state_dict()
    frozen = WarmStart(path, freeze).frozen
    changed = {
        key.split(".")[0]
        for key, tensor in base.state_dict().items()
        if (tuned[key] != tensor).any()
    }
    assert not changed & set(frozen)
    assert changed == {"stem", "stages", "head"} - set(frozen)
    assert all(torch.isfinite(tensor).all() for tensor in tuned.values())


def test_the_base_is_part_of_identity_card_and_report(store, tmp_path):
    path, _ = weights(tmp_path, ("a",), ("a",))
    out, start = tmp_path / "out", WarmStart(path)
    report = train([store], out, config=SHORT, start=start)
    asked = {"architecture": "d4-resnet-nano", "field_px": None, "config": SHORT, "name": None}
    sha256 = start.identity()["sha256"]
    assert other_training(report.weights, [store], **asked, start=start) == []
    assert "start" in other_training(report.weights, [store], **asked)[0]
    (differing,) = other_training(report.weights, [store], **asked, start=WarmStart(path, "stem"))
    assert "start.freeze" in differing
    assert json.loads((out / "report.json").read_text())["inherited"]["sha256"] == sha256
    assert sha256 in (out / "card.md").read_text()
    # what the base has seen is not forgotten, over any number of steps
    again = inherit(new_of(store), WarmStart(report.weights), ("a",))
    assert again.data == tuple(report.card["data"])


def test_a_blend_lies_between_the_base_and_the_training(tmp_path):
    path, _ = weights(tmp_path, ("g", "r"), ("g", "r"))
    start, bands = WarmStart(path, blend=0.25), ("r", "g")
    begun, trained, kept = new(bands), new(bands), new(bands)
    inherit(begun, start, bands)
    blend_with_base(kept, start, bands)
    for name, tensor in kept.state_dict().items():
        if tensor.is_floating_point():
            wanted = 0.75 * trained.state_dict()[name] + 0.25 * begun.state_dict()[name]
            torch.testing.assert_close(tensor, wanted)
    # negative control: without a share, nothing moves
    blend_with_base(trained, WarmStart(path), bands)
    assert torch.equal(trained.state_dict()[name], new(bands).state_dict()[name])


def test_a_blend_needs_every_tensor_of_the_base(tmp_path):
    path, _ = weights(tmp_path, ("g", "r"), ("g", "r"))
    with pytest.raises(TrainingError, match="nothing to be blended with"):
        inherit(new(("g", "z")), WarmStart(path, blend=0.5), ("g", "z"))
    with pytest.raises(TrainingError, match=r"share in \[0, 1\)"):
        WarmStart(path, blend=1.0)
