"""Score blocks of rows: what a worker does, wherever it runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import zarr

from equilens.pipeline.disk_faults import disk_faults
from equilens.pipeline.errors import ScoringError
from equilens.pipeline.networks import Network, by_member, ready_network
from equilens.pipeline.prefetch import prefetch
from equilens.pipeline.provenance import fingerprint
from equilens.pipeline.score_writer import block_is_sound
from equilens.pipeline.scores import AGAIN, IDENTITY
from equilens.pipeline.scoring.blocks import KEPT, Block, BlockStats, NetworkTask, Source
from equilens.pipeline.scoring.reading import Piece, read_blocks
from equilens.pipeline.zarr_faults import read_json

# enough for the network to go on while the checksum of a shard is taken
READS_AHEAD = 4
# a block of quarantined objects alone is a result too, not a block still to do
_WRITE = {"write_empty_chunks": True}


def score_block(source: Source, block: Block) -> BlockStats:
    """Score one block and write it; only this task writes these blocks of its networks.

    A worker that dies takes with it what it had told nobody yet: what it had written stays.
    """
    began = time.monotonic()
    left = tuple(network for network in block.networks if not _is_written(network, block))
    if left:
        next(score_blocks(source, [replace(block, networks=left)]))
    return BlockStats(block.n_scores, time.monotonic() - began)


def score_blocks(source: Source, blocks: Sequence[Block]) -> Iterator[BlockStats]:
    """Score blocks one after another; reading runs ahead of the networks, into the next block."""
    if torch.get_num_threads() != source.threads:
        torch.set_num_threads(source.threads)
    with closing(prefetch(read_blocks(source, blocks), READS_AHEAD)) as pieces:
        for block in blocks:
            began = time.monotonic()
            networks = [ready(network, source.device) for network in block.networks]
            logits = network_logits(networks, islice(pieces, block.n_reads), source.device)
            for network, values in zip(block.networks, logits, strict=True):
                scores = values[: block.stop - block.start]
                # an object without a finite score is quarantined; NaN never passes for a rank
                finite = np.isfinite(scores)
                _write_block(network, block, np.where(finite, scores, np.nan))
            yield BlockStats(block.n_scores, time.monotonic() - began)


def ready(network: NetworkTask, device: str) -> Network:
    """The network as it runs; each member's logits of a committee."""
    return by_member(ready_network(network.weights, network.sha256, device))


def network_logits(
    networks: Sequence[Network], pieces: Iterable[Piece], device: str
) -> list[np.ndarray]:
    """(rows, members) float64 logits of each network, padding included.

    Nothing waits for a GPU before the last batch is under way.
    """
    found: list[list[torch.Tensor]] = [[] for _ in networks]
    with torch.inference_mode():
        for piece in pieces:
            for k, inputs in piece:
                moved = (values.to(device, non_blocking=True) for values in inputs)
                found[k].append(networks[k](*moved))
        whole = [torch.cat(parts) for parts in found]
        return [values.reshape(len(values), -1).double().cpu().numpy() for values in whole]


def _is_written(network: NetworkTask, block: Block) -> bool:
    out = Path(network.out)
    rows = zarr.open_array(out / "scores", mode="r").chunks[0]
    return (
        block.start % rows == 0
        and block_is_sound(out, block.start // rows)
        and fingerprint(read_json(out / IDENTITY, AGAIN)) == network.identity
    )


def _write_block(network: NetworkTask, block: Block, scores: np.ndarray) -> None:
    out, start, stop = Path(network.out), block.start, block.stop
    with disk_faults(out, KEPT):
        array = zarr.open_array(out / "scores", mode="r+", config=_WRITE)
        rows = array.chunks[0]
        if start % rows or (stop - start != rows and stop != array.shape[0]):
            raise ScoringError(f"rows {start} to {stop} are no block of {rows} rows: not written")
        # a driver that was killed left this task running; another network may own the store by now
        if fingerprint(read_json(out / IDENTITY, AGAIN)) != network.identity:
            raise ScoringError(f"{out} is scored by another run now: not written")
        array[start:stop] = scores
