"""Steerable kernels: the constraint, the dimension of the basis, and what must fail."""

import time

import numpy as np
import pytest
import torch

from equilens.models.errors import FieldTypeError, KernelError
from equilens.models.fields import FieldType, regular_type, trivial_type
from equilens.models.groups import CyclicGroup, DihedralGroup
from equilens.models.kernel_basis import (
    SHELLS,
    basis_dimension,
    harmonic_shells,
    independent_columns,
    kernel_basis,
    pixel_permutation,
    pixel_shells,
    solve_by_irreps,
    solve_by_orbits,
)
from equilens.models.kernels import SteerableKernel
from equilens.models.representations import irreducibles, quotient, regular, trivial
from equilens.models.testing import grid_elements

SIZES = {"pixels": 3, "harmonics": 3, "smooth": 5}
GROUPS = [CyclicGroup(n) for n in (1, 2, 3, 4, 8)] + [DihedralGroup(n) for n in (1, 2, 4, 8)]
by_name = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)


def representations(group):
    subgroups = [CyclicGroup(2)] if group.n % 2 == 0 else []
    if group.has_reflections:
        subgroups.append(DihedralGroup(1))
    return [
        trivial(group),
        regular(group),
        *irreducibles(group),
        *(quotient(group, subgroup) for subgroup in subgroups),
    ]


def pairs(group):
    return [(out, into) for out in representations(group) for into in representations(group)]


def solve(shell, out, into):
    permutes = out.is_permutation and into.is_permutation
    return (solve_by_orbits if permutes else solve_by_irreps)(shell.matrices, out, into)


@by_name
def test_constraint_and_dimension_for_all_pairs_and_all_angles(group):
    """A_s is invariant under V ⊗ ρ_out ⊗ ρ_in, 45° included, and as many as characters count."""
    for shell in harmonic_shells(group, 5)[:4]:
        for out, into in pairs(group):
            solutions = solve(shell, out, into)
            assert len(solutions) == basis_dimension(shell, out, into), (out, into)
            moved = np.einsum(
                "gst,gab,gij,ntbj->gnsai",
                shell.matrices,
                out.matrices,
                into.matrices,
                solutions,
                optimize=True,
            )
            np.testing.assert_allclose(moved, [solutions] * group.order, atol=1e-12)


@by_name
def test_harmonic_functions_transform_as_their_matrices_say(group):
    """f(hx) = V(h) f(x) at any point, evaluated from the definition."""
    points = np.random.default_rng(0).normal(size=(20, 2))
    for frequency, shell in enumerate(harmonic_shells(group, 5)[1:4]):
        for h in group.elements:
            angle = np.arctan2(*(points @ group.matrix(h).T).T[::-1])
            before = np.arctan2(points[:, 1], points[:, 0])
            wave = [
                np.stack([np.cos(frequency * phi), np.sin(frequency * phi)])
                for phi in (angle, before)
            ]
            if frequency:
                np.testing.assert_allclose(wave[0], shell.matrices[h] @ wave[1], atol=1e-12)


@pytest.mark.parametrize("basis", sorted(SHELLS))
@pytest.mark.parametrize("group", [g for g in GROUPS if g.acts_on_pixels], ids=lambda g: g.name)
def test_sampled_kernels_obey_the_constraint_on_the_grid(group, basis):
    """κ(hx) = ρ_out(h) κ(x) ρ_in(h)⁻¹ with h moving pixels by index alone."""
    size = SIZES[basis]
    for out, into in pairs(group):
        kernels = kernel_basis(out, into, size, basis).reshape(-1, out.size, into.size, size**2)
        for h in group.elements:
            at_hx = kernels[..., pixel_permutation(group, h, size)]
            expected = np.einsum("ab,nbjp,ij->naip", out.matrices[h], kernels, into.matrices[h])
            np.testing.assert_allclose(at_hx, expected, atol=1e-12, err_msg=f"{out} {into}")


@pytest.mark.parametrize("group", [CyclicGroup(4), DihedralGroup(4)], ids=lambda g: g.name)
def test_pixel_basis_is_exact_and_complete(group):
    """Regular to regular: each free value appears once a group element, bit by bit unchanged."""
    kernels = kernel_basis(regular(group), regular(group), 3, "pixels")
    assert len(kernels) == group.order * 9
    assert np.isin(kernels, (0.0, 1.0)).all()
    assert (kernels.sum(axis=0) == 1).all()


@pytest.mark.parametrize("group", [DihedralGroup(4), CyclicGroup(8)], ids=lambda g: g.name)
def test_orbits_and_irreps_span_the_same_kernels(group):
    shell = harmonic_shells(group, 3)[2]
    for out in (regular(group), quotient(group, CyclicGroup(2))):
        by_orbit = solve_by_orbits(shell.matrices, out, regular(group))
        by_irrep = solve_by_irreps(shell.matrices, out, regular(group))
        first, second = (x.reshape(len(x), -1) for x in (by_orbit, by_irrep))
        assert np.linalg.matrix_rank(first) == len(first) == len(second)
        assert np.linalg.matrix_rank(np.vstack([first, second])) == len(first)


def test_no_angular_frequency_at_the_centre():
    for shell in harmonic_shells(DihedralGroup(8), 5):
        if shell.samples.shape[0] == 2:
            assert (shell.samples[:, 12] == 0).all()


def test_a_permuted_kernel_breaks_the_constraint():
    """Negative control: the same values in another order are not steerable."""
    group = DihedralGroup(4)
    kernels = kernel_basis(regular(group), regular(group), 3, "pixels").reshape(-1, 8, 8, 9)
    shuffled = kernels[:, [1, 0, 2, 3, 4, 5, 6, 7]]
    h = 1
    rep = regular(group).matrices[h]
    expected = np.einsum("ab,nbjp,ij->naip", rep, shuffled, rep)
    assert np.abs(shuffled[..., pixel_permutation(group, h, 3)] - expected).max() == 1


def test_a_projector_onto_nothing_has_an_empty_basis():
    assert independent_columns(np.zeros((3, 3))).shape == (3, 0)


@pytest.mark.parametrize("basis", sorted(SHELLS))
def test_weight_is_the_sum_of_coefficients_times_basis(basis):
    """Against kernel_basis itself, field by field, where entries are copied and where not."""
    group = DihedralGroup(4)
    in_type = FieldType(group, "2xregular+3xquotient(C2)")
    out_type = FieldType(group, "2xregular+irrep(1,1)")
    size = SIZES[basis]
    kernel = SteerableKernel(in_type, out_type, size, basis)
    pairs = [(out, into) for out in out_type.blocks for into in in_type.blocks]
    expected = [
        np.einsum(
            "oin,najyx->oaijyx",
            coefficients.detach().double(),
            kernel_basis(out.representation, into.representation, size, basis),
        ).reshape(out.channels, into.channels, size, size)
        for (out, into), coefficients in zip(pairs, kernel.coefficients, strict=True)
    ]
    rows = [np.concatenate(expected[:2], axis=1), np.concatenate(expected[2:], axis=1)]
    np.testing.assert_allclose(kernel.weight().detach(), np.concatenate(rows), atol=1e-6)
    integers = [table.dtype == torch.int64 for table in kernel.buffers()]
    assert integers[0] == (basis == "pixels")
    assert not any(integers[2:])


def test_gradient_of_a_copied_coefficient_sums_over_its_copies():
    fields = regular_type(DihedralGroup(4), 8)
    kernel = SteerableKernel(fields, fields, 3)
    kernel.weight().sum().backward()
    assert (kernel.coefficients[0].grad == 8).all()


def test_weight_layout_follows_the_field_type():
    group = DihedralGroup(4)
    in_type = FieldType(group, "2xtrivial+regular")
    out_type = FieldType(group, "irrep(1,1)+3xregular")
    kernel = SteerableKernel(in_type, out_type, 3)
    weight = kernel.weight().detach().double().numpy().reshape(26, 10, 9)
    for h in grid_elements(group):
        expected = np.einsum(
            "ab,bjp,ij->aip", out_type.matrices()[h], weight, in_type.matrices()[h]
        )
        moved = weight[..., pixel_permutation(group, h, 3)]
        np.testing.assert_allclose(moved, expected, atol=1e-6)


@pytest.mark.parametrize("group", [DihedralGroup(4), CyclicGroup(8)], ids=lambda g: g.name)
def test_initial_variance_is_the_gain(group):
    torch.manual_seed(0)
    kernel = SteerableKernel(trivial_type(group, 6), regular_type(group, 512), 3, gain=2.0)
    power = kernel.weight().detach().square().sum(dim=(1, 2, 3)).mean()
    assert float(power) == pytest.approx(2.0, rel=0.1)


def test_buffers_are_not_saved_and_building_is_fast_once_cached():
    fields = regular_type(DihedralGroup(8), 128)
    kernel = SteerableKernel(fields, fields, 3)
    assert list(kernel.state_dict()) == ["coefficients.0"]
    times = []
    for _ in range(5):
        start = time.process_time()
        SteerableKernel(fields, fields, 3)
        times.append(time.process_time() - start)
    assert min(times) < 0.020


@pytest.mark.parametrize(
    ("size", "basis", "group", "message"),
    [
        (4, "pixels", DihedralGroup(4), "must be odd, got 4"),
        (3, "wavelets", DihedralGroup(4), "got 'wavelets'"),
        (3, "pixels", CyclicGroup(8), "use basis='harmonics'"),
    ],
)
def test_impossible_kernels_are_refused(size, basis, group, message):
    with pytest.raises(KernelError, match=message):
        SteerableKernel(trivial_type(group, 1), regular_type(group, 16), size, basis)


def test_two_groups_in_one_kernel_are_refused():
    with pytest.raises(FieldTypeError, match="one group on both sides"):
        SteerableKernel(trivial_type(CyclicGroup(4), 1), regular_type(DihedralGroup(4), 8), 3)


def test_pixels_of_a_shell_are_a_permutation():
    (shell,) = pixel_shells(DihedralGroup(4), 5)
    assert (shell.matrices.sum(axis=1) == 1).all()
    assert (shell.matrices.sum(axis=2) == 1).all()
