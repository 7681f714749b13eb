"""What is to be scored by what, and what of it is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from equilens.pipeline.cluster import available_cores
from equilens.pipeline.cutouts import CutoutFlag
from equilens.pipeline.errors import DomainError, StoreError
from equilens.pipeline.guard import GuardReport, guard
from equilens.pipeline.networks import NetworkRef, describe_network
from equilens.pipeline.provenance import fingerprint
from equilens.pipeline.score_writer import (
    begun_identity,
    block_is_sound,
    claim_path,
    finish_scores,
    open_scores,
)
from equilens.pipeline.scores import ScoreStore, block_file, block_rows, open_array
from equilens.pipeline.scoring.batch_size import (
    DEFAULT_SIZE,
    BatchTiming,
    check_size,
    time_batches,
)
from equilens.pipeline.scoring.blocks import Block, NetworkTask, Rows, Source
from equilens.pipeline.stores import MANIFEST, CutoutStore


@dataclass(frozen=True)
class Match:
    """A network and the cutouts that it can work on, checked.

    Attributes
    ----------
    report : of the guard
    out : where the scores belong
    """

    store: CutoutStore
    network: NetworkRef
    report: GuardReport
    out: Path

    @classmethod
    def of(cls, store: CutoutStore, model: str | Path, out: Path | str) -> Match:
        """Compare a network with cutouts.

        Raises
        ------
        DomainError
            The network cannot work on them.
        """
        network = describe_network(model)
        try:
            report = guard(store, network.spec, network.domain)
        except DomainError as problem:
            raise DomainError(f"{network.name}: {problem}") from problem
        return cls(store, network, report, Path(out))

    @property
    def subject(self) -> dict[str, Any]:
        """All that scores depend on, but for the batch size."""
        return {
            "cutouts": self.store.fingerprint,
            "network": self.network.sha256,
            "input_spec": self.network.spec.to_dict(),
            "bands": [self.store.band_names[k] for k in self.report.band_index],
        }

    def identity(self, batch_size: int) -> dict[str, Any]:
        """All that scores depend on."""
        return {**self.subject, "batch_size": batch_size}

    def task(self, batch_size: int) -> NetworkTask:
        """What a worker needs to know of it."""
        return NetworkTask(
            weights=self.network.path,
            sha256=self.network.sha256,
            out=str(self.out.resolve()),
            identity=fingerprint(self.identity(batch_size)),
            band_index=self.report.band_index,
            batch_size=batch_size,
        )

    def facts(self, rows: slice) -> dict[str, np.ndarray]:
        """What a reader of scores needs of each object: IDs, flags, and the guard's bits."""
        outside = self.report.outside[rows]
        flags = self.store.facts("flags", rows).copy()
        flags[outside != 0] |= int(CutoutFlag.OUT_OF_DOMAIN)
        return {"ids": self.store.facts("ids", rows), "flags": flags, "outside": outside}


@dataclass(frozen=True)
class ScoringPlan:
    """One network's share of a scoring.

    Attributes
    ----------
    timing : how the batch size was found; None where it was given, or held by earlier scores
    """

    match: Match
    batch_size: int
    timing: BatchTiming | None = None

    @classmethod
    def of(cls, match: Match, batch_size: int, replace: bool) -> ScoringPlan:
        """Scores with a given batch size, which take the place where they belong.

        Raises
        ------
        ScoringError
            Other scores are there and `replace` is not set.
        """
        plan = cls(match, batch_size)
        claim_path(match.out, plan.identity, replace)
        return plan

    @classmethod
    def timed(cls, match: Match, source: Source, workers: int, replace: bool) -> ScoringPlan:
        """The batch size of equal scores where they belong; else the one found by timing."""
        claim_path(match.out, match.subject, replace)
        held = begun_identity(match.out).get("batch_size")
        if held is not None:
            return cls(match, check_size(held))
        timing = time_batches(source, match.task(DEFAULT_SIZE), workers=workers)
        return cls(match, timing.chosen, timing)

    @property
    def identity(self) -> dict[str, Any]:
        return self.match.identity(self.batch_size)

    @property
    def task(self) -> NetworkTask:
        return self.match.task(self.batch_size)

    def missing(self, workers: int | None) -> list[Rows]:
        """Blocks of rows that are not there, or damaged."""
        store, out = self.match.store, self.match.out
        n, manifest = store.n_objects, out / MANIFEST
        if manifest.exists():
            try:
                done = ScoreStore(out)
            except StoreError:
                # blocks and facts tell by themselves whether they are sound
                manifest.unlink()
                return self.missing(workers)
            damaged = done.verify()
            if not damaged and done.facts_are_sound():
                return []
            for start in damaged:
                block_file(out, start // done.manifest["block_rows"]).unlink(missing_ok=True)
            manifest.unlink()
        rows = block_rows(store.n_shards, store.shard_size, workers or available_cores())
        timing = None if self.timing is None else self.timing.to_dict()
        members = self.match.network.members
        group = open_scores(out, self.identity, n, self.match.facts, rows, members, timing)
        rows = open_array(group, "scores").chunks[0]
        starts = range(0, n, rows)
        sound = (block_is_sound(out, k) for k in range(len(starts)))
        return [
            (start, min(start + rows, n)) for start, ok in zip(starts, sound, strict=True) if not ok
        ]

    def finish(self) -> None:
        """Write the manifest, unless it is there."""
        match = self.match
        if not (match.out / MANIFEST).exists():
            finish_scores(
                match.out, match.store, match.network, match.report, self.identity, match.facts
            )


def shared_blocks(missing: Iterable[tuple[NetworkTask, list[Rows]]]) -> list[Block]:
    """Each block of rows once, with every network that misses it."""
    networks: dict[Rows, list[NetworkTask]] = {}
    for task, blocks in missing:
        for rows in blocks:
            networks.setdefault(rows, []).append(task)
    return [Block(*rows, tuple(tasks)) for rows, tasks in sorted(networks.items())]
