"""The steps of a mapper's training: patches in, a better mapper out, a line of log at times."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from equilens.models.spherical.mapper_spec import MapperSpec, network_inputs
from equilens.models.spherical.mass_mapper import MassEstimate
from equilens.models.spherical.tiles import Tile
from equilens.pipeline.errors import TrainingError
from equilens.pipeline.masses.mapper_config import MapperConfig
from equilens.pipeline.masses.mapper_loss import MapperLoss, mapper_loss
from equilens.pipeline.masses.mapper_state import STATE, MapperState
from equilens.pipeline.masses.patches import patch_tiling
from equilens.pipeline.masses.training_skies import Batch, Plan
from equilens.pipeline.training.resuming import drop_lines_after

Progress = Callable[[dict[str, float]], None]
FIELDS = (
    "step",
    "patches",
    "elapsed_s",
    "loss",
    "learning_rate",
    "error",
    "wiener_error",
    "likelihood",
    "coverage",
    "halo",
)


class MapperRun:
    """The steps of one training, or of the part of it that this process does.

    Parameters
    ----------
    taught, held_out : patches of skies to learn from, and of skies that only tell how it goes, at
        the same places
    config, state : of the training; the state is changed
    identity : kept with the state
    out : folder of ``log.csv`` and of the state
    progress : told about once a second
    """

    def __init__(
        self,
        taught: Plan,
        held_out: Plan,
        config: MapperConfig,
        state: MapperState,
        identity: dict[str, Any],
        out: Path,
        progress: Progress | None = None,
    ) -> None:
        self.config, self.state, self.identity, self.out = config, state, identity, out
        self.plan, self.held_out = taught, held_out
        assert isinstance(state.network.spec, MapperSpec)
        self.spec = state.network.spec
        self.progress = progress or (lambda facts: None)
        self._log = out / "log.csv"
        drop_lines_after(self._log, FIELDS, state.step)
        self._before = state.elapsed_s
        self._started = time.monotonic()
        self._mark = int(self.done() * config.validations)

    def until_done(self, stop: threading.Event) -> bool:
        """Take steps until the training ends or `stop` is set; True if it ended."""
        saved, told = time.monotonic(), 0.0
        over = self.done() >= 1
        while not over and not stop.is_set():
            loss, rate = self._step()
            # taken once a step: a time limit must not pass between the last line and the end
            done = self.done()
            over = done >= 1
            if over or self._validation_due(done):
                self._validate(loss, rate)
            if time.monotonic() - told > 1:
                told = time.monotonic()
                self.progress({"step": self.state.step, "loss": loss, "rate": rate, "done": done})
            if time.monotonic() - saved > self.config.checkpoint_every_s:
                self.state.save(self.out / STATE, self.identity)
                saved = time.monotonic()
        self.state.save(self.out / STATE, self.identity)
        return over

    def done(self) -> float:
        """Share of the schedule that is over, by whichever budget is further."""
        state, config = self.state, self.config
        state.elapsed_s = self._before + time.monotonic() - self._started
        return max(state.patches / config.patches_seen, state.elapsed_s / config.time_limit_s)

    def held_out_figures(self) -> dict[str, float]:
        """Of the average, on patches of the held-out skies."""
        sums, n_batches = np.zeros(5), 0
        for place, batch in self.held_out.validation():
            with torch.no_grad():
                estimate, loss = self._estimate(self.state.average, place, batch)
            sums += _figures(estimate, loss, batch, self.spec.kappa_scale)
            n_batches += 1
        names = ("error", "wiener_error", "likelihood", "coverage", "halo")
        return dict(zip(names, (sums / n_batches).tolist(), strict=True))

    def _estimate(
        self, network: nn.Module, place: int, batch: Batch
    ) -> tuple[MassEstimate, MapperLoss]:
        scalars, shear = network_inputs(self.spec, batch.sky, batch.linear)
        estimate = network(self.plan.geometry(place), scalars, shear)
        return estimate, mapper_loss(estimate, batch, self.spec.kappa_scale)

    def _step(self) -> tuple[float, float]:
        state, config, rate = self.state, self.config, self.config.rate(self.done())
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        place, batch = self.plan.step(state.step)
        state.network.train()
        state.optimiser.zero_grad(set_to_none=True)
        loss = self._estimate(state.network, place, batch)[1].total(config.halo_weight)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {state.step}: lower learning_rate (now "
                f"{rate:.2g}), or look for pixels that are no measurement"
            )
        loss.backward()
        nn.utils.clip_grad_norm_(state.network.parameters(), config.clip_norm)
        state.optimiser.step()
        state.step += 1
        state.patches += config.batch_size
        state.update_average(config.ema_decay)
        return loss.item(), rate

    def _validation_due(self, done: float) -> bool:
        """True on the step that crosses one of the equally spaced marks of the schedule."""
        mark = int(done * self.config.validations)
        due, self._mark = mark > self._mark, mark
        return due

    def _validate(self, loss: float, rate: float) -> None:
        row = {
            "step": self.state.step,
            "patches": self.state.patches,
            "elapsed_s": round(self.state.elapsed_s, 1),
            "loss": round(loss, 6),
            "learning_rate": f"{rate:.4g}",
            **{name: round(value, 6) for name, value in self.held_out_figures().items()},
        }
        with self._log.open("a", newline="") as file:
            csv.DictWriter(file, FIELDS).writerow(row)


def training_places(spec: MapperSpec, config: MapperConfig) -> list[Tile]:
    """Squares of the sky to train at: some of those that no quarter turn makes equal."""
    own = config.n_squares**2
    # base pixels 0, 4 and 8: the others are quarter turns of them
    squares = np.concatenate([base * own + np.arange(own) for base in (0, 4, 8)])
    rng = np.random.default_rng([config.seed, 2**32])
    chosen = rng.permutation(squares)[: config.geometries]
    tiling = patch_tiling(spec, config.n_squares, config.margin_pixels)
    return [tiling.tile(int(one)) for one in chosen]


def _figures(estimate: MassEstimate, loss: MapperLoss, batch: Batch, scale: float) -> np.ndarray:
    """Squared errors in units of κ's variance, likelihood, coverage of ± σ, halo cross-entropy."""
    counted = batch.counted
    error = (estimate.kappa - batch.kappa)[counted]
    wiener = (batch.linear[:, 0] - batch.kappa)[counted] / scale
    within = error.abs() < torch.exp(0.5 * estimate.log_variance[counted])
    figures = (
        loss.squared_error,
        wiener.square().mean(),
        loss.likelihood,
        within.float().mean(),
        loss.halo,
    )
    return np.array([float(value) for value in figures])
