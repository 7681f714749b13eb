"""Legendre tables: closed forms, parity, and that leaving out polar rings changes nothing."""

import numpy as np
import pytest
import torch

from equilens.models.spherical import legendre
from equilens.models.spherical.legendre import legendre_functions, legendre_tables, row_indices
from equilens.models.spherical.rings import healpix_rings

THETA = torch.linspace(0.1, 1.5, 7, dtype=torch.float64)
CPU = torch.device("cpu")


def test_scalar_functions_are_those_of_spherical_harmonics():
    (found,) = legendre_functions(THETA, 2, torch.tensor([0, 1, 2]), 0)
    sine, cosine = THETA.sin(), THETA.cos()
    expected = torch.zeros(3, 3, len(THETA), dtype=torch.float64)
    expected[0, 0] = (1 / (4 * np.pi)) ** 0.5
    expected[1, 0] = (3 / (4 * np.pi)) ** 0.5 * cosine
    expected[1, 1] = -((3 / (8 * np.pi)) ** 0.5) * sine
    expected[2, 0] = (5 / (16 * np.pi)) ** 0.5 * (3 * cosine**2 - 1)
    expected[2, 1] = -((15 / (8 * np.pi)) ** 0.5) * sine * cosine
    expected[2, 2] = (15 / (32 * np.pi)) ** 0.5 * sine**2
    torch.testing.assert_close(found, expected, atol=1e-15, rtol=1e-14)


def test_spin_two_functions_of_degree_two():
    plus, minus = legendre_functions(THETA, 2, torch.tensor([2]), 2)
    north = (5 / (64 * np.pi)) ** 0.5 * (1 - THETA.cos()) ** 2
    south = (5 / (64 * np.pi)) ** 0.5 * (1 + THETA.cos()) ** 2
    torch.testing.assert_close(plus[2, 0], -(north + south) / 2, atol=1e-15, rtol=1e-13)
    torch.testing.assert_close(minus[2, 0], (north - south) / 2, atol=1e-15, rtol=1e-13)


@pytest.mark.parametrize("spin", [0, 1, 2, 3])
def test_mirrored_colatitudes_give_the_stated_parity(spin):
    orders, lmax = torch.arange(6), 9
    for index, north in enumerate(legendre_functions(THETA, lmax, orders, spin)):
        south = legendre_functions(np.pi - THETA, lmax, orders, spin)[index]
        degree = torch.arange(lmax + 1)[:, None, None]
        sign = (-1.0) ** (degree + orders[:, None] + spin + index)
        torch.testing.assert_close(south, sign * north, atol=1e-13, rtol=0)


def test_rows_and_coefficients_are_inverse_of_each_other():
    coefficient, row = row_indices(37)
    assert coefficient[row].tolist() == list(range(38 * 39 // 2))
    tables, _ = legendre_tables(THETA, 37, 0, torch.float64, CPU)
    assert tables[-1].rows.stop == len(coefficient)


def test_left_out_rings_hold_nothing_that_float64_would_see(monkeypatch):
    theta, lmax = healpix_rings(32).theta, 95
    kept, _ = legendre_tables(theta, lmax, 0, torch.float64, CPU)
    monkeypatch.setattr(legendre, "NEGLIGIBLE", {torch.float64: -1.0})
    whole, _ = legendre_tables(theta, lmax, 0, torch.float64, CPU)
    stored = sum(table.values.numel() for table in kept)
    assert stored < 0.97 * sum(table.values.numel() for table in whole)
    left_out = [
        full.values[..., : short.rings.start].flatten()
        for short, full in zip(kept, whole, strict=True)
    ]
    assert torch.cat(left_out).abs().max() < 1e-18
