"""Implicit kernels: closed forms, the constraint on and off the grid, and what must fail."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from equilens.models.continuous_groups import O2, SO2
from equilens.models.errors import FieldTypeError, KernelError
from equilens.models.fields import FieldType, regular_type, trivial_type
from equilens.models.fold import fold_conv_norm
from equilens.models.groups import CyclicGroup, DihedralGroup
from equilens.models.implicit_kernels import ImplicitKernel
from equilens.models.kernel_basis import (
    kernel_basis,
    pixel_permutation,
)
from equilens.models.kernel_constraint import constraint_error
from equilens.models.kernels import SteerableKernel
from equilens.models.offsets import embed_offsets, embedding_spec, function_count, intertwiners
from equilens.models.planar.blocks import ConvNorm
from equilens.models.planar.convolutions import SteerableConv
from equilens.models.representations import (
    direct_sum,
    irreducibles,
    quotient,
    regular,
    trivial,
)
from equilens.models.testing import assert_equivariant, grid_elements

GROUPS = [CyclicGroup(n) for n in (1, 2, 3, 4, 8)] + [DihedralGroup(n) for n in (1, 2, 4, 8)]
CONTINUOUS = {
    SO2(): ("2xtrivial+irrep(1)+irrep(2)", "trivial+irrep(1)+bandlimited(2)"),
    O2(): ("2xtrivial+irrep(1,0)+irrep(1,1)", "bandlimited(1)+irrep(1,2)+irrep(1,3)"),
}
by_name = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
FLOAT32 = 5e-6
"""Relative rounding of three layers and an expansion."""
POINTS = np.random.default_rng(0).normal(scale=1.5, size=(30, 2))


def mixed(group):
    """Fields of every kind that the group has, of two or three frequencies."""
    irreps = "+".join(irrep.name for irrep in irreducibles(group)[:4])
    subgroup = "+quotient(C2)" if group.n % 2 == 0 else ""
    return FieldType(group, f"2xtrivial+2xregular+{irreps}{subgroup}")


def built(in_type, out_type, size, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ImplicitKernel(in_type, out_type, size, **options)


def representation(field_type):
    """All channels as one representation."""
    blocks = field_type.blocks
    return direct_sum([block.representation for block in blocks for _ in range(block.count)])


def relative_error(kernel):
    """Largest breach of the constraint over the largest value, at random points."""

    def values(points):
        with torch.no_grad():
            return kernel.at(points).double().numpy()[None]

    pair = representation(kernel.out_type), representation(kernel.in_type)
    return constraint_error(values, *pair, radius=1.5) / np.abs(values(POINTS)).max()


def residual(rows, span):
    """Norm of what is left of rows after projecting on the rows of ``span``, relative."""
    basis = np.linalg.svd(span.T, full_matrices=False)
    basis = basis[0][:, basis[1] > 1e-9 * basis[1][0]]
    return np.linalg.norm(rows - (rows @ basis) @ basis.T) / np.linalg.norm(rows)


@pytest.mark.parametrize("n", [3, 4, 8])
def test_a_linear_perceptron_combines_rings_and_harmonics(n):
    """trivial → irrep(1) of C_n: κ(x) = Σ_r a_r ring_r(x) R(α_r) (cos φ, sin φ), by hand."""
    group = CyclicGroup(n)
    kernel = built(FieldType(group, "trivial"), FieldType(group, "irrep(1)"), 3, depth=0)
    wave = embed_offsets(group, POINTS, 3)
    # channels 0…2 are the constant and two rings; the ring of radius 1 has harmonics 1 and 2
    cosine, sine = wave[3], wave[4]
    with torch.no_grad():
        values = kernel.at(POINTS)[:, 0].double().numpy()
    fade = np.exp(-(np.maximum(np.hypot(*POINTS.T) - 1, 0) ** 2) / (2 * 0.4**2))
    fade = 1.0 if n == 4 else fade
    allowed = [np.stack([cosine, sine]) * fade, np.stack([-sine, cosine]) * fade]
    if n == 3:
        # frequency 2 is −1 in C_3
        allowed += [embed_offsets(group, POINTS, 3)[5:7] * fade]
        allowed += [np.stack([-allowed[2][1], allowed[2][0]])]
    span = np.stack([part.ravel() for part in allowed])
    assert residual(values.ravel()[None], span) < 1e-6


def test_a_linear_perceptron_stays_in_the_span_of_rings_and_harmonics():
    """All pairs at once, against an independent solution: SteerableKernel's harmonic basis."""
    group = DihedralGroup(4)
    rep, size = regular(group), 3
    fields = FieldType(group, "regular")
    kernels = kernel_basis(rep, rep, size, "harmonics").reshape(-1, 64 * 9)
    # this basis narrows its outermost ring and has no constant; on 3×3 both are radial factors
    distance = np.hypot(*np.meshgrid([-1, 0, 1], [-1, 0, 1])).ravel()
    radial = [np.tile((distance == r).astype(float), 64) for r in np.unique(distance)]
    span = np.concatenate([kernels * factor for factor in radial])
    for seed in range(3):
        weight = built(fields, fields, size, seed, depth=0).weight().detach().double().numpy()
        assert residual(weight.reshape(1, -1), span) < 1e-6


@by_name
def test_embedded_offsets_are_fields_of_their_declared_type(group):
    for size in (1, 3, 5):
        matrices = FieldType(group, embedding_spec(group, size)).matrices()
        there = embed_offsets(group, POINTS, size)
        for h in group.elements:
            moved = embed_offsets(group, POINTS @ group.matrix(h).T, size)
            np.testing.assert_allclose(moved, matrices[h] @ there, atol=1e-12)


@by_name
def test_intertwiners_are_as_many_as_characters_count_and_map_irreps_to_hom(group):
    reps = [regular(group), *irreducibles(group)]
    reps += [quotient(group, CyclicGroup(2))] if group.n % 2 == 0 else []
    for out, into in [(out, into) for out in reps for into in reps]:
        for irrep in irreducibles(group):
            maps = intertwiners(out, into, irrep)
            count = (irrep.character * out.character * into.character).mean()
            assert len(maps) == round(float(count))
            moved = np.einsum(
                "gab,gij,nsbj->gnsai", out.matrices, into.matrices, maps, optimize=True
            )
            expected = np.einsum("nsai,gst->gntai", maps, irrep.matrices, optimize=True)
            np.testing.assert_allclose(moved, expected, atol=1e-12)


@by_name
def test_functions_are_counted_as_the_analytic_basis_counts_them(group):
    """Kernels trivial → ψ are the fields of ψ, each once for every endomorphism of ψ."""
    for size in (1, 3, 5):
        for irrep in irreducibles(group):
            basis = "pixels" if group.acts_on_pixels else "harmonics"
            kernels = kernel_basis(irrep, trivial(group), size, basis)
            endomorphisms = round(float((irrep.character**2).mean()))
            assert function_count(irrep, size) * endomorphisms == len(kernels)


@pytest.mark.parametrize("group", CONTINUOUS, ids=lambda group: group.name)
def test_continuous_groups_count_rings(group):
    """Rings 0, 1, 2 have frequency 0, the latter two 1 and 2, none 3."""
    found = {irrep.name: function_count(irrep, 5) for irrep in irreducibles(group, 3)}
    assert [count for count in found.values() if count] == [3, 2, 2]


@by_name
def test_the_constraint_holds_at_any_point_for_all_kinds_of_fields(group):
    fields = mixed(group)
    for size in (1, 3):
        assert relative_error(built(fields, fields, size)) < FLOAT32


@pytest.mark.parametrize("group", CONTINUOUS, ids=lambda group: group.name)
def test_the_constraint_holds_at_any_angle_for_continuous_groups(group):
    in_type, out_type = (FieldType(group, spec) for spec in CONTINUOUS[group])
    for size in (1, 3, 5):
        assert relative_error(built(in_type, out_type, size)) < FLOAT32


@by_name
def test_the_dense_kernel_is_steerable_on_the_grid(group):
    fields = mixed(group)
    kernel = built(fields, regular_type(group, 2 * group.order), 5)
    weight = kernel.weight().detach().double().numpy().reshape(2 * group.order, -1, 25)
    for h in grid_elements(group):
        order = pixel_permutation(group, h, 5) if group.acts_on_pixels else grid_order(group, h)
        out, into = kernel.out_type.matrices()[h], kernel.in_type.matrices()[h]
        expected = np.einsum("ab,bjp,ij->aip", out, weight, into, optimize=True)
        np.testing.assert_allclose(
            weight[..., order], expected, atol=FLOAT32 * np.abs(weight).max()
        )


def grid_order(group, h, size=5):
    """p with h x_i = x_p[i] for an element that maps the grid onto itself."""
    axis = np.arange(size) - size // 2
    points = np.stack(np.meshgrid(axis, axis)).reshape(2, -1).T
    moved = np.rint(points @ group.matrix(h).T + size // 2).astype(int)
    return moved[:, 1] * size + moved[:, 0]


def test_the_dense_kernel_is_the_continuous_one_at_the_pixels():
    fields = mixed(DihedralGroup(4))
    kernel = built(fields, fields, 3)
    axis = np.arange(3.0) - 1
    points = np.stack(np.meshgrid(axis, axis)).reshape(2, -1).T
    torch.testing.assert_close(kernel.at(points), kernel.weight().flatten(2))


@pytest.mark.parametrize("group", [DihedralGroup(4), CyclicGroup(8)], ids=lambda g: g.name)
def test_gradients_reach_everything_and_span_all_kernels_of_the_grid(group):
    """The Jacobian's rank is that of the analytic basis where as many functions are asked for."""
    fields = FieldType(group, "regular")
    kernel = built(fields, fields, 3, functions=9)
    kernel.weight().square().sum().backward()
    for name, parameter in kernel.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    analytic = SteerableKernel(fields, fields, 3)
    assert kernel.coefficients[0].shape == analytic.coefficients[0].shape
    tables = kernel._table(kernel._pairs[0], kernel.perceptron(kernel.embedding) * kernel.window)
    n_analytic = analytic.coefficients[0].shape[-1]
    assert np.linalg.matrix_rank(tables.detach().flatten(1).numpy(), tol=1e-5) == n_analytic


@pytest.mark.parametrize("group", [DihedralGroup(4), CyclicGroup(8)], ids=lambda g: g.name)
def test_initial_variance_is_the_gain_and_the_seed_fixes_all(group):
    kernel = built(trivial_type(group, 6), regular_type(group, 512), 3)
    power = kernel.weight().detach().square().sum(dim=(1, 2, 3)).mean()
    assert float(power) == pytest.approx(2.0, rel=0.1)
    again = built(trivial_type(group, 6), regular_type(group, 512), 3)
    assert torch.equal(kernel.weight(), again.weight())


def test_tables_are_not_saved_and_kernels_pickle():
    fields = mixed(DihedralGroup(4))
    kernel = built(fields, fields, 3)
    saved = kernel.state_dict()
    assert saved.keys() == dict(kernel.named_parameters()).keys()
    other = built(fields, fields, 3, seed=1)
    other.load_state_dict(saved)
    assert torch.equal(other.weight(), kernel.weight())
    assert torch.equal(pickle.loads(pickle.dumps(kernel)).weight(), kernel.weight())


@pytest.mark.slow
def test_the_kernel_traces_without_graph_breaks():
    fields = FieldType(DihedralGroup(4), "2xregular+irrep(1,1)")
    kernel = built(fields, fields, 3)
    traced = torch.compile(kernel.weight, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(traced(), kernel.weight())


def convolution(kernel: nn.Module) -> SteerableConv:
    conv = SteerableConv(kernel.in_type, kernel.out_type, kernel.size, padding=kernel.size // 2)
    conv.kernel = kernel
    return conv


def test_convolutions_with_implicit_kernels_commute():
    fields = mixed(DihedralGroup(4))
    conv = convolution(built(fields, fields, 3))
    features = torch.randn(2, fields.channels, 9, 9, generator=torch.Generator().manual_seed(0))
    assert_equivariant(conv, fields.group, features, tolerance=FLOAT32)


def test_a_folded_convolution_gives_the_same_values():
    fields = regular_type(DihedralGroup(4), 16)
    pair = ConvNorm(fields, fields, 3, padding=1)
    pair.conv.kernel = built(fields, fields, 3)
    features = torch.randn(4, 16, 9, 9, generator=torch.Generator().manual_seed(0))
    pair.train()(features)
    with torch.no_grad():
        expected = pair.eval()(features)
    torch.testing.assert_close(fold_conv_norm(pair)(features), expected, atol=1e-5, rtol=0)


class OrdinaryPerceptron(nn.Sequential):
    """The same widths with free weights: it knows nothing of the group."""

    def __init__(self, kernel: ImplicitKernel) -> None:
        widths = (kernel.embedding.shape[0], 32, kernel.perceptron[-1].out_type.channels)
        super().__init__(nn.Linear(widths[0], 32), nn.SiLU(), nn.Linear(32, widths[2]))

    def forward(self, embedded):
        return super().forward(embedded.T).T


def test_a_perceptron_that_is_not_equivariant_breaks_the_constraint():
    """Negative control."""
    fields = regular_type(DihedralGroup(4), 16)
    kernel = built(fields, fields, 3)
    assert relative_error(kernel) < FLOAT32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kernel.perceptron = OrdinaryPerceptron(kernel)
    assert relative_error(kernel) > 0.1


def test_impossible_kernels_are_refused():
    fields = regular_type(DihedralGroup(4), 8)
    with pytest.raises(KernelError, match="must be odd, got 4"):
        ImplicitKernel(fields, fields, 4)
    with pytest.raises(FieldTypeError, match="one group on both sides"):
        ImplicitKernel(fields, regular_type(CyclicGroup(4), 8), 3)


def test_a_pair_without_any_kernel_stays_zero():
    """trivial → the sign of reflections has no function on one pixel."""
    group = DihedralGroup(4)
    kernel = built(trivial_type(group, 2), FieldType(group, "irrep(1,0)"), 1)
    assert kernel.weight().shape == (1, 2, 1, 1)
    assert not kernel.weight().any()
