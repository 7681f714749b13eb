"""Pooling over the fibre, over the plane, and onto a coarser grid."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.errors import FieldTypeError
from equilens.models.fields import FieldType, trivial_type


class GroupPooling(nn.Module):
    """Invariants of permutation fields: the mean and the maximum over each field's channels.

    (N, channels, H, W) → (N, 2 fields, H, W), means before maxima. Fields of one channel are
    invariant already and pass once. All fields must share one representation.
    """

    def __init__(self, in_type: FieldType) -> None:
        super().__init__()
        if len(in_type.blocks) != 1 or not in_type.is_permutation:
            raise FieldTypeError(
                f"GroupPooling needs fields of one permutation representation, got {in_type!r}"
            )
        self.in_type = in_type
        self.size = in_type.blocks[0].representation.size
        channels = in_type.n_fields * (1 if self.size == 1 else 2)
        self.out_type = trivial_type(in_type.group, channels)

    def forward(self, features: Tensor) -> Tensor:
        if self.size == 1:
            return features
        fibres = features.unflatten(1, (-1, self.size))
        return torch.cat([fibres.mean(dim=2), fibres.amax(dim=2)], dim=1)

    def extra_repr(self) -> str:
        return f"{self.in_type!r} → {self.out_type!r}"


class RingPooling(nn.Module):
    """Means over soft rings around the centre, and a soft maximum over the inscribed disc.

    (N, C, side, side) → (N, (rings + 1) C). Rings are Gaussians of equal spacing from the centre
    to the disc's edge, of unit sum; the soft maximum is log mean exp over the disc. Weights
    depend on the distance from the centre alone, and corners outside the disc are never seen.
    """

    weights: Tensor
    log_disc: Tensor

    def __init__(self, side: int, rings: int = 3) -> None:
        super().__init__()
        distance, disc = disc_mask(side)
        radii = torch.linspace(0, (side - 1) / 2, rings, dtype=torch.float64)
        width = (side - 1) / 2 / rings
        weights = torch.exp(-((distance - radii[:, None, None]) ** 2) / (2 * width**2)) * disc
        weights = weights / weights.sum(dim=(1, 2), keepdim=True)
        self.rings = rings
        self.register_buffer("weights", weights.flatten(1).float(), persistent=False)
        log_disc = torch.log(disc / disc.sum()).flatten()
        self.register_buffer("log_disc", log_disc.float(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        flat = features.flatten(2)
        means = (flat @ self.weights.T).transpose(1, 2).flatten(1)
        return torch.cat([means, torch.logsumexp(flat + self.log_disc, dim=2)], dim=1)

    def extra_repr(self) -> str:
        return f"rings={self.rings}"


class DiscPooling(nn.Module):
    """Mean over the disc inscribed in a square map: (N, C, side, side) → (N, C)."""

    weights: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        disc = disc_mask(side)[1]
        weights = (disc / disc.sum()).flatten().float()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return features.flatten(2) @ self.weights


class DiscTaper(nn.Module):
    """Multiply a square map by a disc whose edge fades to 0 over two pixels.

    Outside the disc everything is 0, which is what later convolutions pad with: the square's
    edges then leave no mark on features.
    """

    taper: Tensor

    def __init__(self, side: int, edge: float = 2.0) -> None:
        super().__init__()
        inside = ((side / 2 - disc_mask(side)[0]) / edge).clamp(0, 1)
        taper = inside.square() * (3 - 2 * inside)
        self.register_buffer("taper", taper.float(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return features * self.taper


class BlurPooling(nn.Module):
    """Binomial blur [1 2 1] ⊗ [1 2 1] / 16, then every second pixel (Zhang 2019, arXiv:1904.11486).

    Odd sides only, so that first, centre (for sides 4 j + 1) and last pixel stay symmetric.
    """

    blur: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("blur", (line[:, None] * line)[None, None], persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        if not (features.shape[-1] % 2 and features.shape[-2] % 2):
            raise FieldTypeError(
                f"BlurPooling keeps the symmetry on odd sides only, got {tuple(features.shape)}"
            )
        channels = features.shape[1]
        kernel = self.blur.to(features.dtype).expand(channels, -1, -1, -1)
        return functional.conv2d(features, kernel, stride=2, padding=1, groups=channels)


def disc_mask(side: int) -> tuple[Tensor, Tensor]:
    """Return distances from the centre in pixels and 1 inside the inscribed disc, (side, side)."""
    axis = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    distance = torch.hypot(axis[:, None], axis[None, :])
    return distance, (distance <= side / 2).double()
