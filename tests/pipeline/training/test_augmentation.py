"""Augmented cutouts are still honest cutouts: masks, noise and missing bands stay true."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.pipeline.errors import TrainingError
from equilens.pipeline.toy import toy_cutouts
from equilens.pipeline.training.augmentation import Augmentation, augment
from equilens.pipeline.training.data import examples

NOTHING = Augmentation(
    max_shift=0,
    max_depth=1,
    noise_error=1,
    sky_offset=0,
    stripe_probability=0,
    dropout_probability=0,
)


def pool(n=12, **options):
    return examples(toy_cutouts(n, bands=3, **options), np.ones(n, bool))


def test_nothing_changes_nothing():
    before, index = pool(missing_share=0.3), np.arange(12)
    after = augment(before, index, NOTHING, np.random.default_rng(0))
    for name, values in vars(before).items():
        np.testing.assert_array_equal(getattr(after, name), values, err_msg=name)


def test_shift_is_a_roll_with_the_seam_masked():
    before = pool(side=33)
    how = Augmentation(**{**vars(NOTHING), "max_shift": 3})
    after = augment(before, np.arange(12), how, np.random.default_rng(3))
    shifts = np.random.default_rng(3).integers(-3, 3, (12, 2), endpoint=True)
    assert len(np.unique(shifts)) > 3
    for k, (dy, dx) in enumerate(shifts):
        seam = np.zeros((33, 33), bool)
        seam[: max(dy, 0)] = seam[33 + min(dy, 0) :] = True
        seam[:, : max(dx, 0)] = seam[:, 33 + min(dx, 0) :] = True
        rolled = np.roll(before.images[k], (dy, dx), (1, 2))
        np.testing.assert_array_equal(after.images[k], np.where(seam, 0, rolled))
        np.testing.assert_array_equal(
            after.mask[k], seam | np.roll(before.mask[k], (dy, dx), (1, 2))
        )


def test_stated_noise_is_the_noise_of_a_shallower_exposure():
    before = pool(64)
    sky = np.random.default_rng(1).standard_normal(before.images.shape).astype(np.float32)
    before.images[:] = np.where(before.mask, 0, sky * before.noise[:, :, None, None])
    how = Augmentation(**{**vars(NOTHING), "max_depth": 2.0, "depth_probability": 1.0})
    after = augment(before, np.arange(64), how, np.random.default_rng(2))
    assert (after.noise / before.noise).max() > 1.8
    scatter = np.std(after.images, axis=(2, 3), where=~after.mask)
    assert np.median(scatter / after.noise) == pytest.approx(1, abs=0.01)
    # the scatter does not follow the noise stated before
    assert np.median(scatter / before.noise) > 1.2


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), most=st.integers(0, 2), rotate=st.booleans())
def test_masks_and_missing_bands_stay_true(seed, most, rotate):
    before = pool(missing_share=0.5, seed=1)
    kept = before.images.copy()
    how = Augmentation(
        max_missing_bands=most, dropout_probability=0.8, stripe_probability=0.5, rotate=rotate
    )
    after = augment(before, np.arange(12), how, np.random.default_rng(seed))
    np.testing.assert_array_equal(before.images, kept)
    assert not after.images[after.mask].any()
    assert np.isfinite(after.images).all()
    np.testing.assert_array_equal(np.isnan(after.noise), ~after.band_present)
    assert after.mask[~after.band_present].all()
    missing_before = (~before.band_present).sum(1)
    missing = (~after.band_present).sum(1)
    assert (missing >= missing_before).all()
    assert (missing <= np.maximum(missing_before, most)).all()


def test_bands_are_lost_only_where_allowed():
    before = pool(200)
    lost = [
        (~augment(before, np.arange(200), how, np.random.default_rng(0)).band_present).any()
        for how in (Augmentation(max_missing_bands=0), Augmentation(max_missing_bands=1))
    ]
    assert lost == [False, True]


@pytest.mark.parametrize(
    ("name", "value"), [("max_depth", 0.5), ("stripe_probability", 1.5), ("max_shift", -1)]
)
def test_impossible_ranges_are_refused(name, value):
    with pytest.raises(TrainingError, match=rf"{name}.*got {value}"):
        Augmentation(**{name: value})
