"""Group axioms, matrices and subgroups of C_N and D_N; quadratures of SO(2) and O(2)."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equilens.models.continuous_groups import O2, SO2, named_group, require_subgroup
from equilens.models.errors import GroupError
from equilens.models.groups import CyclicGroup, DihedralGroup

groups = st.builds(
    lambda kind, n: kind(n), st.sampled_from([CyclicGroup, DihedralGroup]), st.integers(1, 16)
)


def test_quarter_turns_and_reflections_have_integer_matrices():
    group = DihedralGroup(4)
    assert group.matrix(1).tolist() == [[0, -1], [1, 0]]
    assert group.matrix(4).tolist() == [[1, 0], [0, -1]]
    assert all(np.isin(group.matrix(g), (-1, 0, 1)).all() for g in group.elements)


@given(groups, st.data())
def test_axioms(group, data):
    elements = st.sampled_from(group.elements)
    a, b, c = data.draw(elements), data.draw(elements), data.draw(elements)
    assert group.product(0, a) == a == group.product(a, 0)
    assert group.product(a, group.inverse(a)) == 0 == group.product(group.inverse(a), a)
    assert group.product(group.product(a, b), c) == group.product(a, group.product(b, c))


@given(groups, st.data())
def test_matrices_are_an_orthogonal_homomorphism(group, data):
    elements = st.sampled_from(group.elements)
    a, b = data.draw(elements), data.draw(elements)
    product = group.matrix(a) @ group.matrix(b)
    np.testing.assert_allclose(group.matrix(group.product(a, b)), product, atol=1e-14)
    np.testing.assert_allclose(product @ product.T, np.eye(2), atol=1e-14)


def test_values_are_hashable_and_readable():
    assert DihedralGroup(4) == DihedralGroup(4) != CyclicGroup(4)
    assert len({CyclicGroup(8), CyclicGroup(8), DihedralGroup(8)}) == 2
    assert repr(DihedralGroup(4)) == "DihedralGroup(4)"
    assert DihedralGroup(4).name == "D4"


@pytest.mark.parametrize("subgroup", [CyclicGroup(2), CyclicGroup(4), DihedralGroup(2)])
def test_embedding_keeps_products(subgroup):
    group = DihedralGroup(8)
    place = group.embed(subgroup)
    for a, b in itertools.product(subgroup.elements, repeat=2):
        assert group.product(place[a], place[b]) == place[subgroup.product(a, b)]


def test_impossible_groups_are_refused():
    with pytest.raises(GroupError, match="integer ≥ 1, got 0"):
        CyclicGroup(0)
    with pytest.raises(GroupError, match=r"DihedralGroup\(3\) is not a subgroup of .*\(8\)"):
        DihedralGroup(8).embed(DihedralGroup(3))
    with pytest.raises(GroupError, match="must be cyclic"):
        CyclicGroup(8).embed(DihedralGroup(4))
    with pytest.raises(GroupError, match="0…3, got 4"):
        CyclicGroup(4).matrix(4)


@given(st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_a_quadrature_averages_its_degree_exactly_and_no_higher(degree, seed):
    """The mean of a trigonometric polynomial is its constant term."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=degree + 1) + 1j * rng.normal(size=degree + 1)
    group = SO2().quadrature(degree)
    angles = 2 * np.pi * np.arange(group.n) / group.n
    values = (waves[:, None] * np.exp(1j * np.outer(range(degree + 1), angles))).sum(axis=0)
    assert values.mean() == pytest.approx(waves[0], abs=1e-12)
    beyond = np.cos((degree + 1) * angles)
    assert beyond.mean() == pytest.approx(1.0)  # its true mean is 0: the bound is sharp


def test_continuous_groups_are_values_with_subgroups():
    assert SO2() == SO2() != O2()
    assert (repr(SO2()), O2().name) == ("SO2()", "O2")
    assert (SO2().quadrature(4), O2().quadrature(4)) == (CyclicGroup(5), DihedralGroup(5))
    assert DihedralGroup(4).quadrature(100) == DihedralGroup(4)
    assert O2().contains(DihedralGroup(7))
    assert O2().contains(SO2())
    assert SO2().contains(CyclicGroup(7))
    assert not SO2().contains(DihedralGroup(1))
    assert not SO2().contains(O2())
    assert not DihedralGroup(4).contains(SO2())
    assert not SO2().acts_on_pixels


@pytest.mark.parametrize("group", [CyclicGroup(1), DihedralGroup(12), SO2(), O2()])
def test_names_are_read_back(group):
    assert named_group(group.name) == group


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(GroupError, match="CN, DN, SO2 or O2, got 'C0'"):
        named_group("C0")
    with pytest.raises(GroupError, match=r"DihedralGroup\(2\) is not a subgroup of SO2\(\)"):
        require_subgroup(DihedralGroup(2), SO2())
    with pytest.raises(GroupError, match="must be ≥ 0, got -1"):
        O2().quadrature(-1)
