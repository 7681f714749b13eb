"""Irreps, characters, induction, restriction and changes of basis."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equilens.models.continuous_groups import O2, SO2
from equilens.models.errors import FieldTypeError, GroupError
from equilens.models.groups import CyclicGroup, DihedralGroup
from equilens.models.representations import (
    Representation,
    bandlimited,
    decompose,
    direct_sum,
    induce,
    irreducible,
    irreducibles,
    multiplicity,
    parse_representation,
    quotient,
    regular,
    restrict,
    trivial,
)

GROUPS = [kind(n) for kind in (CyclicGroup, DihedralGroup) for n in (1, 2, 3, 4, 5, 8)]
by_name = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)


def everything(group) -> list[Representation]:
    half = [quotient(group, CyclicGroup(2))] if group.n % 2 == 0 else []
    mixed = direct_sum([trivial(group), irreducibles(group)[-1], regular(group)])
    return [trivial(group), regular(group), *irreducibles(group), *half, mixed]


def test_d4_has_the_five_irreps_of_the_character_table():
    table = {rep.name: rep.character.tolist() for rep in irreducibles(DihedralGroup(4))}
    assert table == {  # columns: 1, r, r², r³, then s, rs, r²s, r³s
        "irrep(0,0)": [1, 1, 1, 1, 1, 1, 1, 1],
        "irrep(1,0)": [1, 1, 1, 1, -1, -1, -1, -1],
        "irrep(1,1)": [2, 0, -2, 0, 0, 0, 0, 0],
        "irrep(0,2)": [1, -1, 1, -1, 1, -1, 1, -1],
        "irrep(1,2)": [1, -1, 1, -1, -1, 1, -1, 1],
    }


@by_name
def test_every_representation_is_an_orthogonal_homomorphism(group):
    for rep in everything(group):
        for a in group.elements:
            for b in group.elements:
                product = rep.matrices[a] @ rep.matrices[b]
                np.testing.assert_allclose(
                    rep.matrices[group.product(a, b)], product, atol=1e-12, err_msg=repr(rep)
                )
        gram = np.einsum("gij,gkj->gik", rep.matrices, rep.matrices)
        np.testing.assert_allclose(gram, np.broadcast_to(np.eye(rep.size), gram.shape), atol=1e-12)


@by_name
def test_irreps_are_orthogonal_and_complete(group):
    characters = np.stack([rep.character for rep in irreducibles(group)])
    gram = characters @ characters.T / group.order
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-12)
    # 2 where a real irrep splits over the complex numbers: the planes of C_N
    split = [1 if group.has_reflections or rep.size == 1 else 2 for rep in irreducibles(group)]
    np.testing.assert_allclose(np.diag(gram), split, atol=1e-12)
    sizes = [rep.size**2 / s for rep, s in zip(irreducibles(group), split, strict=True)]
    assert sum(sizes) == group.order


@by_name
def test_change_of_basis_block_diagonalises(group):
    for rep in everything(group):
        parts = decompose(rep)
        q = parts.change_of_basis
        np.testing.assert_allclose(q @ q.T, np.eye(rep.size), atol=1e-12)
        rebuilt = np.einsum("ai,gij,bj->gab", q, direct_sum(parts.irreps).matrices, q)
        np.testing.assert_allclose(rebuilt, rep.matrices, atol=1e-12, err_msg=repr(rep))


@by_name
def test_regular_is_induced_from_the_trivial_group(group):
    induced = induce(trivial(CyclicGroup(1)), group)
    np.testing.assert_array_equal(induced.matrices, regular(group).matrices)


SUBGROUPS = [
    (small, large)
    for large in [CyclicGroup(6), CyclicGroup(8), DihedralGroup(4), DihedralGroup(6)]
    for small in [kind(n) for kind in (CyclicGroup, DihedralGroup) for n in (1, 2, 3, 4)]
    if large.contains(small)
]
by_subgroup = pytest.mark.parametrize(
    ("small", "large"), [*SUBGROUPS, (SO2(), O2())], ids=lambda group: group.name
)


def irreps_of(group):
    return irreducibles(group, 3 if group in (SO2(), O2()) else None)


def inner(first, second):
    """⟨χ_1, χ_2⟩ by averaging over enough elements."""
    group = first.group.quadrature(first.frequency + second.frequency)
    characters = [np.trace(rep.on(group), axis1=1, axis2=2) for rep in (first, second)]
    return characters[0] @ characters[1] / group.order


@by_subgroup
def test_frobenius_reciprocity(small, large):
    """⟨Ind ψ, φ⟩ on the large group is ⟨ψ, Res φ⟩ on the small one."""
    for psi in irreps_of(small):
        for phi in irreps_of(large):
            expected = inner(psi, restrict(phi, small))
            assert inner(induce(psi, large), phi) == pytest.approx(expected, abs=1e-12)


@by_subgroup
def test_a_quotient_is_the_trivial_representation_induced(small, large):
    functions = quotient(large, small)
    index = 2 if large == O2() else large.order // small.order
    assert (functions.size, functions.is_permutation) == (index, True)
    np.testing.assert_array_equal(functions.matrices, induce(trivial(small), large).matrices)


@pytest.mark.parametrize(("small", "large"), SUBGROUPS, ids=lambda group: group.name)
def test_induced_representations_are_built_by_name(small, large):
    for psi in irreducibles(small)[-2:]:
        rep = parse_representation(large, f"induced({small.name},{psi.name})")
        assert rep == induce(psi, large) or small == large
        assert rep.size == psi.size * large.order // small.order
        for a in large.elements:
            for b in large.elements:
                product = rep.matrices[a] @ rep.matrices[b]
                np.testing.assert_allclose(
                    rep.matrices[large.product(a, b)], product, atol=1e-12, err_msg=repr(rep)
                )


def test_a_wrong_induction_is_no_representation():
    """Negative control: the same block on both cosets, where s turns rotations around."""
    small, large = CyclicGroup(4), DihedralGroup(4)
    turns = irreducible(small, 1).matrices
    twice = np.einsum("ij,gab->giajb", np.eye(2), np.tile(turns, (2, 1, 1))).reshape(8, 4, 4)
    s, r = 4, 1
    errors = [
        np.abs(table[large.product(s, r)] - table[s] @ table[r]).max()
        for table in (induce(irreducible(small, 1), large).matrices, twice)
    ]
    assert errors[0] < 1e-12
    assert errors[1] == 2


def test_names_nest_and_shorten():
    d8, d4 = DihedralGroup(8), DihedralGroup(4)
    lowered = restrict(regular(d8), d4)
    assert lowered.name == "restricted(D8,regular)"
    assert parse_representation(d4, lowered.name) == lowered
    raised = induce(lowered, d8)
    assert raised.name == "induced(D4,restricted(D8,regular))"
    np.testing.assert_array_equal(parse_representation(d8, raised.name).matrices, raised.matrices)
    assert restrict(irreducible(d8, 1), d4) == irreducible(d4, 1)
    assert restrict(trivial(d8), d4) == trivial(d4)
    assert induce(trivial(CyclicGroup(1)), d8) == regular(d8)
    assert restrict(regular(d8), d8) is regular(d8)


angles = st.floats(-10, 10)


def matrix_of(angle, flipped):
    """The closed form of rotations, and of rotations after y → −y."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]]) @ np.diag([1, -1 if flipped else 1])


@given(st.integers(1, 6), angles, st.booleans())
def test_irreps_of_o2_are_rotations_and_reflections(frequency, angle, flipped):
    rep = irreducible(O2(), frequency)
    expected = matrix_of(frequency * angle, flipped)
    np.testing.assert_allclose(rep.at([angle], flipped)[0], expected, atol=1e-12)
    assert irreducible(O2(), 0, 1).at([angle], flipped)[0] == pytest.approx(-1 if flipped else 1)


CONTINUOUS = [
    parse_representation(group, name)
    for group, names in {
        SO2(): ("trivial", "irrep(3)", "bandlimited(2)", "restricted(O2,irrep(1,2))"),
        O2(): ("irrep(1,0)", "bandlimited(2)", "quotient(SO2)", "induced(SO2,irrep(2))"),
    }.items()
    for name in names
]
CONTINUOUS.append(direct_sum(CONTINUOUS[:3]))


@pytest.mark.parametrize("rep", CONTINUOUS, ids=repr)
@given(a=angles, b=angles, f=st.booleans(), g=st.booleans())
def test_continuous_representations_are_homomorphisms_at_any_angle(rep, a, b, f, g):
    if not rep.group.has_reflections:
        f = g = False
    product = rep.at([a], f)[0] @ rep.at([b], g)[0]
    # a reflection turns the rotation after it the other way
    np.testing.assert_allclose(rep.at([a - b if f else a + b], f != g)[0], product, atol=1e-11)
    np.testing.assert_allclose(product @ product.T, np.eye(rep.size), atol=1e-11)


@pytest.mark.parametrize("rep", CONTINUOUS, ids=repr)
def test_change_of_basis_block_diagonalises_at_any_angle(rep):
    parts = decompose(rep)
    blocks, q = direct_sum(parts.irreps), parts.change_of_basis
    for flipped in range(1 + rep.group.has_reflections):
        rebuilt = np.einsum("ai,gij,bj->gab", q, blocks.at([0.3, 2.0], flipped), q)
        np.testing.assert_allclose(rebuilt, rep.at([0.3, 2.0], flipped), atol=1e-12)


def test_bandlimited_functions_are_what_a_finite_subgroup_calls_regular():
    rep = bandlimited(SO2(), 3)
    assert [irrep.name for irrep in decompose(rep).irreps] == [f"irrep({k})" for k in range(4)]
    np.testing.assert_array_equal(rep.on(CyclicGroup(7)), regular(CyclicGroup(7)).matrices)
    # the turned function, sampled where the function was
    samples = 2 * np.pi * np.arange(7) / 7
    function = lambda angle: 1 + np.cos(3 * angle) - 2 * np.sin(2 * angle)  # noqa: E731
    turned = rep.at([0.4])[0] @ function(samples)
    np.testing.assert_allclose(turned, function(samples - 0.4), atol=1e-12)
    # an irrep occurs as often as its size
    names = [irrep.name for irrep in decompose(bandlimited(O2(), 1)).irreps]
    assert names == ["irrep(0,0)", "irrep(1,0)", "irrep(1,1)", "irrep(1,1)"]


def test_only_samples_of_a_bandlimited_function_permute():
    """The table looks like a permutation, and pointwise functions must be refused all the same."""
    rep = bandlimited(SO2(), 1)
    assert np.isin(rep.matrices, (0, 1)).all()
    assert not rep.is_permutation
    assert np.abs(rep.at([0.5])[0]).min() > 1e-3
    assert quotient(O2(), SO2()).is_permutation


def test_restriction_from_continuous_groups():
    assert restrict(irreducible(SO2(), 1), CyclicGroup(8)) == irreducible(CyclicGroup(8), 1)
    assert restrict(irreducible(O2(), 4), DihedralGroup(4)).name == "restricted(O2,irrep(1,4))"
    assert restrict(irreducible(O2(), 2), SO2()) == irreducible(SO2(), 2)
    for group in (CyclicGroup(5), DihedralGroup(3)):
        rep = restrict(bandlimited(O2(), 2), group)
        for a in group.elements:
            expected = bandlimited(O2(), 2).at([2 * np.pi * (a % group.n) / group.n], a // group.n)
            np.testing.assert_allclose(rep.matrices[a], expected[0], atol=1e-12)


def test_quotients_and_multiplicities():
    group = DihedralGroup(4)
    cosets = quotient(group, DihedralGroup(1))
    assert (cosets.size, cosets.is_permutation, cosets.name) == (4, True, "quotient(D1)")
    assert [multiplicity(irrep, cosets) for irrep in irreducibles(group)] == [1, 0, 1, 1, 0]
    assert not irreducible(group, 1).is_permutation
    assert trivial(group).is_trivial
    assert not regular(group).is_trivial


def test_equality_is_by_group_and_name():
    assert regular(CyclicGroup(4)) == regular(CyclicGroup(4)) != regular(CyclicGroup(8))
    assert repr(irreducible(DihedralGroup(8), 3)) == "irrep(1,3)[D8]"


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (CyclicGroup(4), "irrep(3)"),
        (CyclicGroup(4), "irrep(1,1)"),
        (DihedralGroup(4), "irrep(0,1)"),
        (DihedralGroup(4), "quotient(C3)"),
        (DihedralGroup(4), "spinor"),
        (DihedralGroup(4), "induced(C3,irrep(1))"),
        (DihedralGroup(4), "induced(C4,irrep(7))"),
        (DihedralGroup(4), "induced(C4)"),
        (DihedralGroup(4), "bandlimited(1)"),
        (SO2(), "irrep(1,1)"),
        (SO2(), "quotient(C4)"),
        (SO2(), "induced(C4,irrep(1))"),
        (SO2(), "quotient(O2)"),
        (O2(), "irrep(0,1)"),
        (O2(), "regular"),
        (O2(), "restricted(SO2,irrep(1))"),
    ],
)
def test_representations_that_do_not_exist_are_refused(group, name):
    with pytest.raises(ValueError, match=r"irrep|subgroup|representation|frequency|infinite"):
        parse_representation(group, name)


def test_matrices_of_the_wrong_shape_are_refused():
    with pytest.raises(FieldTypeError, match=r"must have shape \(4, 2, 2\)"):
        Representation(CyclicGroup(4), "odd", np.zeros((3, 2, 2)))


def test_infinite_dimensions_are_refused_with_the_way_out():
    with pytest.raises(FieldTypeError, match=r"infinite dimension; use bandlimited\(L\)"):
        regular(SO2())
    with pytest.raises(FieldTypeError, match="infinite dimension: induce from SO2 to O2"):
        quotient(O2(), CyclicGroup(4))
    with pytest.raises(FieldTypeError, match="infinitely many irreps: name a highest frequency"):
        irreducibles(O2())
    with pytest.raises(FieldTypeError, match=r"0…∞ for SO2\(\), got -1"):
        irreducible(SO2(), -1)
    with pytest.raises(FieldTypeError, match=r"its group is finite, use ``on``"):
        regular(CyclicGroup(4)).at([0.1])
    with pytest.raises(GroupError, match="not a subgroup"):
        irreducible(SO2(), 1).on(DihedralGroup(2))
