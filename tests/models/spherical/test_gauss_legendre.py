"""Transforms on the Gauss-Legendre grid: exact quadrature, and agreement with HEALPix."""

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from equilens.models.spherical.transforms import GaussLegendreGrid, HealpixTransform


def random_alm(transform: GaussLegendreGrid, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    alm = torch.randn(*shape, transform.n_alm, generator=generator, dtype=torch.complex128)
    order = torch.repeat_interleave(
        torch.arange(transform.lmax + 1), torch.arange(transform.lmax + 1, 0, -1)
    )
    start = order * (2 * transform.lmax + 1 - order) // 2
    degree = torch.arange(transform.n_alm) - start
    alm.imag[..., order == 0] = 0
    return alm * (degree >= transform.spin)


def test_synthesis_is_the_sum_over_scipys_harmonics():
    grid = GaussLegendreGrid(4)
    alm = random_alm(grid)
    phi = np.arange(10) * 2 * np.pi / 10
    expected, index = 0.0, 0
    for m in range(5):
        for degree in range(m, 5):
            values = sph_harm_y(degree, m, grid.theta.numpy()[:, None], phi)
            expected = expected + (1 + (m > 0)) * (alm[index].numpy() * values).real
            index += 1
    np.testing.assert_allclose(grid.synthesis(alm).numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("backend", ["torch", "ducc0"])
@pytest.mark.parametrize(("lmax", "spin"), [(0, 0), (1, 0), (31, 0), (40, 0), (31, 2), (20, 3)])
def test_analysis_gives_back_every_coefficient(lmax, spin, backend):
    grid = GaussLegendreGrid(lmax, spin, backend)
    alm = random_alm(grid, *((3, 2) if spin else (3,)))
    maps = grid.synthesis(alm)
    assert maps.shape[-2:] == (lmax + 1, 2 * lmax + 2)
    torch.testing.assert_close(grid.analysis(maps), alm, atol=1e-13, rtol=1e-12)


def test_agrees_with_healpix_of_the_same_field():
    grid, healpix = GaussLegendreGrid(10), HealpixTransform(16, 10)
    alm = random_alm(grid)
    found = healpix.analysis(healpix.synthesis(grid.analysis(grid.synthesis(alm))), iterations=8)
    torch.testing.assert_close(found, alm, atol=1e-10, rtol=0)


def test_gradients():
    grid = GaussLegendreGrid(3, spin=2)
    maps = torch.randn(2, *grid.map_shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(grid.analysis, maps, fast_mode=True)
    assert torch.autograd.gradcheck(grid.synthesis, random_alm(grid, 2).requires_grad_())


def test_degrees_above_lmax_are_not_exact():
    grid = GaussLegendreGrid(6)
    values = np.polynomial.legendre.Legendre.basis(14)(np.cos(grid.theta.numpy()))
    maps = torch.from_numpy(values)[:, None].expand(grid.map_shape)
    assert grid.analysis(maps).abs().max() > 0.1


def test_nodes_and_weights_of_degree_five():
    rule = GaussLegendreGrid(4)
    root, edge = (10 / 7) ** 0.5, 70**0.5
    cosines = np.array([(5 + 2 * root) ** 0.5, (5 - 2 * root) ** 0.5]) / 3
    weights = np.array([322 - 13 * edge, 322 + 13 * edge, 512]) / 900
    np.testing.assert_allclose(np.cos(rule.theta[:2].numpy()), cosines, atol=1e-15)
    np.testing.assert_allclose(rule.weights[:3] * 10 / (2 * np.pi), weights, rtol=1e-14)
