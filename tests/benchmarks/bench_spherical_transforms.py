"""HEALPix transforms beside ducc0 and healpy, on the same maps in one run.

Up to nside 256 our transform tabulates in torch and takes all maps at once; ducc0 and healpy take
one after the other, as they do in a loop over maps. Maps are float32 white noise, lmax is 2 nside
and 3 nside − 1; the error is the relative L2 difference from ducc0 in float64 at equal iterations.
Tables are built before the clock starts; the time that takes is in its own column.

From nside 512 up our transform is ducc0 inside an autograd function, on one map: its row tells what
that wrapping costs, forward, and forward with backward against two bare transforms.

`--clock cpu` counts CPU seconds, which another load on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

Work = Callable[[], object]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
TABULATED = (64, 128, 256)
WRAPPED = (512, 1024, 2048)
OPERATIONS = ("analysis", "analysis, 3 iterations", "synthesis")


def main() -> None:
    options = options_of()
    import torch

    torch.set_num_threads(options.threads)
    # each table as soon as it is there: large nsides take minutes
    for nside in options.tabulated:
        degrees = (2 * nside, 3 * nside - 1)
        show_tabulated(
            [r for lmax in degrees for r in tabulated_rows(nside, lmax, options)], options
        )
    for nside in options.wrapped:
        show_wrapped(list(wrapped_rows(nside, options)), options)


def options_of() -> argparse.Namespace:
    """Parse the command line, and pin threads."""
    from comparison import parser, pin_threads

    own = parser(__doc__, n=16)
    own.add_argument("--clock", choices=CLOCKS, default="wall", help="what to count (wall)")
    own.add_argument("--tabulated", type=int, nargs="*", default=TABULATED, help="nsides in torch")
    own.add_argument("--wrapped", type=int, nargs="*", default=WRAPPED, help="nsides by ducc0")
    options = own.parse_args()
    pin_threads(options.threads)
    return options


class Peers:
    """Bare ducc0 and healpy on the maps that our transform gets."""

    def __init__(self, nside: int, lmax: int, threads: int) -> None:
        import ducc0

        from equilens.models.spherical.ducc import ring_geometry
        from equilens.models.spherical.rings import healpix_rings

        self.nside, self.lmax = nside, lmax
        self.sht = ducc0.sht
        self.options = {"lmax": lmax, "spin": 0, "nthreads": threads}
        self.options |= ring_geometry(healpix_rings(nside))

    def analysis(self, maps, iterations: int):
        """Coefficients of each map by ducc0, refined as healpy does."""
        import numpy as np

        weight = maps.dtype.type(4 * np.pi / maps.shape[-1])
        found = []
        for field in maps:
            alm = self.sht.adjoint_synthesis(map=field[None] * weight, **self.options)
            for _ in range(iterations):
                residual = field[None] - self.sht.synthesis(alm=alm, **self.options)
                alm += self.sht.adjoint_synthesis(map=residual * weight, **self.options)
            found.append(alm[0])
        return np.stack(found)

    def synthesis(self, alm):
        """Maps of each set of coefficients by ducc0."""
        import numpy as np

        return np.stack([self.sht.synthesis(alm=a[None], **self.options)[0] for a in alm])

    def healpy_analysis(self, maps, iterations: int):
        """Coefficients of each map by healpy."""
        import healpy as hp

        return [hp.map2alm(x, lmax=self.lmax, iter=iterations) for x in maps]

    def healpy_synthesis(self, alm):
        """Maps of each set of coefficients by healpy."""
        import healpy as hp

        return [hp.alm2map(a, self.nside, lmax=self.lmax) for a in alm]


def tabulated_rows(nside: int, lmax: int, options: argparse.Namespace) -> Iterator[tuple]:
    """Rows of one nside and lmax: operation, error, seconds to build, and the comparison."""
    import numpy as np
    import torch
    from comparison import take_turns

    from equilens.models.spherical.harmonic_operators import release_tables
    from equilens.models.spherical.transforms import HealpixTransform

    release_tables()
    transform = HealpixTransform(nside, lmax)
    peers = Peers(nside, lmax, options.threads)
    maps = np.random.default_rng(1).standard_normal((options.n, 12 * nside**2), np.float32)
    tensor = torch.from_numpy(maps)
    start = time.process_time()
    transform.synthesis(transform.analysis(tensor[:1], 0))
    built = time.process_time() - start
    alm = peers.analysis(maps, 0)
    exact = (
        peers.analysis(maps.astype(np.float64), 0),
        peers.analysis(maps.astype(np.float64), 3),
        peers.synthesis(alm.astype(np.complex128)),
    )
    runs = tabulated_contenders(transform, peers, maps, alm)
    for name, expected, contenders in zip(OPERATIONS, exact, runs, strict=True):
        ours = np.asarray(contenders["ours"]())
        error = float(np.linalg.norm(ours - expected) / np.linalg.norm(expected))
        clock = CLOCKS[options.clock]
        found = take_turns(contenders, options.n, options.turns, "ducc0", clock)
        yield nside, lmax, name, error, built, found


def tabulated_contenders(transform, peers: Peers, maps, alm) -> tuple[dict[str, Work], ...]:
    """Who does each of `OPERATIONS`, by name."""
    import torch

    tensor, coefficients = torch.from_numpy(maps), torch.from_numpy(alm)

    def analyses(iterations: int) -> dict[str, Work]:
        return {
            "ours": lambda: transform.analysis(tensor, iterations),
            "ducc0": lambda: peers.analysis(maps, iterations),
            "healpy": lambda: peers.healpy_analysis(maps, iterations),
        }

    syntheses: dict[str, Work] = {
        "ours": lambda: transform.synthesis(coefficients),
        "ducc0": lambda: peers.synthesis(alm),
        "healpy": lambda: peers.healpy_synthesis(alm),
    }
    return analyses(0), analyses(3), syntheses


def wrapped_rows(nside: int, options: argparse.Namespace) -> Iterator[tuple]:
    """Rows of one nside: what, and the comparison with bare ducc0 on one map."""
    import numpy as np
    import torch
    from comparison import take_turns

    from equilens.models.spherical.transforms import harmonic_transform

    lmax = 2 * nside
    transform = harmonic_transform(nside, lmax)
    peers = Peers(nside, lmax, options.threads)
    maps = np.random.default_rng(2).standard_normal((1, 12 * nside**2), np.float32)
    alm = peers.analysis(maps, 0)
    tensor = torch.from_numpy(maps)
    point = tensor.clone().requires_grad_()
    direction = torch.from_numpy(alm)

    def both_ways() -> None:
        torch.autograd.grad(transform.analysis(point, 0), point, direction)

    def bare_both_ways() -> None:
        peers.analysis(maps, 0)
        peers.synthesis(alm)

    pairs = {
        "forward": (lambda: transform.analysis(tensor, 0), lambda: peers.analysis(maps, 0)),
        "forward and backward": (both_ways, bare_both_ways),
    }
    for name, (ours, bare) in pairs.items():
        contenders = {"ours": ours, "ducc0": bare}
        clock = CLOCKS[options.clock]
        yield nside, lmax, name, take_turns(contenders, 1, options.turns, "ducc0", clock)


def milliseconds(comparison, name: str) -> str:
    """Median milliseconds a map."""
    from statistics import median

    return f"{1e3 / median(comparison.rates(name)):,.2f}"


def show_tabulated(rows: list[tuple], options: argparse.Namespace) -> None:
    """Print the transforms in torch, in Markdown."""
    table = markdown_table(
        "nside", "lmax", "", "ours, ms a map", "ducc0", "healpy", "ducc0 / ours", "healpy / ours",
        "L2 from ducc0", "tables, s",
    )  # fmt: skip
    for nside, lmax, name, error, built, found in rows:
        times = [milliseconds(found, contender) for contender in ("ours", "ducc0", "healpy")]
        ours = found.ratio("ours")
        ratios = f"{ours:.2f}", f"{ours / found.ratio('healpy'):.2f}"
        table.add_row(str(nside), str(lmax), name, *times, *ratios, f"{error:.1e}", f"{built:.1f}")
    title = f"Tabulated in torch, float32, {options.n} maps, {options.threads} thread(s)"
    show(title, table, options, "Target: ducc0 / ours ≥ 1.0, L2 difference ≤ 1e-6")


def show_wrapped(rows: list[tuple], options: argparse.Namespace) -> None:
    """Print the autograd function around ducc0, in Markdown."""
    table = markdown_table("nside", "lmax", "", "ours, ms", "bare ducc0", "ours / ducc0")
    for nside, lmax, name, found in rows:
        times = [milliseconds(found, contender) for contender in ("ours", "ducc0")]
        table.add_row(str(nside), str(lmax), name, *times, f"{1 / found.ratio('ours'):.3f}")
    show("ducc0 inside an autograd function, float32, one map", table, options)


def markdown_table(*columns: str):
    """An empty table whose numbers stand to the right."""
    from rich import box
    from rich.table import Table

    table = Table(*columns, box=box.MARKDOWN)
    for column in table.columns[3:]:
        column.justify = "right"
    return table


def show(title: str, table, options: argparse.Namespace, target: str = "") -> None:
    """Print a title with how it was measured, the table, and its target."""
    from rich.console import Console

    console = Console(width=140, highlight=False)
    seconds = {"wall": "wall time", "cpu": "CPU time"}[options.clock]
    console.print(f"{title}: median of {options.turns} turns, {seconds}", soft_wrap=True)
    console.print(table)
    console.print(target, soft_wrap=True)


if __name__ == "__main__":
    main()
