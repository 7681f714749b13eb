"""Measure the rates of this machine: small cutouts made of noise, through the real stages.

Every repeat measures everything once, so that a slow moment of a shared machine slows all rates of
one repeat. The first repeat warms caches and does not count.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from equilens.models.checkpoint import save_checkpoint
from equilens.models.inputs import InputSpec
from equilens.models.networks import build_finder
from equilens.pipeline.networks import NetworkRef, describe_network
from equilens.pipeline.planning.errors import RatesError
from equilens.pipeline.planning.measure_blocks import BlockBench
from equilens.pipeline.planning.measure_cluster import N_TASKS, cluster_rates
from equilens.pipeline.planning.measure_driver import DriverBench
from equilens.pipeline.planning.measure_ingest import IngestBench
from equilens.pipeline.planning.rates import Rate, Rates
from equilens.pipeline.provenance import provenance

DEFAULT_ARCHITECTURE = "d4-resnet-nano"
DEFAULT_SIDE = 101
N_CUTOUTS = 1024
N_REPEATS = 3


@dataclass(frozen=True)
class Sizes:
    """How much one repeat takes.

    Attributes
    ----------
    n_cutouts : that are read and scored; whole blocks of 256, three at least
    n_driver : of objects whose opening and closing is timed, small and large
    n_ingest : cutouts that are ingested
    repeats : that count
    """

    n_cutouts: int = N_CUTOUTS
    n_driver: tuple[int, int] = (512, 8192)
    n_ingest: int = 256
    repeats: int = N_REPEATS

    def __post_init__(self) -> None:
        if self.n_cutouts < 768 or self.n_cutouts % 256:
            raise RatesError(f"n_cutouts must be 768, 1024, 1280, …, got {self.n_cutouts}")
        if self.repeats < 2:
            raise RatesError(f"a spread needs 2 repeats at least, got {self.repeats}")


def measure_rates(
    model: str | Path | None,
    n_bands: int | None,
    *,
    side: int = DEFAULT_SIDE,
    device: str = "cpu",
    batch_size: int = 64,
    sizes: Sizes | None = None,
    progress: Callable[[int], None] | None = None,
) -> Rates:
    """Rates of a network on this machine.

    Parameters
    ----------
    model : shipped name, folder or weights file; None for an untrained `DEFAULT_ARCHITECTURE`
    n_bands, side : of the cutouts where no model says; one that does must agree with `n_bands`
    device : ``cpu`` or ``cuda``, for the network
    batch_size : cutouts the network takes at once
    progress : called with 1 after each repeat, the first one included

    Raises
    ------
    RatesError
        The model is for other cutouts, or there is no such device.
    """
    sizes = sizes or Sizes()
    check_device(device)
    with TemporaryDirectory(prefix="equilens-plan-") as folder, one_thread():
        network = _network(Path(folder), model, n_bands, side)
        _check_square(network)
        machine, benches = describe_machine(device), _Benches(network, device, batch_size)
        measured = benches.measure(Path(folder), sizes, progress)
    name = network.name if model is not None else f"untrained {DEFAULT_ARCHITECTURE}"
    return Rates(
        machine=machine,
        device=device,
        network={**network.summary(), "name": name},
        n_bands=network.spec.n_bands,
        side=network.spec.shape[0],
        batch_size=batch_size,
        measured=measured,
        provenance=provenance(),
    )


@dataclass(frozen=True)
class _Benches:
    """Everything that is timed, for one network."""

    network: NetworkRef
    device: str
    batch_size: int

    def measure(
        self, scratch: Path, sizes: Sizes, progress: Callable[[int], None] | None
    ) -> dict[str, Rate]:
        """All of `QUANTITIES`."""
        network, batch, device = self.network, self.batch_size, self.device
        blocks = BlockBench(scratch, network, sizes.n_cutouts, batch, device)
        driver = DriverBench(scratch, sizes.n_driver, device)
        ingest = IngestBench(scratch, network.spec, sizes.n_ingest)
        turns = []
        for _ in range(sizes.repeats + 1):
            cluster = cluster_rates(blocks)
            turns.append({**blocks.turn(), **driver.turn(), **ingest.turn(), **cluster})
            if progress is not None:
                progress(1)
        each = dict.fromkeys(driver.NAMES, sizes.n_driver[1])
        each |= {"network_s": blocks.n_network, "ingest_s": sizes.n_ingest, "task_s": N_TASKS}
        each |= dict.fromkeys(("cluster_start_s", "worker_start_s", "worker_bytes"), 1)
        found = {
            name: Rate(tuple(turn[name] for turn in turns[1:]), each.get(name, sizes.n_cutouts))
            for name in turns[0]
        }
        return {**found, "driver_bytes": Rate((driver.memory(),), sizes.n_driver[1])}


def describe_machine(device: str) -> dict[str, Any]:
    """Processor, cores, load and GPU."""
    gpu = torch.cuda.get_device_name() if device.startswith("cuda") else None
    return {
        "name": platform.node(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "gpu": gpu,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def check_device(device: str) -> None:
    """Refuse a device that is not there."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RatesError(
            f"no GPU answers to {device!r} here, so its rate can not be measured: measure on a "
            "machine that has one (`equilens plan --measure gpu.json --device cuda`) and plan with "
            "--rates gpu.json, or give what you know: --gpu-rate CUTOUTS_PER_SECOND"
        )


def _network(scratch: Path, model: str | Path | None, n_bands: int | None, side: int) -> NetworkRef:
    if model is None:
        if n_bands is None:
            raise RatesError("how many bands? Give --bands, or a --model that says so")
        names = tuple(f"band{k + 1}" for k in range(n_bands))
        finder = build_finder(DEFAULT_ARCHITECTURE, InputSpec(names, 0.1, (side, side)), seed=1)
        model = save_checkpoint(scratch / "untrained.safetensors", finder, {"title": "untrained"})
    network = describe_network(model)
    if n_bands is not None and network.spec.n_bands != n_bands:
        raise RatesError(
            f"{network.name} takes {network.spec.n_bands} bands, {n_bands} are asked for: leave "
            "--bands out, or choose another --model"
        )
    return network


def _check_square(network: NetworkRef) -> None:
    ny, nx = network.spec.shape
    if ny != nx:
        raise RatesError(f"{network.name} takes {ny}x{nx} pixels: only squares are measured")


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, as each worker has it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
