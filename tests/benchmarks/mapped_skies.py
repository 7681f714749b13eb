"""Does the mass mapper beat the Wiener filter and the matched filter, sky by sky?

    python mapped_skies.py FOLDER --model euclid-sky-512 held_1.zarr held_2.zarr …

Skies are those of `equilens sky simulate`. All methods get the same shear and the same spectra: the
filters' maps are the very ones that the mapper starts from. What each sky gave is kept in FOLDER,
and the same command goes on where it was stopped; ``--table`` shows what is there. A scatter is the
standard deviation from sky to sky, a difference is paired.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comparison import pin_threads
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from equilens.pipeline.masses.evaluation import Judge
    from equilens.pipeline.masses.sky_truth import SkyTruth
    from equilens.pipeline.skymaps import SkyMapStore

DENSITIES = (0.1, 0.5)
MASSIVE_MSUN = 5e14
RADIUS_ARCMIN = 2.0
LMAX = 1024
RESULTS = "skies.jsonl"


def main() -> None:
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("folder", type=Path)
    found.add_argument("skies", nargs="*", type=Path)
    found.add_argument("--model", required=True)
    found.add_argument("--table", action="store_true", help="only show what is there")
    options = found.parse_intermixed_args()
    pin_threads(1)
    from equilens.models.spherical.mapper_checkpoint import load_mapper

    sha256 = load_mapper(options.model).sha256
    options.folder.mkdir(parents=True, exist_ok=True)
    file = options.folder / RESULTS
    done = read_results(file, sha256)
    for sky in [] if options.table else options.skies:
        if sky.stem in {row["sky"] for row in done}:
            continue
        row = {"sky": sky.stem, "model": sha256, **judged(sky, options.model, options.folder)}
        with file.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        done.append(row)
    show(done, options.model, sha256)


def read_results(file: Path, sha256: str) -> list[dict[str, Any]]:
    """Rows of this model."""
    lines = file.read_text().splitlines() if file.exists() else []
    rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["model"] == sha256]


def judged(sky: Path, model: str, folder: Path) -> dict[str, Any]:
    """What filters and mapper make of one sky."""
    from equilens.catalogs.halo_matching import HaloTargets
    from equilens.pipeline.masses.evaluation import Judge
    from equilens.pipeline.masses.map_quality import band_edges
    from equilens.pipeline.masses.products import peaks_of, read_product
    from equilens.pipeline.masses.scoring import LINEAR
    from equilens.pipeline.masses.shear import read_shear
    from equilens.pipeline.masses.sky_products import score_sky
    from equilens.pipeline.masses.sky_truth import read_sky_truth
    from equilens.pipeline.skymaps import SkyMapStore

    out = folder / sky.stem
    score_sky(sky, out, model=model)
    truth = read_sky_truth(sky, read_shear(sky))
    judge = Judge(HaloTargets(), RADIUS_ARCMIN, band_edges(LMAX))
    product, linear = read_product(out), SkyMapStore.open(out / LINEAR)
    assert product.mass is not None
    row = {"wiener": wiener_quality(linear, judge, truth), "edges": judge.edges.tolist()}
    row["mapper"] = quality(judge.map(product.mass, truth))
    if len(truth.haloes["ra_deg"]):
        row["matched-filter"] = filter_peaks(linear, judge, truth)
        assert product.peaks is not None
        assert product.searched is not None
        row["mapper"]["haloes"] = halo_completeness(
            judge.peaks(peaks_of(product.peaks), product.searched, product.area_sq_deg, truth)
        )
    return row


def quality(found: Any) -> dict[str, Any]:
    """Figures of a map as plain numbers."""
    return {
        "mse_share": found.mse / found.truth_variance,
        "r": [float(value) for value in found.correlation],
        "chi_squared": float(found.chi_squared),
        "within_1_sigma": float(found.within_1_sigma),
        "within_2_sigma": float(found.within_2_sigma),
    }


def wiener_quality(linear: SkyMapStore, judge: Judge, truth: SkyTruth) -> dict[str, Any]:
    """Figures of the Wiener map that the mapper starts from; its σ is the scatter of the sky."""
    import numpy as np

    from equilens.pipeline.masses.kaiser_squires import MassMap

    kappa = linear.read("WIENER", "ring").astype(float)
    sigma = np.full_like(kappa, float((kappa - truth.kappa)[truth.observed].std()))
    return quality(judge.map(MassMap(kappa, sigma, "wiener"), truth))


def filter_peaks(linear: SkyMapStore, judge: Judge, truth: SkyTruth) -> dict[str, Any]:
    """Completeness of the matched filter's peaks."""
    import numpy as np

    from equilens.pipeline.masses.evaluation import WHOLE_SKY_SQ_DEG
    from equilens.pipeline.masses.matched_filter import SCALES_ARCMIN, FilteredMap
    from equilens.pipeline.masses.peaks import find_halo_peaks

    maps = []
    for scale in SCALES_ARCMIN:
        snr = linear.read(f"HALO_SNR_{scale:g}ARCMIN", "ring").astype(float)
        maps.append(FilteredMap(snr, snr != 0, scale))
    searched = np.any([one.searched for one in maps], axis=0)
    peaks = find_halo_peaks(maps, method="matched-filter")
    area = float(searched.mean() * WHOLE_SKY_SQ_DEG)
    return {"haloes": halo_completeness(judge.peaks(vars(peaks), searched, area, truth))}


def halo_completeness(peaks: Any) -> dict[str, Any]:
    """Completeness, with N, of all targets and of the massive ones at each density."""
    import math

    from equilens.catalogs.halo_matching import completeness, threshold_at_density

    found: dict[str, Any] = {}
    for density in DENSITIES:
        cut = threshold_at_density(peaks.scores[peaks.false], peaks.area_sq_deg, density)
        for name, mass in (("all", (0.0, math.inf)), ("massive", (MASSIVE_MSUN, math.inf))):
            share = completeness([peaks], cut, mass=mass)
            found[f"{name} at {density}"] = [share.value, share.n]
    return found


def show(rows: list[dict[str, Any]], model: str, sha256: str) -> None:
    """Means and scatter over the skies of each kind, the first part of their names."""
    console = Console(width=140, highlight=False)
    kinds = sorted({row["sky"].rsplit("_", 1)[0] for row in rows})
    for kind in kinds:
        some = [row for row in rows if row["sky"].rsplit("_", 1)[0] == kind]
        names = ", ".join(row["sky"] for row in some)
        console.print(f"{model} ({sha256[:12]}), {kind}: {len(some)} skies ({names})\n")
        console.print(kind_table(some))


def kind_table(rows: list[dict[str, Any]]) -> Table:
    """Filter, mapper and their paired difference, a figure a line."""
    table = Table("figure", "filter", "mapper", "mapper - filter (scatter)", box=box.MARKDOWN)

    def add(label: str, pairs: list[tuple[float, float]]) -> None:
        filtered, mapped = zip(*pairs, strict=True)
        gain = [b - a for a, b in pairs]
        table.add_row(label, spread(filtered), spread(mapped), spread(gain, sign="+"))

    add("MSE / variance", [(r["wiener"]["mse_share"], r["mapper"]["mse_share"]) for r in rows])
    edges = rows[0]["edges"]
    for band, (low, high) in enumerate(pairwise(edges)):
        pairs = [(r["wiener"]["r"][band], r["mapper"]["r"][band]) for r in rows]
        add(f"r, {low} to {high - 1}", pairs)
    for name in rows[0]["mapper"].get("haloes", {}):
        pairs = [(r["matched-filter"]["haloes"][name], r["mapper"]["haloes"][name]) for r in rows]
        n = sum(a[1] for a, _ in pairs)
        label = f"completeness, {name} false / sq. deg. (N = {n:,})"
        add(label, [(a[0], b[0]) for a, b in pairs])
    for name in ("chi_squared", "within_1_sigma", "within_2_sigma"):
        values = [r["mapper"][name] for r in rows]
        table.add_row(name.replace("_", " "), "", spread(values), "")
    return table


def spread(values: Any, sign: str = "") -> str:
    """Mean ± standard deviation over skies; the mean alone of one."""
    from statistics import mean, stdev

    text = f"{mean(values):{sign}.4f}"
    return f"{text} ± {stdev(values):.4f}" if len(values) > 1 else text


if __name__ == "__main__":
    main()
