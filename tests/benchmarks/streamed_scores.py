"""What the scripts that need very many simulated objects share: options, and streams of scores.

A stream is a folder of `equilens score-simulated`: pixels are made, scored and forgotten part by
part, and the same command goes on where it was stopped. Scripts that are given one folder use one
another's streams. Disjoint parts of a stream are independent samples: every 64 objects are drawn
from random streams of their own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from comparison import pin_threads

if TYPE_CHECKING:
    import pyarrow as pa

    from equilens.pipeline.simulated_scores import SimulatedScores

SEED = 3_000_000
SECONDS_BETWEEN_LINES = 30
SHARES = {"nonlenses": 0.0, "lenses": 1.0}


def parser(description: str | None, n: int, meaning: str) -> argparse.ArgumentParser:
    """Return a parser of the options that all these scripts take.

    Parameters
    ----------
    n, meaning : default of ``-n``, and of what it is the number
    """
    found = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("folder", type=Path, help="keeps the streams; the same command goes on")
    found.add_argument("--weights", required=True, metavar="FILE_OR_NAME")
    found.add_argument("--survey", required=True, metavar="NAME")
    found.add_argument("-n", type=int, default=n, help=f"{meaning} ({n:,})")
    found.add_argument(
        "--seed", type=int, default=SEED, help=f"none that the weights were trained on ({SEED:,})"
    )
    found.add_argument("--threads", type=int, default=1, help="of the CPU (1)")
    found.add_argument("--device", default="cpu")
    return found


def parsed(found: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse, and pin threads before anything that computes is imported."""
    options = found.parse_args()
    pin_threads(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    return options


def stream(options: argparse.Namespace, kind: str, n: int) -> SimulatedScores:
    """Scores of n or more simulated ``lenses`` or ``nonlenses``.

    Lenses are drawn from a seed next to that of the non-lenses, so that no two share their noise.
    """
    from equilens.pipeline.networks import describe_network
    from equilens.pipeline.simulated_scores import score_simulated
    from equilens.pipeline.surveys.registry import get_survey

    network = describe_network(options.weights)
    seed = options.seed + (kind == "lenses")
    name = f"{options.survey}-{kind}-{seed}-{network.sha256[:12]}"
    return score_simulated(
        get_survey(options.survey),
        options.weights,
        n,
        seed,
        options.folder / name,
        lens_fraction=SHARES[kind],
        device=options.device,
        progress=progress_lines(f"{options.survey} {kind}", n),
    )


def streamed(options: argparse.Namespace, kind: str, n: int) -> pa.Table:
    """Score and truth of exactly n simulated ``lenses`` or ``nonlenses``."""
    return stream(options, kind, n).table(n)


def progress_lines(label: str, total: int) -> Callable[[int], None]:
    """A callback that tells on stderr, now and then, how far it is and how long it takes still."""
    began = last = time.monotonic()
    done = 0

    def advance(steps: int) -> None:
        nonlocal done, last
        done, now = done + steps, time.monotonic()
        if now - last < SECONDS_BETWEEN_LINES and done < total:
            return
        last, rate = now, done / max(now - began, 1e-9)
        left = timedelta(seconds=round((total - done) / rate))
        sys.stderr.write(f"{label}: {done:,} of {total:,}, {rate:,.0f}/s, {left} to go\n")

    return advance


def heading(options: argparse.Namespace) -> str:
    """Network, survey and seed, for the first line of what a script prints."""
    from equilens.pipeline.networks import describe_network

    network = describe_network(options.weights)
    return (
        f"{network.name} ({network.architecture}, sha256 {network.sha256[:12]}) on simulated "
        f"{options.survey}, seed {options.seed:,}"
    )
