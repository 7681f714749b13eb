"""Steered Gaussians and the weights that apply them to samples."""

import numpy as np
import pytest
import torch

from equilens.models.spherical.pixels import shifted, transport, window_offsets
from equilens.models.spherical.steered_gaussians import SteeredGaussian, kernels_of_degree
from equilens.models.spherical.stencil_tables import (
    POOLING,
    UPSAMPLING,
    child_windows,
    window_table,
)
from equilens.models.spherical.stencils import fit_weights, pixel_spacing

KERNELS = kernels_of_degree(3)


def plane(half_width=8.0, n=65):
    axis = torch.linspace(-half_width, half_width, n, dtype=torch.float64)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    return torch.complex(x, y), float((axis[1] - axis[0]) ** 2)


def named(kernel):
    return f"m{kernel.turns}b{kernel.order}"


def waves(wavenumber, n_angles=12):
    angles = 2 * torch.pi * torch.arange(n_angles, dtype=torch.float64) / n_angles
    return torch.polar(torch.full_like(angles, wavenumber), angles)


def answers(positions, weights, k):
    """Σ w e^{ik·x} for each wave, (R, waves)."""
    phase = positions.real[..., None] * k.real + positions.imag[..., None] * k.imag
    return torch.einsum("rq,rqk->rk", weights, torch.polar(torch.ones_like(phase), phase))


def random_windows(nside=64, n=100):
    pixels = np.random.default_rng(0).integers(0, 12 * nside**2, n)
    found = shifted(nside, pixels, *window_offsets(-2, 2))
    positions, _ = transport(nside, pixels, nside, np.where(found < 0, pixels[:, None], found))
    return torch.from_numpy(positions / pixel_spacing(nside)), torch.from_numpy(found >= 0)


@pytest.mark.parametrize("kernel", KERNELS, ids=named)
def test_kernels_answer_waves_by_the_closed_form(kernel):
    x, area = plane()
    for wavenumber in (0.3, 1.7):
        k = waves(wavenumber, 3)
        found = answers(x.reshape(1, -1), kernel.blurred(x).reshape(1, -1), k)[0] * area
        expected = (1j * k / k.abs()) ** kernel.turns * kernel.answer(k.abs())
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kernel", KERNELS, ids=named)
def test_blur_is_the_product_of_answers(kernel):
    x, area = plane(10.0)
    k = waves(1.1, 3)
    blurred = answers(x.reshape(1, -1), kernel.blurred(x, 1.2).reshape(1, -1), k)[0] * area
    sharp = (1j * k / k.abs()) ** kernel.turns * kernel.answer(k.abs())
    torch.testing.assert_close(blurred, sharp * np.exp(-0.5 * (1.2 * 1.1) ** 2), atol=1e-9, rtol=0)


def test_the_largest_answer_is_one():
    k = torch.linspace(0, 6, 2001, dtype=torch.float64)
    for kernel in KERNELS:
        assert float(kernel.answer(k).max()) == pytest.approx(1.0, abs=1e-5)


def test_constants_come_out_exactly():
    positions, present = random_windows()
    sums = fit_weights(positions, present, KERNELS).sum(dim=2)
    expected = torch.tensor([float(kernel.degree == 0) for kernel in KERNELS]).cdouble()
    torch.testing.assert_close(sums, expected.expand_as(sums), atol=1e-9, rtol=0)


@pytest.mark.parametrize(("kernel"), kernels_of_degree(2), ids=named)
def test_weights_answer_waves_like_their_kernel(kernel):
    positions, present = random_windows()
    weights = fit_weights(positions, present, (kernel,))[:, 0]
    for wavenumber, tolerance in ((0.5, 2e-3), (1.0, 2e-3)):
        k = waves(wavenumber)
        expected = (1j * k / k.abs()) ** kernel.turns * kernel.answer(k.abs())
        error = (answers(positions, weights, k) - expected).abs().square().mean().sqrt()
        assert float(error) < tolerance * float(expected.abs().max())


def test_sampled_kernels_do_not():
    positions, present = random_windows()
    for kernel in kernels_of_degree(2)[1:]:
        k = waves(0.8)
        expected = (1j * k / k.abs()) ** kernel.turns * kernel.answer(k.abs())
        sampled = kernel.blurred(positions) * present
        error = (answers(positions, sampled, k) - expected).abs().square().mean().sqrt()
        assert float(error) > 1.5e-2 * float(expected.abs().max())


def test_rows_are_filled_when_asked_for_and_shared():
    table = window_table(8, 2)
    pixels = np.arange(12 * 8**2)
    at = table.place(pixels)
    kernels = kernels_of_degree(2)
    found = shifted(8, pixels, *window_offsets(-2, 2))
    positions, phases = transport(8, pixels, 8, np.where(found < 0, pixels[:, None], found))
    own = fit_weights(
        torch.from_numpy(positions / pixel_spacing(8)), torch.from_numpy(found >= 0), kernels
    )
    for layer in range(len(kernels)):
        shared = torch.complex(*table.gather(layer, at))
        torch.testing.assert_close(shared, own[:, layer].cfloat(), atol=2e-7, rtol=0)
    shared = torch.complex(*table.gather(-1, at))
    known = torch.from_numpy(found >= 0)
    torch.testing.assert_close(shared[known], torch.from_numpy(phases).cfloat()[known])


def test_pooling_and_upsampling_answer_waves():
    parents = np.random.default_rng(1).integers(0, 12 * 32**2, 100)
    children = child_windows(32, parents)
    here, _ = transport(32, parents, 64, children)
    up = shifted(32, parents, *window_offsets(-2, 2))
    there, _ = transport(64, 4 * parents + 1, 32, np.where(up < 0, parents[:, None], up))
    for positions, present, kernel, spacing in (
        (here, children >= 0, POOLING, pixel_spacing(64)),
        (there, up >= 0, UPSAMPLING, pixel_spacing(32)),
    ):
        spaced = torch.from_numpy(positions / spacing)
        weights = fit_weights(spaced, torch.from_numpy(present), (kernel,))[:, 0]
        k = waves(0.8)
        error = answers(spaced, weights, k) - SteeredGaussian.answer(kernel, k.abs())
        assert float(error.abs().square().mean().sqrt()) < 2e-3
