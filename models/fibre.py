"""A finite group seen as copies of an elementary abelian one, on which a fast transform acts.

Write G as right cosets K t of a subgroup K = C_2 × … × C_2. A function on G is then |G/K| functions
on K, and left translation by K moves each of them alone. What commutes with G commutes with K, so
the characters of K, all of them ±1, split every equivariant linear map of regular fields into |K|
blocks of 1/|K|² the size. The change of basis is a Walsh-Hadamard transform: additions only.

For D_N with even N, K is D_2, Klein's four-group, and a map costs a quarter of a plain one. All
irreps of D_4 bring that to 1/5.33 (``irreps_split``), with six blocks of two shapes and an 8 × 8
change of basis; the four equal blocks are the faster ones where channels are few.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from equilens.models.groups import CyclicGroup, DihedralGroup, PlanarGroup


@dataclass(frozen=True)
class FibreSplit:
    """The functions on a group G as ``n_cosets`` functions on its subgroup K = C_2^n.

    Fibre-major channels hold the element κ t of field i at ``(κ * n_cosets + t) * n_fields + i``:
    all fields' first element, then their second.

    Parameters
    ----------
    group : PlanarGroup
    """

    group: PlanarGroup

    @cached_property
    def subgroup(self) -> PlanarGroup:
        """K: the largest of D_2, D_1, C_2 and C_1 that the group contains."""
        turns = 1 if self.group.n % 2 else 2
        return (DihedralGroup if self.group.has_reflections else CyclicGroup)(turns)

    @property
    def order(self) -> int:
        """|K|, the number of blocks."""
        return self.subgroup.order

    @cached_property
    def elements(self) -> np.ndarray:
        """(|K|, n_cosets) elements κ t; t is the lowest element of its coset."""
        inside = self.group.embed(self.subgroup)
        cosets: list[int] = []
        seen: set[int] = set()
        for t in self.group.elements:
            if t not in seen:
                cosets.append(t)
                seen |= {self.group.product(k, t) for k in inside}
        return np.array([[self.group.product(k, t) for t in cosets] for k in inside])

    @property
    def n_cosets(self) -> int:
        """|G/K|."""
        return self.group.order // self.order

    @cached_property
    def characters(self) -> np.ndarray:
        """(|K|, |K|) symmetric matrix of ±1: character χ at element κ, float64.

        The elements of D_2 are numbered by two bits, half turn and reflection, and multiply by
        exclusive or: the matrix is a Kronecker power of [[1, 1], [1, −1]].
        """
        matrix = np.ones((1, 1))
        while len(matrix) < self.order:
            matrix = np.kron(np.array([[1.0, 1.0], [1.0, -1.0]]), matrix)
        return matrix

    def field_major(self, n_fields: int) -> np.ndarray:
        """Return for each fibre-major channel its number in a FieldType's order."""
        fields = np.arange(n_fields) * self.group.order
        return (self.elements[:, :, None] + fields).reshape(-1)

    @cached_property
    def block_table(self) -> np.ndarray:
        """(|G|, |K|, n_cosets, n_cosets) float64 table of all blocks, zeros and ±1.

        Right convolution with w, (f ∗ w)(g) = Σ_h f(h) w(h⁻¹ g), is what commutes with left
        translation. Its block of χ maps coset s to coset t by Σ_κ χ(κ) w(s⁻¹ κ t): entry
        (g, χ, s, t) is what w(g) contributes.
        """
        product, inverse = self.group.product, self.group.inverse
        table = np.zeros((self.group.order, self.order, self.n_cosets, self.n_cosets))
        for s, source in enumerate(self.elements[0]):
            for t in range(self.n_cosets):
                for k, element in enumerate(self.elements[:, t]):
                    table[product(inverse(int(source)), int(element)), :, s, t] = self.characters[k]
        return table
