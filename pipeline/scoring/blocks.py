"""What is sent to a worker: which rows of which store, and for which networks."""

from __future__ import annotations

from dataclasses import dataclass

Rows = tuple[int, int]

# cutouts read at once, and more only for a network whose batches are larger
READ_ROWS = 64
KEPT = "what was scored stays: run the same command again to go on"


@dataclass(frozen=True)
class Source:
    """Cutouts to be scored, and where.

    Attributes
    ----------
    cutouts : path of the CutoutStore
    fingerprint : that it must have
    run : name of this scoring; what an earlier one found sound is looked at again
    device : where networks run
    threads : of torch
    """

    cutouts: str
    fingerprint: str
    run: str
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class NetworkTask:
    """One network, and the ScoreStore that is its own.

    Attributes
    ----------
    weights, sha256 : path of the network and the hash that it must have
    out : path of the ScoreStore
    identity : fingerprint of what its scores depend on
    band_index : for each band of the network, its place in the store
    batch_size : cutouts the network takes at once
    """

    weights: str
    sha256: str
    out: str
    identity: str
    band_index: tuple[int, ...]
    batch_size: int


@dataclass(frozen=True)
class Block:
    """Rows ``start`` to ``stop``, and every network that still misses them."""

    start: int
    stop: int
    networks: tuple[NetworkTask, ...]

    @property
    def read_rows(self) -> int:
        """Rows that are read at once: a whole number of batches of every network."""
        return max(READ_ROWS, *(network.batch_size for network in self.networks))

    @property
    def n_reads(self) -> int:
        return -(-(self.stop - self.start) // self.read_rows)

    @property
    def n_scores(self) -> int:
        """Of all its networks."""
        return (self.stop - self.start) * len(self.networks)


@dataclass(frozen=True)
class BlockStats:
    """What became of a block: scores that are written, seconds."""

    n_scores: int
    seconds: float
