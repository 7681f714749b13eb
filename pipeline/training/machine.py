"""What the machine is asked for: threads, precision, memory layout, and an orderly end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from equilens.pipeline.errors import TrainingError
from equilens.pipeline.training.config import TrainConfig


def is_gpu(device: str) -> bool:
    """Whether a device's name is that of a GPU."""
    return torch.device(device).type == "cuda"


def mixed_precision(config: TrainConfig) -> bool:
    """Whether layers run in bfloat16 where autocast says that they may.

    Weights, batch statistics, losses and the optimiser stay in float32. bfloat16 has float32's
    exponents, so that no loss needs scaling.

    Raises
    ------
    TrainingError
        Asked for on a GPU that cannot.
    """
    able = not is_gpu(config.device) or torch.cuda.is_bf16_supported()
    if config.precision == "bfloat16" and not able:
        raise TrainingError(f"{config.device} has no bfloat16: choose precision float32")
    wanted = config.precision == "bfloat16"
    return wanted or (config.precision == "auto" and is_gpu(config.device) and able)


def autocast(config: TrainConfig) -> AbstractContextManager[object]:
    """A context for the forward pass."""
    if not mixed_precision(config):
        return nullcontext()
    return torch.autocast(torch.device(config.device).type, dtype=torch.bfloat16)


def runnable(finder: nn.Module, config: TrainConfig) -> nn.Module:
    """The same finder, compiled where that was asked for; it shares its weights."""
    return torch.compile(finder) if config.compile else finder  # type: ignore[return-value]


def memory_format(config: TrainConfig) -> torch.memory_format:
    """Of images: tensor cores take channels last."""
    return torch.channels_last if is_gpu(config.device) else torch.contiguous_format


@contextmanager
def torch_settings(n_threads: int, seed: int) -> Iterator[None]:
    """The asked number of threads and seed; the global random state is left as it was."""
    threads = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def termination() -> Iterator[threading.Event]:
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
