"""Representations made from others: sums, restriction to a subgroup, induction from one.

Functions on a group or on its cosets are the simplest induced ones: ``regular`` comes from the
trivial group, ``quotient(K)`` from the trivial representation of a subgroup K. Subgroups are the
standard ones: D_M holds the reflection y → −y.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from equilens.models.continuous_groups import ContinuousGroup, require_subgroup
from equilens.models.errors import FieldTypeError
from equilens.models.groups import CyclicGroup, Group, PlanarGroup
from equilens.models.irreps import TOLERANCE, Representation, irreducibles, trivial


@cache
def regular(group: Group) -> Representation:
    """Return the functions on a finite group: ρ(g) e_h = e_gh."""
    if not isinstance(group, PlanarGroup):
        raise FieldTypeError(
            f"the regular representation of {group!r} has infinite dimension; "
            f"use bandlimited(L), its part up to frequency L"
        )
    matrices = np.zeros((group.order,) * 3)
    for g in group.elements:
        for h in group.elements:
            matrices[g, group.product(g, h), h] = 1.0
    return Representation(group, "regular", matrices)


@cache
def bandlimited(group: Group, frequency: int) -> Representation:
    """Return the functions on SO(2) or O(2) of frequencies up to ``frequency``.

    A part of the regular representation, and all of it that a finite number of channels holds: a
    product of two such functions leaves the band, and a pointwise nonlinearity with it. Channels
    are a function's values at the 2 L + 1 rotations (and as many reflections) that determine it,
    which elements of that finite subgroup permute and others mix. ``decompose`` gives the
    transform to Fourier coefficients.
    """
    if not isinstance(group, ContinuousGroup) or frequency < 0:
        raise FieldTypeError(
            f"bandlimited(L) needs SO2 or O2 and a frequency L ≥ 0, got {group!r} and {frequency}; "
            f"a finite group has regular"
        )
    matrices = regular(group.quadrature(2 * frequency)).matrices
    return Representation(group, f"bandlimited({frequency})", matrices)


@cache
def quotient(group: Group, subgroup: Group) -> Representation:
    """Return the functions on the cosets G/K: the trivial representation of K, induced."""
    induced = induce(trivial(subgroup), group)
    return Representation(group, f"quotient({subgroup.name})", induced.matrices)


def direct_sum(parts: Sequence[Representation]) -> Representation:
    """Return ρ_1 ⊕ ρ_2 ⊕ …, block-diagonal."""
    if not parts or any(part.group != parts[0].group for part in parts):
        raise FieldTypeError(f"a direct sum needs representations of one group, got {list(parts)}")
    samples = max(parts, key=lambda part: part.frequency).samples
    size = sum(part.size for part in parts)
    matrices = np.zeros((samples.order, size, size))
    start = 0
    for part in parts:
        block = slice(start, start + part.size)
        matrices[:, block, block] = part.on(samples)
        start += part.size
    return Representation(parts[0].group, "+".join(part.name for part in parts), matrices)


@cache
def restrict(representation: Representation, subgroup: Group) -> Representation:
    """Return the same matrices, of the subgroup's elements only.

    Where they are those of an irrep of the subgroup, it is returned under that name, else
    ``restricted(G,NAME)``.
    """
    group = representation.group
    require_subgroup(subgroup, group)
    if subgroup == group:
        return representation
    # the rotations of O(2) come first in its table, and resolve the same frequencies
    table = (
        subgroup
        if isinstance(subgroup, PlanarGroup)
        else subgroup.quadrature(2 * representation.frequency)
    )
    matrices = representation.on(table)
    if representation.name == "trivial":
        return trivial(subgroup)
    if representation.size <= 2:
        for irrep in irreducibles(subgroup, table.n // 2):
            same = irrep.size == representation.size
            if same and np.allclose(irrep.on(table), matrices, rtol=0, atol=TOLERANCE):
                return irrep
    return Representation(subgroup, f"restricted({group.name},{representation.name})", matrices)


@cache
def induce(representation: Representation, group: Group) -> Representation:
    """Return the representation of ``group`` induced from one of a subgroup.

    With coset representatives t_i, g t_j = t_i k fixes i and k for each g and j; block (i, j) of
    the induced matrix is ρ(k). From SO(2) to O(2) the tables of both are induced, which have the
    same two cosets.

    Raises
    ------
    FieldTypeError
        From a finite subgroup to a continuous group, whose cosets are infinitely many.
    """
    subgroup = representation.group
    require_subgroup(subgroup, group)
    if subgroup == group:
        return representation
    if isinstance(subgroup, PlanarGroup) and not isinstance(group, PlanarGroup):
        raise FieldTypeError(
            f"{representation!r} induced to {group!r} has infinite dimension: "
            f"induce from SO2 to O2, or to a finite group"
        )
    table = group.quadrature(2 * representation.frequency)
    return Representation(
        group, _induced_name(representation), _induced_matrices(representation, table)
    )


def _induced_name(representation: Representation) -> str:
    """Return the shortest name: functions on the cosets, or on the group, have their own."""
    subgroup = representation.group
    if representation.name != "trivial":
        return f"induced({subgroup.name},{representation.name})"
    return "regular" if subgroup == CyclicGroup(1) else f"quotient({subgroup.name})"


def _induced_matrices(representation: Representation, group: PlanarGroup) -> np.ndarray:
    embedded = group.embed(representation.samples)
    cosets: list[int] = []
    owner: dict[int, tuple[int, int]] = {}
    for g in group.elements:
        if g not in owner:
            for k, element in enumerate(embedded):
                owner[group.product(g, element)] = (len(cosets), k)
            cosets.append(g)
    size = representation.size
    matrices = np.zeros((group.order, len(cosets), size, len(cosets), size))
    for g in group.elements:
        for j, t in enumerate(cosets):
            i, k = owner[group.product(g, t)]
            matrices[g, i, :, j] = representation.matrices[k]
    return matrices.reshape(group.order, *2 * (len(cosets) * size,))
