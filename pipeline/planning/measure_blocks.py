"""Rates of the pixels: reading, the network, both together, checksums, bytes."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from shutil import rmtree
from statistics import mean, stdev

import numpy as np
import torch

from equilens.models.inputs import InputSpec
from equilens.pipeline.network_inputs import store_inputs
from equilens.pipeline.networks import NetworkRef, by_member, ready_network
from equilens.pipeline.scoring import score
from equilens.pipeline.stores import PIXEL_ARRAYS, CutoutStore
from equilens.pipeline.toy import toy_cutouts, write_toy_store

N_NETWORK_BATCHES = 4


def noise_store(path: Path, spec: InputSpec, n: int) -> CutoutStore:
    """A store of `n` cutouts of noise around a spot, as a network of `spec` takes them."""
    batch = toy_cutouts(n, bands=spec.n_bands, side=spec.shape[0])
    scale = np.full_like(batch.pixel_scale_arcsec, spec.pixel_scale_arcsec)
    batch = replace(batch, pixel_scale_arcsec=scale)
    return write_toy_store(path, batch, bands=spec.bands)


def folder_bytes(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


class BlockBench:
    """A store of full-size cutouts, and a network that scores them again and again.

    Attributes
    ----------
    network, device : what scores, and where
    store : path of the store
    n_network : cutouts that the bare network is timed on
    """

    def __init__(
        self, scratch: Path, network: NetworkRef, n: int, batch_size: int, device: str
    ) -> None:
        self.network, self.device, self._n, self._batch = network, device, n, batch_size
        self._cutouts = noise_store(scratch / "noise.zarr", network.spec, n)
        self.store, self._out = self._cutouts.path, scratch / "noise-scores.zarr"
        self.n_network = min(n, N_NETWORK_BATCHES * batch_size)
        inputs, _ = store_inputs(self._cutouts, network.spec, network.domain, self.n_network)
        self._inputs = [part.to(device) for part in inputs]

    def turn(self) -> dict[str, float]:
        """Every rate once that needs no worker."""
        pixels = sum(folder_bytes(self.store / name) for name in PIXEL_ARRAYS)
        return {
            "network_s": self._bare(),
            "read_s": self._read(),
            "check_s": self._checked(),
            "pixel_bytes": pixels / self._n,
            "fact_bytes": (folder_bytes(self.store) - pixels) / self._n,
        }

    def scored(self, scheduler: str) -> dict[str, float]:
        """Seconds a cutout in the blocks of a worker, and their scatter from block to block."""
        ends: list[float] = []
        rows: list[float] = []

        def keep(facts: dict[str, float]) -> None:
            ends.append(facts["elapsed_s"])
            rows.append(facts["rows"])

        rmtree(self._out, ignore_errors=True)
        score(
            self.store,
            self.network.path,
            self._out,
            scheduler=scheduler,
            workers=1,
            batch_size=self._batch,
            device=self.device,
            progress=keep,
        )
        # before the first block ends the store is opened and checked as well
        each = [
            (end - before) / n for (before, end), n in zip(pairwise(ends), rows[1:], strict=True)
        ]
        return {"block_s": mean(each), "block_scatter": stdev(each) / mean(each)}

    def _bare(self) -> float:
        network = by_member(ready_network(self.network.path, self.network.sha256, self.device))
        began = time.perf_counter()
        with torch.inference_mode():
            for start in range(0, self.n_network, self._batch):
                batch = (part[start : start + self._batch] for part in self._inputs)
                network(*batch).double().cpu()
        return (time.perf_counter() - began) / self.n_network

    def _read(self) -> float:
        began = time.perf_counter()
        for start in range(0, self._n, self._batch):
            for name in PIXEL_ARRAYS:
                self._cutouts.read_pixels(name, slice(start, start + self._batch))
        return (time.perf_counter() - began) / self._n

    def _checked(self) -> float:
        began = time.perf_counter()
        self._cutouts.verify()
        return (time.perf_counter() - began) / self._n
