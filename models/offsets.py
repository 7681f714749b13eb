"""What implicit kernels know of an offset from the centre: embedding, window, intertwiners."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from equilens.models.groups import Group, PlanarGroup
from equilens.models.kernel_basis import (
    OUTER_RING_WIDTH_PX,
    RING_WIDTH_PX,
    default_basis,
    highest_frequency,
    shells,
    solve_by_irreps,
    solve_by_orbits,
)
from equilens.models.representations import Representation, restrict


def ring_frequencies(size: int) -> list[tuple[int, int]]:
    """Return the (radius in pixels, highest angular frequency) of each ring of the embedding."""
    return [(radius, highest_frequency(radius)) for radius in range((size - 1) // 2 + 1)]


def harmonic_irreps(group: Group, frequency: int) -> tuple[tuple[str, ...], float]:
    """Return the names of the irreps that (cos mφ, ± sin mφ) transform by, and that sign.

    A group of n rotations does not tell m from n − m, but for the sense of rotation; at m = n/2
    cosine and sine are fields of their own.
    """
    k, sign, one_dimensional = frequency, 1.0, False
    if isinstance(group, PlanarGroup):
        k %= group.n
        if 2 * k > group.n:
            k, sign = group.n - k, -1.0
        one_dimensional = 2 * k % group.n == 0
    if not one_dimensional:
        return ((f"irrep(1,{k})" if group.has_reflections else f"irrep({k})",), sign)
    pair = (f"irrep(0,{k})", f"irrep(1,{k})") if group.has_reflections else (f"irrep({k})",) * 2
    return pair, sign


def embedding_spec(group: Group, size: int) -> str:
    """Return the field type of ``embed_offsets``, as FieldType takes it."""
    rings = ring_frequencies(size)
    terms = [f"{1 + len(rings)}xtrivial"]
    for frequency in range(1, rings[-1][1] + 1):
        count = sum(highest >= frequency for _, highest in rings)
        terms += [f"{count}x{name}" for name in harmonic_irreps(group, frequency)[0]]
    return "+".join(terms)


def embed_offsets(group: Group, points: np.ndarray, size: int) -> np.ndarray:
    """Return the features (channels, P) that a perceptron sees of the points (P, 2), in pixels.

    They are 1, Gaussian rings, and rings times circular harmonics (z / max(|z|, 1))^m of
    z = x + iy: continuous, and for m > 0 zero at the centre, where φ is undefined.
    """
    rings = ring_frequencies(size)
    distance = np.hypot(*points.T)
    profiles = [np.exp(-((distance - radius) ** 2) / (2 * RING_WIDTH_PX**2)) for radius, _ in rings]
    unit = (points[:, 0] + 1j * points[:, 1]) / np.maximum(distance, 1.0)
    parts = [np.ones_like(distance), *profiles]
    for frequency in range(1, rings[-1][1] + 1):
        names, sign = harmonic_irreps(group, frequency)
        reached = zip(profiles, rings, strict=True)
        waves = [ring * unit**frequency for ring, (_, high) in reached if high >= frequency]
        cosines, sines = [w.real for w in waves], [sign * w.imag for w in waves]
        if len(names) == 2:
            parts += cosines + sines
        else:
            parts += [part for pair in zip(cosines, sines, strict=True) for part in pair]
    return np.stack(parts)


def window(group: Group, points: np.ndarray, size: int) -> np.ndarray:
    """Return (P,) factors that fade a kernel out beyond its inscribed circle.

    Only where the group has rotations that the pixel grid lacks: the square's corners would turn
    out of the kernel.
    """
    if group.acts_on_pixels:
        return np.ones(len(points))
    beyond = np.maximum(np.hypot(*points.T) - (size - 1) / 2, 0.0)
    return np.exp(-(beyond**2) / (2 * OUTER_RING_WIDTH_PX**2))


def function_count(irrep: Representation, size: int) -> int:
    """Return how many fields of an irrep the functions of analytic kernels of that size hold."""
    group = irrep.group
    highest = max(highest_frequency((size - 1) // 2), irrep.frequency)
    samples = group.quadrature(highest + irrep.frequency)
    character = np.trace(irrep.on(samples), axis1=1, axis2=2)
    family = shells(samples, size, default_basis(group))
    traces = sum(np.trace(shell.matrices, axis1=1, axis2=2) for shell in family)
    return round(float(traces @ character / (character @ character)))


@lru_cache(maxsize=1024)
def intertwiners(
    out_rep: Representation, in_rep: Representation, irrep: Representation
) -> np.ndarray:
    """Return a basis (n, irrep size, out, in) of the linear maps irrep → ρ_out ⊗ ρ_in, read-only.

    An invariant of ψ ⊗ ρ_out ⊗ ρ_in is such a map, since representations are orthogonal.
    """
    degree = out_rep.frequency + in_rep.frequency + irrep.frequency
    samples = out_rep.group.quadrature(degree)
    out_rep, in_rep = restrict(out_rep, samples), restrict(in_rep, samples)
    permutes = out_rep.is_permutation and in_rep.is_permutation
    solve = solve_by_orbits if permutes else solve_by_irreps
    solutions = solve(irrep.on(samples), out_rep, in_rep)
    solutions.setflags(write=False)
    return solutions
