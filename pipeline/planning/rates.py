"""Measured rates: what a plan is made of, each with its repeats, in a JSON file.

A rate is never one number. Repeats take turns, so that repeat k of all rates saw the machine in
the same moment; a replay of a plan takes all of its rates from one such moment. The spread of a
plan is therefore the spread of the repeats, not the smaller error of their mean: one day on a
cluster differs from the next as repeats do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equilens.pipeline.errors import StoreError
from equilens.pipeline.planning.errors import RatesError
from equilens.pipeline.provenance import write_json_atomic
from equilens.pipeline.zarr_faults import read_json

KIND = "rates"
# name → unit, and what it is
QUANTITIES: dict[str, tuple[str, str]] = {
    "network_s": ("s/cutout", "the network on batches in memory"),
    "read_s": ("s/cutout", "reading and decoding, one thread"),
    "block_s": ("s/cutout", "scoring in a worker process behind a scheduler"),
    "block_scatter": ("", "standard deviation of a block's time over its mean"),
    "check_s": ("s/cutout", "checksum of the store's pixels, once a run"),
    "ingest_s": ("s/cutout", "from FITS to the store, one process"),
    "open_s": ("s/store", "opening a store and its scores, whatever its size"),
    "open_object_s": ("s/object", "opening: of each object"),
    "close_s": ("s/store", "closing the scores, whatever their number"),
    "close_object_s": ("s/object", "closing: of each object"),
    "cluster_start_s": ("s", "scheduler and the first worker process"),
    "worker_start_s": ("s", "torch and the network in a new worker"),
    "task_s": ("s/task", "the scheduler's share of a block"),
    "pixel_bytes": ("B/cutout", "pixels and masks in the store"),
    "fact_bytes": ("B/object", "everything else in the store"),
    "score_bytes": ("B/object", "scores, IDs and flags"),
    "shard_files": ("files/shard", "of a store"),
    "block_files": ("files/block", "of its scores"),
    "manifest_bytes": ("B/shard", "manifest of a store"),
    "worker_bytes": ("B/worker", "largest memory of a worker process"),
    "driver_bytes": ("B/object", "memory of the process that drives a scoring"),
}
# a difference of two timings can come out as nothing
MAY_BE_ZERO = (
    "block_scatter",
    "open_s",
    "open_object_s",
    "close_s",
    "close_object_s",
    "driver_bytes",
)


@dataclass(frozen=True)
class Rate:
    """One quantity, measured several times.

    Attributes
    ----------
    values : of each repeat
    each : cutouts, tasks or processes that one repeat took
    """

    values: tuple[float, ...]
    each: int

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    @property
    def n(self) -> int:
        """Repeats."""
        return len(self.values)


@dataclass(frozen=True)
class Rates:
    """What one machine did.

    Attributes
    ----------
    machine : processor, cores, load and GPU of the machine
    device : ``cpu`` or ``cuda``; what the network ran on
    network : name, architecture and sha256 of the network
    n_bands, side, batch_size : of the cutouts, in pixels, and of the network's batches
    measured : each of `QUANTITIES`
    provenance : date, versions and commit
    """

    machine: Mapping[str, Any]
    device: str
    network: Mapping[str, Any]
    n_bands: int
    side: int
    batch_size: int
    measured: Mapping[str, Rate]
    provenance: Mapping[str, Any]

    @property
    def raw_bytes(self) -> int:
        """Bytes of a cutout's float32 pixels and packed mask, uncompressed."""
        return self.n_bands * self.side * (4 * self.side + -(-self.side // 8))

    @property
    def n_repeats(self) -> int:
        """Repeats of the rate that has most of them."""
        return max(rate.n for rate in self.measured.values())

    def moment(self, k: int) -> dict[str, float]:
        """All rates as repeat k found them; one with fewer repeats begins again."""
        return {name: rate.values[k % rate.n] for name, rate in self.measured.items()}

    def mean(self, name: str) -> float:
        """Mean over the repeats."""
        return self.measured[name].mean

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `save_rates` writes them."""
        rows = {
            name: {"unit": QUANTITIES[name][0], "each": rate.each, "values": list(rate.values)}
            for name, rate in self.measured.items()
        }
        head = {"kind": KIND, "format": 1, "machine": dict(self.machine), "device": self.device}
        cutouts = {"n_bands": self.n_bands, "side": self.side, "batch_size": self.batch_size}
        about = {"network": dict(self.network), "cutouts": cutouts}
        return {**head, **about, "rates": rows, "provenance": dict(self.provenance)}


def save_rates(path: Path | str, rates: Rates) -> None:
    """Write rates as JSON, atomically."""
    write_json_atomic(path, rates.to_dict())


def load_rates(path: Path | str) -> Rates:
    """Read what `save_rates` wrote.

    Raises
    ------
    RatesError
        It is no such file, or a rate is missing or no positive number.
    """
    again = "measure again with `equilens plan --measure`"
    try:
        content = read_json(Path(path), again)
    except StoreError as error:
        raise RatesError(f"rates in {error}") from error
    if content.get("kind") != KIND:
        raise RatesError(f"{path} holds no rates: {again}")
    try:
        cutouts, rows = content["cutouts"], content["rates"]
        sizes = {name: int(cutouts[name]) for name in ("n_bands", "side", "batch_size")}
        measured = {name: _rate(name, rows[name]) for name in QUANTITIES}
        return Rates(
            machine=dict(content["machine"]),
            device=str(content["device"]),
            network=dict(content["network"]),
            measured=measured,
            provenance=dict(content["provenance"]),
            **sizes,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RatesError(f"{path}: {type(error).__name__}: {error}: {again}") from error


def _rate(name: str, row: Mapping[str, Any]) -> Rate:
    values = tuple(float(value) for value in row["values"])
    for value in values:
        if not (math.isfinite(value) and (value > 0 or (value == 0 and name in MAY_BE_ZERO))):
            raise ValueError(f"{name} must be a positive number, got {value}")
    if not values or int(row["each"]) < 1:
        raise ValueError(f"{name} needs one repeat of one measurement at least")
    return Rate(values, int(row["each"]))
