"""What is injected into whom: validated once, and laid out so that no parent gives a label away."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.injection.parents import ParentSplit
from equilens.pipeline.injection.sources import ALIGNMENT, LENS, PROJECTION, REAL
from equilens.pipeline.provenance import fingerprint, sha256_file
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.exposure import CHUNK

_ALIGNED_SHARE = 0.4  # of the non-lenses with pasted light
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class InjectionPlan:
    """What is injected, and into whom.

    Attributes
    ----------
    lens_fraction : share of lenses
    pasted_fraction : share of the non-lenses that carry sources which no mass images twice
    split : which parents are taken
    einstein_radius_arcsec : range, even in the logarithm; None takes the population's by magnitude
    lens_mag_limit : faintest central galaxy, AB in the detection band; None takes the survey's own
    arc_snr_min : total signal-to-noise of the faintest arcs; None takes the survey's own
    shift_pixels : largest shift along either axis
    known_lenses : tables of lenses that must not be backgrounds
    """

    lens_fraction: float = 0.5
    pasted_fraction: float = 0.5
    split: ParentSplit = field(default_factory=ParentSplit)
    einstein_radius_arcsec: tuple[float, float] | None = None
    lens_mag_limit: float | None = None
    arc_snr_min: float | None = None
    shift_pixels: int = 2
    known_lenses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("lens_fraction", "pasted_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise SimulationError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        limits = self.einstein_radius_arcsec
        if limits is not None and not 0 < limits[0] < limits[1]:
            raise SimulationError(
                "einstein_radius_arcsec must be positive and rising, "
                f"got {limits[0]} to {limits[1]}"
            )
        if self.shift_pixels < 0:
            raise SimulationError(f"shift_pixels must not be negative, got {self.shift_pixels}")

    def described(self) -> dict[str, Any]:
        """The plan for a manifest: tables of lenses by name and content, wherever they lie."""
        tables = {Path(path).name: sha256_file(path) for path in self.known_lenses}
        return {**asdict(self), "known_lenses": tables}

    def identity(self, background: str, seed: int) -> str:
        """Hash of all that decides the pixels but their number; `background` is a fingerprint."""
        return fingerprint({"plan": self.described(), "seed": seed, "background": background})

    def classes(self, phase: NDArray) -> NDArray[np.object_]:
        """Class of each object by its phase in [0, 1)."""
        others = 1 - self.lens_fraction
        pasted = others * self.pasted_fraction
        edges = np.cumsum([self.lens_fraction, others - pasted, _ALIGNED_SHARE * pasted])
        names = np.array([LENS, REAL, ALIGNMENT, PROJECTION], dtype=object)
        return names[np.searchsorted(edges, phase, side="right")]


@dataclass(frozen=True)
class Schedule:
    """Which parent is used how often, and as what.

    Use r of a parent has the phase o + r (√5 − 1)/2 mod 1, o being the parent's own: over any
    number of uses the classes come within three of their shares (Kronecker's sequence), so that
    knowing a parent is knowing nothing of the label.

    Attributes
    ----------
    uses : (P,) int, of each parent: as equal as their number allows
    offsets : (P,) phases of the first use
    seed : of the order
    """

    uses: NDArray[np.int64]
    offsets: NDArray[np.float64]
    seed: int

    @classmethod
    def draw(cls, n_parents: int, n: int, seed: int) -> Schedule:
        """Spread `n` objects over the parents."""
        rng = np.random.default_rng([seed, 2])
        uses = np.full(n_parents, n // n_parents)
        uses[rng.permutation(n_parents)[: n % n_parents]] += 1
        return cls(uses, rng.random(n_parents), seed)

    def chunks(self, parents: NDArray, block: int) -> Iterator[tuple[NDArray, NDArray]]:
        """The objects of some parents in random order, a chunk at a time: parents and phases."""
        who = np.repeat(parents, self.uses[parents])
        first = np.cumsum(self.uses[parents]) - self.uses[parents]
        use = np.arange(len(who)) - np.repeat(first, self.uses[parents])
        phase = (self.offsets[who] + use * _GOLDEN) % 1.0
        order = np.random.default_rng([self.seed, 3, block]).permutation(len(who))
        for start in range(0, len(who), CHUNK):
            part = order[start : start + CHUNK]
            yield who[part], phase[part]
