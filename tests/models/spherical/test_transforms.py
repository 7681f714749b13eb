"""HEALPix transforms: closed forms, healpy and ducc0, adjoints and gradients, wrong geometry."""

import healpy as hp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.models.errors import HarmonicError, MissingExtraError
from equilens.models.spherical import harmonic_operators as operators
from equilens.models.spherical.ring_transform import RingTransform
from equilens.models.spherical.rings import RingGrid, healpix_rings
from equilens.models.spherical.transforms import HealpixTransform, harmonic_transform

BACKENDS = ("torch", "ducc0")


def random_maps(nside: int, *shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, 12 * nside**2, generator=generator, dtype=dtype)


def random_alm(transform: HealpixTransform, *shape: int, seed: int = 0) -> torch.Tensor:
    """Coefficients of real fields, without degrees below the spin."""
    generator = torch.Generator().manual_seed(seed)
    alm = torch.randn(*shape, transform.n_alm, generator=generator, dtype=torch.complex128)
    degree, order = (torch.from_numpy(x) for x in hp.Alm.getlm(transform.lmax))
    alm.imag[..., order == 0] = 0
    return alm * (degree >= transform.spin)


def inner(a: torch.Tensor, b: torch.Tensor, lmax: int) -> torch.Tensor:
    """Inner product of coefficients, m > 0 counted twice."""
    order = torch.from_numpy(hp.Alm.getlm(lmax)[1])
    return ((1 + (order > 0)) * (a.conj() * b).real).sum()


@pytest.mark.parametrize("backend", BACKENDS)
def test_synthesis_of_one_harmonic_is_its_closed_form(backend):
    transform = HealpixTransform(8, backend=backend)
    theta, phi = (torch.from_numpy(x) for x in hp.pix2ang(8, np.arange(768)))
    alm = torch.zeros(3, transform.n_alm, dtype=torch.complex128)
    alm[0, 0] = 1
    alm[1, hp.Alm.getidx(transform.lmax, 1, 1)] = 1
    alm[2, hp.Alm.getidx(transform.lmax, 2, 2)] = 1j
    expected = [
        torch.full_like(theta, (4 * np.pi) ** -0.5),
        -((3 / (2 * np.pi)) ** 0.5) * theta.sin() * phi.cos(),
        -((15 / (8 * np.pi)) ** 0.5) * theta.sin() ** 2 * (2 * phi).sin(),
    ]
    torch.testing.assert_close(transform.synthesis(alm), torch.stack(expected))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("nside", "lmax"), [(1, 2), (2, 5), (16, 20), (16, 47), (64, 150)])
def test_scalars_agree_with_healpy_at_equal_iterations(nside, lmax, backend):
    transform = HealpixTransform(nside, lmax, backend=backend)
    maps = random_maps(nside, 2)
    for iterations in (0, 3):
        expected = [hp.map2alm(x, lmax=lmax, iter=iterations) for x in maps.numpy()]
        alm = transform.analysis(maps, iterations)
        np.testing.assert_allclose(alm.numpy(), expected, atol=1e-12)
    back = np.stack([hp.alm2map(x, nside, lmax=lmax) for x in alm.numpy()])
    np.testing.assert_allclose(transform.synthesis(alm).numpy(), back, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spin", [1, 2, 3])
def test_spins_agree_with_healpy(spin, backend):
    nside, lmax = 16, 40
    transform = HealpixTransform(nside, lmax, spin, backend)
    maps = random_maps(nside, 2)
    expected = np.stack(hp.map2alm_spin(maps.numpy(), spin, lmax=lmax))
    alm = transform.analysis(maps, iterations=0)
    np.testing.assert_allclose(alm.numpy(), expected, atol=1e-13)
    back = np.stack(hp.alm2map_spin(list(expected), nside, spin, lmax=lmax))
    np.testing.assert_allclose(transform.synthesis(alm).numpy(), back, atol=1e-12)


@pytest.mark.parametrize("spin", [0, 2])
def test_single_precision_is_within_a_millionth_of_ducc0(spin):
    nside = 64
    shape = (2, 2) if spin else (2,)
    maps = random_maps(nside, *shape, dtype=torch.float32)
    ours = HealpixTransform(nside, spin=spin).analysis(maps, 3)
    reference = HealpixTransform(nside, spin=spin, backend="ducc0").analysis(maps.double(), 3)
    assert ours.dtype == torch.complex64
    assert float((ours - reference).norm() / reference.norm()) < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("nside", "spin"), [(1, 0), (4, 0), (16, 0), (4, 2), (8, 3)])
def test_adjoints_are_exact(nside, spin, backend):
    transform = HealpixTransform(nside, spin=spin, backend=backend)
    fields = (3, 2) if spin else (3,)
    maps, alm = random_maps(nside, *fields), random_alm(transform, *fields, seed=1)
    pairs = (
        (transform.adjoint_synthesis(maps), transform.synthesis(alm)),
        (transform.analysis(maps, 2), transform.adjoint_analysis(alm, 2)),
    )
    for coefficients, field in pairs:
        scale = float(maps.norm() * field.norm())
        error = inner(coefficients, alm, transform.lmax) - (maps * field).sum()
        assert abs(float(error)) < 1e-12 * scale


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spin", [0, 2])
def test_gradients_of_first_and_second_order(spin, backend):
    transform = HealpixTransform(1, spin=spin, backend=backend)
    fields = (2,) if spin else ()
    maps = random_maps(1, *fields).requires_grad_()
    alm = random_alm(transform, *fields).requires_grad_()
    for function, point in (
        (lambda x: transform.analysis(x, 1), maps),
        (transform.adjoint_synthesis, maps),
        (transform.synthesis, alm),
        (lambda x: transform.adjoint_analysis(x, 1), alm),
    ):
        assert torch.autograd.gradcheck(function, point, fast_mode=bool(spin))
        assert torch.autograd.gradgradcheck(function, point, fast_mode=True)


def test_any_leading_shape_and_layout_is_a_batch():
    transform = HealpixTransform(4, spin=2)
    maps = random_maps(4, 2, 3, 2)
    found = transform.analysis(maps.transpose(0, 1)).transpose(0, 1)
    each = [[transform.analysis(x) for x in row] for row in maps]
    torch.testing.assert_close(found, torch.stack([torch.stack(row) for row in each]))
    alm = found.conj()
    torch.testing.assert_close(
        transform.synthesis(alm), transform.synthesis(alm.resolve_conj().clone())
    )
    assert transform.analysis(maps[:0]).shape == (0, 3, 2, transform.n_alm)
    many = random_maps(4, 33, 2)
    torch.testing.assert_close(transform.analysis(many)[-1], transform.analysis(many[-1]))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**31))
def test_iterations_approach_band_limited_fields(order, spin, seed):
    nside = 2**order
    lmax = max(nside, spin)
    if lmax > 3 * nside - 1:
        return
    transform = HealpixTransform(nside, lmax, spin)
    alm = random_alm(transform, *((2,) if spin else ()), seed=seed)
    maps = transform.synthesis(alm)
    errors = [float((transform.analysis(maps, k) - alm).norm()) for k in (0, 2, 8)]
    assert errors[2] <= errors[1] + 1e-13 <= errors[0] + 2e-13
    assert errors[2] < 1e-2 * float(alm.norm()) + 1e-12


def test_compiles_to_one_graph_with_the_same_gradient():
    transform = HealpixTransform(4)
    maps = random_maps(4, 2)

    def smooth(field: torch.Tensor) -> torch.Tensor:
        return transform.synthesis(transform.analysis(field.sin(), 1).conj())

    gradients = []
    operators.release_tables()  # the first compiled call builds them
    for function in (torch.compile(smooth, fullgraph=True, backend="aot_eager"), smooth):
        point = maps.clone().requires_grad_()
        function(point).square().sum().backward()
        gradients.append(point.grad)
    torch.testing.assert_close(*gradients)


def test_autocast_does_not_lower_the_precision():
    transform, maps = HealpixTransform(4), random_maps(4, 2, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = transform.analysis(maps)
    assert torch.equal(found, transform.analysis(maps))


def test_modules_share_tables_and_store_none():
    operators.release_tables()
    first, second = HealpixTransform(8), HealpixTransform(8)
    maps = random_maps(8, 1)
    first.analysis(maps)
    second.synthesis(second.analysis(maps))
    assert operators.torch_transform.cache_info().misses == 1
    assert not first.state_dict()
    assert not list(first.buffers())
    tables = operators.torch_transform("healpix", 8, 23, 0, torch.float64, maps.device).plus
    # one parity for each of l ≤ 23, m ≤ l, on 16 northern rings; padding and polar cut aside
    assert sum(table.values.numel() for table in tables) < 1.8 * 300 * 16


def test_the_backend_follows_nside(monkeypatch):
    assert harmonic_transform(256).backend == "torch"
    assert harmonic_transform(512).backend == "ducc0"
    assert harmonic_transform(512, backend="torch").backend == "torch"
    assert harmonic_transform(8, backend="ducc0").backend == "ducc0"
    monkeypatch.setitem(__import__("sys").modules, "ducc0", None)
    with pytest.raises(MissingExtraError, match=r"equilens\[sht\]"):
        harmonic_transform(512)
    assert harmonic_transform(256).backend == "torch"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HealpixTransform(48), "got 48; nearest are 32 and 64"),
        (lambda: HealpixTransform(8, 24), "3 nside − 1 = 23 at nside 8, got 24"),
        (lambda: HealpixTransform(8, 4, spin=5), "spin must be from 0 to lmax = 4, got 5"),
        (lambda: HealpixTransform(8, backend="gpu"), "'torch' or 'ducc0', got 'gpu'"),
        (lambda: HealpixTransform(8).analysis(torch.zeros(767)), r"\(\.\.\., 768\), got \(767,\)"),
        (lambda: HealpixTransform(8).analysis(torch.zeros(768).half()), "got torch.float16"),
        (lambda: HealpixTransform(8).analysis(torch.zeros(768), -1), "at least 0, got -1"),
        (lambda: HealpixTransform(8).synthesis(torch.zeros(300)), "complex64 or complex128"),
    ],
)
def test_bad_input_gets_one_clear_error(call, message):
    with pytest.raises(HarmonicError, match=message):
        call()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spin", [0, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_any_bad_pixel_or_coefficient_is_noticed(bad, spin, backend):
    transform = HealpixTransform(4, spin=spin, backend=backend)
    fields = (3, 2) if spin else (3,)
    for pixel in (0, 17, 96, 191):
        maps = random_maps(4, *fields)
        maps[(1, *[0] * (len(fields) - 1), pixel)] = bad
        with pytest.raises(HarmonicError, match=r"maps must be finite.* in 1 of 3"):
            transform.analysis(maps)
    for index in (5, 40, transform.n_alm - 1):
        alm = random_alm(transform, *fields)
        alm[(2, *[-1] * (len(fields) - 1), index)] = bad
        with pytest.raises(HarmonicError, match=r"alm must be finite.* in 1 of 3"):
            transform.synthesis(alm)


def wrong_grids() -> dict[str, RingGrid]:
    """HEALPix at nside 8 with one thing wrong each."""
    from dataclasses import replace

    grid = healpix_rings(8)
    return {
        "weights": replace(grid, weights=grid.weights * 1.001),
        "first pixel of the belt": replace(grid, shifted=1),
        "colatitude": replace(grid, theta=grid.theta + 1e-3),
        "no equator weight": replace(grid, weights=grid.weights * (grid.theta < 1.5)),
    }


@pytest.mark.parametrize("wrong", wrong_grids())
def test_a_wrong_grid_does_not_agree_with_healpy(wrong):
    maps = random_maps(8)
    expected = hp.map2alm(maps.numpy(), iter=0)
    results = []
    for grid in (healpix_rings(8), wrong_grids()[wrong]):
        transform = RingTransform(grid, 23, 0, torch.float64, torch.device("cpu"))
        alm = transform.analysis(maps[None, None], 0)[0, 0].numpy()
        results.append(np.abs(alm - expected).max())
    assert results[0] < 1e-13
    assert results[1] > 1e-5
