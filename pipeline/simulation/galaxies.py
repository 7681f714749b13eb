"""Plain galaxies: spheroids, discs with and without arms, dwarfs, seen from any side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.simulation.scenes import Centrals, SceneBuilder, sky_offset

_WOBBLE = (0.012, 0.012, 0.025)  # scatter of lopsidedness, asymmetry, and boxy or discy shape


def add_early_type(scene: SceneBuilder, c: Centrals, share: NDArray | float = 1.0) -> None:
    """Add a spheroid, four in ten with a disc or envelope; twisted, lopsided, boxy or discy."""
    rng, n, g = scene.rng, len(c), c.galaxies
    envelope = np.where(rng.random(n) < 0.4, rng.uniform(0.15, 0.7, n), 0.0)
    flux = c.flux * share
    colours = scene.colours(g.z_lens, g.youth)
    index = np.clip(rng.normal(4.0, 1.0, n), 1.5, 6.5)
    radius = g.radius * np.where(envelope > 0, rng.uniform(0.4, 0.75, n), 1.0)
    core = flux * (1 - envelope)
    scene.add_sersic(
        c.rows, c.x, c.y, radius, index, c.axis_ratio, c.angle, core, colours, wobble=_WOBBLE
    )
    has = envelope > 0
    k = int(has.sum())
    if k:
        outer = scene.colours(g.z_lens[has], g.youth[has] + rng.uniform(0, 0.25, k))
        ratio = np.clip(c.axis_ratio[has] * rng.uniform(0.5, 1.15, k), 0.25, 1)
        # discs follow the bulge, envelopes of ellipticals twist and stray off its centre
        is_disc = rng.random(k) < 0.6
        turn = c.angle[has] + rng.normal(0, np.where(is_disc, 0.1, 0.5))
        stray = rng.normal(0, 0.05, (2, k)) * g.radius[has] * ~is_disc
        scene.add_sersic(
            c.rows[has], c.x[has] + stray[0], c.y[has] + stray[1],
            g.radius[has] * rng.uniform(1.2, 2.0, k), np.where(is_disc, 1.0, 1.5), ratio, turn,
            (flux * envelope)[has], outer, wobble=_WOBBLE,
        )  # fmt: skip


def add_spiral(scene: SceneBuilder, c: Centrals) -> None:
    """Add bulge, disc, two to four blue logarithmic arms and star-forming clumps along them."""
    rng, n, g = scene.rng, len(c), c.galaxies
    bulge, arms = rng.uniform(0.05, 0.6, n), rng.uniform(0.12, 0.4, n)
    radius = 1.4 * g.radius
    ratio = np.clip(np.cos(rng.uniform(0, 1.15, n)), 0.35, 1.0)
    red = scene.colours(g.z_lens, g.youth)
    disc = scene.colours(g.z_lens, rng.uniform(0.25, 0.6, n))
    blue = scene.colours(g.z_lens, rng.uniform(0.5, 1.0, n))
    where = (c.rows, c.x, c.y)
    bulge_ratio, index = 1 - 0.5 * (1 - ratio), rng.uniform(1.5, 4.0, n)
    flux = c.flux
    scene.add_sersic(*where, 0.25 * radius, index, bulge_ratio, c.angle, flux * bulge, red)
    rest = flux * (1 - bulge) * (1 - arms)
    scene.add_sersic(*where, radius, 1.0, ratio, c.angle, rest, disc, wobble=(0.04, 0.03, 0.02))
    count = rng.choice([1.0, 2.0, 3.0, 4.0], n, p=[0.08, 0.6, 0.17, 0.15])
    winding = rng.choice([-1, 1], n) * count / np.tan(rng.uniform(0.12, 0.6, n))
    phase = rng.uniform(0, 2 * np.pi, n)
    shape = (count, rng.uniform(1.5, 6.0, n), phase, winding)
    scene.add_pattern(
        *where, 1.1 * radius, 0.0, ratio, c.angle, shape, flux * (1 - bulge) * arms, blue
    )
    _add_arm_clumps(scene, c, radius, ratio, shape)
    _add_bars(scene, c.take(np.flatnonzero(rng.random(n) < 0.3)))


def _add_arm_clumps(
    scene: SceneBuilder, c: Centrals, radius: NDArray, ratio: NDArray, shape: tuple[NDArray, ...]
) -> None:
    rng = scene.rng
    owner = np.repeat(np.arange(len(c)), rng.poisson(2.5, len(c)))
    if not len(owner):
        return
    count, _, phase, winding = (v[owner] for v in shape)
    r = radius[owner] * rng.uniform(0.5, 1.8, len(owner))
    arm = 2 * np.pi * rng.integers(0, 4, len(owner))
    azimuth = (phase + arm + winding * np.log(r / (1.1 * radius[owner]))) / count
    x, y = sky_offset(r, azimuth, ratio[owner], c.angle[owner])
    colours = scene.colours(c.galaxies.z_lens[owner], rng.uniform(0.8, 1.1, len(owner)))
    flux = c.flux[owner] * rng.uniform(0.003, 0.02, len(owner))
    size = radius[owner] * rng.uniform(0.04, 0.1, len(owner))
    scene.add_sersic(
        c.rows[owner], c.x[owner] + x, c.y[owner] + y, size, 0.5, 1.0, 0.0, flux, colours
    )


def _add_bars(scene: SceneBuilder, c: Centrals) -> None:
    if not len(c):
        return
    rng, n, g = scene.rng, len(c), c.galaxies
    colours = scene.colours(g.z_lens, g.youth + 0.1)
    scene.add_sersic(
        c.rows, c.x, c.y, g.radius * rng.uniform(0.35, 0.7, n), 0.6, rng.uniform(0.2, 0.45, n),
        c.angle + rng.uniform(0, np.pi, n), c.flux * rng.uniform(0.05, 0.2, n), colours,
    )  # fmt: skip


def add_edge_on(scene: SceneBuilder, c: Centrals) -> None:
    """Add a thin disc seen from the side, with a bulge; some are lopsided or boxy."""
    rng, n, g = scene.rng, len(c), c.galaxies
    bulge = rng.uniform(0.0, 0.5, n)
    ratio = rng.uniform(0.08, 0.3, n)
    colours = scene.colours(g.z_lens, rng.uniform(0.1, 0.9, n))
    scene.add_sersic(
        c.rows, c.x, c.y, g.radius, 1.0, ratio, c.angle, c.flux * (1 - bulge), colours,
        wobble=(0.03, 0.03, 0.02),
    )  # fmt: skip
    red, index = scene.colours(g.z_lens, g.youth), rng.uniform(1.5, 4, n)
    scene.add_sersic(
        c.rows, c.x, c.y, 0.35 * g.radius, index, rng.uniform(0.5, 1, n), c.angle,
        c.flux * bulge, red,
    )  # fmt: skip


def add_disc(scene: SceneBuilder, c: Centrals) -> None:
    """Add a disc without arms: irregular, of any colour, with a faint bulge and a few knots."""
    rng, n, g = scene.rng, len(c), c.galaxies
    knots, bulge = rng.uniform(0, 0.25, n), rng.uniform(0, 0.25, n)
    youth = rng.uniform(0.1, 1.0, n)
    colours = scene.colours(g.z_lens, youth)
    radius = g.radius * rng.uniform(0.5, 1.3, n)
    ratio = rng.uniform(0.3, 1.0, n)
    scene.add_sersic(
        c.rows, c.x, c.y, radius, rng.uniform(0.6, 1.6, n), ratio, c.angle,
        c.flux * (1 - knots - bulge), colours, wobble=(0.12, 0.06, 0.03),
    )  # fmt: skip
    scene.add_sersic(
        c.rows, c.x, c.y, 0.2 * radius, 2.0, 0.8, c.angle, c.flux * bulge,
        scene.colours(g.z_lens, g.youth),
    )  # fmt: skip
    owner = np.repeat(np.arange(n), rng.integers(1, 5, n))
    each = np.bincount(owner, minlength=n)[owner]
    r, k = radius[owner] * rng.uniform(0.2, 1.4, len(owner)), len(owner)
    x, y = sky_offset(r, rng.uniform(0, 2 * np.pi, k), ratio[owner], c.angle[owner])
    scene.add_sersic(
        c.rows[owner], c.x[owner] + x, c.y[owner] + y, radius[owner] * rng.uniform(0.08, 0.25, k),
        0.6, rng.uniform(0.5, 1, k), rng.uniform(0, np.pi, k), (c.flux * knots)[owner] / each,
        scene.colours(g.z_lens[owner], np.minimum(youth[owner] + 0.2, 1.1)),
    )  # fmt: skip
