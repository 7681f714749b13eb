"""Digits on the sphere by the protocol of Cohen et al. (2018, arXiv:1801.10130, section 5.2).

A digit of 28² pixels lies on the plane that touches the pole, where it spans |x|, |y| ≤ 1.5 for a
sphere of radius 1, and is projected onto the sphere from the opposite pole (the constants of the
authors' code): most of a hemisphere. Maps are equiangular, 60 × 60 at bandwidth 30, sampled once,
bilinear, at the rotated points themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from equilens.models.spherical.euler_grid import EulerGrid
from equilens.models.spherical.real_harmonics import random_rotations

GRID = EulerGrid(60, 60, rings="equiangular")
HALF_WIDTH = 1.5
N_CLASSES = 10
SPLIT_SEED = 20_260_101


@dataclass(frozen=True)
class SphericalDigits:
    """Maps (N, 1, 60, 60) in 0…1 and their classes (N,)."""

    maps: Tensor
    labels: Tensor


def load(data: Path, n_train_each: int, n_test_each: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return images (N, 28, 28) in 0…1 and labels, to train on and to test on; one split for all.

    Parameters
    ----------
    data : Path
        Folder with ``mnist/mnist_4000.npz``.
    n_train_each, n_test_each : int
        Digits a class.
    """
    arrays = np.load(data / "mnist" / "mnist_4000.npz")
    images = torch.from_numpy(arrays["images"]).float() / 255
    labels = torch.from_numpy(arrays["labels"].astype(np.int64))
    draw = np.random.default_rng(SPLIT_SEED)
    shuffled = [draw.permutation(np.flatnonzero(labels.numpy() == k)) for k in range(N_CLASSES)]
    cut = n_train_each + n_test_each
    parts = (slice(0, n_train_each), slice(n_train_each, cut))
    chosen = [torch.from_numpy(np.concatenate([row[part] for row in shuffled])) for part in parts]
    return tuple((images[index], labels[index]) for index in chosen)


def on_sphere(images: Tensor, labels: Tensor, rotated: bool, seed: int) -> SphericalDigits:
    """Return maps of the digits at the pole, or each turned by a rotation of its own.

    Parameters
    ----------
    images : (N, 28, 28) Tensor
    rotated : bool
        Rotations are uniform on SO(3), drawn from the seed.
    """
    n = len(images)
    angles = torch.zeros(n, 3, dtype=torch.float64)
    if rotated:
        angles = random_rotations(n, torch.Generator().manual_seed(seed))
    turns = rotation_matrices(angles)
    points = grid_points(GRID)
    maps = [sample(image, points @ turn)[None] for image, turn in zip(images, turns, strict=True)]
    return SphericalDigits(torch.stack(maps), labels)


def sample(image: Tensor, points: Tensor) -> Tensor:
    """Return a digit's values at points (..., 3) of the sphere, 0 outside the digit."""
    x, y, z = points.unbind(-1)
    # stereographic, from the south pole onto the plane at the north pole
    plane = torch.stack([x, y], dim=-1) * (2 / (1 + z).clamp(min=1e-6))[..., None]
    place = (plane / HALF_WIDTH).float()[None]
    values = functional.grid_sample(image[None, None], place, align_corners=False)
    return values[0, 0]


def grid_points(grid: EulerGrid) -> Tensor:
    """Return the grid's points (n_beta, n_alpha, 3), float64."""
    beta, alpha = grid.beta()[:, None], grid.alpha()
    sine = torch.sin(beta)
    return torch.stack(
        [sine * torch.cos(alpha), sine * torch.sin(alpha), torch.cos(beta) + 0 * alpha], dim=-1
    )


def rotation_matrices(angles: Tensor) -> Tensor:
    """Return R_z(α) R_y(β) R_z(γ) of angles (N, 3), shape (N, 3, 3).

    A row of points times R holds R⁻¹ of each, where a map turned by R is to be read.
    """

    def about_z(angle: Tensor) -> Tensor:
        cosine, sine, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
        rows = (cosine, -sine, zero, sine, cosine, zero, zero, zero, zero + 1)
        return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))

    alpha, beta, gamma = angles.unbind(-1)
    cosine, sine, zero = torch.cos(beta), torch.sin(beta), torch.zeros_like(beta)
    rows = (cosine, zero, sine, zero, zero + 1, zero, -sine, zero, cosine)
    about_y = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    return about_z(alpha) @ about_y @ about_z(gamma)
