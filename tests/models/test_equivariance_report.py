"""The equivariance report passes what is symmetric, and nothing else."""

import pytest
import torch
from torch import nn

from equilens.models import ARCHITECTURES, InputSpec, build_finder
from equilens.models.continuous_groups import O2, SO2
from equilens.models.equivariance_report import (
    BFLOAT16,
    CONTROL,
    FLOAT32,
    Form,
    equivariance_report,
    finder_forms,
    plain_twin,
)
from equilens.models.errors import EquivarianceError
from equilens.models.groups import CyclicGroup, DihedralGroup
from equilens.models.random_weights import random_finder
from equilens.models.sky_moves import Move, moves
from equilens.models.testing import random_inputs

SPEC = InputSpec(("g", "r"), 0.2, (37, 37))
N = 4


@pytest.fixture(scope="module")
def inputs():
    return random_inputs(SPEC, N, seed=1)


def rows_of(report):
    return {row.move: row for row in report.rows}


def radial(images, noise, mask, band_present):
    """A score that sees radii alone: invariant under everything, by hand."""
    side = images.shape[-1]
    axis = torch.arange(side) - (side - 1) / 2
    ring = torch.exp(-(torch.hypot(axis[:, None], axis) - 6).square() / 8)
    known = images.masked_fill(mask, 0).nan_to_num() / noise.nan_to_num(1.0)[..., None, None]
    return (known * ring).double().mean(dim=(1, 2, 3)).float()


def lopsided(images, noise, mask, band_present):
    """A score that knows left from right, and not up from down."""
    columns = torch.linspace(-1, 1, images.shape[-1])
    return (images.masked_fill(mask, 0) * columns).mean(dim=(1, 2, 3))


def test_moves_and_the_groups_that_hold_them():
    by_name = {move.name: move for move in moves((33, 33))}
    assert list(by_name) == [
        *("90°", "180°", "270°", "mirror", "mirror 90°", "mirror 180°", "mirror 270°"),
        *("45°", "22.5°"),
    ]
    assert [move.name for move in moves((33, 47))] == [
        "180°",
        "mirror",
        "mirror 180°",
        *("45°", "22.5°"),
    ]
    held = {
        group.name: {name for name, move in by_name.items() if move.belongs_to(group)}
        for group in (CyclicGroup(1), CyclicGroup(2), CyclicGroup(8), DihedralGroup(4), SO2(), O2())
    }
    assert held["C1"] == set()
    assert held["C2"] == {"180°"}
    assert held["C8"] == {"90°", "180°", "270°", "45°"}
    assert held["D4"] == set(by_name) - {"45°", "22.5°"}
    assert held["SO2"] == {name for name in by_name if "mirror" not in name}
    assert held["O2"] == set(by_name)
    assert Move(90.0, True).name == "mirror 90°"


def test_a_radial_score_passes_every_move_even_between_pixels(inputs):
    report = equivariance_report([Form("radial", radial, FLOAT32)], SPEC, O2(), inputs)
    assert report.passed
    assert all(row.claimed and row.passed and row.n == N for row in report.rows)
    assert rows_of(report)["45°"].errors["radial"] < 0.05
    assert rows_of(report)["90°"].errors[CONTROL] > 0.1


def test_what_breaks_is_named_with_its_worst_object(inputs):
    report = equivariance_report(
        [Form("lopsided", lopsided, FLOAT32)], SPEC, CyclicGroup(1), inputs
    )
    assert (report.group, report.passed) == ("D4", False)
    kept = {row.move for row in report.rows if row.passed and row.claimed}
    # y → −y leaves columns alone
    assert kept == {"mirror"}
    assert report.verdict.startswith("FAILED: not invariant under D4: 90°, 180°, 270°, mirror 90°")
    before, after = (
        lopsided(*x) for x in (inputs, [v.flip(3) if v.ndim == 4 else v for v in inputs])
    )
    assert rows_of(report)["mirror 180°"].worst_object == int((after - before).abs().argmax())


@pytest.mark.parametrize("name", ["d4-resnet-nano", "d4-convnext-nano", "c8-resnet-nano"])
def test_symmetric_finders_pass_in_every_form(name, inputs):
    finder = random_finder(name, SPEC)
    told = []
    report = equivariance_report(
        finder_forms(finder),
        SPEC,
        finder.architecture.group,
        inputs,
        architecture=name,
        progress=told.append,
    )
    assert report.passed, report
    assert report.control == plain_twin(name) == name.replace(name.split("-")[0], "plain")
    assert sum(told) == len(report.rows) == 9
    assert report.tolerances["folded bf16"] == BFLOAT16
    row = rows_of(report)["90°"]
    assert set(row.errors) == {"finder", "folded", "finder bf16", "folded bf16", CONTROL}
    # rounding of 8 bits is seen, and is no more than that
    assert row.errors["finder"] < 1e-4 < row.errors[CONTROL]
    assert rows_of(report)["45°"].claimed == (name == "c8-resnet-nano")
    assert "passed: invariant under" in report.verdict


def test_a_plain_finder_and_a_spoilt_one_fail(inputs):
    plain = random_finder("plain-resnet-nano", SPEC)
    forms = finder_forms(plain, bfloat16=False)
    assert not equivariance_report(forms, SPEC, CyclicGroup(1), inputs).passed
    finder = random_finder("d4-resnet-nano", SPEC)
    finder.stem[0].conv = Spoilt(finder.stem[0].conv)
    report = equivariance_report([Form("spoilt", finder, FLOAT32)], SPEC, DihedralGroup(4), inputs)
    assert not report.passed


class Spoilt(nn.Module):
    """A convolution whose output is off by a thousandth, left of the centre."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, features):
        out = self.inner(features)
        slope = torch.linspace(-1e-3, 1e-3, out.shape[-1])
        return out * (1 + slope.clamp(max=0))


def test_scores_that_are_no_numbers_never_pass(inputs):
    report = equivariance_report(
        [Form("nan", lambda *x: radial(*x) * torch.nan, FLOAT32)], SPEC, DihedralGroup(4), inputs
    )
    assert not report.passed


def test_cutouts_that_cannot_tell_are_no_pass():
    """Round cutouts look the same after any move: even the control passes on them."""
    axis = torch.arange(37.0) - 18
    blob = torch.exp(-torch.hypot(axis[:, None], axis).square() / 50)
    images = blob * torch.arange(1.0, N + 1)[:, None, None, None].expand(N, 2, 1, 1)
    nowhere = torch.zeros(images.shape, dtype=torch.bool)
    round_ones = (images, torch.ones(N, 2), nowhere, torch.ones(N, 2, dtype=torch.bool))
    brightness = Form("sum", lambda images, *rest: images.double().sum(dim=(1, 2, 3)), FLOAT32)
    report = equivariance_report([brightness], SPEC, CyclicGroup(2), round_ones)
    assert rows_of(report)["180°"].passed
    assert not report.passed
    assert report.verdict.startswith("INCONCLUSIVE")


def test_one_object_has_no_spread(inputs):
    alone = tuple(x[:1] for x in inputs)
    with pytest.raises(EquivarianceError, match="two objects or more; got 1"):
        equivariance_report([Form("radial", radial, FLOAT32)], SPEC, DihedralGroup(4), alone)


@pytest.mark.parametrize("name", ["d4-resnet-nano", "plain-convnext-nano"])
def test_random_weights_leave_no_branch_silent(name):
    finder = random_finder(name, SPEC, seed=2)
    fresh = build_finder(name, SPEC, seed=2)
    assert finder.state_dict().keys() == fresh.state_dict().keys()
    assert not finder.training
    constant = [
        key
        for key, value in finder.named_parameters()
        if value.numel() > 1 and bool((value == value.flatten()[0]).all())
    ]
    assert not constant
    with torch.no_grad():
        logits = finder(*random_inputs(SPEC, 16, seed=2))
    assert abs(float(logits.mean())) < 1e-3
    assert abs(float(logits.std()) - 1) < 1e-3
    again = random_finder(name, SPEC, seed=2).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in finder.state_dict().items())


def test_twins_exist():
    assert plain_twin("d4-resnet-small") == "plain-resnet-small"
    assert plain_twin("onnx") is None
    assert all(
        plain_twin(name) is None or plain_twin(name) in ARCHITECTURES for name in ARCHITECTURES
    )
