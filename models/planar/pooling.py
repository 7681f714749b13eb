"""Pooling over the fibre, over the plane, and onto a coarser grid."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.errors import FieldTypeError
from equilens.models.fields import FieldType, trivial_type
from equilens.models.planar.layout import is_channels_last


class GroupPooling(nn.Module):
    """Invariants of permutation fields: the mean and the maximum over each field's channels.

    (N, channels, H, W) → (N, 2 fields, H, W), means before maxima. Fields of one channel are
    invariant already and pass once. All fields must share one representation.

    Parameters
    ----------
    in_type : FieldType
    smooth : bool
        √(variance + 1) − 1 in place of the maximum, which has kinks and changes with the angle
        between two rotations of the group.
    """

    def __init__(self, in_type: FieldType, smooth: bool = False) -> None:
        super().__init__()
        if len(in_type.blocks) != 1 or not in_type.is_permutation:
            raise FieldTypeError(
                f"GroupPooling needs fields of one permutation representation, got {in_type!r}"
            )
        self.in_type, self.smooth = in_type, smooth
        self.size = in_type.blocks[0].representation.size
        channels = in_type.n_fields * (1 if self.size == 1 else 2)
        self.out_type = trivial_type(in_type.group, channels)

    def forward(self, features: Tensor) -> Tensor:
        if self.size == 1:
            return features
        if is_channels_last(features):
            fibres = features.permute(0, 2, 3, 1).unflatten(3, (-1, self.size))
            return self._pool(fibres, 4).permute(0, 3, 1, 2)
        return self._pool(features.unflatten(1, (-1, self.size)), 2)

    def _pool(self, fibres: Tensor, dim: int) -> Tensor:
        means = fibres.mean(dim=dim)
        if not self.smooth:
            return torch.cat([means, fibres.amax(dim=dim)], dim=dim - 1)
        # torch.var takes five times as long
        variance = (fibres - means.unsqueeze(dim)).square().mean(dim=dim)
        # √(v + 1) − 1, without the cancellation
        return torch.cat([means, variance / (torch.sqrt(variance + 1) + 1)], dim=dim - 1)

    def extra_repr(self) -> str:
        return f"{self.in_type!r} → {self.out_type!r}" + (", smooth" if self.smooth else "")


class RingMeans(nn.Module):
    """What poolings over soft rings around the centre share: the rings, and means over them.

    Rings are Gaussians of equal spacing from the centre to the edge of the inscribed disc, times
    ``disc`` (side, side), of unit sum. They depend on the distance from the centre alone.
    """

    weights: Tensor

    def __init__(self, side: int, rings: int, disc: Tensor) -> None:
        super().__init__()
        distance = disc_mask(side)[0]
        radii = torch.linspace(0, (side - 1) / 2, rings, dtype=torch.float64)
        width = (side - 1) / 2 / rings
        weights = torch.exp(-((distance - radii[:, None, None]) ** 2) / (2 * width**2)) * disc
        weights = weights / weights.sum(dim=(1, 2), keepdim=True)
        self.rings = rings
        self.register_buffer("weights", weights.flatten(1).float(), persistent=False)

    def means(self, flat: Tensor) -> Tensor:
        """Means over each ring: (N, C, side²) → (N, rings C)."""
        return (flat @ self.weights.T).transpose(1, 2).flatten(1)

    def extra_repr(self) -> str:
        return f"rings={self.rings}"


class RingPooling(RingMeans):
    """Means over soft rings, and a soft maximum over the inscribed disc.

    (N, C, side, side) → (N, (rings + 1) C). The soft maximum is log mean exp over the disc;
    corners outside it are never seen.
    """

    log_disc: Tensor

    def __init__(self, side: int, rings: int = 3) -> None:
        disc = disc_mask(side)[1]
        super().__init__(side, rings, disc)
        log_disc = torch.log(disc / disc.sum()).flatten()
        self.register_buffer("log_disc", log_disc.float(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        flat = features.flatten(2)
        return torch.cat([self.means(flat), torch.logsumexp(flat + self.log_disc, dim=2)], dim=1)


class SmoothRingPooling(RingMeans):
    """Means over soft rings, and the root mean square over the disc.

    (N, C, side, side) → (N, (rings + 1) C), as RingPooling, with weights that fade out towards
    the inscribed circle: a sum over pixels then stands for an integral over the plane, at any
    angle. The root mean square, √(mean x² + 0.01), is to peaks what the soft maximum is there.
    """

    disc: Tensor

    def __init__(self, side: int, rings: int = 3) -> None:
        disc = faded_disc(side, side / 8)
        super().__init__(side, rings, disc)
        self.register_buffer("disc", (disc / disc.sum()).flatten().float(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        flat = features.flatten(2)
        return torch.cat([self.means(flat), torch.sqrt(flat.square() @ self.disc + 0.01)], dim=1)


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


class SkyFade(nn.Module):
    """Fade a square map from the inscribed circle on into what the corners hold: empty sky.

    y = c + t (x − c), with c the mean of the corners, a channel each, and t falling from 1 to 0
    over ``edge`` pixels, smoothly enough to be sampled. After it a map is constant outside the
    disc, so that padding by replication goes on exactly, and a square's edge leaves no mark.
    """

    taper: Tensor

    def __init__(self, side: int, edge: float) -> None:
        super().__init__()
        self.side, self.edge = side, edge
        self.register_buffer("taper", faded_disc(side, edge).float(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        last = self.side - 1
        sky = features[:, :, ::last, ::last].mean(dim=(2, 3), keepdim=True)
        return torch.lerp(sky, features, self.taper.to(features.dtype))

    def extra_repr(self) -> str:
        return f"{self.side}², edge={self.edge:g} px"


class Blur(nn.Module):
    """Gaussian blur of ``sigma`` pixels, cut at 3 σ, edges replicated; a map keeps its size.

    From σ = 1 on a sampled Gaussian is the same in all directions to 1e-4; the binomial
    [1 2 1] ⊗ [1 2 1] is not, nor does it remove what a stride of 2 aliases.
    """

    line: Tensor
    stride = 1

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma, self.reach = sigma, math.ceil(3 * sigma)
        offsets = torch.arange(-self.reach, self.reach + 1, dtype=torch.float64)
        line = torch.exp(-(offsets**2) / (2 * sigma**2))
        self.register_buffer("line", (line / line.sum()).float(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        channels, step, line = features.shape[1], self.stride, self.line.to(features.dtype)
        padded = functional.pad(features, (self.reach,) * 4, mode="replicate")
        rows = line.view(1, 1, -1, 1).expand(channels, -1, -1, -1)
        columns = line.view(1, 1, 1, -1).expand(channels, -1, -1, -1)
        halfway = functional.conv2d(padded, rows, stride=(step, 1), groups=channels)
        return functional.conv2d(halfway, columns, stride=(1, step), groups=channels)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma:g} px, stride={self.stride}"


class BlurPooling(Blur):
    """Gaussian blur, then every second pixel (as Zhang 2019, arXiv:1904.11486, but wider).

    Odd sides only, so that first, centre (for sides 4 j + 1) and last pixel stay symmetric.
    """

    stride = 2

    def __init__(self, sigma: float = 1.5) -> None:
        super().__init__(sigma)

    def forward(self, features: Tensor) -> Tensor:
        if not (features.shape[-1] % 2 and features.shape[-2] % 2):
            raise FieldTypeError(
                f"BlurPooling keeps the symmetry on odd sides only, got {tuple(features.shape)}"
            )
        return super().forward(features)


def disc_mask(side: int) -> tuple[Tensor, Tensor]:
    """Return distances from the centre in pixels and 1 inside the inscribed disc, (side, side)."""
    axis = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    distance = torch.hypot(axis[:, None], axis[None, :])
    return distance, (distance <= side / 2).double()


def faded_disc(side: int, edge: float) -> Tensor:
    """Return 1 inside a disc, falling to 0 at the inscribed circle over ``edge`` pixels, float64.

    The fall is 6 t⁵ − 15 t⁴ + 10 t³, twice continuously differentiable.
    """
    t = ((side / 2 - disc_mask(side)[0]) / edge).clamp(0, 1)
    return t**3 * (10 - 15 * t + 6 * t**2)
