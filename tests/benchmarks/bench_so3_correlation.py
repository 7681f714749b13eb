"""SO(3) correlation, 16 → 16 channels, 4 functions, bandwidths 16 and 32: forwards, one thread.

Coefficients to coefficients, all orders |n| < L, kernels of 192 points near the identity (the
default of the reference code) and of 72. The baseline is the same product in complex numbers, one
matrix a degree with m of either sign, its kernel's matrices given: what a direct port does.

python bench_so3_correlation.py [--turns T] [--threads K]
"""

from __future__ import annotations

import time
from collections.abc import Callable

import comparison

options = comparison.arguments(__doc__, n=4, turns=5)

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from equilens.models.spherical.correlations import RotationCorrelation  # noqa: E402
from equilens.models.spherical.euler_grid import EulerGrid  # noqa: E402
from equilens.models.spherical.fibres import functions_on_rotations  # noqa: E402
from equilens.models.spherical.rotation_checks import random_fields  # noqa: E402
from equilens.models.spherical.so3_transforms import RotationTransform  # noqa: E402

CHANNELS = 16
TARGETS_MS = {16: 25, 32: 375}


def contenders(bandwidth: int) -> dict[str, Callable[[], object]]:
    """Return what to time, by name."""
    lmax = bandwidth - 1
    functions = functions_on_rotations(CHANNELS, lmax)
    fields = random_fields(functions, lmax, options.n)
    by_row = fields.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    small = RotationCorrelation(functions, functions, lmax, n_beta=2, n_alpha=6, n_gamma=6)
    large = RotationCorrelation(functions, functions, lmax)
    transform = RotationTransform(functions, lmax, EulerGrid.of_band(lmax, lmax))
    values = transform.synthesis(by_row)
    pairs = complex_blocks(lmax)
    return {
        "complex blocks": lambda: [left @ right for left, right in pairs],
        "ours, 192 points": lambda: large(by_row),
        "ours, 72 points": lambda: small(by_row),
        "synthesis on the grid": lambda: transform.synthesis(by_row),
        "analysis from the grid": lambda: transform.analysis(values),
    }


def complex_blocks(lmax: int) -> list[tuple[Tensor, Tensor]]:
    """Return coefficients and kernel of each degree as matrices."""
    pairs = []
    for degree in range(lmax + 1):
        orders = 2 * degree + 1
        left = torch.randn(options.n * orders, CHANNELS * orders, dtype=torch.complex64)
        right = torch.randn(CHANNELS * orders, CHANNELS * orders, dtype=torch.complex64)
        pairs.append((left, right))
    return pairs


def main() -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with torch.no_grad():
        for bandwidth, target in TARGETS_MS.items():
            result = comparison.take_turns(
                contenders(bandwidth), 1, options.turns, "complex blocks", clock=time.process_time
            )
            title = f"SO(3) correlation, L = {bandwidth}, {CHANNELS} → {CHANNELS}, B = {options.n}"
            result.show(title, "a second", target=f"{1000 * target:,} µs")


if __name__ == "__main__":
    main()
