"""Change of basis: any representation as a direct sum of irreducible ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from equilens.models.irreps import TOLERANCE, Representation, irreducibles


def multiplicity(irrep: Representation, representation: Representation) -> int:
    """Return how often an irrep occurs: ⟨χ_ψ, χ_ρ⟩ / ⟨χ_ψ, χ_ψ⟩.

    The denominator is 1, or 2 for the two-dimensional irreps of C_N and SO(2), which split over ℂ.
    """
    finer = max(irrep, representation, key=lambda rep: rep.frequency).samples
    characters = [np.trace(rep.on(finer), axis1=1, axis2=2) for rep in (irrep, representation)]
    return round(float(characters[1] @ characters[0] / (characters[0] @ characters[0])))


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
    for irrep in irreducibles(representation.group, representation.frequency):
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
    samples = representation.samples
    irrep_matrices = irrep.on(samples)
    for i in range(representation.size):
        for j in range(irrep.size):
            average = np.einsum(
                "gi,gk->ik", representation.matrices[:, :, i], irrep_matrices[:, :, j]
            )
            average -= used @ (used.T @ average)
            scale = np.linalg.norm(average[:, 0])
            if scale > TOLERANCE * samples.order:
                return average / scale
    raise AssertionError(f"{irrep!r} must occur once more in {representation!r}")
