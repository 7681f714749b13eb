"""Turns by 90°, mirrors and whole-pixel shifts of real cutouts: no pixel's value changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.fits.wcs import parse_wcs

_QUARTER = np.array([[0, 1], [-1, 0]])  # np.rot90 takes the pixel at (x, y) to (y, -x)
_LINEAR = {"CD1_1", "CD1_2", "CD2_1", "CD2_2", "PC1_1", "PC1_2", "PC2_1", "PC2_2"}


@dataclass(frozen=True)
class Moves:
    """How each of N cutouts is moved: mirrored, then turned, then shifted.

    Attributes
    ----------
    mirror : (N,) bool, x → −x
    quarters : (N,) int, quarter turns, from +y towards +x
    shift : (N, 2) int, pixels along x and y
    """

    mirror: NDArray[np.bool_]
    quarters: NDArray[np.int64]
    shift: NDArray[np.int64]

    @property
    def axes(self) -> NDArray[np.int64]:
        """Matrices (N, 2, 2) that take (x, y) about the central pixel to where it moves."""
        turns = np.stack([np.linalg.matrix_power(_QUARTER, k) for k in range(4)])
        flips = np.where(self.mirror, -1, 1)[:, None, None]
        return turns[self.quarters] @ np.where([[1, 0], [0, 0]], flips, np.diag([0, 1]))


def draw_moves(rng: np.random.Generator, n: int, shape: tuple[int, int], farthest: int) -> Moves:
    """Draw moves evenly; cutouts that are not square are turned by halves only."""
    quarters = rng.integers(4, size=n) if shape[0] == shape[1] else 2 * rng.integers(2, size=n)
    return Moves(rng.random(n) < 0.5, quarters, rng.integers(-farthest, farthest + 1, (n, 2)))


def move_cutouts(batch: CutoutBatch, moves: Moves) -> CutoutBatch:
    """Move the pixels, masks and headers of a batch.

    Pixels that a shift uncovers carry no sky: they are masked. A header that is not linear in the
    pixels is left out; the object's own position stays what it was.
    """
    images, mask = np.zeros_like(batch.images), np.ones_like(batch.mask)
    headers = np.empty(len(batch), dtype=object)
    axes = moves.axes
    for k, (mirror, quarters, shift) in enumerate(
        zip(moves.mirror, moves.quarters, moves.shift, strict=True)
    ):
        for out, planes in ((images[k], batch.images[k]), (mask[k], batch.mask[k])):
            turned = np.rot90(planes[..., ::-1] if mirror else planes, quarters, axes=(-2, -1))
            to, source = zip(*map(_overlap, out.shape[:0:-1], shift), strict=True)
            out[:, to[1], to[0]] = turned[:, source[1], source[0]]
        headers[k] = moved_wcs(batch.wcs_header[k], axes[k], shift, batch.images.shape[-2:])
    return replace(batch, images=images, mask=mask, wcs_header=headers)


def _overlap(size: int, shift: int) -> tuple[slice, slice]:
    return (
        slice(max(shift, 0), size + min(shift, 0)),
        slice(max(-shift, 0), size + min(-shift, 0)),
    )


def moved_wcs(text: str, axes: NDArray, shift: NDArray, shape: tuple[int, int]) -> str:
    """WCS cards of a cutout whose pixels moved; "" where they are not linear in the pixels.

    With p' = A (p − c) + c + s, the sky at p' is that at p: CRPIX moves like a pixel, and CD
    becomes CD Aᵀ.
    """
    values = parse_wcs(text) if text else {}
    matrix = _matrix(values)
    if matrix is None:
        return ""
    centre = np.array([shape[1] // 2 + 1, shape[0] // 2 + 1])
    reference = np.array([float(values["CRPIX1"]), float(values["CRPIX2"])])
    crpix = axes @ (reference - centre) + centre + shift
    turned = matrix @ axes.T
    numbers = {"CRPIX1": crpix[0], "CRPIX2": crpix[1]}
    numbers |= {f"CD{i + 1}_{j + 1}": turned[i, j] for i in range(2) for j in range(2)}
    kept = [
        line for line in text.split("\n") if _keyword(line) not in _LINEAR | {*numbers, *_STEPS}
    ]
    cards = [f"{key:8}= {float(value)!r}".upper() for key, value in numbers.items()]
    return "\n".join([*kept, *cards])


_STEPS = ("CDELT1", "CDELT2", "CROTA2")


def _keyword(line: str) -> str:
    return line[:8].rstrip()


def _matrix(values: dict[str, float | str]) -> NDArray[np.float64] | None:
    """∂(intermediate world)/∂(pixel), degrees; None for distorted or turned headers."""
    distorted = any(key.startswith(("A_", "B_", "PV")) for key in values)
    if not values or distorted or values.get("CROTA2"):
        return None
    if any(key in values for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")):
        entries = [float(values.get(f"CD{i}_{j}", 0.0)) for i in (1, 2) for j in (1, 2)]
        return np.reshape(entries, (2, 2))
    steps = [float(values.get(f"CDELT{i}", 1.0)) for i in (1, 2)]
    turn = [float(values.get(f"PC{i}_{j}", float(i == j))) for i in (1, 2) for j in (1, 2)]
    return np.diag(steps) @ np.reshape(turn, (2, 2))
