"""Published networks, rebuilt: sizes, input scaling, eight views, the machinery of finders."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from equilens.models import InputSpec, build_finder, fold, load_checkpoint, save_checkpoint
from equilens.models.comparators import COMPARATORS, EightViews, GrowingDropout, epfl_final_side
from equilens.models.cost import blank_inputs
from equilens.models.errors import ArchitectureError, InputSpecError
from equilens.models.testing import random_inputs

SPACE = InputSpec(("VIS",), 0.1)
GROUND = InputSpec(("R", "I", "G", "U"), 0.2)
SMALL = InputSpec(("a", "b"), 0.2, (69, 69))
NAMES = sorted(COMPARATORS)


def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_epfl_has_the_published_number_of_parameters():
    finder = build_finder("epfl-baseline", SPACE)
    assert round(n_parameters(finder) / 1e6, 2) == 5.67
    convolutions = ((1, 16, 4), (16, 16, 3), (16, 32, 3), (32, 32, 3), (32, 64, 3), (64, 64, 3))
    convolutions += ((64, 128, 3), (128, 128, 3))
    expected = sum(a * b * k * k + b for a, b, k in convolutions)
    expected += 5 * 5 * 128 * 1024 + 1024 + 2 * (1024**2 + 1024) + 1025
    scales_and_norms = 2 * (16 + 32 + 64) + 2 * (16 + 32 + 64 + 128 + 1024)
    assert n_parameters(finder) == expected + scales_and_norms
    assert n_parameters(build_finder("epfl-baseline", GROUND)) == (
        expected + scales_and_norms + 3 * 16 * 16
    )


def test_epfl_shrinks_as_published():
    finder = build_finder("epfl-baseline", SPACE).eval()
    x = torch.randn(1, 1, 101, 101)
    sides = [len((x := part(x))[0, 0]) for part in (finder.stem, *finder.stages)]
    assert sides == [48, 22, 9, 5]
    assert epfl_final_side(101) == 5
    assert epfl_final_side(69) == 1
    with pytest.raises(InputSpecError, match="at least 59 pixels"):
        build_finder("epfl-baseline", InputSpec(("a",), 0.1, (57, 57)))


def test_cmu_has_five_stages_of_three_bottlenecks():
    finder = build_finder("cmu-deeplens", GROUND).eval()
    x = torch.randn(1, 4, 101, 101)
    shapes = [tuple((x := part(x)).shape[1:]) for part in (finder.stem, *finder.stages)]
    widths, sides = (32, 32, 64, 128, 256, 512), (101, 101, 51, 26, 13, 7)
    assert shapes == [(w, s, s) for w, s in zip(widths, sides, strict=True)]
    assert [len(stage) for stage in finder.stages] == [3] * 5
    count, previous = 4 * 32 * 49 + 64 + 512 + 1, 32
    for wide in widths[1:]:
        narrow = wide // 2
        for block in range(3):
            inputs = previous if block == 0 else wide
            count += inputs * narrow + 9 * narrow**2 + narrow * wide + wide + 4 * narrow
            count += inputs * wide + wide if inputs != wide else 0
        entries = [previous, wide, wide] if previous != wide or wide > 32 else [wide, wide]
        count += 2 * sum(entries)
        previous = wide
    assert n_parameters(finder) == count


def test_the_activation_keeps_mean_0_and_variance_1():
    finder = build_finder("epfl-baseline", SPACE)
    values = finder.stem[1](torch.randn(200_000, generator=torch.Generator().manual_seed(1)))
    assert abs(values.mean()) < 0.01
    assert values.std() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("name", "spec", "expected"),
    [
        # flux in the challenge's unit, by the published constants
        ("epfl-baseline", SPACE, lambda flux: (flux - 4.337e-13) / 5.504e-12),
        ("epfl-baseline", GROUND, lambda flux: (flux - 1.685e-12) / 5.122e-11),
        ("cmu-deeplens", SPACE, lambda flux: flux.clamp(-1e-9, 1e-9) / 1e-9 * 100),
        ("cmu-deeplens", GROUND, lambda flux: flux.clamp(-1e-9, 1e-9) / 1e-9 * 100),
    ],
)
def test_at_the_challenge_s_depth_inputs_are_the_published_ones(name, spec, expected):
    noise = torch.tensor([[1.56e-12, 3.19e-12, 1.27e-12, 2.03e-12]])
    if spec is SPACE:
        noise = torch.tensor([[7.9e-13]])
    generator = torch.Generator().manual_seed(3)
    flux = torch.randn(1, spec.n_bands, 101, 101, generator=generator).double() * 8e-10
    nanojansky = 3.631e12
    finder = build_finder(name, spec)
    _, _, mask, present = blank_inputs(spec, 1)
    found = finder.normalizer(flux * nanojansky, noise.double() * nanojansky, mask, present)
    torch.testing.assert_close(found, expected(flux), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_bad_pixels_and_missing_bands_have_no_flux(name):
    finder = build_finder(name, SMALL).eval()
    images, noise, mask, present = random_inputs(SMALL, 3)
    mask[0, :, 10:20], present[1, 1], noise[2, 0] = True, False, torch.nan
    spoilt = images.clone()
    spoilt[0, :, 10:20], spoilt[1, 1], spoilt[2, 0] = torch.nan, 1e9, -1e9
    with torch.no_grad():
        logits = finder(spoilt, noise, mask, present)
        assert torch.equal(logits, finder(images, noise, mask, present))
        scaled = finder(images * 7, noise * 7, mask, present)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(scaled, logits, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputSpecError, match="images must have shape"):
        finder(images[:, :1], noise, mask, present)


@pytest.mark.parametrize("name", NAMES)
def test_eight_views_are_invariant_and_one_is_not(name):
    spec = SMALL if name == "epfl-baseline" else replace(SMALL, shape=(37, 37))
    finder = fold(build_finder(name, spec, seed=2).eval())
    images, noise, mask, present = random_inputs(spec, 3)
    turned = (torch.rot90(images, 1, (-2, -1)), noise, torch.rot90(mask, 1, (-2, -1)), present)
    with torch.no_grad():
        one, other = (finder(*x) for x in ((images, noise, mask, present), turned))
        assert (one - other).abs().max() > 1e-3
        both = [EightViews(finder)(*x) for x in ((images, noise, mask, present), turned)]
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-4)


def test_eight_views_are_the_product_of_probabilities():
    class Fixed(nn.Module):
        spec = SMALL

        def forward(self, images, noise, mask, band_present):
            return images[:, 0, 0, 0]

    images, noise, mask, present = blank_inputs(SMALL, 4)
    images += torch.tensor([-30.0, -1.0, 2.0, 60.0])[:, None, None, None]
    found = EightViews(Fixed())(images, noise, mask, present)
    product = torch.sigmoid(torch.tensor([-30.0, -1.0, 2.0]).double()) ** 8
    torch.testing.assert_close(found[:3], torch.logit(product))
    assert found[3] == pytest.approx(60 - math.log(8))
    oblong = replace(SMALL, shape=(69, 71))
    with pytest.raises(InputSpecError, match="square"):
        EightViews(build_finder("cmu-deeplens", oblong))


def test_dropout_grows_with_training_and_its_age_is_saved():
    layer = GrowingDropout()
    ones = torch.ones(100_000)
    assert torch.equal(layer(ones), ones)
    layer.steps.fill_(2000)
    assert (layer(ones) == 0).float().mean() == pytest.approx(0.25, abs=0.01)
    assert layer.state_dict()["steps"] == 2001
    assert torch.equal(layer.eval()(ones), ones)


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_and_folding_treat_them_like_finders(name, tmp_path):
    finder = build_finder(name, SMALL, seed=4)
    inputs = random_inputs(SMALL, 3)
    finder.train()(*inputs)  # moves the batch statistics
    finder.eval()
    path = save_checkpoint(tmp_path / "c.safetensors", finder, {"name": "x"})
    loaded, metadata = load_checkpoint(path)
    assert metadata["architecture"] == name
    with torch.no_grad():
        logits = finder(*inputs)
        assert torch.equal(loaded(*inputs), logits)
        torch.testing.assert_close(fold(loaded)(*inputs), logits, rtol=1e-4, atol=1e-4)
    assert logits.std() > 1e-3


def test_names_are_known_and_tell_what_differs():
    with pytest.raises(ArchitectureError, match="epfl-baseline"):
        build_finder("lastro", SMALL)
    for entry in COMPARATORS.values():
        assert "arXiv" in entry.source
        assert len(entry.differs) >= 4
