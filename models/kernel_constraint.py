"""The kernel constraint, measured: how far any kernel is from steerable, at any group element."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from equilens.models.groups import PlanarGroup
from equilens.models.irreps import Representation


def constraint_error(
    kernel: Callable[[np.ndarray], np.ndarray],
    out_rep: Representation,
    in_rep: Representation,
    radius: float = 2.0,
    seed: int = 0,
) -> float:
    """Return max |κ(hx) − ρ_out(h) κ(x) ρ_in(h)⁻¹| over elements h and random offsets x.

    All elements of a finite group; of SO(2) and O(2) eight random rotations, and as many
    reflections. Weiler & Cesa 2019 (arXiv:1911.08251), equation 2.

    Parameters
    ----------
    kernel : callable
        Offsets (P, 2) in pixels → kernels (n, out, in, P), as ``kernels_at`` gives them.
    out_rep, in_rep : Representation
    radius : float
        Standard deviation of the offsets, in pixels.
    """
    rng = np.random.default_rng(seed)
    points = radius * rng.normal(size=(6, 2))
    turns, out, into = _elements(out_rep, in_rep, rng)
    # one call for all points: a kernel may be dear to make and cheap to evaluate
    moved = np.einsum("hxy,py->hpx", turns, points)
    values = kernel(np.concatenate([points, moved.reshape(-1, 2)]))
    reference, values = np.split(values, [len(points)], axis=-1)
    values = values.reshape(*values.shape[:-1], len(turns), len(points))
    expected = np.einsum("hab,nbjp,hij->naihp", out, reference, into, optimize=True)
    return float(np.abs(values - expected).max(initial=0.0))


def _elements(
    out_rep: Representation, in_rep: Representation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return elements h as matrices of the plane, with ρ_out(h) and ρ_in(h)."""
    group = out_rep.group
    if isinstance(group, PlanarGroup):
        planes = np.stack([group.matrix(h) for h in group.elements])
        return planes, out_rep.matrices, in_rep.matrices
    angles = 2 * np.pi * rng.random(8)
    cosine, sine = np.cos(angles), np.sin(angles)
    rotations = np.moveaxis(np.array([[cosine, -sine], [sine, cosine]]), -1, 0)
    flips = range(2 if group.has_reflections else 1)
    return (
        np.concatenate([rotations * np.array([1.0, (-1.0) ** f]) for f in flips]),
        np.concatenate([out_rep.at(angles, f) for f in flips]),
        np.concatenate([in_rep.at(angles, f) for f in flips]),
    )
