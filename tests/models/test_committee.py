"""A committee is the mean of its members' logits, wherever it goes."""

import pytest
import safetensors.torch
import torch

from equilens.models import checkpoint
from equilens.models.checkpoint import load_checkpoint, save_checkpoint
from equilens.models.committee import MOST_MEMBERS, Committee
from equilens.models.equivariance_report import equivariance_report, finder_forms
from equilens.models.errors import ArchitectureError, CheckpointError
from equilens.models.export import export_finder, load_exported
from equilens.models.fold import FoldedFinder, fold
from equilens.models.inputs import InputSpec
from equilens.models.networks import build_finder
from equilens.models.random_weights import random_finder
from equilens.models.testing import random_inputs
from equilens.models.user_models import load_model

SPEC = InputSpec(("g", "r"), 0.2, (37, 37))
INPUTS = random_inputs(SPEC, 5)


@pytest.fixture(scope="module")
def committee():
    return Committee([random_finder("d4-resnet-nano", SPEC, seed) for seed in (1, 2)]).eval()


@pytest.fixture(scope="module")
def saved(committee, tmp_path_factory):
    path = tmp_path_factory.mktemp("committee") / "two.safetensors"
    return save_checkpoint(path, committee, {"name": "two"})


def test_the_score_is_the_mean_logit(committee):
    with torch.no_grad():
        each = [member(*INPUTS) for member in committee.members]
        members, score = committee.member_logits(*INPUTS), committee(*INPUTS)
    assert members.shape == (5, 2)
    torch.testing.assert_close(members, torch.stack(each, dim=1))
    torch.testing.assert_close(score, (each[0] + each[1]) / 2)
    # and so the log of the geometric mean of the odds
    odds = torch.exp(members).prod(dim=1).sqrt()
    torch.testing.assert_close(torch.exp(score), odds, rtol=1e-4, atol=0)
    assert members.std(dim=1).min() > 0.01


def test_saved_loaded_and_folded_it_scores_alike(committee, saved):
    loaded, metadata = load_checkpoint(saved)
    assert (metadata["members"], metadata["format"]) == (2, checkpoint.COMMITTEE_FORMAT)
    assert metadata["card"] == {"name": "two"}
    assert not loaded.training
    folded = fold(load_model(saved))
    assert all(isinstance(member, FoldedFinder) for member in folded.members)
    with torch.no_grad():
        wanted = committee.member_logits(*INPUTS)
        assert torch.equal(loaded.member_logits(*INPUTS), wanted)
        torch.testing.assert_close(folded.member_logits(*INPUTS), wanted, rtol=1e-4, atol=1e-4)


def test_a_single_finder_is_saved_as_ever(tmp_path):
    finder = build_finder("d4-resnet-nano", SPEC)
    path = save_checkpoint(tmp_path / "one.safetensors", finder, {})
    with safetensors.safe_open(path, framework="pt") as stored:
        assert stored.metadata()["format"] == checkpoint.FORMAT
        assert "members" not in stored.metadata()
        assert set(stored.keys()) == set(finder.state_dict())
    assert load_checkpoint(path)[1]["members"] == 1


def test_it_is_exported_whole(committee):
    exported = export_finder(committee, "torch")
    assert exported.verification.passed
    with torch.no_grad():
        found = load_exported(exported.data, "torch")(*INPUTS)
        torch.testing.assert_close(found, committee(*INPUTS), rtol=1e-4, atol=1e-4)


def test_it_is_as_invariant_as_its_members(committee):
    forms = finder_forms(committee, bfloat16=False)
    group = committee.architecture.group
    report = equivariance_report(forms, SPEC, group, INPUTS, architecture="d4-resnet-nano")
    assert report.passed


def test_members_must_be_equal(committee):
    with pytest.raises(ArchitectureError, match="2 to 32 members, got 1"):
        Committee(list(committee.members)[:1])
    other = build_finder("plain-resnet-nano", SPEC)
    with pytest.raises(ArchitectureError, match="member 1 is a plain-resnet-nano"):
        Committee([committee.members[0], other])
    elsewhere = build_finder("d4-resnet-nano", InputSpec(("g", "i"), 0.2, (37, 37)))
    with pytest.raises(ArchitectureError, match="must be equal"):
        Committee([committee.members[0], elsewhere])


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ("x", "damaged header"),
        ("1", "2 to 32"),
        (str(10**9), f"{MOST_MEMBERS} at most"),
        ("3", "fit"),
    ],
)
def test_a_lying_header_is_refused_before_anything_large_is_built(saved, tmp_path, members, told):
    with safetensors.safe_open(saved, framework="pt") as stored:
        header = stored.metadata() | {"members": members}
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    path = tmp_path / "lie.safetensors"
    safetensors.torch.save_file(tensors, path, header)
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(path)


def test_too_large_weights_are_not_written(committee, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "LARGEST_BYTES", 1000)
    with pytest.raises(CheckpointError, match="1000 at most: keep fewer members"):
        save_checkpoint(tmp_path / "large.safetensors", committee, {})
    assert not list(tmp_path.iterdir())
