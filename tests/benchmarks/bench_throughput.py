"""Where scoring loses against its model: reading, checking, writing, scheduling.

Bare is the folded network on batches of 64 that are in memory already. `score` runs in this
process with one thread for the network and one that reads ahead. With a free core reading hides
behind the network, and wall time counts; on a saturated machine the network's CPU time and that of
reading add up, and CPU time counts. Tables give both. Reading alone is images and masks of the
store, once, decoded; a checksum of every shard is taken besides.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from statistics import median
from tempfile import TemporaryDirectory

from bench_score import BATCH, batches_in_memory
from comparison import Comparison, arguments, take_turns

ARCHITECTURES = ("d4-resnet-nano", "d4-convnext-small")
BARE, READ, CHECK, SCORE = "bare network in memory", "reading", "checksums", "equilens score"
APART, TOGETHER = "two runs", "two models in one read"
ROWS_A_TASK = (2048, 256)
N_TASKS = 400
# functions of a profile, and what the time in them is spent on
STEPS = {
    "network": ("scoring/worker.py", "network_logits"),
    "waiting for the reader": ("pipeline/prefetch.py", "prefetch"),
    "writing blocks": ("scoring/worker.py", "_write_block"),
    "looking at network and store": ("scoring/plan.py", "of"),
    "finding what is missing": ("scoring/run.py", "_missing"),
    "manifest": ("scoring/plan.py", "finish"),
}


def main() -> None:
    options = arguments(__doc__, n=4096, turns=3)
    import torch
    from fits_cubes import folder_of_cubes, write_survey

    from equilens.pipeline.ingest import ingest
    from equilens.pipeline.surveys.registry import get_survey

    torch.set_num_threads(options.threads)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with folder_of_cubes(options.n) as cubes:
            survey = get_survey(str(write_survey(folder)))
            ingest(cubes[0].parent, survey, folder / "store.zarr", workers=1)
        contests = [Contest(folder, architecture) for architecture in ARCHITECTURES]
        for contest in contests:
            contest.check()
            contest.compare(options.n, options.turns)
            contest.profile(options.n)
        company(contests, options.n, options.turns)
    for rows in ROWS_A_TASK:
        schedule(rows)


class Contest:
    """One network, bare and over a store."""

    def __init__(self, folder: Path, architecture: str) -> None:
        from fits_cubes import BANDS, PIXEL_SCALE_ARCSEC

        from equilens.models.checkpoint import save_checkpoint
        from equilens.models.fold import fold
        from equilens.models.inputs import InputSpec
        from equilens.models.networks import build_finder

        self.folder, self.architecture = folder, architecture
        self.store, self.weights = folder / "store.zarr", folder / f"{architecture}.safetensors"
        finder = build_finder(architecture, InputSpec(BANDS, PIXEL_SCALE_ARCSEC)).eval()
        save_checkpoint(self.weights, finder, {"title": "random weights, for timing"})
        self.network = fold(finder)
        self.batches = batches_in_memory(self.store)

    def bare(self):
        import torch

        with torch.inference_mode():
            return torch.cat([self.network(*batch) for batch in self.batches]).numpy()

    def read(self) -> None:
        from equilens.pipeline.stores import PIXEL_ARRAYS, CutoutStore

        store = CutoutStore(self.store)
        for start in range(0, store.n_objects, BATCH):
            rows = slice(start, min(start + BATCH, store.n_objects))
            for name in PIXEL_ARRAYS:
                store.read_pixels(name, rows)

    def verify(self) -> None:
        from equilens.pipeline.stores import CutoutStore

        assert not CutoutStore(self.store).verify()

    def score(self) -> None:
        from equilens.pipeline.scoring import score

        out = self.folder / "scores.zarr"
        # scores that are there already would not be computed again
        rmtree(out, ignore_errors=True)
        score(self.store, self.weights, out, workers=1, batch_size=BATCH)

    def check(self) -> None:
        """Both must give the same scores, or the times mean nothing."""
        import numpy as np

        from equilens.pipeline.scores import ScoreStore

        self.score()
        scores = ScoreStore(self.folder / "scores.zarr").combined()
        assert np.allclose(scores, self.bare()[: len(scores)], atol=1e-4), "scores must agree"

    def compare(self, n: int, turns: int) -> None:
        """Wall and CPU time, and how far each is from its target."""
        contenders = {BARE: self.bare, READ: self.read, CHECK: self.verify, SCORE: self.score}
        wall, cpu = both_clocks(contenders, n, turns, BARE)
        title = f"{self.architecture}, 4x101x101 cutouts, one thread"
        wall.show(f"{title}, wall time", "cutouts/s", "score at 0.95 of bare with a free core")
        cpu.show(f"{title}, CPU time", "cutouts/s")
        floor = [
            bare + read for bare, read in zip(cpu.seconds[BARE], cpu.seconds[READ], strict=True)
        ]
        excess = median(own / least for own, least in zip(cpu.seconds[SCORE], floor, strict=True))
        say(f"CPU of score over bare + reading: {excess:.3f} (target 1.05 on saturated cores)\n")

    def profile(self, n: int) -> None:
        """What the thread of the network does, step by step."""
        profiler = cProfile.Profile()
        began = time.perf_counter()
        profiler.runcall(self.score)
        seconds = {"all of it": time.perf_counter() - began}
        functions = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
        for step, (file, name) in STEPS.items():
            seconds[step] = sum(
                entry[3]
                for (path, _, function), entry in functions.items()
                if function == name and path.endswith(file)
            )
        seconds["network"] -= seconds["waiting for the reader"]
        seconds["the rest"] = 2 * seconds["all of it"] - sum(seconds.values())
        say(f"Profile of scoring with {self.architecture}, wall time of its thread: N = {n:,}\n\n")
        say("| step | µs a cutout | share |\n|---|--:|--:|\n")
        for step, spent in seconds.items():
            share = spent / seconds["all of it"]
            say(f"| {step} | {1e6 * spent / n:,.1f} | {share:.1%} |\n")


def company(contests: list[Contest], n: int, turns: int) -> None:
    """Two networks in one read against one after the other."""
    from equilens.pipeline.scoring import score_paths, score_together

    first, out = contests[0], contests[0].folder / "together"

    def apart() -> None:
        for contest in contests:
            contest.score()

    def together() -> None:
        rmtree(out, ignore_errors=True)
        paths = score_paths([contest.weights for contest in contests], out)
        score_together(first.store, paths, workers=1, batch_size=BATCH)

    wall, cpu = both_clocks({APART: apart, TOGETHER: together}, 2 * n, turns, APART)
    title = " and ".join(contest.architecture for contest in contests)
    wall.show(f"{title}, scores by both, wall time", "scores/s", "faster than two runs")
    cpu.show(f"{title}, scores by both, CPU time", "scores/s")


def schedule(rows: int) -> None:
    """What it costs to hand out blocks that take no time."""
    from equilens.pipeline.cluster import open_client
    from equilens.pipeline.scoring.blocks import Block, Source
    from equilens.pipeline.scoring.dispatch import stream

    blocks = [Block(k * rows, (k + 1) * rows, ()) for k in range(N_TASKS)]
    for processes in (False, True):
        with open_client(workers=2, processes=processes) as client:
            list(stream(client, Source("", "", ""), blocks[:10], nothing))
            began, used = time.perf_counter(), time.process_time()
            done = sum(1 for _ in stream(client, Source("", "", ""), blocks, nothing))
            wall, cpu = time.perf_counter() - began, time.process_time() - used
        assert done == N_TASKS
        where = "processes" if processes else "threads"
        say(
            f"Scheduling {N_TASKS} tasks of {rows:,} cutouts on 2 {where}: "
            f"{1e6 * wall / (N_TASKS * rows):.2f} µs a cutout, CPU of this process "
            f"{1e6 * cpu / (N_TASKS * rows):.2f} (target 2)\n"
        )


def nothing(source, block):
    """The work of a block, without the work."""
    from equilens.pipeline.scoring.blocks import BlockStats

    return BlockStats(block.n_scores, 0.0)


def both_clocks(
    contenders: dict[str, Callable[[], object]], n: int, turns: int, baseline: str
) -> tuple[Comparison, Comparison]:
    """The same turns in wall time, and in CPU time of all threads."""
    used: dict[str, list[float]] = {name: [] for name in contenders}

    def noted(name: str, run: Callable[[], object]) -> Callable[[], None]:
        def both() -> None:
            began = time.process_time()
            run()
            used[name].append(time.process_time() - began)

        return both

    wall = take_turns(
        {name: noted(name, run) for name, run in contenders.items()}, n, turns, baseline
    )
    # the first turn does not count
    return wall, Comparison({k: v[1:] for k, v in used.items()}, wall.counts, baseline)


def say(text: str) -> None:
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
