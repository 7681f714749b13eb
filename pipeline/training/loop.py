"""Train a finder on labelled cutouts: resumable, bounded in memory, ended by its budget."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from equilens.models.networks import build_finder
from equilens.pipeline.errors import TrainingError
from equilens.pipeline.prefetch import prefetch
from equilens.pipeline.training.augmentation import Examples
from equilens.pipeline.training.card import training_card, write_products
from equilens.pipeline.training.config import TrainConfig
from equilens.pipeline.training.data import BatchPlan, Curriculum, TrainingSet, held_out_sample
from equilens.pipeline.training.identity import store_input_spec, training_identity
from equilens.pipeline.training.log import TrainingLog, ranking_figures
from equilens.pipeline.training.predict import network_inputs, predict
from equilens.pipeline.training.state import STATE, TrainingState

PREFETCHED_BATCHES = 6
Progress = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class TrainReport:
    """What a training gave.

    Attributes
    ----------
    complete : False where it was stopped and can be resumed
    weights : path of ``model.safetensors``; None while incomplete
    steps, images, elapsed_s : so far, over all resumed parts
    card : the model card's facts: data, held-out metrics, training domain; empty while incomplete
    """

    complete: bool
    weights: Path | None
    steps: int
    images: int
    elapsed_s: float
    card: dict[str, Any]


def train(
    stores: Sequence[Path | str],
    out: Path | str,
    *,
    architecture: str = "d4-resnet-nano",
    field_px: int | None = None,
    config: TrainConfig | None = None,
    name: str | None = None,
    resume: bool = True,
    progress: Progress | None = None,
) -> TrainReport:
    """Train a finder, and write weights, card, log and report into a folder.

    Parameters
    ----------
    stores : paths of CutoutStores of equal bands and shape, with a column ``is_lens``
    out : folder for ``model.safetensors``, ``card.md``, ``report.json``, ``log.csv``,
        ``held_out.csv`` and, until it is done, ``resume.safetensors``
    architecture : a name of `equilens.models.networks.ARCHITECTURES`
    field_px : side of the central square that the network sees; by default all of the cutout
    config : see `TrainConfig`
    name : of the weights; by default the survey's
    resume : go on where an equal training in `out` was stopped
    progress : called with step, images, total, loss and rate about once a second

    Returns
    -------
    TrainReport
        With ``complete=False`` where SIGTERM stopped it: the same call goes on from there.

    Raises
    ------
    TrainingError
        Unfit data, a loss that is not finite, or another training's state in `out`.
    """
    config, out = config or TrainConfig(), Path(out)
    data = TrainingSet(stores, config.validation_fraction)
    spec = store_input_spec(data, field_px)
    finder = build_finder(architecture, spec, config.seed)
    identity = training_identity(data, architecture, spec, config)
    out.mkdir(parents=True, exist_ok=True)
    with _torch_settings(config), _termination() as stop:
        state = TrainingState.start(finder, config)
        if resume and (out / STATE).exists():
            state.load(out / STATE, identity)
        run = _Run(data, config, state, identity, out, progress)
        complete = run.until_done(stop)
        counts = (state.step, state.images, state.elapsed_s)
        if not complete:
            return TrainReport(False, None, *counts, card={})
        card = training_card(name or data.first.survey_name, data, identity, state, config, out)
        weights = write_products(out, state.average, card)
    (out / STATE).unlink(missing_ok=True)
    return TrainReport(True, weights, *counts, card)


class _Run:
    """The steps of one training, or of the part of it that this process does."""

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
        self._before = state.elapsed_s
        self._started = time.monotonic()
        self._mark = int(self.done() * config.validations)

    def until_done(self, stop: threading.Event) -> bool:
        """Take steps until the budget ends or `stop` is set; True if the budget ended."""
        state, saved, told = self.state, time.monotonic(), 0.0
        if self.done() >= 1:
            return True
        batches = prefetch(
            self.plan.batches(self.config.augmentation, state.step), PREFETCHED_BATCHES
        )
        try:
            for batch in batches:
                loss, rate = self._step(batch)
                done = self.done()
                if done >= 1 or self._validation_due():
                    self.log.add(state, loss, rate, *self._validate())
                if time.monotonic() - told > 1:
                    told = time.monotonic()
                    self._tell(loss, rate)
                if done >= 1 or stop.is_set():
                    break
                if time.monotonic() - saved > self.config.checkpoint_every_s:
                    self._save()
                    saved = time.monotonic()
        finally:
            batches.close()  # type: ignore[attr-defined]
        self._save()
        return self.done() >= 1

    def done(self) -> float:
        """Share of the schedule that is over, by whichever budget is further."""
        self.state.elapsed_s = self._before + time.monotonic() - self._started
        return max(self.state.images / self.budget, self.state.elapsed_s / self.config.time_limit_s)

    def _step(self, batch: Examples) -> tuple[float, float]:
        state, rate = self.state, self.config.rate(self.done())
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        state.finder.train()
        state.optimiser.zero_grad(set_to_none=True)
        logits = state.finder(*network_inputs(batch, self.config.device))
        labels = torch.from_numpy(batch.labels).to(self.config.device)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {state.step}: lower learning_rate "
                f"(now {rate:.2g}), or look for pixels that are not calibrated"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(state.finder.parameters(), self.config.clip_norm)
        state.optimiser.step()
        state.step += 1
        state.images += len(batch)
        state.update_average(self.config.ema_decay)
        return loss.item(), rate

    def _validation_due(self) -> bool:
        """True on the step that crosses one of the equally spaced marks of the schedule."""
        mark = int(self.done() * self.config.validations)
        due, self._mark = mark > self._mark, mark
        return due

    def _validate(self) -> tuple[float, dict[str, float]]:
        logits = predict(
            self.state.average, self.held_out, self.config.batch_size, self.config.device
        )
        loss = nn.functional.binary_cross_entropy_with_logits(
            torch.from_numpy(logits), torch.from_numpy(self.held_out.labels.astype(np.float64))
        )
        return loss.item(), ranking_figures(self.held_out.labels, logits)

    def _tell(self, loss: float, rate: float) -> None:
        state = self.state
        facts = {"step": state.step, "images": state.images, "total": self.budget}
        self.progress({**facts, "loss": loss, "rate": rate, "done": self.done()})

    def _save(self) -> None:
        self.done()
        self.state.save(self.out / STATE, self.identity)


@contextmanager
def _torch_settings(config: TrainConfig) -> Iterator[None]:
    """The asked number of threads, and the global random state left as it was."""
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _termination() -> Iterator[threading.Event]:
    """An event that SIGTERM sets; batch systems send it before they kill."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
