"""Make a night's finished products the ones that count, and bring later nights up to date."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equilens.pipeline.nightly.config import NightConfig
from equilens.pipeline.nightly.folders import (
    SIGHTINGS,
    NightFolder,
    finished_nights,
    point,
)
from equilens.pipeline.nightly.metrics import write_metrics
from equilens.pipeline.nightly.page import write_page
from equilens.pipeline.nightly.products import Products
from equilens.pipeline.nightly.runs import log_run
from equilens.pipeline.provenance import write_atomic
from equilens.pipeline.removal import remove_store

LATEST = "latest"


def publish(products: Products, summary: Mapping[str, Any]) -> None:
    """Write the summary, and let everything that people follow lead to these products."""
    products.finish(summary)
    folder = products.folder
    if summary["accepted"]:
        write_atomic(folder.sightings, (products.path / SIGHTINGS).read_bytes())
    else:
        folder.sightings.unlink(missing_ok=True)
    # last: a night that is pointed at is not published again
    point(folder.current, products.path)


def sweep_work(kept: Path) -> None:
    """Remove the night's other work, of files, a network or rules that are no longer its own.

    Only the holder of the night's lock may do this. Products stay: they are the night's history.
    """
    for other in kept.parent.iterdir():
        # what a kill cut short in an earlier sweep begins with a dot
        if other.name.startswith("."):
            shutil.rmtree(other, ignore_errors=True)
        elif other != kept:
            remove_store(other)


def bring_later_up_to_date(config: NightConfig, folder: NightFolder) -> list[str]:
    """Cross-match later nights anew, where what they stood on has changed; no pixel is read.

    Returns
    -------
    Problems : nights that could not be
    """
    problems = []
    for later in finished_nights(config.out_path):
        old = later.summary() if later.night > folder.night else None
        if old is None:
            continue
        try:
            products = Products.plan(config, later.night, old["data_identity"])
        except OSError as error:
            problems.append(
                f"night {later.night} stands on an older history and lost its work folder "
                f"({error}): run it again"
            )
            continue
        if products.identity == old["identity"]:
            continue
        made = products.make()
        if config.report:
            write_page(products, made)
        kept = {name: old[name] for name in ("n_read", "seconds", "problems")}
        publish(products, {**made, **kept})
        log_run(later, "brought up to date", 0.0, because_of=folder.night.isoformat())
    return problems


def tell_all_nights(config: NightConfig) -> None:
    """The links and metrics that are of the last night, whichever was run."""
    nights = [(folder, folder.summary()) for folder in finished_nights(config.out_path)]
    accepted = [folder for folder, facts in nights if facts is not None and facts["accepted"]]
    if accepted:
        point(config.out_path / LATEST, accepted[-1].current)
    last = nights[-1][1] if nights else None
    if config.metrics_file and last is not None:
        write_metrics(config.metrics_file, last)
