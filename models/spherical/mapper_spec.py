"""What a mass mapper takes in and gives out: a value that its weights file carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from equilens.models.errors import InputSpecError

SNR_SCALE = 2.0


@dataclass(frozen=True)
class MapperSpec:
    """Sky and size of a mass mapper.

    Attributes
    ----------
    nside : of the maps, a power of two
    n_bins : redshift bins of the shear, K
    n_linear : linear estimates of κ that come with it
    n_filtered : maps of the signal-to-noise ratio of haloes that come with it
    kappa_scale : rms of κ, by which κ is divided inside the network
    galaxies_per_pixel : of each bin, (K,), to which counts are compared
    depth : how often the network halves the resolution
    scalars, vectors, tensors : hidden fields of spin 0, 1 and 2 at the finest level
    growth : factor of their number from one level to the next
    """

    nside: int
    n_bins: int
    n_linear: int
    n_filtered: int
    kappa_scale: float
    galaxies_per_pixel: tuple[float, ...]
    depth: int = 2
    scalars: int = 12
    vectors: int = 4
    tensors: int = 4
    growth: float = 1.5

    def __post_init__(self) -> None:
        if self.nside < 2 or self.nside & (self.nside - 1):
            raise InputSpecError(f"nside must be a power of two, got {self.nside}")
        if len(self.galaxies_per_pixel) != self.n_bins:
            raise InputSpecError(
                f"galaxies_per_pixel must have one number for each of {self.n_bins} bins, "
                f"got {self.galaxies_per_pixel}"
            )
        if not 0 <= self.depth < self.nside.bit_length():
            raise InputSpecError(
                f"depth must be 0..{self.nside.bit_length() - 1} at nside "
                f"{self.nside}, got {self.depth}"
            )
        if self.kappa_scale <= 0:
            raise InputSpecError(f"kappa_scale must be positive, got {self.kappa_scale}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MapperSpec:
        """The specification of `to_dict`; unknown keys are errors."""
        names = {entry.name for entry in fields(cls)}
        if unknown := sorted(set(values) - names):
            raise InputSpecError(f"{unknown[0]!r} is no part of a mapper's specification")
        given = {**values, "galaxies_per_pixel": tuple(values["galaxies_per_pixel"])}
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def scalar_inputs(self) -> int:
        """Scalar maps that the network takes: three a bin, and what linear filters made."""
        return 3 * self.n_bins + self.n_linear + self.n_filtered


def network_inputs(spec: MapperSpec, sky: Tensor, linear: Tensor) -> tuple[Tensor, Tensor]:
    """Scalars and spin-2 fields of order one, from shear, counts, weights and linear estimates.

    Shear is divided by its noise, γ √w, so that a masked pixel (w = 0) is exactly nothing and a
    shallow one is quiet. What a count says is its excess over the mean depth, in a range that one
    bright pixel cannot leave.

    Parameters
    ----------
    sky : (..., K, 4, P): g1, g2, galaxies, weight (1/variance of the mean component)
    linear : (..., L, P): the linear estimates of κ, then the filtered maps; 0 where masked

    Returns
    -------
    scalars (..., 3K + L, P) and shear (..., K, 2, P)
    """
    weight = torch.nan_to_num(sky[..., 3, :]).clamp_min(0.0)
    seen = (weight > 0).to(sky.dtype)
    shear = torch.nan_to_num(sky[..., :2, :]) * weight.sqrt().unsqueeze(-2)
    mean = sky.new_tensor(spec.galaxies_per_pixel).unsqueeze(-1)
    counts = torch.nan_to_num(sky[..., 2, :])
    excess = ((counts / mean - 1) * mean.sqrt() / 4).clamp(-2.0, 2.0) * seen
    depth = weight.sqrt() * spec.kappa_scale
    estimates = torch.nan_to_num(linear)
    estimates = torch.cat(
        [
            estimates[..., : spec.n_linear, :] / spec.kappa_scale,
            estimates[..., spec.n_linear :, :] / SNR_SCALE,
        ],
        dim=-2,
    )
    return torch.cat([seen, excess, depth, estimates], dim=-2), shear
