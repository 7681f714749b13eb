"""The basis of steerable kernels: all κ with κ(hx) = ρ_out(h) κ(x) ρ_in(h)⁻¹, solved in float64.

Weiler & Cesa 2019 (arXiv:1911.08251), equation 2. A kernel is κ(x) = Σ_s A_s f_s(x) with sampled
functions f that span a representation V of the group, f(hx) = V(h) f(x); the constraint then
says that A is invariant under V ⊗ ρ_out ⊗ ρ_in. Two families of functions are offered: single
pixels (any kernel on the grid, for groups that map the grid onto itself) and circular harmonics
times Gaussian rings (any group). Harmonics are functions of the plane, so kernels made of them can
be evaluated at any point, and the constraint checked at any angle.

For SO(2) and O(2) the invariants are those of a finite subgroup, its ``averaging_group``: V, ρ_out
and ρ_in are trigonometric polynomials of the angle, of which it is an exact quadrature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from equilens.models.errors import KernelError
from equilens.models.groups import Group, PlanarGroup, rotation_matrix
from equilens.models.representations import Representation, decompose, restrict
from equilens.models.smooth_harmonics import smooth_harmonics

RING_WIDTH_PX, OUTER_RING_WIDTH_PX = 0.6, 0.4
"""Standard deviations of the Gaussian rings, in pixels; the outermost is narrower, lest the
kernel's square edge cut it."""


@dataclass(frozen=True)
class Shell:
    """Functions on the kernel's pixels that the group mixes only among themselves.

    Parameters
    ----------
    matrices : (order, s, s) array
        V(h), orthogonal.
    samples : (s, points) array
        The functions at the pixels, rows before columns, or at other points.
    """

    matrices: np.ndarray
    samples: np.ndarray


def pixel_coordinates(size: int) -> np.ndarray:
    """Return (size², 2) offsets (x, y) from the centre pixel; y runs down the first axis."""
    axis = np.arange(size) - (size - 1) / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


def pixel_permutation(group: PlanarGroup, element: int, size: int) -> np.ndarray:
    """Return p with h x_i = x_p[i] on a size × size grid.

    Raises
    ------
    KernelError
        Where the group does not map the grid onto itself.
    """
    _require_grid_symmetry(group)
    half = (size - 1) / 2
    moved = pixel_coordinates(size) @ group.matrix(element).T + half
    return np.rint(moved[:, 1] * size + moved[:, 0]).astype(int)


def pixel_shells(group: PlanarGroup, size: int) -> tuple[Shell, ...]:
    """Return one shell of all single pixels: the largest family on the grid."""
    n_pixels = size * size
    matrices = np.zeros((group.order, n_pixels, n_pixels))
    for h in group.elements:
        matrices[h, pixel_permutation(group, h, size), np.arange(n_pixels)] = 1.0
    return (Shell(matrices, np.eye(n_pixels)),)


@cache
def harmonic_matrices(group: PlanarGroup, frequency: int) -> np.ndarray:
    """Return V_m(h) on (cos mφ, sin mφ), or the trivial one for m = 0; read-only."""
    flips = (np.ones(2), np.array([1.0, -1.0]))
    splits = (group.split(h) for h in group.elements)
    matrices = np.stack([rotation_matrix(k * frequency, group.n) * flips[f] for k, f in splits])
    matrices = matrices if frequency else np.ones((group.order, 1, 1))
    matrices.setflags(write=False)
    return matrices


def highest_frequency(radius: int) -> int:
    """Return the highest angular frequency of a ring of that radius in pixels.

    The pixels resolve 2 × radius; frequencies near that limit alias under 45° by percents.
    """
    return 0 if radius == 0 else max(2, 2 * radius - 2)


def harmonic_shells(
    group: PlanarGroup, size: int, points: np.ndarray | None = None
) -> tuple[Shell, ...]:
    """Return Gaussian rings of radius 0, 1, … (size − 1)/2 times circular harmonics.

    No frequency m > 0 reaches the centre pixel: there φ is undefined, and any value breaks the
    symmetry by percents.

    Parameters
    ----------
    points : (P, 2) array, optional
        Offsets (x, y) from the centre in pixels; left out, those of the pixels.
    """
    x, y = (pixel_coordinates(size) if points is None else points).T
    distance = np.hypot(x, y)
    safe = np.where(distance == 0, 1.0, distance)
    unit = (x + 1j * y) / safe
    shells = []
    outermost = (size - 1) // 2
    for radius in range(outermost + 1):
        width = OUTER_RING_WIDTH_PX if radius == outermost > 0 else RING_WIDTH_PX
        ring = np.exp(-((distance - radius) ** 2) / (2 * width**2))
        shells.append(Shell(harmonic_matrices(group, 0), ring[None]))
        for frequency in range(1, highest_frequency(radius) + 1):
            wave = np.where(distance == 0, 0.0, ring * unit**frequency)
            samples = np.stack([wave.real, wave.imag])
            shells.append(Shell(harmonic_matrices(group, frequency), samples))
    return tuple(shells)


def smooth_shells(group: PlanarGroup, size: int) -> tuple[Shell, ...]:
    """Return one shell for each of the ``smooth_harmonics``."""
    return tuple(
        Shell(harmonic_matrices(group, frequency), samples)
        for frequency, samples in smooth_harmonics(size)
    )


SHELLS: dict[str, Callable[[PlanarGroup, int], tuple[Shell, ...]]] = {
    "pixels": pixel_shells,
    "harmonics": harmonic_shells,
    "smooth": smooth_shells,
}


def independent_columns(projector: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis (dim, rank) of a projector's range, by Gram-Schmidt in order.

    An eigensolver may return any rotation of it; coefficients in a checkpoint need the same
    basis on every machine.
    """
    rank = round(float(np.trace(projector)))
    basis = np.zeros((len(projector), 0))
    for column in projector.T:
        if basis.shape[1] == rank:
            break
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)
        norm = np.linalg.norm(rest)
        if norm > 1e-6:
            basis = np.hstack([basis, rest[:, None] / norm])
    return basis


def solve_by_orbits(
    spatial: np.ndarray, out_rep: Representation, in_rep: Representation
) -> np.ndarray:
    """Return all invariant A, shape (n, s, out, in), for permutation representations.

    Entry (a, j) may be chosen once an orbit, among the vectors that its stabiliser leaves alone;
    the group carries it along the orbit.
    """
    out_moves, in_moves = out_rep.permutations, in_rep.permutations
    done = np.zeros((out_rep.size, in_rep.size), dtype=bool)
    solutions = []
    for a, j in np.ndindex(done.shape):
        if done[a, j]:
            continue
        moved = list(zip(out_moves[:, a], in_moves[:, j], strict=True))
        stabiliser = [h for h, place in enumerate(moved) if place == (a, j)]
        free = independent_columns(spatial[stabiliser].mean(axis=0))
        block = np.zeros((free.shape[1], spatial.shape[1], *done.shape))
        for h, (b, i) in enumerate(moved):
            block[:, :, b, i] = (spatial[h] @ free).T
            done[b, i] = True
        solutions.append(block)
    return np.concatenate(solutions)


def solve_by_irreps(
    spatial: np.ndarray, out_rep: Representation, in_rep: Representation
) -> np.ndarray:
    """Return all invariant A, shape (n, s, out, in), for any representations.

    Solved for each pair of irreps by projecting on the invariants, then carried back by the
    changes of basis.
    """
    out_parts, in_parts = decompose(out_rep), decompose(in_rep)
    solutions = []
    row = 0
    for out_irrep in out_parts.irreps:
        rows = out_parts.change_of_basis[:, row : row + out_irrep.size]
        row += out_irrep.size
        column = 0
        for in_irrep in in_parts.irreps:
            columns = in_parts.change_of_basis[:, column : column + in_irrep.size]
            column += in_irrep.size
            small = invariants(spatial, out_irrep.matrices, in_irrep.matrices)
            solutions.append(np.einsum("nsoi,ao,ji->nsaj", small, rows, columns, optimize=True))
    return np.concatenate(solutions)


def invariants(spatial: np.ndarray, out: np.ndarray, into: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis (n, s, out, in) of the invariants of V ⊗ ρ_out ⊗ ρ_in."""
    shape = (spatial.shape[1], out.shape[1], into.shape[1])
    projector = np.einsum("gst,gab,gij->saitbj", spatial, out, into, optimize=True) / len(spatial)
    dimension = int(np.prod(shape))
    basis = independent_columns(projector.reshape(dimension, dimension))
    return basis.T.reshape(-1, *shape)


def basis_dimension(shell: Shell, out_rep: Representation, in_rep: Representation) -> int:
    """Return the number of solutions by characters: Σ_h χ_V(h) χ_out(h) χ_in(h) / |G|."""
    spatial = np.trace(shell.matrices, axis1=1, axis2=2)
    total = float((spatial * out_rep.character * in_rep.character).mean())
    return round(total)


def averaging_group(out_rep: Representation, in_rep: Representation, size: int) -> PlanarGroup:
    """Return the finite group whose steerable harmonics are those of the representations' group.

    That group itself where it is finite; else C_N or D_N with N above the degree of V ⊗ ρ_out ⊗
    ρ_in, of the highest harmonic in kernels of that size.
    """
    highest = highest_frequency((size - 1) // 2)
    return out_rep.group.quadrature(highest + out_rep.frequency + in_rep.frequency)


@lru_cache(maxsize=256)
def kernel_basis(
    out_rep: Representation, in_rep: Representation, size: int, basis: str
) -> np.ndarray:
    """Return the basis of steerable kernels, shape (n, out, in, size, size), float64, read-only.

    Parameters
    ----------
    out_rep, in_rep : Representation
        Of one group.
    size : int
        Odd number of pixels a side.
    basis : {"pixels", "harmonics", "smooth"}
    """
    if basis == "pixels":
        _require_grid_symmetry(out_rep.group)
    family = shells(averaging_group(out_rep, in_rep, size), size, basis)
    kernels = _steerable_sums(out_rep, in_rep, size, family)
    kernels = kernels.reshape(*kernels.shape[:3], size, size)
    kernels.setflags(write=False)
    return kernels


def kernels_at(
    points: np.ndarray, out_rep: Representation, in_rep: Representation, size: int
) -> np.ndarray:
    """Return the harmonic basis of that size at any offsets, shape (n, out, in, P), float64.

    Parameters
    ----------
    points : (P, 2) array
        Offsets (x, y) from the centre in pixels; at the pixels' own the result is
        ``kernel_basis(…, "harmonics")``.
    """
    family = harmonic_shells(averaging_group(out_rep, in_rep, size), size, points)
    return _steerable_sums(out_rep, in_rep, size, family)


def _steerable_sums(
    out_rep: Representation, in_rep: Representation, size: int, family: tuple[Shell, ...]
) -> np.ndarray:
    """Return all steerable combinations of a family of functions, shape (n, out, in, points)."""
    group = averaging_group(out_rep, in_rep, size)
    out_rep, in_rep = restrict(out_rep, group), restrict(in_rep, group)
    permutes = out_rep.is_permutation and in_rep.is_permutation
    solve = solve_by_orbits if permutes else solve_by_irreps
    # rings of one harmonic share the array V, and with it the solution
    harmonics = {id(shell.matrices): shell.matrices for shell in family}
    solved = {key: solve(spatial, out_rep, in_rep) for key, spatial in harmonics.items()}
    parts = [
        np.einsum("nsaj,sp->najp", solved[id(shell.matrices)], shell.samples) for shell in family
    ]
    return np.concatenate(parts)


@cache
def shells(group: PlanarGroup, size: int, basis: str) -> tuple[Shell, ...]:
    """Return the family of sampled functions named ``basis``, shell by shell."""
    if size < 1 or size % 2 == 0:
        raise KernelError(f"a steerable kernel's size must be odd, got {size}")
    if basis not in SHELLS:
        raise KernelError(f"basis must be one of {sorted(SHELLS)}, got {basis!r}")
    return SHELLS[basis](group, size)


def default_basis(group: Group) -> str:
    """Return ``pixels`` where the group maps the grid onto itself, else ``harmonics``."""
    return "pixels" if group.acts_on_pixels else "harmonics"


def _require_grid_symmetry(group: Group) -> None:
    if not group.acts_on_pixels:
        raise KernelError(
            f"{group!r} does not map the pixel grid onto itself; use basis='harmonics'"
        )
