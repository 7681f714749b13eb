"""The input specification and the normaliser."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilens.models.cost import blank_inputs
from equilens.models.errors import InputSpecError
from equilens.models.inputs import CutoutNormalizer, InputSpec, stretch, working_side
from equilens.models.testing import random_inputs

SPEC = InputSpec(("VIS", "Y"), 0.1)


@given(st.integers(16, 200).map(lambda half: 2 * half + 1))
def test_working_side_samples_symmetrically_and_loses_no_more_than_two_pixels(side):
    working = working_side(side)
    assert working % 16 == 5
    assert -4 <= working - side < 16
    if side in (91, 101, 119):
        assert working == {91: 101, 101: 101, 119: 117}[side]


def test_specs_are_checked_and_survive_json():
    assert InputSpec.from_dict(SPEC.to_dict()) == SPEC
    assert (SPEC.n_bands, SPEC.n_channels, SPEC.working_side) == (2, 6, 101)
    for values, message in [
        ({"shape": (100, 101)}, "odd numbers ≥ 33, got"),
        ({"shape": (31, 31)}, "odd numbers ≥ 33, got"),
        ({"bands": ()}, "at least one"),
        ({"bands": ("g", "g")}, "distinct"),
        ({"pixel_scale_arcsec": 0.0}, "must be positive, got 0.0"),
        ({"sky_limit": float("nan")}, "must be positive, got nan"),
        ({"colour": "red"}, "unknown keys.*colour"),
    ]:
        with pytest.raises(InputSpecError, match=message):
            InputSpec.from_dict(SPEC.to_dict() | values)
    with pytest.raises(InputSpecError, match=r"lacks.*bands"):
        InputSpec.from_dict({"pixel_scale_arcsec": 0.1})


def test_stretch_is_asinh():
    values = torch.linspace(-100, 100, 2001)
    assert torch.allclose(stretch(values), torch.asinh(values), atol=2e-6)
    assert torch.equal(stretch(-values), -stretch(values))
    assert torch.isfinite(stretch(torch.tensor([3e38, -3e38]))).all()


def test_channels_are_faint_bright_and_validity():
    images, noise, mask, present = blank_inputs(SPEC, 1)
    images[0, 1, 50, 50], noise[0, 1] = 8.0, 0.5
    mask[0, 0, 10, 20] = True
    channels = CutoutNormalizer(SPEC)(images, noise, mask, present)
    assert channels.shape == (1, 6, 101, 101)
    peak = torch.tensor([16 / 2.0, 16 / 40.0]).asinh()
    assert torch.allclose(channels[0, [1, 3], 50, 50], peak, atol=1e-5)
    assert channels[0, 4, 10, 20] == 0
    assert channels[0, 4:].sum() == 2 * 101**2 - 1


def test_flux_unit_and_sky_do_not_matter():
    images, noise, mask, present = random_inputs(SPEC, 4)
    normalize = CutoutNormalizer(SPEC)
    base = normalize(images, noise, mask, present)
    scaled = normalize(images * 1e3, noise * 1e3, mask, present)
    assert torch.allclose(base, scaled, atol=1e-4)
    lifted = images + 0.5 * noise.nan_to_num()[..., None, None]
    assert torch.allclose(base, normalize(lifted, noise, mask, present), atol=1e-4)


def test_a_large_galaxy_is_not_taken_for_sky():
    images, noise, mask, present = blank_inputs(SPEC, 1)
    faint = CutoutNormalizer(SPEC)(images + 100.0, noise, mask, present)[:, :2]
    assert torch.allclose(faint, torch.tensor(97 / 2.0).asinh())


def test_nothing_under_a_mask_reaches_the_network():
    images, noise, mask, present = random_inputs(SPEC, 4)
    normalize = CutoutNormalizer(SPEC)
    clean = normalize(images, noise, mask, present)
    for poison in (1e6, torch.nan, torch.inf):
        assert torch.equal(normalize(images.masked_fill(mask, poison), noise, mask, present), clean)


@pytest.mark.parametrize("noise_value", [0.0, -1.0, torch.nan, torch.inf])
def test_a_band_without_usable_noise_counts_as_missing(noise_value):
    images, noise, mask, present = random_inputs(SPEC, 3, seed=2)
    normalize = CutoutNormalizer(SPEC)
    noise[1, 1] = noise_value
    channels = normalize(images, noise, mask, present)
    assert torch.isfinite(channels).all()
    assert (channels[1, 1::2] == 0).all()
    present[1, 1] = False
    assert torch.equal(channels, normalize(images, noise, mask, present))


def test_a_missing_band_differs_from_empty_sky():
    images, noise, mask, present = blank_inputs(SPEC, 2)
    present[1, 0] = False
    channels = CutoutNormalizer(SPEC)(images, noise, mask, present)
    assert not torch.equal(channels[0], channels[1])


@pytest.mark.parametrize(("shape", "side"), [((91, 91), 101), ((119, 119), 117), ((61, 91), 101)])
def test_any_odd_shape_is_centred_on_the_working_square(shape, side):
    spec = InputSpec(("g",), 0.2, shape)
    images, noise, mask, present = blank_inputs(spec, 1)
    images[0, 0, shape[0] // 2, shape[1] // 2] = 50.0
    channels = CutoutNormalizer(spec)(images, noise, mask, present)
    assert channels.shape == (1, 3, side, side)
    assert channels[0, 0].argmax() == side * side // 2
    valid = min(shape[0], side) * min(shape[1], side)
    assert channels[0, 2].sum() == valid


def test_other_images_than_specified_are_refused():
    images, noise, mask, present = blank_inputs(InputSpec(("VIS",), 0.1), 1)
    with pytest.raises(InputSpecError, match=r"\(N, 2, 101, 101\) for bands"):
        CutoutNormalizer(SPEC)(images, noise, mask, present)


def test_a_field_is_the_central_square_with_the_sky_of_the_whole_cutout():
    spec = InputSpec(("VIS", "Y"), 0.1, field_px=69)
    whole, inner = CutoutNormalizer(SPEC), CutoutNormalizer(spec)
    inputs = random_inputs(SPEC, 2, seed=3)
    assert spec.working_side == 69
    assert torch.equal(inner(*inputs), whole(*inputs)[..., 16:85, 16:85])
    with pytest.raises(InputSpecError, match="field_px must be odd and ≥ 33, got 70"):
        InputSpec(("VIS",), 0.1, field_px=70)
