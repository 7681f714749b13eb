"""Equivariance error on the sphere and SO(3) against depth, bandwidth and nonlinearity.

The experiment of figure 4 of Cohen et al. (2018, arXiv:1801.10130): random SO(3) correlations with
random features, Δ = |L_R Φ(f) − Φ(L_R f)| / |Φ(f)|, root mean squares over random rotations R, in
coefficients, where rotations are exact, after normalisation to unit power as in a trained network.
Fields have the band |n| ≤ 2 in γ.

Negative controls must come out large: the expected output turned by the swapped Euler angles
(γ, β, α), and a kernel that stays where it is while the field turns.

The last table is the price of each way to take a nonlinearity: one layer, its error, and CPU time
over that of ReLU without oversampling, contenders in turns.

python spherical_equivariance.py [-n MAPS] [--turns T] [--threads K]
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import comparison

options = comparison.arguments(__doc__, n=4, turns=3)

import torch  # noqa: E402
from rich import box  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from equilens.models.spherical.correlations import RotationCorrelation  # noqa: E402
from equilens.models.spherical.fibres import functions_on_rotations  # noqa: E402
from equilens.models.spherical.real_harmonics import (  # noqa: E402
    degree_slice,
    random_rotations,
    real_wigner,
    rotate,
)
from equilens.models.spherical.rotation_checks import random_fields, rotation_error  # noqa: E402
from equilens.models.spherical.so3_nonlinearities import (  # noqa: E402
    PowerNormalization,
    RotationNonlinearity,
)

FIELDS = functions_on_rotations(4, 2)
BANDS = (4, 8, 16)
DEPTHS = (1, 2, 4)
WAYS: tuple[tuple[str, str | None, dict[str, float]], ...] = (
    ("linear", None, {}),
    ("relu", "relu", {"oversampling": 1}),
    ("relu, 2x sphere, 3x γ", "relu", {"oversampling": 2, "fibre_oversampling": 3}),
    ("silu", "silu", {"oversampling": 1}),
    ("silu, 1.25x", "silu", {"oversampling": 1.25}),
    ("silu, 1.5x", "silu", {"oversampling": 1.5}),
    ("silu, 1.5x sphere, 2.5x γ", "silu", {"oversampling": 1.5, "fibre_oversampling": 2.5}),
    (
        "silu, 1.5x, 2.5x γ, taper 0.5",
        "silu",
        {"oversampling": 1.5, "fibre_oversampling": 2.5, "taper": 0.5},
    ),
    ("silu, 2x sphere, 3x γ", "silu", {"oversampling": 2, "fibre_oversampling": 3}),
)


def main() -> None:
    torch.set_num_threads(options.threads)
    by_depth = [[name, *(error(tuple(way), 8, depth) for depth in DEPTHS)] for name, *way in WAYS]
    controls = (("control: swapped angles", swapped), ("control: kernel stays put", stays_put))
    by_depth += [[name, *(control(8, depth) for depth in DEPTHS)] for name, control in controls]
    show(f"Bandwidth 8, N = {options.n} maps", "layers", DEPTHS, by_depth)
    by_band = [[name, *(error(tuple(way), band, 1) for band in BANDS)] for name, *way in WAYS]
    by_band += [[name, *(control(band, 1) for band in BANDS)] for name, control in controls]
    show(f"One layer, N = {options.n} maps", "bandwidth", BANDS, by_band)
    prices(16)


def network(function: str | None, grid: dict[str, float], band: int, depth: int) -> nn.Sequential:
    """Return ``depth`` random correlations, each normalised, with a nonlinearity after it."""
    torch.manual_seed(depth)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers.append(RotationCorrelation(FIELDS, FIELDS, band - 1, n_beta=2, n_alpha=6, n_gamma=5))
        layers.append(PowerNormalization(FIELDS))
        if function:
            layers.append(RotationNonlinearity(FIELDS, band - 1, function, **grid))
    built = nn.Sequential(*layers)
    with torch.no_grad():
        for _ in range(20):
            built(fields_and_turns(band)[0])
    return built.eval()


def fields_and_turns(band: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(band)
    fields = random_fields(FIELDS, band - 1, options.n, draw)
    return fields, random_rotations(options.n, draw)


def error(way: tuple, band: int, depth: int) -> float:
    """Relative change by random rotations, one a map."""
    return rotation_error(network(*way, band, depth), *fields_and_turns(band))


def swapped(band: int, depth: int) -> float:
    """The error of a linear network, where the output turns by γ, β, α."""
    fields, angles = fields_and_turns(band)
    with torch.no_grad():
        layers = network(None, {}, band, depth)
        before, after = layers(fields), layers(rotate(fields, angles))
    return float((after - rotate(before, angles.flip(1))).norm() / before.norm())


def stays_put(band: int, depth: int) -> float:
    """The error of kernels that mix orders m on the sphere, not n in the fibre."""
    place = torch.tensor([[0.2, 0.3, 0.1]])
    matrices = [matrix[0].float() for matrix in real_wigner(band - 1, place)]

    def fixed(fields: Tensor) -> Tensor:
        for _ in range(depth):
            parts = [fields[..., degree_slice(k)] @ matrix for k, matrix in enumerate(matrices)]
            fields = torch.cat(parts, dim=-1)
        return fields

    return rotation_error(fixed, *fields_and_turns(band))


def prices(band: int) -> None:
    """Time one nonlinearity of each way, forwards and backwards."""
    fields = fields_and_turns(band)[0].repeat(8, 1, 1)
    runs: dict[str, Callable[[], object]] = {}
    for name, function, grid in WAYS[1:]:
        layer = RotationNonlinearity(FIELDS, band - 1, function or "silu", **grid)
        runs[name] = partial(step, layer, fields)
    result = comparison.take_turns(runs, len(fields), options.turns, "relu", time.process_time)
    title = f"Nonlinearity alone, forwards and backwards, bandwidth {band}, |n| ≤ 2, 4 fields"
    result.show(title, "maps/s", target="≤ 3e-3 error after a nonlinearity")


def step(layer: nn.Module, fields: Tensor) -> None:
    layer(fields.requires_grad_()).square().sum().backward()


def show(title: str, head: str, columns: tuple[int, ...], rows: list[list]) -> None:
    table = Table(head, *map(str, columns), box=box.MARKDOWN)
    for name, *errors in rows:
        table.add_row(name, *(f"{value:.1e}" for value in errors))
    console = Console(width=110, highlight=False)
    console.print(f"Equivariance error. {title}", soft_wrap=True)
    console.print(table)


if __name__ == "__main__":
    main()
