"""Adaptive moments: closed forms, turned cutouts, the simulator's own galaxies, and a control."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.pipeline.injection.light import (
    FWHM_OF_SIGMA,
    CentralLight,
    measure_centrals,
)
from equilens.pipeline.injection.moves import Moves, move_cutouts
from equilens.pipeline.toy import toy_cutouts

SIDE, SCALE = 61, 0.1


def gaussian(long, q, angle, x=0.0, y=0.0, flux=1e4, psf=0.0, side=SIDE):
    """An elliptical Gaussian convolved with a round one: second moments add."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    tensor = turn @ np.diag([long**2, (q * long) ** 2]) @ turn.T + psf**2 * np.eye(2)
    row, column = np.mgrid[:side, :side] - side // 2
    d = np.stack([column - x, row - y], axis=-1)
    form = np.einsum("yxi,ij,yxj->yx", d, np.linalg.inv(tensor), d)
    return flux * np.exp(-form / 2) / (2 * np.pi * np.sqrt(np.linalg.det(tensor))), tensor


def measure(images, mask=None, noise=1.0):
    images = np.asarray(images, dtype=np.float32)
    mask = np.zeros(images.shape, bool) if mask is None else mask
    return measure_centrals(images, mask, np.full(len(images), noise), SCALE)


@pytest.mark.parametrize("q", [1.0, 0.7, 0.4])
def test_a_gaussian_has_its_own_moments(q):
    image, tensor = gaussian(5.0, q, 0.6, x=1.3, y=-0.8)
    light = measure(image[None])
    np.testing.assert_allclose([light.x[0], light.y[0]], [1.3, -0.8], atol=1e-3)
    np.testing.assert_allclose(light.moments[0], tensor[[0, 0, 1], [0, 1, 1]], rtol=2e-3, atol=2e-3)
    assert light.flux[0] == pytest.approx(1e4, rel=2e-3 if q > 0.5 else 2e-2)


def test_the_psf_comes_off_the_shape():
    image, _ = gaussian(4.0, 0.5, 2.0, psf=3.0)
    q, angle = measure(image[None]).shape(np.array([3.0 * FWHM_OF_SIGMA]))
    assert q[0] == pytest.approx(0.5, abs=5e-3)
    assert angle[0] == pytest.approx(2.0, abs=5e-3)
    star, _ = gaussian(1e-3, 1.0, 0.0, psf=3.0)
    assert measure(star[None]).shape(np.array([3.0 * FWHM_OF_SIGMA]))[0][0] == pytest.approx(1.0)


@settings(max_examples=25, deadline=None)
@given(
    mirror=st.booleans(),
    quarters=st.integers(0, 3),
    shift=st.tuples(st.integers(-1, 1), st.integers(-1, 1)),
    angle=st.floats(0, 3.1),
    x=st.floats(-1.5, 1.5),
)
def test_moving_and_measuring_commute(mirror, quarters, shift, angle, x):
    batch = toy_cutouts(1, bands=1, side=SIDE)
    batch.images[0, 0] = gaussian(4.0, 0.6, angle, x=x, y=0.7)[0]
    batch.mask[:] = False
    moves = Moves(np.array([mirror]), np.array([quarters]), np.array([shift]))
    moved = move_cutouts(batch, moves)
    there = measure(moved.images[:, 0], moved.mask[:, 0])
    expected = measure(batch.images[:, 0]).turned(moves.axes, moves.shift)
    for name in ("x", "y", "moments"):
        np.testing.assert_allclose(vars(there)[name], vars(expected)[name], atol=2e-3)


def test_neighbours_and_masks_hardly_matter():
    rng = np.random.default_rng(0)
    alone, _ = gaussian(3.5, 0.6, 1.0, flux=2e4)
    neighbour = np.roll(gaussian(2.5, 1.0, 0.0, flux=2e4)[0], (18, -17), axis=(0, 1))
    images = np.stack([alone, alone + neighbour]) + rng.normal(0, 3, (2, SIDE, SIDE))
    mask = np.zeros(images.shape, bool)
    mask[:, :, 34] = True
    light = measure(np.where(mask, 0, images), mask, noise=3.0)
    q, angle = light.shape(np.zeros(2))
    np.testing.assert_allclose(q, 0.6, atol=0.05)
    np.testing.assert_allclose(angle, 1.0, atol=0.08)


def test_empty_and_decentred_cutouts_have_no_central():
    """The control: moments of the whole cutout would call anything a central galaxy."""
    rng = np.random.default_rng(1)
    far = np.roll(gaussian(3.0, 0.8, 0.0)[0], 20, axis=1)
    light = measure(np.stack([far, np.zeros((SIDE, SIDE))]) + rng.normal(0, 1e-3, (2, SIDE, SIDE)))
    assert not (light.snr > 1e4).any()
    noise = measure(rng.normal(0, 1.0, (50, SIDE, SIDE)))
    assert not (noise.snr > 10).any()


def test_measurements_join_and_split():
    images = np.stack([gaussian(3.0 + k, 0.7, 0.3)[0] for k in range(3)])
    whole = measure(images)
    parts = [measure(images[:1]), measure(images[1:])]
    joined = CentralLight.concatenate(parts).take(np.array([2, 0]))
    np.testing.assert_allclose(joined.moments, whole.moments[[2, 0]])
