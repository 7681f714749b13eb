"""Splitting the functions on a group: by a small subgroup's characters, and by all irreps."""

import numpy as np
import pytest

from equilens.models.fibre import FibreSplit
from equilens.models.groups import CyclicGroup, DihedralGroup
from equilens.models.irreps_split import IrrepsSplit

GROUPS = [
    CyclicGroup(1),
    CyclicGroup(3),
    CyclicGroup(4),
    CyclicGroup(8),
    DihedralGroup(1),
    DihedralGroup(3),
    DihedralGroup(4),
    DihedralGroup(8),
]


def right_convolution(group, values):
    """(in, out) matrix of f → f ∗ w, from the definition."""
    matrix = np.zeros((group.order, group.order))
    for h in group.elements:
        for g in group.elements:
            matrix[h, g] = values[group.product(group.inverse(h), g)]
    return matrix


@pytest.mark.parametrize(
    ("group", "order", "cosets"),
    [
        (CyclicGroup(1), 1, 1),
        (CyclicGroup(3), 1, 3),
        (CyclicGroup(8), 2, 4),
        (DihedralGroup(3), 2, 3),
        (DihedralGroup(4), 4, 2),
        (DihedralGroup(8), 4, 4),
    ],
)
def test_the_subgroup_is_the_largest_of_twos(group, order, cosets):
    split = FibreSplit(group)
    assert (split.order, split.n_cosets) == (order, cosets)
    assert sorted(split.elements.reshape(-1)) == list(group.elements)


@pytest.mark.parametrize("group", GROUPS, ids=repr)
def test_characters_are_homomorphisms(group):
    split = FibreSplit(group)
    for a in split.subgroup.elements:
        for b in split.subgroup.elements:
            product = split.characters[:, split.subgroup.product(a, b)]
            np.testing.assert_array_equal(split.characters[:, a] * split.characters[:, b], product)


@pytest.mark.parametrize("group", GROUPS, ids=repr)
def test_blocks_are_the_convolution_in_the_characters_basis(group):
    split = FibreSplit(group)
    values = np.random.default_rng(0).normal(size=group.order)
    order = split.elements.reshape(-1)
    dense = right_convolution(group, values)[np.ix_(order, order)]
    change = np.kron(split.characters, np.eye(split.n_cosets)) / np.sqrt(split.order)
    split_up = (change @ dense @ change.T).reshape((split.order, split.n_cosets) * 2)
    blocks = np.einsum("g,gxst->xst", values, split.block_table)
    for a in range(split.order):
        for b in range(split.order):
            expected = blocks[a] if a == b else np.zeros_like(blocks[a])
            np.testing.assert_allclose(split_up[a, :, b], expected, atol=1e-12)


@pytest.mark.parametrize("group", GROUPS, ids=repr)
def test_all_irreps_split_the_convolution_further(group):
    split = IrrepsSplit(group)
    values = np.random.default_rng(1).normal(size=group.order)
    order = FibreSplit(group).elements.reshape(-1)
    dense = right_convolution(group, values)[np.ix_(order, order)]
    np.testing.assert_allclose(split.matrix @ split.matrix.T, np.eye(group.order), atol=1e-12)
    expected = np.zeros_like(dense)
    for part in split.parts:
        matrix = np.einsum("g,gab->ab", values, part.table)
        for start in range(part.start, part.start + part.slabs, part.copies):
            expected[start : start + part.copies, start : start + part.copies] = matrix
    np.testing.assert_allclose(split.matrix @ dense @ split.matrix.T, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("group", "products"), [(CyclicGroup(1), 1), (CyclicGroup(4), 6), (DihedralGroup(4), 12)]
)
def test_products_are_those_of_the_literature(group, products):
    # 64 / 12 = 5.33 is the saving of octic linear layers (arXiv:2505.15441)
    assert IrrepsSplit(group).products == products


def test_left_convolution_does_not_split():
    group = DihedralGroup(4)
    split = FibreSplit(group)
    values = np.random.default_rng(2).normal(size=group.order)
    left = np.array(
        [
            [values[group.product(g, group.inverse(h))] for g in group.elements]
            for h in group.elements
        ]
    )
    order = split.elements.reshape(-1)
    change = np.kron(split.characters, np.eye(split.n_cosets)) / np.sqrt(split.order)
    split_up = change @ left[np.ix_(order, order)] @ change.T
    outside = np.kron(1 - np.eye(split.order), np.ones((split.n_cosets,) * 2))
    assert np.abs(split_up * outside).max() > 0.1
