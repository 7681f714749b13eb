"""Skies to learn from, in memory, and batches of patches in an order that seed and step decide."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilens.models.spherical.tile_geometry import TileGeometry
from equilens.models.spherical.tiles import Tile
from equilens.pipeline.errors import TrainingError
from equilens.pipeline.masses.halo_labels import halo_label_map, read_haloes
from equilens.pipeline.masses.linear_inputs import store_linear
from equilens.pipeline.masses.mapper_config import MapperConfig
from equilens.pipeline.masses.patches import quarter_turn
from equilens.pipeline.masses.prior import ConvergencePrior, mean_convergence
from equilens.pipeline.masses.sky_columns import count_bins, sky_columns
from equilens.pipeline.skies.sky_files import haloes_path
from equilens.pipeline.skymaps.store import SkyMapStore

# of a patch's core: an empty one teaches nothing
LEAST_OBSERVED = 0.25


@dataclass(frozen=True)
class Batch:
    """Patches of one place on the sky, up to quarter turns.

    Attributes
    ----------
    sky : (B, K, 4, P) float32
    linear : (B, L, P) float32
    kappa : (B, P) float32, truth
    label : (B, P) float32, bumps at massive haloes
    counted : (B, P) bool: observed, and not in the margin
    """

    sky: Tensor
    linear: Tensor
    kappa: Tensor
    label: Tensor
    counted: Tensor


class TrainingSky:
    """A simulated sky with its truth, NESTED, held in memory.

    Parameters
    ----------
    path : of the sky's store; truth and haloes lie beside it
    prior : by which its linear estimates are made
    config : which haloes count
    folder : where the linear estimates are kept
    """

    def __init__(
        self, path: Path | str, prior: ConvergencePrior, config: MapperConfig, folder: Path
    ) -> None:
        self.path = Path(path)
        store = SkyMapStore.open(path)
        self.fingerprint, self.nside = store.fingerprint, store.nside
        self.facts = dict(store.manifest.get("sky", {}))
        n_bins = count_bins(store)
        values = [store.read(name, "nested") for name in sky_columns(n_bins)]
        self.sky = np.stack(values).astype(np.float32).reshape(n_bins, 4, -1)
        linear = store_linear(path, prior, folder / f"linear-{self.fingerprint[:16]}.zarr")
        self.linear = np.stack([linear.read(name, "nested") for name in linear.columns])
        self.kappa = mean_convergence(path, np.asarray(linear.manifest["shares"]))
        haloes = read_haloes(haloes_path(path))
        self.label = halo_label_map(haloes, self.nside, config.halos)
        self.seen: np.ndarray = np.any(self.sky[:, 3] > 0, axis=0)

    @property
    def n_bins(self) -> int:
        return len(self.sky)

    def at(self, pixels: np.ndarray, core_size: int) -> tuple[np.ndarray, ...]:
        """Everything of a batch, at pixels in any order."""
        return (
            self.sky[:, :, pixels],
            self.linear[:, pixels],
            self.kappa[pixels],
            self.label[pixels],
            self.seen[pixels] & (np.arange(len(pixels)) < core_size),
        )


def refuse_unlike(skies: Sequence[TrainingSky]) -> None:
    """Raise where skies differ in resolution or redshift bins."""
    kinds = {(sky.nside, sky.n_bins) for sky in skies}
    if len(kinds) != 1:
        raise TrainingError(
            f"skies of one training must agree in nside and redshift bins, got {sorted(kinds)}"
        )


@dataclass(frozen=True)
class Plan(ABC):
    """Which patches of which skies make up which step, for ever.

    Attributes
    ----------
    skies : to draw from
    config : seed and batch size
    """

    skies: Sequence[TrainingSky]
    config: MapperConfig

    @property
    @abstractmethod
    def n_places(self) -> int:
        """Places on the sky that steps are drawn from."""

    @abstractmethod
    def geometry(self, place: int) -> Any:
        """What a network needs to know of a place."""

    @abstractmethod
    def batch(self, place: int, drawn: Sequence[tuple[int, int]]) -> Batch:
        """A batch of (sky, quarter turns) at one place."""

    @abstractmethod
    def observed(self, place: int, sky: int, turns: int) -> float:
        """Share of a patch's core that a sky was observed at."""

    @cached_property
    def choices(self) -> list[tuple[int, list[tuple[int, int]]]]:
        """Places, each with the skies and quarter turns at which enough of it was observed.

        Raises
        ------
        TrainingError
            No patch was observed.
        """
        every = [(sky, turns) for sky in range(len(self.skies)) for turns in range(4)]
        found = []
        for place in range(self.n_places):
            seen = [drawn for drawn in every if self.observed(place, *drawn) >= LEAST_OBSERVED]
            if seen:
                found.append((place, seen))
        if not found:
            raise TrainingError(
                f"at none of {self.n_places} places was {LEAST_OBSERVED:.0%} of a patch observed: "
                "raise geometries or n_squares"
            )
        return found

    def step(self, number: int) -> tuple[int, Batch]:
        """Number of the place, and the batch, of a step."""
        return self._draw(np.random.default_rng([self.config.seed, number]))

    def validation(self) -> Iterator[tuple[int, Batch]]:
        """Places and batches that are the same in every validation."""
        rng = np.random.default_rng([self.config.seed, 2**31])
        for _ in range(-(-self.config.validation_patches // self.config.batch_size)):
            yield self._draw(rng)

    def _draw(self, rng: np.random.Generator) -> tuple[int, Batch]:
        place, seen = self.choices[rng.integers(len(self.choices))]
        drawn = rng.integers(len(seen), size=self.config.batch_size)
        return place, self.batch(place, [seen[k] for k in drawn])


@dataclass(frozen=True)
class PatchPlan(Plan):
    """Patches of HEALPix pixels.

    Attributes
    ----------
    places : tiles of the sky
    """

    places: Sequence[Tile]

    @property
    def n_places(self) -> int:
        return len(self.places)

    def geometry(self, place: int) -> TileGeometry:
        return self.places[place].geometry

    def observed(self, place: int, sky: int, turns: int) -> float:
        tile = self.places[place]
        core = quarter_turn(tile.nside, tile.pixels[: tile.core_size], turns)
        return float(self.skies[sky].seen[core].mean())

    def batch(self, place: int, drawn: Sequence[tuple[int, int]]) -> Batch:
        tile = self.places[place]
        return stacked(
            [
                self.skies[sky].at(quarter_turn(tile.nside, tile.pixels, turns), tile.core_size)
                for sky, turns in drawn
            ]
        )


def stacked(parts: Sequence[tuple[np.ndarray, ...]]) -> Batch:
    """Patches as one batch."""
    arrays = (np.stack(values) for values in zip(*parts, strict=True))
    return Batch(*(torch.from_numpy(values) for values in arrays))
