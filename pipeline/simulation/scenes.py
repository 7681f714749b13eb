"""Components of a chunk of scenes, collected before they are painted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from equilens.pipeline.simulation.conditions import flux_njy
from equilens.pipeline.simulation.light import PatternComponents, SersicComponents
from equilens.pipeline.simulation.populations import Galaxies
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
        wobble: float | tuple[float, float, float] = 0.0,
    ) -> None:
        """Add Sérsic components; `flux` (K,) in the detection band, `colours` (K, B).

        `wobble` is the scatter of the harmonics: one value, or one for each.
        """
        k = len(owner)
        harmonics = self.rng.normal(0, 1, (k, 3)) * np.asarray(wobble)
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

    def add_copies(self, other: SceneBuilder, originals: NDArray, owner: NDArray) -> None:
        """Add the Sérsic components of scene `originals[k]` of another builder to `owner[k]`."""
        table, _ = other.tables()
        copy, component = np.nonzero(originals[:, None] == table.owner.numpy()[None])
        copied = table.select(torch.from_numpy(component))
        self._sersic.append(replace(copied, owner=torch.from_numpy(owner[copy])))


def _tensor(values: NDArray | float, k: int) -> torch.Tensor:
    return torch.from_numpy(np.broadcast_to(values, k).astype(np.float32))


def sky_offset(
    r: NDArray, azimuth: NDArray, ratio: NDArray, angle: NDArray
) -> tuple[NDArray, NDArray]:
    """Return the offset on the sky, arcsec, of a point at elliptical radius r of a disc."""
    u, v = r * np.cos(azimuth) / np.sqrt(ratio), r * np.sin(azimuth) * np.sqrt(ratio)
    return np.cos(angle) * u - np.sin(angle) * v, np.sin(angle) * u + np.cos(angle) * v
