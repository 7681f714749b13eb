"""One pass of a mass mapper over the whole sky, out of core: time and memory against nside.

The mapper is the shipped one: its weights, with a specification that expects each nside in turn,
and its spectra, with a power law beyond their own degrees. The sky is white shape noise without a
mask, as deep as the mapper expects, written base pixel by base pixel. Each nside has a process of
its own, and its peak memory is the operating system's for that process (`getrusage`).

With --share only some base pixels of twelve are observed, and the network's time is extrapolated
to twelve, a little too long: four base pixels of a ring share the places of their stencils, one has
to find them for itself. The linear maps, which need all of the sky, are white noise then, and
peaks, of which there would be any number, are not searched for.

python bench_sky_pass.py [--sizes NSIDE …] [--share S] [--linear] [--degrees D] [--workers N]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import comparison
import numpy as np

CLOCKS = {"wall": time.monotonic, "cpu": time.process_time}
SIGMA_E = 0.26
SPECTRAL_SLOPE = -1.2
# of the kernels of a mapper's convolutions
DEGREE = 2
GIB = 2**30


@dataclass(frozen=True)
class Pass:
    """What one process is asked for.

    Attributes
    ----------
    nside : of sky and mapper
    base_pixels : that are observed
    linear : whether the linear maps are made, or white noise is taken for them
    lmax : of the spectra
    folder : for sky, mapper and products
    """

    nside: int
    base_pixels: int
    linear: bool
    lmax: int
    folder: Path
    mapper: str
    workers: int
    clock: str

    @property
    def sky(self) -> Path:
        return self.folder / f"sky-{self.nside}.zarr"

    @property
    def weights(self) -> Path:
        return self.folder / f"mapper-{self.nside}.safetensors"

    @property
    def out(self) -> Path:
        return self.folder / f"out-{self.nside}"


def main() -> None:
    """Print a table, a row each nside."""
    options = options_of()
    comparison.pin_threads(1)
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for nside in options.sizes:
            one = pass_of(nside, options, Path(folder))
            in_a_process(prepare, one)
            rows.append((one, in_a_process(measure, one)))
            # as soon as it is there: large nsides take long
            show(rows[-1:])
    if len(rows) > 1:
        show(rows)


def options_of() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=(256, 512, 1024, 2048))
    parser.add_argument("--share", type=float, default=1.0, help="of the sky (0.083: a twelfth)")
    parser.add_argument("--linear", action="store_true", help="make them even with a --share")
    parser.add_argument("--degrees", type=float, default=3.0, help="highest, in units of nside")
    parser.add_argument("--mapper", default="euclid-sky-512")
    parser.add_argument("--workers", type=int, default=1, help="processes of the network")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="what to count (wall)")
    parser.add_argument("--folder", help="for what is written, 4 GB at nside 2048 (temporary)")
    return parser.parse_args()


def pass_of(nside: int, options: argparse.Namespace, folder: Path) -> Pass:
    """One nside, as the options have it."""
    base_pixels = min(max(round(12 * options.share), 1), 12)
    lmax = min(int(options.degrees * nside), 3 * nside - 1)
    linear = options.linear or base_pixels == 12
    how = options.mapper, options.workers, options.clock
    return Pass(nside, base_pixels, linear, lmax, folder, *how)


def in_a_process(work: Callable[[Pass], Any], one: Pass) -> Any:
    """Result of work in a fresh process, so that no memory is left from anything before."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(work, one).result()


def prepare(one: Pass) -> None:
    """Write the mapper, the sky and, where they are not to be made, its linear maps."""
    from equilens.models.spherical.mapper_checkpoint import load_mapper

    write_mapper(one)
    mapper = load_mapper(one.weights)
    write_sky(one, mapper.network.spec)
    if not one.linear:
        write_linear(one, mapper)


def write_mapper(one: Pass) -> None:
    """The mapper's weights for another nside: no weight depends on it."""
    import torch

    from equilens.models.spherical.mapper_checkpoint import load_mapper, mapper_bytes
    from equilens.models.spherical.mass_mapper import SphericalMassMapper

    stored = load_mapper(one.mapper)
    spec = stored.network.spec
    galaxies = tuple(n * (spec.nside / one.nside) ** 2 for n in spec.galaxies_per_pixel)
    network = SphericalMassMapper(replace(spec, nside=one.nside, galaxies_per_pixel=galaxies))
    network.load_state_dict(stored.network.state_dict())
    spectra = stored.prior["spectra"].numpy()[: one.lmax + 1]
    last = len(spectra) - 1
    beyond = (np.arange(last + 1, one.lmax + 1) / last) ** SPECTRAL_SLOPE
    spectra = np.concatenate([spectra, beyond[:, None, None] * spectra[last - 100 :].mean(axis=0)])
    one.folder.mkdir(exist_ok=True)
    prior = {"spectra": torch.from_numpy(spectra)}
    one.weights.write_bytes(mapper_bytes(network, prior, {"name": one.mapper}))


def write_sky(one: Pass, spec: Any) -> None:
    """White shape noise in the first base pixels, nothing in the others."""
    from equilens.pipeline.masses.sky_columns import sky_columns
    from equilens.pipeline.skymaps.writer import MapLayout, MapWriter

    layout = MapLayout(one.nside, "icrs", dict.fromkeys(sky_columns(spec.n_bins), "1"))
    writer = MapWriter.create(one.sky, layout)
    for base_pixel in range(12):
        rng = np.random.default_rng([one.nside, base_pixel])
        for k, galaxies in enumerate(spec.galaxies_per_pixel, start=1):
            seen = np.full(one.nside**2, base_pixel < one.base_pixels)
            count = rng.poisson(galaxies, seen.size).clip(1).astype(np.float32)
            deviation = SIGMA_E / np.sqrt(count)
            for name in ("G1", "G2"):
                noise = deviation * rng.standard_normal(seen.size, np.float32)
                writer.write(f"{name}_BIN{k}", base_pixel, np.where(seen, noise, np.nan))
            writer.write(f"COUNT_BIN{k}", base_pixel, count * seen)
            writer.write(f"WEIGHT_BIN{k}", base_pixel, count * seen / SIGMA_E**2)
    writer.finish({"sky": {"n_bins": spec.n_bins}})


def write_linear(one: Pass, mapper: Any) -> None:
    """White noise, as strong as linear maps are, that the pass will take for them."""
    from equilens.pipeline.masses.linear_inputs import linear_columns, linear_identity
    from equilens.pipeline.masses.scoring import LINEAR, prior_of
    from equilens.pipeline.skymaps.store import SkyMapStore
    from equilens.pipeline.skymaps.writer import MapLayout, MapWriter

    spec = mapper.network.spec
    layout = MapLayout(one.nside, "icrs", dict.fromkeys(linear_columns(spec.n_bins), "1"))
    writer = MapWriter.create(one.out / LINEAR, layout)
    rng = np.random.default_rng(one.nside)
    for name in layout.columns:
        scale = spec.kappa_scale if name.startswith("WIENER") else 1.0
        for base_pixel in range(12):
            values = scale * rng.standard_normal(one.nside**2, np.float32)
            writer.write(name, base_pixel, values)
    sky = SkyMapStore.open(one.sky).fingerprint
    writer.finish({"linear": linear_identity(sky, prior_of(mapper))})


def measure(one: Pass) -> dict[str, Any]:
    """Seconds of each stage, and peak memory after each.

    Each stage finds what the one before has left.
    """
    import torch

    from equilens.models.spherical.mapper_checkpoint import load_mapper
    from equilens.models.spherical.stencil_tables import window_table
    from equilens.pipeline.masses.linear_inputs import store_linear
    from equilens.pipeline.masses.scoring import LINEAR, map_sky, prior_of
    from equilens.pipeline.masses.sky_products import score_sky

    torch.set_num_threads(1)
    spec = load_mapper(one.weights).network.spec
    stages: dict[str, Callable[[], Any]] = {
        "linear": lambda: store_linear(
            one.sky, prior_of(load_mapper(one.weights)), one.out / LINEAR, threads=one.workers
        ),
        # the pass would fill them as it goes: once, whatever the share
        "tables": lambda: [
            window_table(one.nside >> level, DEGREE).complete()
            for level in range(spec.depth + 1)
            # workers fill their own
            if one.workers == 1
        ],
        "network": lambda: map_sky(one.sky, one.weights, one.out, workers=one.workers),
        "peaks": lambda: score_sky(one.sky, one.out, model=one.weights),
    }
    found: dict[str, Any] = {}
    for name, work in stages.items():
        began = CLOCKS[one.clock]()
        made = work()
        found[name] = CLOCKS[one.clock]() - began
        found[f"{name} peak"] = peak_bytes(one.workers)
        if name == "network" and not one.linear:
            return {**found, "peaks": 0.0, "peaks peak": found["network peak"], "n_peaks": None}
    return {**found, "n_peaks": made.n_peaks}


def peak_bytes(workers: int) -> int:
    """Of this process; with workers, and as much for each of them as the largest has had."""
    own, largest = (
        resource.getrusage(who).ru_maxrss * 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own + (workers * largest if workers > 1 else 0)


def show(rows: list[tuple[Pass, dict[str, Any]]]) -> None:
    """Print nsides as a table, in Markdown."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "nside", "base pixels", "lmax", "linear, s", "tables, s", "network, s", "µs a pixel",
        "peaks, s", "whole sky, s", "peak after linear, GiB", "peak, GiB", "peaks",
        box=box.MARKDOWN,
    )  # fmt: skip
    for column in table.columns:
        column.justify = "right"
    for one, found in rows:
        whole = 12 / one.base_pixels
        once = found["tables"] + found["peaks"] + (found["linear"] if one.linear else 0.0)
        extrapolated = "" if one.base_pixels == 12 else "≈ "
        table.add_row(
            str(one.nside),
            f"{one.base_pixels} of 12",
            str(one.lmax) if one.linear else "given",
            f"{found['linear']:,.1f}" if one.linear else "given",
            f"{found['tables']:,.1f}",
            f"{found['network']:,.1f}",
            f"{1e6 * found['network'] / (one.base_pixels * one.nside**2):.2f}",
            f"{found['peaks']:,.1f}" if one.linear else "",
            f"{extrapolated}{once + whole * found['network']:,.0f}",
            f"{found['linear peak'] / GIB:.2f}",
            f"{found['peaks peak'] / GIB:.2f}",
            f"{found['n_peaks']:,}" if one.linear else "",
        )
    console = Console(width=160, highlight=False)
    seconds = {"wall": "wall time", "cpu": "CPU time"}[rows[0][0].clock]
    console.print(f"Single-model pass, {rows[0][0].workers} worker(s) of one thread, {seconds}")
    console.print(table)
    console.print("Target: a full sky at nside 2048 under 8 GB on 2 cores")


if __name__ == "__main__":
    main()
