"""Real orthogonal representations of C_N and D_N as frozen values.

Irreducible ones are named ``irrep(k)`` for C_N and ``irrep(j,k)`` for D_N, where ``k`` is the
rotation frequency and ``j`` the sign under reflection (1 for every two-dimensional one).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from equilens.models.errors import FieldTypeError
from equilens.models.groups import CyclicGroup, DihedralGroup, PlanarGroup, rotation_matrix

TOLERANCE = 1e-9


@dataclass(frozen=True, repr=False)
class Representation:
    """An orthogonal representation ρ of a group: one matrix an element.

    Two representations are equal when group and name are.

    Parameters
    ----------
    group : PlanarGroup
    name : str
        ``"trivial"``, ``"regular"``, ``"irrep(1)"``, ``"quotient(C2)"``, …
    matrices : (order, size, size) float64 array
        ρ(g), in the order of ``group.elements``.
    """

    group: PlanarGroup
    name: str
    matrices: np.ndarray = field(compare=False)

    def __post_init__(self) -> None:
        expected = (self.group.order, *self.matrices.shape[1:2] * 2)
        if self.matrices.shape != expected:
            raise FieldTypeError(
                f"matrices of {self.name!r} must have shape {expected}, got {self.matrices.shape}"
            )
        self.matrices.setflags(write=False)

    def __repr__(self) -> str:
        return f"{self.name}[{self.group.name}]"

    @property
    def size(self) -> int:
        """Dimension, the number of channels that one field takes."""
        return self.matrices.shape[1]

    @property
    def character(self) -> np.ndarray:
        """χ(g) = tr ρ(g), shape (order,)."""
        return np.trace(self.matrices, axis1=1, axis2=2)

    @property
    def is_permutation(self) -> bool:
        """True where every ρ(g) permutes channels, so that pointwise functions commute with it."""
        return bool(np.isin(self.matrices, (0.0, 1.0)).all())

    @property
    def is_trivial(self) -> bool:
        """True where every ρ(g) is the identity."""
        return bool((self.matrices == np.eye(self.size)).all())

    @property
    def permutations(self) -> np.ndarray:
        """(order, size) integers p with ρ(g) e_j = e_p[g, j]; for permutations only."""
        if not self.is_permutation:
            raise FieldTypeError(f"{self!r} does not permute its channels")
        return self.matrices.argmax(axis=1)


def trivial(group: PlanarGroup) -> Representation:
    """Return the one-dimensional representation ρ(g) = 1."""
    return Representation(group, "trivial", np.ones((group.order, 1, 1)))


@cache
def regular(group: PlanarGroup) -> Representation:
    """Return the functions on the group: ρ(g) e_h = e_gh."""
    matrices = np.zeros((group.order,) * 3)
    for g in group.elements:
        for h in group.elements:
            matrices[g, group.product(g, h), h] = 1.0
    return Representation(group, "regular", matrices)


@cache
def irreducible(group: PlanarGroup, frequency: int, sign: int | None = None) -> Representation:
    """Return the real irreducible representation of that rotation frequency.

    Parameters
    ----------
    frequency : int
        0 … n // 2.
    sign : 0 or 1, optional
        D_N only: 1 where the one-dimensional representation changes sign under the reflection s.
        Two-dimensional representations have 1, the default for them; elsewhere it is 0.
    """
    n = group.n
    one_dimensional = 2 * frequency % n == 0
    if not 0 <= frequency <= n // 2:
        raise FieldTypeError(f"frequency must be 0…{n // 2} for {group!r}, got {frequency}")
    sign = int(group.has_reflections and not one_dimensional) if sign is None else sign
    if (
        sign not in (0, 1)
        or (group.has_reflections != one_dimensional and sign != int(group.has_reflections))
        or (sign and not group.has_reflections)
    ):
        raise FieldTypeError(f"{group!r} has no irrep of frequency {frequency} and sign {sign}")
    splits = [group.split(g) for g in group.elements]
    if one_dimensional:
        parity = [(1 if k * frequency * 2 // n % 2 == 0 else -1, f) for k, f in splits]
        matrices = np.array([[[float(p * (-1 if f and sign else 1))]] for p, f in parity])
    else:
        flip = (np.ones(2), np.array([1.0, -1.0]))
        matrices = np.stack([rotation_matrix(k * frequency, n) * flip[f] for k, f in splits])
    name = f"irrep({sign},{frequency})" if group.has_reflections else f"irrep({frequency})"
    return Representation(group, name, matrices)


@cache
def irreducibles(group: PlanarGroup) -> tuple[Representation, ...]:
    """Return all real irreducible representations, by frequency, then sign."""
    found = []
    for frequency in range(group.n // 2 + 1):
        both = group.has_reflections and 2 * frequency % group.n == 0
        signs: tuple[int | None, ...] = (0, 1) if both else (None,)
        found += [irreducible(group, frequency, sign) for sign in signs]
    return tuple(found)


@cache
def quotient(group: PlanarGroup, subgroup: PlanarGroup) -> Representation:
    """Return the functions on the cosets G/K: the trivial representation of K, induced."""
    induced = induce(trivial(subgroup), group)
    return Representation(group, f"quotient({subgroup.name})", induced.matrices)


def direct_sum(parts: Sequence[Representation]) -> Representation:
    """Return ρ_1 ⊕ ρ_2 ⊕ …, block-diagonal."""
    if not parts or any(part.group != parts[0].group for part in parts):
        raise FieldTypeError(f"a direct sum needs representations of one group, got {list(parts)}")
    size = sum(part.size for part in parts)
    matrices = np.zeros((parts[0].group.order, size, size))
    start = 0
    for part in parts:
        block = slice(start, start + part.size)
        matrices[:, block, block] = part.matrices
        start += part.size
    return Representation(parts[0].group, "+".join(part.name for part in parts), matrices)


def restrict(representation: Representation, subgroup: PlanarGroup) -> Representation:
    """Return the same matrices, of the subgroup's elements only."""
    elements = list(representation.group.embed(subgroup))
    name = f"res[{representation.group.name}]({representation.name})"
    return Representation(subgroup, name, representation.matrices[elements])


def induce(representation: Representation, group: PlanarGroup) -> Representation:
    """Return the representation of ``group`` induced from one of a subgroup.

    With coset representatives t_i, g t_j = t_i k fixes i and k for each g and j; block (i, j) of
    the induced matrix is ρ(k).
    """
    subgroup = representation.group
    embedded = group.embed(subgroup)
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
    name = f"ind[{subgroup.name}]({representation.name})"
    return Representation(group, name, matrices.reshape(group.order, *2 * (len(cosets) * size,)))


def multiplicity(irrep: Representation, representation: Representation) -> int:
    """Return how often an irrep occurs: ⟨χ_ψ, χ_ρ⟩ / ⟨χ_ψ, χ_ψ⟩.

    The denominator is 1, or 2 for the two-dimensional irreps of C_N, which split over ℂ.
    """
    own = irrep.character @ irrep.character
    return round(float(representation.character @ irrep.character / own))


@dataclass(frozen=True)
class Decomposition:
    """ρ(g) = Q (ψ_1 ⊕ ψ_2 ⊕ …)(g) Qᵀ with orthogonal Q = ``change_of_basis``."""

    irreps: tuple[Representation, ...]
    change_of_basis: np.ndarray


@cache
def decompose(representation: Representation) -> Decomposition:
    """Return the irreps of a representation and the orthogonal change of basis to them."""
    found: list[Representation] = []
    columns = np.zeros((representation.size, 0))
    for irrep in irreducibles(representation.group):
        for _ in range(multiplicity(irrep, representation)):
            columns = np.hstack([columns, _next_intertwiner(representation, irrep, columns)])
            found.append(irrep)
    columns.setflags(write=False)
    return Decomposition(tuple(found), columns)


def _next_intertwiner(
    representation: Representation, irrep: Representation, used: np.ndarray
) -> np.ndarray:
    """Return A with ρ(g) A = A ψ(g), AᵀA = 1, orthogonal to the columns in ``used``.

    Group averages of unit matrices, taken in a fixed order, keep the choice the same on every
    machine: coefficients in a checkpoint refer to it.
    """
    for i in range(representation.size):
        for j in range(irrep.size):
            average = np.einsum(
                "gi,gk->ik", representation.matrices[:, :, i], irrep.matrices[:, :, j]
            )
            average -= used @ (used.T @ average)
            scale = np.linalg.norm(average[:, 0])
            if scale > TOLERANCE * representation.group.order:
                return average / scale
    raise AssertionError(f"{irrep!r} must occur once more in {representation!r}")


_IRREP = re.compile(r"irrep\((?:([01]),)?(\d+)\)")
_QUOTIENT = re.compile(r"quotient\(([CD])(\d+)\)")


def parse_representation(group: PlanarGroup, name: str) -> Representation:
    """Return the representation of that name: trivial, regular, irrep(…) or quotient(…).

    Raises
    ------
    FieldTypeError
        Where the name is none of these, or the group lacks it.
    """
    if name == "trivial":
        return trivial(group)
    if name == "regular":
        return regular(group)
    if match := _IRREP.fullmatch(name):
        sign = None if match[1] is None else int(match[1])
        return irreducible(group, int(match[2]), sign)
    if match := _QUOTIENT.fullmatch(name):
        kind = CyclicGroup if match[1] == "C" else DihedralGroup
        return quotient(group, kind(int(match[2])))
    raise FieldTypeError(
        f"a representation of {group!r} must be trivial, regular, irrep(k), irrep(j,k), "
        f"quotient(CM) or quotient(DM), got {name!r}"
    )
