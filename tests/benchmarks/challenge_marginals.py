"""Simulated lenses against the lens finding challenge's own key, quantile by quantile.

A lens of the key (Metcalf et al. 2019, arXiv:1802.03609) has an Einstein radius, the number of
pixels in which its lensed image lies above the noise, and their flux in units of the noise. The
same is taken here of noiseless simulated arcs in the first band. Needs EQUILENS_DATA.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

PERCENTILES = (5, 16, 25, 50, 75, 84, 95)
FACTS = ("no lensed pixel", "corr(log radius, log flux)", "corr(log radius, log pixels)")
ARCSEC = 206_264.806


def key_columns(path):
    """(einstein_radius_arcsec, pixels, flux in sigma) of the lenses of a key."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["is_lens"]) == 1]
    area, pixels, flux = (
        np.array([float(row[name]) for row in rows])
        for name in ("Einstein_area", "numb_pix_lensed_image", "flux_lensed_image_in_sigma")
    )
    return np.sqrt(area / np.pi) * ARCSEC, pixels, flux


def simulated_columns(survey, conditions, n, seed):
    """The same of n simulated lenses."""
    import torch

    from equilens.pipeline.simulation.exposure import CHUNK, prepare
    from equilens.pipeline.simulation.simulate import noiseless_chunk

    setting = prepare(survey, conditions, "cpu")
    radius, pixels, flux = [], [], []
    for chunk in range(-(-n // CHUNK)):
        with torch.inference_mode():
            scene = noiseless_chunk(setting, seed, chunk, 1.0)
        sigmas = scene.arcs[:, 0].numpy() / scene.exposure.noise_njy[:, :1, None]
        above = sigmas > 1
        radius.append(scene.truth["einstein_radius_arcsec"])
        pixels.append(above.sum(axis=(1, 2)))
        flux.append((sigmas * above).sum(axis=(1, 2)))
    return tuple(np.concatenate(column)[:n] for column in (radius, pixels, flux))


def figures(radius, pixels, flux):
    """Rows of the table: quantiles, share without a pixel, brightness, correlations."""
    seen = pixels > 0
    rows = {
        "Einstein radius, arcsec": np.percentile(radius, PERCENTILES),
        "lensed pixels": np.percentile(pixels, PERCENTILES),
        "lensed flux / sigma": np.percentile(flux, PERCENTILES),
        "flux a pixel / sigma": np.percentile(flux[seen] / pixels[seen], PERCENTILES),
    }
    log = np.log(np.stack([radius[seen], flux[seen], pixels[seen]]))
    correlation = np.corrcoef(log)
    return rows, (1 - seen.mean(), correlation[0, 1], correlation[0, 2])


def show(name, key, simulated):
    """Print key and simulation side by side, in Markdown."""
    (theirs, their_facts), (ours, our_facts) = figures(*key), figures(*simulated)
    title = f"{name}: {len(key[0])} lenses of the key, {len(simulated[0])} simulated"
    table = Table("", "", *(f"{p} %" for p in PERCENTILES), title=title, box=box.MARKDOWN)
    for row in theirs:
        table.add_row(row, "key", *(f"{value:.4g}" for value in theirs[row]))
        table.add_row("", "simulated", *(f"{value:.4g}" for value in ours[row]))
    facts = Table("", "key", "simulated", box=box.MARKDOWN)
    for label, a, b in zip(FACTS, their_facts, our_facts, strict=True):
        facts.add_row(label, f"{a:.3f}", f"{b:.3f}")
    console = Console(width=110)
    console.print(table)
    console.print(facts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1024, help="simulated lenses of each set")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sets", nargs="+", default=["space", "ground"])
    options = parser.parse_args()
    data = os.environ.get("EQUILENS_DATA")
    if not data:
        sys.exit("EQUILENS_DATA must name the folder that holds challenge/<set>/*.csv")
    import torch

    from equilens.pipeline.simulation.conditions import survey_conditions
    from equilens.pipeline.surveys.registry import get_survey

    torch.set_num_threads(1)
    for name in options.sets:
        survey = get_survey(f"bologna-{name}")
        key = key_columns(Path(data) / "challenge" / name / "classifications_all_20000.csv")
        made = simulated_columns(survey, survey_conditions(survey.name), options.n, options.seed)
        show(survey.name, key, made)


if __name__ == "__main__":
    main()
