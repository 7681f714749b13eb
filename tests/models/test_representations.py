"""Irreps, characters, induction, restriction and changes of basis."""

import numpy as np
import pytest

from equilens.models.errors import FieldTypeError
from equilens.models.groups import CyclicGroup, DihedralGroup
from equilens.models.representations import (
    Representation,
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
    np.testing.assert_allclose(induced.character, regular(group).character)


@pytest.mark.parametrize("subgroup", [CyclicGroup(2), CyclicGroup(4), DihedralGroup(2)])
def test_frobenius_reciprocity(subgroup):
    group = DihedralGroup(4)
    for small in irreducibles(subgroup):
        induced = induce(small, group)
        for large in irreducibles(group):
            left = induced.character @ large.character / group.order
            right = small.character @ restrict(large, subgroup).character / subgroup.order
            assert left == pytest.approx(right, abs=1e-12)


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
    ],
)
def test_representations_that_do_not_exist_are_refused(group, name):
    with pytest.raises(ValueError, match=r"irrep|subgroup|representation|frequency"):
        parse_representation(group, name)


def test_matrices_of_the_wrong_shape_are_refused():
    with pytest.raises(FieldTypeError, match=r"must have shape \(4, 2, 2\)"):
        Representation(CyclicGroup(4), "odd", np.zeros((3, 2, 2)))
