"""Real coefficients on the sphere: their order, and the matrices that rotate them."""

import math

import healpy
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.models.errors import HarmonicError
from equilens.models.spherical.real_harmonics import (
    from_alm,
    random_rotations,
    real_wigner,
    rotate,
    to_alm,
)

DOUBLE = {"dtype": torch.float64}
angles = st.tuples(*(st.floats(-3.0, 3.0), st.floats(0.0, math.pi), st.floats(-3.0, 3.0)))


def rotation_matrix(alpha, beta, gamma):
    """R_z(α) R_y(β) R_z(γ), written out."""

    def about_z(a):
        return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])

    c, s = np.cos(beta), np.sin(beta)
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return about_z(alpha) @ about_y @ about_z(gamma)


def euler_angles(matrix):
    """α, β, γ of a rotation matrix, away from the poles."""
    return np.array(
        [
            np.arctan2(matrix[1, 2], matrix[0, 2]),
            np.arccos(matrix[2, 2]),
            np.arctan2(matrix[2, 1], -matrix[2, 0]),
        ]
    )


def test_degree_one_is_the_rotation_matrix():
    """Coefficients of degree 1 are those of z, −x, −y."""
    given_angles = torch.tensor([[0.4, 1.1, -2.0]], **DOUBLE)
    basis = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    expected = basis @ rotation_matrix(*given_angles[0].numpy()) @ basis.T
    degree_zero, degree_one = real_wigner(1, given_angles)
    np.testing.assert_allclose(degree_zero[0].numpy(), [[1.0]], atol=1e-15)
    np.testing.assert_allclose(degree_one[0].numpy(), expected, atol=1e-14)


def random_alm(lmax, seed=0):
    draw = np.random.default_rng(seed)
    n = healpy.Alm.getsize(lmax)
    alm = draw.normal(size=n) + 1j * draw.normal(size=n)
    alm[: lmax + 1] = alm[: lmax + 1].real
    return alm


def test_rotation_is_that_of_healpy():
    alm = random_alm(9)
    turned = alm.copy()
    # healpy's ψ, θ, φ act in that order
    healpy.rotate_alm(turned, -2.0, 1.1, 0.4)
    ours = rotate(
        from_alm(torch.from_numpy(alm), 9)[None], torch.tensor([0.4, 1.1, -2.0], **DOUBLE)
    )
    np.testing.assert_allclose(to_alm(ours[0]).numpy(), turned, atol=1e-12)


def test_characters_are_those_of_e3nn():
    o3 = pytest.importorskip("e3nn.o3")
    for seed in range(3):
        turn = random_rotations(1, torch.Generator().manual_seed(seed))
        matrix = torch.from_numpy(rotation_matrix(*turn[0].numpy()))
        peers = o3.matrix_to_angles(matrix)
        for degree, ours in enumerate(real_wigner(6, turn)):
            theirs = o3.wigner_D(degree, *peers)
            assert float(ours[0].trace() - theirs.trace()) == pytest.approx(0.0, abs=1e-5)


def test_coefficients_are_those_of_healpy_and_back():
    alm = torch.from_numpy(random_alm(7, seed=3))
    torch.testing.assert_close(to_alm(from_alm(alm, 7)), alm)
    # ∫ f² in both
    power = (alm.abs().square().sum() * 2 - alm[:8].abs().square().sum()).real
    torch.testing.assert_close(from_alm(alm, 7).square().sum(), power)


@given(first=angles, second=angles)
@settings(max_examples=8, deadline=None)
def test_matrices_multiply_as_rotations_do(first, second):
    product = rotation_matrix(*first) @ rotation_matrix(*second)
    if abs(product[2, 2]) > 1 - 1e-6:
        return
    both = torch.tensor([first, second], **DOUBLE)
    joint = real_wigner(5, torch.from_numpy(euler_angles(product))[None])
    for pair, whole in zip(real_wigner(5, both), joint, strict=True):
        torch.testing.assert_close(pair[0] @ pair[1], whole[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(pair[0] @ pair[0].T, torch.eye(len(pair[0]), **DOUBLE))


def test_swapped_euler_angles_are_another_rotation():
    """Negative control: what follows could not tell right from wrong otherwise."""
    turn = torch.tensor([0.4, 1.1, -2.0], **DOUBLE)
    field = torch.randn(1, 36, generator=torch.Generator().manual_seed(0), **DOUBLE)
    assert (rotate(field, turn) - rotate(field, turn.flip(0))).norm() > 0.5 * field.norm()


def test_a_truncated_row_range_is_part_of_the_whole():
    turn = random_rotations(2)
    for whole, part in zip(real_wigner(4, turn), real_wigner(4, turn, 2, 1), strict=True):
        torch.testing.assert_close(part, whole[:, : part.shape[1], : part.shape[2]])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rotate(torch.zeros(1, 10), torch.zeros(3)), "(lmax + 1)²"),
        (lambda: from_alm(torch.zeros(10, dtype=torch.complex64), 4), "must be 15 numbers"),
    ],
)
def test_other_numbers_of_coefficients_are_refused(call, words):
    with pytest.raises(HarmonicError) as refusal:
        call()
    assert words in str(refusal.value)
