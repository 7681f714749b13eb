"""Real orthogonal representations as frozen values, and the irreducible ones of planar groups.

Irreducible ones are named ``irrep(k)`` for C_N and SO(2), and ``irrep(j,k)`` for D_N and O(2),
where ``k`` is the rotation frequency and ``j`` the sign under reflection (1 for every
two-dimensional one).

A representation of SO(2) or O(2) whose frequencies stay within k is a trigonometric polynomial of
degree k: 2k + 1 equidistant angles fix it at every other. So it is stored as a table too, over
that finite subgroup, and what sums over a group's table works for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np

from equilens.models.continuous_groups import ContinuousGroup, require_subgroup
from equilens.models.errors import FieldTypeError
from equilens.models.groups import Group, PlanarGroup, rotation_matrix

TOLERANCE = 1e-9


@dataclass(frozen=True, repr=False)
class Representation:
    """An orthogonal representation ρ of a group: one matrix an element of ``samples``.

    Two representations are equal when group and name are.

    Parameters
    ----------
    group : Group
    name : str
        ``"trivial"``, ``"regular"``, ``"irrep(1)"``, ``"quotient(C2)"``, …
    matrices : (order, size, size) float64 array
        ρ(g), in the order of ``group.elements``; of a continuous group at 2k + 1 rotations, for
        frequencies up to k, and those of the reflections after them.
    """

    group: Group
    name: str
    matrices: np.ndarray = field(compare=False)

    def __post_init__(self) -> None:
        expected = (self.samples.order, *self.matrices.shape[1:2] * 2)
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
    def frequency(self) -> int:
        """Highest rotation frequency that the table resolves."""
        return len(self.matrices) // (2 if self.group.has_reflections else 1) // 2

    @property
    def samples(self) -> PlanarGroup:
        """The finite group whose elements index ``matrices``: ``group`` itself where finite.

        It averages products of two matrix elements exactly, so characters may be summed over it.
        """
        return self.group.quadrature(2 * self.frequency)

    @property
    def character(self) -> np.ndarray:
        """χ(g) = tr ρ(g) of the samples, shape (order,)."""
        return np.trace(self.matrices, axis1=1, axis2=2)

    @cached_property
    def is_permutation(self) -> bool:
        """True where every ρ(g) permutes channels, so that pointwise functions commute with it."""
        # between the samples of a continuous group a representation that turns is none
        fixed = isinstance(self.group, PlanarGroup) or self.frequency == 0
        return fixed and bool(np.isin(self.matrices, (0.0, 1.0)).all())

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

    def on(self, subgroup: PlanarGroup) -> np.ndarray:
        """Return ρ at the elements of a finite subgroup, shape (order, size, size)."""
        if subgroup == self.samples:
            return self.matrices
        if isinstance(self.group, PlanarGroup):
            return self.matrices[list(self.group.embed(subgroup))]
        require_subgroup(subgroup, self.group)
        angles = 2 * np.pi * np.arange(subgroup.n) / subgroup.n
        cosets = (self.at(angles, flipped) for flipped in range(subgroup.order // subgroup.n))
        return np.concatenate(list(cosets))

    def at(self, angles_rad: np.ndarray, flipped: bool | int = False) -> np.ndarray:
        """Return ρ(r s^flipped) of a continuous group, shape (angles, size, size).

        Trigonometric interpolation of the samples by the Dirichlet kernel, which is exact. s is
        the reflection y → −y, and acts before the rotation r.
        """
        if not isinstance(self.group, ContinuousGroup):
            raise FieldTypeError(
                f"{self!r} has no element at any angle: its group is finite, use ``on``"
            )
        n = self.samples.n
        steps = np.subtract.outer(angles_rad, 2 * np.pi * np.arange(n) / n)
        waves = np.cos(steps[..., None] * np.arange(1, self.frequency + 1))
        weights = (1 + 2 * waves.sum(axis=-1)) / n
        coset = self.matrices[n * int(flipped) : n * (int(flipped) + 1)]
        return np.einsum("ak,kij->aij", weights, coset)


def trivial(group: Group) -> Representation:
    """Return the one-dimensional representation ρ(g) = 1."""
    return Representation(group, "trivial", np.ones((group.quadrature(0).order, 1, 1)))


@cache
def irreducible(group: Group, frequency: int, sign: int | None = None) -> Representation:
    """Return the real irreducible representation of that rotation frequency.

    Parameters
    ----------
    frequency : int
        0 … n // 2 for C_n and D_n; any for SO(2) and O(2).
    sign : 0 or 1, optional
        D_N and O(2) only: 1 where the one-dimensional representation changes sign under the
        reflection s. Two-dimensional representations have 1, the default for them; elsewhere it
        is 0.
    """
    samples = group.quadrature(2 * max(frequency, 0))
    n = samples.n
    one_dimensional = 2 * frequency % n == 0
    if not 0 <= frequency <= n // 2:
        limit = n // 2 if isinstance(group, PlanarGroup) else "∞"
        raise FieldTypeError(f"frequency must be 0…{limit} for {group!r}, got {frequency}")
    sign = int(group.has_reflections and not one_dimensional) if sign is None else sign
    if (
        sign not in (0, 1)
        or (group.has_reflections != one_dimensional and sign != int(group.has_reflections))
        or (sign and not group.has_reflections)
    ):
        raise FieldTypeError(f"{group!r} has no irrep of frequency {frequency} and sign {sign}")
    splits = [samples.split(g) for g in samples.elements]
    if one_dimensional:
        parity = [(1 if k * frequency * 2 // n % 2 == 0 else -1, f) for k, f in splits]
        matrices = np.array([[[float(p * (-1 if f and sign else 1))]] for p, f in parity])
    else:
        flip = (np.ones(2), np.array([1.0, -1.0]))
        matrices = np.stack([rotation_matrix(k * frequency, n) * flip[f] for k, f in splits])
    name = f"irrep({sign},{frequency})" if group.has_reflections else f"irrep({frequency})"
    return Representation(group, name, matrices)


@cache
def irreducibles(group: Group, frequency: int | None = None) -> tuple[Representation, ...]:
    """Return all real irreducible representations, by frequency, then sign.

    Parameters
    ----------
    frequency : int, optional
        Highest one; SO(2) and O(2) have infinitely many, so that they need it.
    """
    if frequency is None:
        if not isinstance(group, PlanarGroup):
            raise FieldTypeError(f"{group!r} has infinitely many irreps: name a highest frequency")
        frequency = group.n // 2
    found = []
    for k in range(frequency + 1):
        both = group.has_reflections and 2 * k % group.quadrature(2 * k).n == 0
        signs: tuple[int | None, ...] = (0, 1) if both else (None,)
        found += [irreducible(group, k, sign) for sign in signs]
    return tuple(found)
