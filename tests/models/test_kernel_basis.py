"""Analytic kernels between every two representations: how many, and whether they are steerable."""

from functools import partial

import numpy as np
import pytest

from equilens.models.continuous_groups import O2, SO2
from equilens.models.errors import KernelError
from equilens.models.groups import CyclicGroup, DihedralGroup, PlanarGroup
from equilens.models.kernel_basis import (
    averaging_group,
    default_basis,
    highest_frequency,
    kernel_basis,
    kernels_at,
    pixel_coordinates,
    pixel_permutation,
)
from equilens.models.kernel_constraint import constraint_error
from equilens.models.representations import irreducible, irreducibles, parse_representation

NAMES = {
    CyclicGroup(1): ("regular",),
    CyclicGroup(3): ("regular",),
    CyclicGroup(4): ("regular", "quotient(C2)", "induced(C2,irrep(1))"),
    CyclicGroup(8): ("regular", "quotient(C4)", "induced(C4,irrep(1))"),
    DihedralGroup(1): ("regular",),
    DihedralGroup(4): ("regular", "quotient(D1)", "quotient(C2)", "induced(C4,irrep(1))"),
    DihedralGroup(6): ("regular", "quotient(C3)", "induced(D3,irrep(1,1))"),
    DihedralGroup(8): ("regular", "quotient(D2)", "quotient(C2)", "induced(D4,irrep(1,1))"),
    SO2(): ("bandlimited(2)", "restricted(O2,irrep(1,2))"),
    O2(): ("bandlimited(1)", "quotient(SO2)", "induced(SO2,irrep(1))"),
}
FEW = [
    (CyclicGroup(8), "regular", "irrep(3)"),
    (CyclicGroup(8), "induced(C4,irrep(1))", "quotient(C4)"),
    (CyclicGroup(3), "irrep(1)", "regular"),
    (DihedralGroup(4), "induced(C4,irrep(1))", "quotient(D1)"),
    (DihedralGroup(4), "irrep(1,1)", "induced(C4,irrep(1))"),
    (DihedralGroup(8), "irrep(1,3)", "induced(D4,irrep(1,1))"),
    (DihedralGroup(8), "quotient(D2)", "regular"),
    (SO2(), "trivial", "trivial"),
    (SO2(), "irrep(1)", "irrep(2)"),
    (SO2(), "bandlimited(2)", "irrep(1)"),
    (O2(), "irrep(1,0)", "irrep(1,1)"),
    (O2(), "irrep(1,2)", "irrep(1,2)"),
    (O2(), "quotient(SO2)", "trivial"),
    (O2(), "induced(SO2,irrep(1))", "bandlimited(1)"),
]


def all_pairs():
    for group, others in NAMES.items():
        irreps = irreducibles(group, None if isinstance(group, PlanarGroup) else 3)
        names = ("trivial", *(rep.name for rep in irreps), *others)
        yield from ((group, out, into) for out in names for into in names)


MANY = [pytest.param(*pair, marks=pytest.mark.slow) for pair in all_pairs() if pair not in FEW]
every_pair = pytest.mark.parametrize(
    ("group", "out", "into"), FEW + MANY, ids=lambda x: getattr(x, "name", x)
)


def expected_dimension(out, into, size) -> int:
    """Σ_m ⟨χ_m χ_out, χ_in⟩ over the rings' harmonics, on many more elements than need be."""
    group = out.group if isinstance(out.group, PlanarGroup) else out.group.finite(101)
    characters = [np.trace(rep.on(group), axis1=1, axis2=2) for rep in (out, into)]
    total = 0.0
    for radius in range((size - 1) // 2 + 1):
        for m in range(highest_frequency(radius) + 1):
            angles = 2 * np.pi * m * np.arange(group.n) / group.n
            turns = 2 * np.cos(angles) if m else np.ones(group.n)
            flips = np.zeros(group.n) if m else np.ones(group.n)
            spatial = np.concatenate([turns, flips])[: group.order]
            total += (spatial * characters[0] * characters[1]).mean()
    return round(total)


@every_pair
def test_kernels_are_as_many_as_characters_count_and_obey_the_constraint(group, out, into):
    out, into = parse_representation(group, out), parse_representation(group, into)
    kernels = kernel_basis(out, into, 3, "harmonics")
    assert len(kernels) == expected_dimension(out, into, 3)
    flat = kernels.reshape(*kernels.shape[:3], 9)
    at_points = partial(kernels_at, out_rep=out, in_rep=into, size=3)
    assert constraint_error(at_points, out, into) < 1e-12
    np.testing.assert_array_equal(at_points(pixel_coordinates(3)), flat)
    turn = CyclicGroup(4)
    if group.contains(turn):
        rho = [rep.on(turn)[1] for rep in (out, into)]
        turned = np.einsum("ab,nbjp,ij->naip", rho[0], flat, rho[1])
        moved = flat[..., pixel_permutation(turn, 1, 3)]
        np.testing.assert_allclose(moved, turned, atol=1e-12)


@pytest.mark.parametrize("group", [SO2(), O2()], ids=lambda group: group.name)
def test_dimensions_between_irreps_in_closed_form(group):
    """Frequencies |k − l| and k + l, each twice on a ring for SO(2) and once for O(2)."""
    per_harmonic = 1 if group.has_reflections else 2
    for k in range(1, 4):
        for l in range(1, 4):  # noqa: E741
            found = len(kernel_basis(irreducible(group, k), irreducible(group, l), 5, "harmonics"))
            rings = [sum(highest_frequency(r) >= m for r in range(3)) for m in (abs(k - l), k + l)]
            assert found == per_harmonic * sum(rings)


def test_a_vector_from_a_scalar_points_outwards_or_around():
    """κ(x) ∝ x̂ for O(2), and its quarter turn as well for SO(2)."""
    points = np.random.default_rng(0).normal(size=(10, 2))
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    for group, along in ((O2(), 1), (SO2(), 2)):
        vector, scalar = irreducible(group, 1), parse_representation(group, "trivial")
        kernels = kernels_at(points, vector, scalar, 3)[:, :, 0]
        assert len(kernels) == along
        lengths = np.hypot(*np.moveaxis(kernels, 1, 0))
        cosines = np.einsum("ndp,pd->np", kernels, unit) / lengths
        np.testing.assert_allclose(cosines, np.tile(cosines[:, :1], 10), atol=1e-12)
    assert abs(cosines).max() <= 1 + 1e-12


def test_the_averaging_group_is_large_enough_and_no_smaller_one_is():
    """The kernels of SO(2) are those of C_N; a C_N that aliases has too many of them."""
    pair = irreducible(SO2(), 1), irreducible(SO2(), 2)
    group = averaging_group(*pair, 3)
    assert group == CyclicGroup(2 + 1 + 2 + 1)
    exact = len(kernel_basis(*pair, 3, "harmonics"))
    for n, more in ((6, 0), (12, 0), (5, 1), (4, 1)):
        finite = [irreducible(SO2(), rep.frequency).on(CyclicGroup(n)) for rep in pair]
        angles = 2 * np.pi * np.arange(n) / n
        characters = [np.trace(rep, axis1=1, axis2=2) for rep in finite]
        spatial = 2 + sum(2 * np.cos(m * angles) for m in (1, 2))
        found = round(float((spatial * characters[0] * characters[1]).mean()))
        assert (found > exact) == bool(more), n


@pytest.mark.parametrize("wrong", ["rows swapped", "another type", "a sign"])
def test_negative_controls_break_the_constraint(wrong):
    out, into = irreducible(O2(), 1), irreducible(O2(), 2)

    def kernel(points):
        good = kernels_at(points, out, into, 3)
        if wrong == "rows swapped":
            return good[:, ::-1]
        return good * np.sign(points[:, 0]) if wrong == "a sign" else good

    declared = irreducible(O2(), 3) if wrong == "another type" else out
    assert constraint_error(kernel, declared, into) > 0.1
    assert (
        constraint_error(partial(kernels_at, out_rep=out, in_rep=into, size=3), out, into) < 1e-12
    )


def test_pixels_are_for_groups_of_the_square():
    rep = irreducible(SO2(), 1)
    with pytest.raises(KernelError, match=r"SO2\(\) does not map the pixel grid.*'harmonics'"):
        kernel_basis(rep, rep, 3, "pixels")
    assert default_basis(O2()) == "harmonics"
    with pytest.raises(KernelError, match="must be odd, got 4"):
        kernel_basis(rep, rep, 4, "harmonics")
