"""The steps of a training: batches in, a network that gets better, a line of the log at times."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from equilens.pipeline.errors import TrainingError
from equilens.pipeline.prefetch import prefetch
from equilens.pipeline.training.augmentation import Examples
from equilens.pipeline.training.config import TrainConfig
from equilens.pipeline.training.data import TrainingSet, held_out_sample
from equilens.pipeline.training.log import TrainingLog, ranking_figures
from equilens.pipeline.training.machine import autocast, memory_format, runnable
from equilens.pipeline.training.plan import BatchPlan, Curriculum
from equilens.pipeline.training.predict import network_inputs, predict
from equilens.pipeline.training.state import STATE, TrainingState

PREFETCHED_BATCHES = 6
Progress = Callable[[dict[str, float]], None]


class Run:
    """The steps of one training, or of the part of it that this process does.

    Parameters
    ----------
    data, config, state : of the training; the state is changed
    identity : kept with the state
    out : folder of ``log.csv`` and of the state
    progress : told about once a second
    """

    def __init__(
        self,
        data: TrainingSet,
        config: TrainConfig,
        state: TrainingState,
        identity: dict[str, Any],
        out: Path,
        progress: Progress | None,
    ) -> None:
        self.config, self.state, self.identity, self.out = config, state, identity, out
        self.budget = config.budget(data.n_training)
        curriculum = Curriculum(config.curriculum_snr, config.curriculum * self.budget)
        self.plan = BatchPlan(data, config.seed, config.batch_size, config.pool_shards, curriculum)
        self.held_out = held_out_sample(data, config.validation_size)
        self.log = TrainingLog(out / "log.csv", state.step)
        self.progress = progress or (lambda facts: None)
        self._network = runnable(state.finder, config)
        self._before = state.elapsed_s
        self._started = time.monotonic()
        self._mark = int(self.done() * config.validations)

    def until_done(self, stop: threading.Event) -> bool:
        """Take steps until the training ends or `stop` is set; True if it ended."""
        saved, told, over = time.monotonic(), 0.0, False
        if self._is_over(self.done()):
            return True
        batches = self._batches()
        try:
            for batch in batches:
                loss, rate = self._step(batch)
                # taken once a step: a time limit must not pass between the last line and the end
                done = self.done()
                if done >= 1 or self._validation_due(done):
                    self._validate(loss, rate)
                if time.monotonic() - told > 1:
                    told = time.monotonic()
                    self._tell(loss, rate)
                if (over := self._is_over(done)) or stop.is_set():
                    break
                if time.monotonic() - saved > self.config.checkpoint_every_s:
                    self._save()
                    saved = time.monotonic()
        finally:
            batches.close()  # type: ignore[attr-defined]
        self._save()
        return over

    def done(self) -> float:
        """Share of the schedule that is over, by whichever budget is further."""
        self.state.elapsed_s = self._before + time.monotonic() - self._started
        return max(self.state.images / self.budget, self.state.elapsed_s / self.config.time_limit_s)

    def _is_over(self, done: float) -> bool:
        best, patience = self.state.best, self.config.stopping.patience
        return done >= 1 or (best is not None and best.since >= patience)

    def _batches(self) -> Iterator[Examples]:
        """Batches from the current step on, made ahead in a thread.

        Mining waits at each epoch's end for the logits of its last batch: what is drawn then must
        not depend on how far ahead the thread is.
        """
        state, how = self.state, self.config.augmentation
        if state.hardness is None:
            yield from prefetch(self.plan.batches(how, state.step), PREFETCHED_BATCHES)
            return
        for number, first in self.plan.epochs(state.step):
            state.hardness.begin(number)
            epoch = self.plan.epoch(number, first, how, state.step, state.hardness)
            yield from prefetch(epoch, PREFETCHED_BATCHES)

    def _step(self, batch: Examples) -> tuple[float, float]:
        state, config, rate = self.state, self.config, self.config.rate(self.done())
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        state.train_mode()
        state.optimiser.zero_grad(set_to_none=True)
        with autocast(config):
            inputs = network_inputs(batch, config.device, memory_format(config))
            logits = self._network(*inputs).float()
        labels, weights = (
            torch.from_numpy(values).to(config.device) for values in (batch.labels, batch.weights)
        )
        loss = state.loss(logits, labels, weights if config.mining.corrected else None)
        self._refuse_unfinite(loss, rate)
        loss.backward()
        nn.utils.clip_grad_norm_(state.finder.parameters(), config.clip_norm)
        state.optimiser.step()
        if state.hardness is not None:
            state.hardness.record(batch.rows, logits.detach().cpu().numpy())
        state.step += 1
        state.images += len(batch)
        state.update_average(config.ema_decay)
        return loss.item(), rate

    def _refuse_unfinite(self, loss: torch.Tensor, rate: float) -> None:
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.state.step}: lower learning_rate "
                f"(now {rate:.2g}), or look for pixels that are not calibrated"
            )

    def _validation_due(self, done: float) -> bool:
        """True on the step that crosses one of the equally spaced marks of the schedule."""
        mark = int(done * self.config.validations)
        due, self._mark = mark > self._mark, mark
        return due

    def _validate(self, loss: float, rate: float) -> None:
        state, labels = self.state, self.held_out.labels
        logits = predict(state.average, self.held_out, self.config.batch_size, self.config.device)
        held_out_loss = nn.functional.binary_cross_entropy_with_logits(
            torch.from_numpy(logits), torch.from_numpy(labels.astype(np.float64))
        )
        figures = ranking_figures(labels, logits)
        self.log.add(state, loss, rate, held_out_loss.item(), figures)
        if state.best is not None:
            figure = figures[self.config.stopping.by]
            state.best.see(figure, state.average, state.step, state.images)

    def _tell(self, loss: float, rate: float) -> None:
        state = self.state
        facts = {"step": state.step, "images": state.images, "total": self.budget}
        self.progress({**facts, "loss": loss, "rate": rate, "done": self.done()})

    def _save(self) -> None:
        self.done()
        self.state.save(self.out / STATE, self.identity)
