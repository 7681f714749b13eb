"""What is taken for a lens: rings, mergers, shells, groups, chance alignments, double impostors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.simulation.galaxies import add_early_type
from equilens.pipeline.simulation.scenes import Centrals, SceneBuilder


def add_ring(scene: SceneBuilder, c: Centrals) -> None:
    """Add a galaxy with a blue, clumpy ring of Einstein-ring size around it."""
    rng, n = scene.rng, len(c)
    _add_ringed(scene, c, rng.uniform(0.5, 1.0, n), c.angle + rng.normal(0, 0.5, n))


def add_polar_ring(scene: SceneBuilder, c: Centrals) -> None:
    """Add a galaxy with a ring, seen nearly from the side, across its major axis."""
    rng, n = scene.rng, len(c)
    _add_ringed(scene, c, rng.uniform(0.1, 0.45, n), c.angle + rng.normal(np.pi / 2, 0.2, n))


def _add_ringed(scene: SceneBuilder, c: Centrals, ratio: NDArray, turn: NDArray) -> None:
    rng, n, g = scene.rng, len(c), c.galaxies
    share = 10 ** rng.uniform(-1.7, -0.4, n)
    add_early_type(scene, c, 1 - share)
    radius = np.clip(np.maximum(g.einstein_radius, 0.8 * g.radius), 0.4, 4.0)
    radius *= rng.uniform(0.8, 1.4, n)
    width = radius * rng.uniform(0.05, 0.25, n)
    broken = rng.choice([1.0, 2.0, 3.0, 5.0], n)
    shape = (broken, rng.gamma(1.0, 1.0, n), rng.uniform(0, 2 * np.pi, n), 0.0)
    blue = scene.colours(g.z_lens, rng.uniform(0.3, 1.05, n))
    stray = rng.normal(0, 0.06, (2, n)) * radius
    scene.add_pattern(
        c.rows, c.x + stray[0], c.y + stray[1], radius, width, ratio, turn, shape,
        c.flux * share, blue,
    )  # fmt: skip


def add_merger(scene: SceneBuilder, c: Centrals) -> None:
    """Add two or three interacting galaxies; most have a tidal arc, one in five has shells."""
    rng, n, g = scene.rng, len(c), c.galaxies
    split = rng.uniform(0.08, 0.5, n)
    add_early_type(scene, c, 1 - split)
    for extra in range(2):
        some = np.flatnonzero(rng.random(n) < (1.0, 0.3)[extra])
        if not len(some):
            continue
        part = split[some] * (0.75 if extra == 0 else 0.25)
        k = len(some)
        distance = np.clip(g.radius[some] * rng.uniform(0.6, 2.5, k), 0.35, 3.0)
        turn = rng.uniform(0, 2 * np.pi, k)
        colours = scene.colours(g.z_lens[some], rng.uniform(0.0, 0.9, k))
        x, y = c.x[some] + distance * np.cos(turn), c.y[some] + distance * np.sin(turn)
        scene.add_sersic(
            c.rows[some], x, y, g.radius[some] * rng.uniform(0.25, 0.8, k), rng.uniform(1, 4, k),
            rng.uniform(0.35, 1, k), rng.uniform(0, np.pi, k), c.flux[some] * part, colours,
            wobble=(0.08, 0.04, 0.02),
        )  # fmt: skip
    chance = rng.random(n)
    _add_tidal_arc(scene, c.take(np.flatnonzero(chance < 0.6)))
    _add_shells(scene, c.take(np.flatnonzero(chance > 0.8)))


def _add_tidal_arc(scene: SceneBuilder, c: Centrals) -> None:
    rng, n, g = scene.rng, len(c), c.galaxies
    if not n:
        return
    radius = np.clip(g.radius * rng.uniform(1.0, 2.5, n), 0.5, 4.0)
    shape = (1.0, rng.uniform(2.0, 12.0, n), rng.uniform(0, 2 * np.pi, n), 0.0)
    x, y = c.x + rng.normal(0, 0.3, n) * radius, c.y + rng.normal(0, 0.3, n) * radius
    scene.add_pattern(
        c.rows, x, y, radius, radius * rng.uniform(0.08, 0.25, n), rng.uniform(0.4, 1.0, n),
        rng.uniform(0, np.pi, n), shape, c.flux * rng.uniform(0.02, 0.12, n),
        scene.colours(g.z_lens, rng.uniform(0.1, 0.8, n)),
    )  # fmt: skip


def _add_shells(scene: SceneBuilder, c: Centrals) -> None:
    """Add two to four sharp arcs about one axis, on alternating sides, as red as the galaxy."""
    rng, g = scene.rng, c.galaxies
    owner = np.repeat(np.arange(len(c)), rng.integers(2, 5, len(c)))
    k = len(owner)
    if not k:
        return
    order = np.arange(k) - np.searchsorted(owner, owner)
    radius = np.clip(g.radius[owner], 0.4, 2.0) * (1 + 0.7 * order) * rng.uniform(0.9, 1.1, k)
    shape = (1.0, rng.uniform(2.0, 6.0, k), np.pi * order + rng.normal(0, 0.2, k), 0.0)
    scene.add_pattern(
        c.rows[owner], c.x[owner], c.y[owner], radius, radius * rng.uniform(0.04, 0.12, k),
        0.85, c.angle[owner], shape, c.flux[owner] * rng.uniform(0.01, 0.05, k),
        scene.colours(g.z_lens[owner], g.youth[owner]),
    )  # fmt: skip


def add_group(scene: SceneBuilder, c: Centrals) -> None:
    """Add an early type with three to seven satellites at separations like an Einstein radius."""
    rng = scene.rng
    add_early_type(scene, c)
    owner = np.repeat(np.arange(len(c)), rng.integers(3, 8, len(c)))
    add_satellites(scene, c, owner, (0.6, 2.0), (1.0, 3.8), young=0.35)


def add_projections(scene: SceneBuilder, c: Centrals) -> None:
    """Add one to three blue galaxies in front of, or beside, each central: not lensed."""
    owner = np.repeat(np.arange(len(c)), scene.rng.integers(1, 4, len(c)))
    add_satellites(scene, c, owner, (0.7, 2.2), (1.0, 4.0), young=0.9)


def add_companions(scene: SceneBuilder, c: Centrals) -> None:
    """Add one or two galaxies of the central's own group, mostly red, to any class."""
    owner = np.repeat(np.arange(len(c)), scene.rng.integers(1, 3, len(c)))
    add_satellites(scene, c, owner, (0.8, 5.0), (0.7, 4.0), young=0.25)


def add_satellites(
    scene: SceneBuilder,
    c: Centrals,
    owner: NDArray,
    separation: tuple[float, float],
    fainter: tuple[float, float],
    young: float,
) -> None:
    """Add small galaxies at `separation` Einstein radii, `fainter` mag than the central."""
    rng, k, g = scene.rng, len(owner), c.galaxies.take(owner)
    if not k:
        return
    distance = np.clip(g.einstein_radius, 0.5, 4.0) * rng.uniform(*separation, k)
    turn = rng.uniform(0, 2 * np.pi, k)
    flux = c.flux[owner] * 10 ** (-0.4 * rng.uniform(*fainter, k))
    is_young = rng.random(k) < young
    youth = np.where(is_young, rng.uniform(0.5, 1.05, k), rng.uniform(0, 0.25, k))
    redshift = np.where(is_young, np.clip(0.2 + rng.gamma(2, 0.4, k), 0, 3), g.z_lens)
    x, y = c.x[owner] + distance * np.cos(turn), c.y[owner] + distance * np.sin(turn)
    radius = np.clip(g.radius * rng.uniform(0.15, 0.45, k), 0.06, 0.6)
    scene.add_sersic(
        c.rows[owner], x, y, radius, rng.uniform(0.8, 3, k), rng.uniform(0.3, 1, k),
        rng.uniform(0, np.pi, k), flux, scene.colours(redshift, youth),
    )  # fmt: skip


def add_doubles(scene: SceneBuilder, c: Centrals, parent: NDArray, turn: NDArray) -> None:
    """Add a galaxy with two or four blobs at lens-like separations, as images of one source lie.

    Blobs are alike, unlike images in one thing: none is stretched along the Einstein ring. Half
    are unresolved, as stars or a pair of quasars are; they are mostly blue, one in three red.

    Parameters
    ----------
    parent : (n,) int; objects of one parent have the same blobs
    turn : (n,) float, rad; the position angle of the blobs about the central
    """
    rng = scene.rng
    _, first, own = np.unique(parent, return_index=True, return_inverse=True)
    p = len(first)
    once = SceneBuilder(rng, scene.boxes_nm, scene.reference)
    add_early_type(once, replace(c.take(first), rows=np.arange(p)))
    scene.add_copies(once, own, c.rows)
    count = rng.choice([2, 4], p, p=[0.75, 0.25])
    distance = np.clip(c.galaxies.einstein_radius[first], 0.5, 4.0)[:, None]
    distance = distance * rng.uniform(0.75, 1.5, (p, 4))
    azimuth = _blob_azimuths(rng, count)
    level = c.flux[first] * 10 ** (-0.4 * rng.uniform(1.2, 4.5, p))
    flux = level[:, None] * 10 ** (-0.4 * rng.uniform(0, 1.2, (p, 4)))
    youth = np.where(rng.random(p) < 1 / 3, rng.uniform(0, 0.4, p), rng.uniform(0.5, 1.1, p))
    redshift = np.clip(rng.gamma(2, 0.6, p), 0, 3)
    compact = np.where(rng.random(p) < 0.5, 0.06, rng.uniform(0.06, 0.35, p))
    ratio, lean = rng.uniform(0.4, 1, (p, 4)), rng.uniform(0, np.pi, (p, 4))
    colours = scene.colours(redshift, youth)
    row, blob = np.nonzero(np.arange(4) < count[own][:, None])
    of = own[row]
    angle = azimuth[of, blob] + turn[row]
    scene.add_sersic(
        c.rows[row], c.x[row] + distance[of, blob] * np.cos(angle),
        c.y[row] + distance[of, blob] * np.sin(angle), compact[of], 0.8, ratio[of, blob],
        lean[of, blob] + turn[row], flux[of, blob], colours[of],
    )  # fmt: skip


def _blob_azimuths(rng: np.random.Generator, count: NDArray) -> NDArray:
    # opposite sides for most pairs, a cross for most fours, anywhere for the rest
    p = len(count)
    even = 2 * np.pi * np.arange(4) / count[:, None] + rng.normal(0, 0.3, (p, 4))
    anywhere = rng.uniform(0, 2 * np.pi, (p, 4))
    return np.where((rng.random(p) < 0.7)[:, None], even, anywhere)
