"""Score a CutoutStore on Dask: guard, blocks as tasks, manifest last.

A call is idempotent: it does what is missing. Blocks already written by the same network from the
same cutouts stay, damaged ones are done again, and other scores are never mixed in.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from equilens.pipeline.cluster import available_cores
from equilens.pipeline.disk_faults import disk_faults
from equilens.pipeline.errors import ScoringError
from equilens.pipeline.lock import lock_store
from equilens.pipeline.networks import MOST_NETWORKS, network_name
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.scoring.batch_size import DEFAULT_SIZE, check_size
from equilens.pipeline.scoring.blocks import KEPT, Rows, Source
from equilens.pipeline.scoring.dispatch import run_blocks
from equilens.pipeline.scoring.plan import Match, ScoringPlan, shared_blocks
from equilens.pipeline.stores import CutoutStore

Progress = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class ScoreSummary:
    """What a scoring did.

    Attributes
    ----------
    path : of the ScoreStore
    n_objects : in it
    n_scored_now : by this call; 0 where it was complete already
    n_quarantined : objects without a finite score; ``quarantine.csv`` inside the store lists
        them after those that ingest had rejected
    n_out_of_domain : objects that the guard flagged
    network, sha256 : what scored
    notes : of the guard
    seconds : of this call
    """

    path: Path
    n_objects: int
    n_scored_now: int
    n_quarantined: int
    n_out_of_domain: int
    network: str
    sha256: str
    notes: tuple[str, ...]
    seconds: float

    @property
    def already_complete(self) -> bool:
        return self.n_scored_now == 0


def score(
    cutouts: Path | str,
    model: str | Path,
    out: Path | str,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    replace: bool = False,
    batch_size: int | None = DEFAULT_SIZE,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ScoreSummary:
    """Score every object of a CutoutStore into a ScoreStore.

    Parameters
    ----------
    cutouts : path of a finished CutoutStore
    model : name of shipped weights, a training's folder, or a weights file
    out : path of the ScoreStore; goes on where an equal run stopped
    scheduler : address of a Dask scheduler; by default one is embedded
    workers : of the embedded cluster; by default one a core
    replace : give up scores that another network, other cutouts or settings left in `out`
    batch_size : cutouts the network takes at once; a power of two up to 256. None takes the one
        that equal scores at `out` were begun with, and times a few where there are none
    device : ``cpu`` or ``cuda``
    progress : called after each block with its scores, the total to do and the seconds so far

    Raises
    ------
    DomainError
        The network cannot work on these cutouts.
    ScoringError
        `out` holds other scores, the cutouts are damaged, no scheduler answers, or a worker failed
        for good; what was written stays.
    """
    return score_together(
        cutouts,
        {model: out},
        scheduler=scheduler,
        workers=workers,
        replace=replace,
        batch_size=batch_size,
        device=device,
        progress=progress,
    )[0]


def score_together(
    cutouts: Path | str,
    models: Mapping[str | Path, Path | str],
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    replace: bool = False,
    batch_size: int | None = DEFAULT_SIZE,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[ScoreSummary]:
    """Score with several networks in one read of the cutouts.

    Each ScoreStore is the one that `score` makes with its network alone, bit for bit, and goes on
    by itself: cutouts are read for the networks that still miss them.

    Parameters
    ----------
    models : for each network, the path of its ScoreStore

    Returns
    -------
    list : a summary for each network, in order

    Raises
    ------
    DomainError, ScoringError
        As in `score`, which describes the other parameters.
    """
    began = time.monotonic()
    _check(models, batch_size, scheduler)
    store = CutoutStore(cutouts)
    matches = [Match.of(store, model, out) for model, out in models.items()]
    source = Source(str(store.path.resolve()), store.fingerprint, uuid.uuid4().hex, device)
    with ExitStack() as stack:
        for match in matches:
            stack.callback(lock_store(match.out))
        stack.enter_context(_unchanged_threads())
        plans = [_plan(match, batch_size, source, workers, replace) for match in matches]
        missing = [_missing(plan, workers) for plan in plans]
        todo = shared_blocks(zip((plan.task for plan in plans), missing, strict=True))
        total = sum(block.n_scores for block in todo)
        for stats in run_blocks(source, todo, store.n_objects, scheduler, workers):
            if progress is not None:
                elapsed = time.monotonic() - began
                progress({"rows": stats.n_scores, "total": total, "elapsed_s": elapsed})
        for plan in plans:
            with disk_faults(plan.match.out, KEPT):
                plan.finish()
    seconds = time.monotonic() - began
    pairs = zip(matches, missing, strict=True)
    return [_summary(match, rows, seconds) for match, rows in pairs]


def score_paths(models: Sequence[str | Path], out: Path | str) -> dict[str | Path, Path]:
    """Where the scores of each network belong: at `out`, or in it where there are several.

    Raises
    ------
    ScoringError
        Two networks have one name, or `out` is no folder for several stores.
    """
    out = Path(out)
    if len(models) == 1:
        return {models[0]: out}
    if (out / "zarr.json").exists() or out.is_file():
        raise ScoringError(f"several models score into a folder, {out} is none: choose another")
    named: dict[str, str | Path] = {}
    for model in models:
        name = network_name(model)
        if name in named:
            raise ScoringError(
                f"{named[name]} and {model} are both called {name}: score them one by one, or "
                "rename a file"
            )
        named[name] = model
    return {model: out / f"{name}.zarr" for name, model in named.items()}


def _check(
    models: Mapping[str | Path, Path | str], batch_size: int | None, scheduler: str | None
) -> None:
    if not 1 <= len(models) <= MOST_NETWORKS:
        raise ScoringError(f"1 to {MOST_NETWORKS} networks score together, got {len(models)}")
    taken: dict[Path, str | Path] = {}
    for model, out in models.items():
        path = Path(out).resolve()
        if path in taken:
            raise ScoringError(f"{taken[path]} and {model} would both score into {out}: name two")
        taken[path] = model
    if batch_size is not None:
        check_size(batch_size)
    elif scheduler is not None:
        raise ScoringError(
            f"a batch size is timed on this machine, not on the workers of {scheduler}: give one"
        )


def _plan(
    match: Match, batch_size: int | None, source: Source, workers: int | None, replace: bool
) -> ScoringPlan:
    with disk_faults(match.out, KEPT):
        if batch_size is None:
            return ScoringPlan.timed(match, source, workers or available_cores(), replace)
        return ScoringPlan.of(match, batch_size, replace)


def _missing(plan: ScoringPlan, workers: int | None) -> list[Rows]:
    with disk_faults(plan.match.out, KEPT):
        return plan.missing(workers)


def _summary(match: Match, scored: Sequence[Rows], seconds: float) -> ScoreSummary:
    return ScoreSummary(
        path=match.out,
        n_objects=match.store.n_objects,
        n_scored_now=sum(stop - start for start, stop in scored),
        n_quarantined=ScoreStore(match.out).manifest["n_quarantined"],
        n_out_of_domain=match.report.n_outside,
        network=match.network.name,
        sha256=match.network.sha256,
        notes=match.report.notes,
        seconds=seconds,
    )


@contextmanager
def _unchanged_threads() -> Iterator[None]:
    """Workers inside this process set torch's threads; the caller's number comes back."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
