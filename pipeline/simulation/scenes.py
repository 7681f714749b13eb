"""From a draw of the population to the components of a scene, class by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from equilens.pipeline.simulation.conditions import flux_njy
from equilens.pipeline.simulation.light import PatternComponents, SersicComponents
from equilens.pipeline.simulation.populations import Galaxies, Neighbours
from equilens.pipeline.simulation.seds import band_ratios

_Boxes = list[tuple[float, float]]
_Values = NDArray | float
_Pattern = tuple[_Values, _Values, _Values, _Values]  # multiplicity, contrast, phase, winding


@dataclass(frozen=True)
class Centrals:
    """Rows of a chunk that share a builder: their galaxies, fluxes and where their centres are.

    rows : (n,) int, row of the chunk; x, y : (n,) arcsec; flux : (n,) nJy in the detection band
    """

    rows: NDArray
    galaxies: Galaxies
    x: NDArray
    y: NDArray
    axis_ratio: NDArray
    angle: NDArray

    @property
    def flux(self) -> NDArray:
        """Total fluxes in the detection band, (n,) nJy."""
        return flux_njy(self.galaxies.mag)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: NDArray) -> Centrals:
        """Return the centrals at `index`."""
        parts = {k: v[index] for k, v in vars(self).items() if k != "galaxies"}
        return Centrals(galaxies=self.galaxies.take(index), **parts)


class SceneBuilder:
    """Collects components of a chunk of scenes; builders add to it, `tables` hands them over."""

    def __init__(self, rng: np.random.Generator, boxes_nm: _Boxes, reference: int) -> None:
        self.rng = rng
        self.boxes_nm = boxes_nm
        self.reference = reference
        self._sersic: list[SersicComponents] = []
        self._patterns: list[PatternComponents] = []

    def tables(self) -> tuple[SersicComponents, PatternComponents | None]:
        """Return all components collected."""
        patterns = PatternComponents.concatenate(self._patterns) if self._patterns else None
        return SersicComponents.concatenate(self._sersic), patterns

    def colours(self, redshift: NDArray, youth: NDArray) -> NDArray:
        """Return band ratios with a few hundredths of a magnitude of scatter."""
        ratios = band_ratios(self.boxes_nm, redshift, np.clip(youth, 0, 1.2), self.reference)
        ratios *= np.exp(self.rng.normal(0, 0.04, ratios.shape))
        return ratios / ratios[:, self.reference : self.reference + 1]

    def add_sersic(
        self,
        owner: NDArray,
        x: NDArray,
        y: NDArray,
        radius: _Values,
        index: _Values,
        axis_ratio: _Values,
        angle: _Values,
        flux: NDArray,
        colours: NDArray,
        wobble: float = 0.0,
    ) -> None:
        """Add Sérsic components; `flux` (K,) in the detection band, `colours` (K, B).

        `wobble` is the scatter of the asymmetric harmonics.
        """
        k = len(owner)
        harmonics = self.rng.normal(0, 1, (k, 3)) * wobble
        self._sersic.append(
            SersicComponents(
                owner=torch.from_numpy(np.asarray(owner, dtype=np.int64)),
                x=_tensor(x, k),
                y=_tensor(y, k),
                radius=_tensor(radius, k),
                index=_tensor(index, k),
                axis_ratio=_tensor(axis_ratio, k),
                angle=_tensor(angle, k),
                harmonics=torch.from_numpy(harmonics.astype(np.float32)),
                flux=torch.from_numpy((flux[:, None] * colours).astype(np.float32)),
            )
        )

    def add_pattern(
        self,
        owner: NDArray,
        x: NDArray,
        y: NDArray,
        radius: _Values,
        width: _Values,
        axis_ratio: _Values,
        angle: _Values,
        shape: _Pattern,
        flux: NDArray,
        colours: NDArray,
    ) -> None:
        """Add patterned components; `shape` is (multiplicity, contrast, phase, winding)."""
        k = len(owner)
        multiplicity, contrast, phase, winding = (_tensor(value, k) for value in shape)
        self._patterns.append(
            PatternComponents(
                owner=torch.from_numpy(np.asarray(owner, dtype=np.int64)),
                x=_tensor(x, k),
                y=_tensor(y, k),
                radius=_tensor(radius, k),
                width=_tensor(width, k),
                axis_ratio=_tensor(axis_ratio, k),
                angle=_tensor(angle, k),
                multiplicity=multiplicity,
                contrast=contrast,
                phase=phase,
                winding=winding,
                flux=torch.from_numpy((flux[:, None] * colours).astype(np.float32)),
            )
        )


def _tensor(values: NDArray | float, k: int) -> torch.Tensor:
    return torch.from_numpy(np.broadcast_to(values, k).astype(np.float32))


def add_neighbours(scene: SceneBuilder, n: Neighbours, pixel_scale: float) -> None:
    """Add field galaxies and stars; stars are narrower than a pixel before the PSF."""
    rng, k = scene.rng, len(n.owner)
    if not k:
        return
    is_star = n.radius < 0.02
    radius = np.where(is_star, 0.35 * pixel_scale, n.radius)
    index = np.where(is_star, 0.5, np.clip(rng.lognormal(0.2, 0.4, k), 0.6, 3.0))
    ratio = np.where(is_star, 1.0, rng.uniform(0.25, 1.0, k))
    colours = scene.colours(n.redshift, n.youth)
    angle = rng.uniform(0, np.pi, k)
    scene.add_sersic(n.owner, n.x, n.y, radius, index, ratio, angle, flux_njy(n.mag), colours)


def add_early_type(scene: SceneBuilder, c: Centrals, share: NDArray | float = 1.0) -> None:
    """Add a spheroid, one in three with an extended disc or envelope; mild asymmetries."""
    rng, n, g = scene.rng, len(c), c.galaxies
    envelope = np.where(rng.random(n) < 0.35, rng.uniform(0.2, 0.6, n), 0.0)
    flux = c.flux * share
    colours = scene.colours(g.z_lens, g.youth)
    index = np.clip(rng.normal(4.0, 0.9, n), 1.8, 6.0)
    radius = g.radius * np.where(envelope > 0, 0.6, 1.0)
    core = flux * (1 - envelope)
    scene.add_sersic(
        c.rows, c.x, c.y, radius, index, c.axis_ratio, c.angle, core, colours, wobble=0.015
    )
    has = envelope > 0
    if has.any():
        outer = scene.colours(g.z_lens[has], g.youth[has] + 0.12)
        ratio = np.clip(c.axis_ratio[has] * rng.uniform(0.6, 1.1, has.sum()), 0.3, 1)
        turn = c.angle[has] + rng.normal(0, 0.15, has.sum())
        scene.add_sersic(
            c.rows[has], c.x[has], c.y[has], 1.6 * g.radius[has], 1.0, ratio, turn,
            (flux * envelope)[has], outer, wobble=0.02,
        )  # fmt: skip


def add_spiral(scene: SceneBuilder, c: Centrals) -> None:
    """Add bulge, disc, two to four blue logarithmic arms and star-forming clumps along them."""
    rng, n, g = scene.rng, len(c), c.galaxies
    bulge, arms = rng.uniform(0.05, 0.5, n), rng.uniform(0.12, 0.4, n)
    radius = 1.4 * g.radius
    ratio = np.clip(np.cos(rng.uniform(0, 1.15, n)), 0.35, 1.0)
    red = scene.colours(g.z_lens, g.youth)
    disc = scene.colours(g.z_lens, rng.uniform(0.25, 0.6, n))
    blue = scene.colours(g.z_lens, rng.uniform(0.6, 1.0, n))
    where = (c.rows, c.x, c.y)
    bulge_ratio, index = 1 - 0.5 * (1 - ratio), rng.uniform(1.5, 4.0, n)
    flux = c.flux
    scene.add_sersic(*where, 0.25 * radius, index, bulge_ratio, c.angle, flux * bulge, red)
    rest = flux * (1 - bulge) * (1 - arms)
    scene.add_sersic(*where, radius, 1.0, ratio, c.angle, rest, disc, wobble=0.03)
    count = rng.choice([2.0, 3.0, 4.0], n, p=[0.65, 0.2, 0.15])
    winding = rng.choice([-1, 1], n) * count / np.tan(rng.uniform(0.15, 0.55, n))
    phase = rng.uniform(0, 2 * np.pi, n)
    shape = (count, rng.uniform(1.5, 6.0, n), phase, winding)
    scene.add_pattern(
        *where, 1.1 * radius, 0.0, ratio, c.angle, shape, flux * (1 - bulge) * arms, blue
    )
    _add_arm_clumps(scene, c, radius, ratio, shape)


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
    x, y = _sky_offset(r, azimuth, ratio[owner], c.angle[owner])
    colours = scene.colours(c.galaxies.z_lens[owner], rng.uniform(0.8, 1.1, len(owner)))
    flux = c.flux[owner] * rng.uniform(0.003, 0.02, len(owner))
    size = radius[owner] * rng.uniform(0.04, 0.1, len(owner))
    scene.add_sersic(
        c.rows[owner], c.x[owner] + x, c.y[owner] + y, size, 0.5, 1.0, 0.0, flux, colours
    )


def _sky_offset(
    r: NDArray, azimuth: NDArray, ratio: NDArray, angle: NDArray
) -> tuple[NDArray, NDArray]:
    u, v = r * np.cos(azimuth) / np.sqrt(ratio), r * np.sin(azimuth) * np.sqrt(ratio)
    return np.cos(angle) * u - np.sin(angle) * v, np.sin(angle) * u + np.cos(angle) * v


def add_ring(scene: SceneBuilder, c: Centrals) -> None:
    """Add a galaxy with a blue, clumpy ring of Einstein-ring size; one in four is a polar ring."""
    rng, n, g = scene.rng, len(c), c.galaxies
    share = rng.uniform(0.05, 0.4, n)
    add_early_type(scene, c, 1 - share)
    polar = rng.random(n) < 0.25
    ratio = np.where(polar, rng.uniform(0.15, 0.4, n), rng.uniform(0.5, 1.0, n))
    turn = c.angle + np.where(polar, np.pi / 2, rng.normal(0, 0.5, n))
    radius = np.clip(np.maximum(g.einstein_radius, 0.8 * g.radius), 0.4, 4.0)
    radius *= rng.uniform(0.8, 1.4, n)
    width = radius * rng.uniform(0.06, 0.22, n)
    broken = rng.choice([1.0, 2.0, 3.0, 5.0], n)
    shape = (broken, rng.gamma(1.0, 0.8, n), rng.uniform(0, 2 * np.pi, n), 0.0)
    blue = scene.colours(g.z_lens, rng.uniform(0.45, 1.05, n))
    scene.add_pattern(c.rows, c.x, c.y, radius, width, ratio, turn, shape, c.flux * share, blue)


def add_merger(scene: SceneBuilder, c: Centrals) -> None:
    """Add two or three interacting galaxies; most have a tidal arc around the main one."""
    rng, n, g = scene.rng, len(c), c.galaxies
    split = rng.uniform(0.15, 0.5, n)
    add_early_type(scene, c, 1 - split)
    for extra in range(2):
        some = np.flatnonzero(rng.random(n) < (1.0, 0.3)[extra])
        if not len(some):
            continue
        part = split[some] * (0.75 if extra == 0 else 0.25)
        k = len(some)
        distance = np.clip(g.radius[some] * rng.uniform(0.8, 2.5, k), 0.35, 3.0)
        turn = rng.uniform(0, 2 * np.pi, k)
        colours = scene.colours(g.z_lens[some], rng.uniform(0.0, 0.9, k))
        x, y = c.x[some] + distance * np.cos(turn), c.y[some] + distance * np.sin(turn)
        scene.add_sersic(
            c.rows[some], x, y, g.radius[some] * rng.uniform(0.3, 0.8, k), rng.uniform(1, 4, k),
            rng.uniform(0.35, 1, k), rng.uniform(0, np.pi, k), c.flux[some] * part, colours, 0.03,
        )  # fmt: skip
    _add_tidal_arc(scene, c.take(np.flatnonzero(rng.random(n) < 0.6)))


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
        scene.colours(g.z_lens, rng.uniform(0.2, 0.8, n)),
    )  # fmt: skip


def add_edge_on(scene: SceneBuilder, c: Centrals) -> None:
    """Add a thin disc seen from the side, with a bulge; some are warped by a boxy harmonic."""
    rng, n, g = scene.rng, len(c), c.galaxies
    bulge = rng.uniform(0.0, 0.45, n)
    ratio = rng.uniform(0.09, 0.28, n)
    colours = scene.colours(g.z_lens, rng.uniform(0.2, 0.9, n))
    scene.add_sersic(
        c.rows, c.x, c.y, g.radius, 1.0, ratio, c.angle, c.flux * (1 - bulge), colours, 0.02
    )
    red, index = scene.colours(g.z_lens, g.youth), rng.uniform(1.5, 4, n)
    scene.add_sersic(
        c.rows, c.x, c.y, 0.35 * g.radius, index, rng.uniform(0.6, 1, n), c.angle,
        c.flux * bulge, red,
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


MORPHOLOGIES = {
    "early": add_early_type,
    "spiral": add_spiral,
    "ring": add_ring,
    "merger": add_merger,
    "edge_on": add_edge_on,
    "group": add_group,
}
