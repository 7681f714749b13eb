"""Published networks to compare finders with, rebuilt: EPFL's baseline and CMU DeepLens.

Both took part in the lens finding challenge 1.0 (Metcalf et al. 2019, arXiv:1802.03609) and are a
yardstick of training data: trained on a simulation as hard as the challenge's they come to the
AUROC that they have there. As published they have no symmetry, and take masked pixels as zero flux.

They come as the four parts of a LensFinder, so that training, checkpoints, folding and scoring
treat them alike. Only their input differs from the original: both read the challenge's flux unit
through constants of that data set, here written in units of the noise, see `FluxScale`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.errors import InputSpecError
from equilens.models.groups import CyclicGroup, PlanarGroup
from equilens.models.inputs import InputSpec

# noise a pixel in the challenge's unit: VIS, and the geometric mean of u, g, r and i
_SPACE_NOISE, _GROUND_NOISE = 7.9e-13, math.prod((2.03e-12, 1.27e-12, 1.56e-12, 3.19e-12)) ** 0.25


@dataclass(frozen=True)
class Comparator:
    """A published network under a name.

    Parameters
    ----------
    name : str
    source : str
        Where it is described.
    build : callable of InputSpec
        Gives its parts.
    recipe : mapping
        Settings of a training that come closest to the published one, ``augmentation`` nested.
    differs : tuple of str
        What is not as published, the recipe included.
    group : PlanarGroup
        Symmetry; none.
    """

    name: str
    source: str
    build: Callable[[InputSpec], Parts]
    recipe: Mapping[str, Any]
    differs: tuple[str, ...]
    group: PlanarGroup = field(default_factory=lambda: CyclicGroup(1))


class FluxScale(nn.Module):
    """Calibrated pixels → (min(max(f, −limit), limit) − offset) / scale, on the working square.

    f is the flux over the geometric mean of the noise in the object's bands: one unit for all
    bands, so that colours stay, which equals the challenge's unit up to a constant wherever depth
    is the same for all. Invalid pixels and missing bands have f = 0. No sky is subtracted.

    Parameters
    ----------
    spec : InputSpec
    offset, scale, limit : float
        In units of that noise.
    """

    def __init__(self, spec: InputSpec, offset: float, scale: float, limit: float) -> None:
        super().__init__()
        self.spec, self.offset, self.scale, self.limit = spec, offset, scale, limit

    def forward(self, images: Tensor, noise: Tensor, mask: Tensor, band_present: Tensor) -> Tensor:
        """Return (N, B, side, side); arguments as in LensFinder.forward.

        Raises
        ------
        InputSpecError
            Where images do not have the declared bands and shape.
        """
        expected = (self.spec.n_bands, *self.spec.shape)
        if tuple(images.shape[1:]) != expected:
            raise InputSpecError(
                f"images must have shape (N, bands, ny, nx) = (N, {expected[0]}, {expected[1]}, "
                f"{expected[2]}) for bands {self.spec.bands}, got {tuple(images.shape)}"
            )
        usable = band_present & torch.isfinite(noise) & (noise > 0)
        log_noise = torch.where(usable, noise, torch.ones_like(noise)).log()
        unit = (log_noise.sum(dim=1) / usable.sum(dim=1).clamp_min(1)).exp()
        valid = usable[..., None, None] & ~mask & torch.isfinite(images)
        flux = (images / unit[:, None, None, None]).masked_fill(~valid, 0.0)
        flux = flux.clamp(-self.limit, self.limit)
        return (self._working_square(flux) - self.offset) / self.scale

    def _working_square(self, images: Tensor) -> Tensor:
        rows, columns = ((self.spec.working_side - length) // 2 for length in self.spec.shape)
        return functional.pad(images, (columns, columns, rows, rows))

    def extra_repr(self) -> str:
        return f"offset {self.offset:.3g}, scale {self.scale:.3g}, limit {self.limit:.4g} sigma"


class CentredReLU(nn.Module):
    """1.7129 (ReLU(x) − 0.3989): mean 0 and variance 1 for a standard normal x."""

    def forward(self, x: Tensor) -> Tensor:
        return (functional.relu(x) - 0.3989422804014327) * 1.712858550449663


class ScaledMaxPool(nn.Module):
    """Maxima over 2×2 pixels, halves rounded up, with a scale and a shift for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # these undo what the largest of four standard normal values has as mean and spread
        self.weight = nn.Parameter(torch.full((channels,), 0.83))
        self.bias = nn.Parameter(torch.full((channels,), -0.92))

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.max_pool2d(x, 2, ceil_mode=True)
        return self.weight[:, None, None] * pooled + self.bias[:, None, None]


class GrowingDropout(nn.Module):
    """Dropout whose share grows from 0 to ½ as ½ (1 − 2^(−steps / 2000)) while it is trained."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        share = 0.5 * (1 - 0.5 ** (int(self.steps) / 2000))
        self.steps += 1
        return functional.dropout(x, share)


class DenseHead(nn.Module):
    """Flattened features → hidden layers → one logit."""

    def __init__(self, hidden: nn.Module, features: int) -> None:
        super().__init__()
        self.hidden, self.logit = hidden, nn.Linear(features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (N,)."""
        return self.logit(self.hidden(x))[:, 0]


Parts = tuple[FluxScale, nn.Sequential, nn.Sequential, DenseHead]
"""Normaliser, stem, stages and head."""


class PreactivationBlock(nn.Module):
    """Bottleneck of He et al. (2016, arXiv:1603.05027): 1×1, 3×3 and 1×1, and a shortcut.

    Parameters
    ----------
    channels, narrow, wide : int
        Of the input, of the inner two layers, of the output.
    stride : int
    activated : bool
        The input is normalised and activated already.
    """

    def __init__(
        self, channels: int, narrow: int, wide: int, stride: int = 1, activated: bool = False
    ) -> None:
        super().__init__()
        self.entry = nn.Identity() if activated else nn.Sequential(_norm(channels), nn.ELU())
        self.branch = nn.Sequential(
            *_conv_norm_elu(channels, narrow, 1, stride),
            *_conv_norm_elu(narrow, narrow, 3),
            nn.Conv2d(narrow, wide, 1),
        )
        projected = channels != wide or stride > 1
        self.shortcut = nn.Conv2d(channels, wide, 1, stride) if projected else None

    def forward(self, x: Tensor) -> Tensor:
        entered = self.entry(x)
        kept = x if self.shortcut is None else self.shortcut(entered)
        return self.branch(entered) + kept


def epfl_parts(spec: InputSpec) -> Parts:
    """Return EPFL's baseline: eight convolutions without padding, three dense layers of 1024.

    Raises
    ------
    InputSpecError
        For cutouts that shrink to nothing: the working square must have 69 pixels a side.
    """
    side = epfl_final_side(spec.working_side)
    if side < 1:
        raise InputSpecError(
            f"epfl-baseline has convolutions without padding and needs cutouts of at least 59 "
            f"pixels, got {spec.shape} with field_px {spec.field_px}"
        )
    several = spec.n_bands > 1
    offset, scale = (1.685e-12, 5.122e-11) if several else (4.337e-13, 5.504e-12)
    noise = _GROUND_NOISE if several else _SPACE_NOISE
    stem = nn.Sequential(*_valid(spec.n_bands, 16, 4), *_valid(16, 16), *_pooled(16))
    stages = nn.Sequential(
        nn.Sequential(*_valid(16, 32), *_valid(32, 32), *_pooled(32)),
        nn.Sequential(*_valid(32, 64), *_valid(64, 64), *_pooled(64), GrowingDropout()),
        nn.Sequential(*_valid(64, 128), GrowingDropout(), *_valid(128, 128), _norm(128)),
    )
    hidden = nn.Sequential(
        GrowingDropout(),
        nn.Flatten(),
        *(nn.Linear(128 * side**2, 1024), CentredReLU(), GrowingDropout()),
        *(nn.Linear(1024, 1024), CentredReLU(), GrowingDropout()),
        *(nn.Linear(1024, 1024), CentredReLU(), nn.BatchNorm1d(1024, eps=1e-3)),
    )
    head = DenseHead(hidden, 1024)
    for layer in (*stem.modules(), *stages.modules(), *head.modules()):
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return FluxScale(spec, offset / noise, scale / noise, math.inf), stem, stages, head


def epfl_final_side(side: int) -> int:
    """Return the side of the last feature map of EPFL's baseline."""
    for shrinks in (5, 4, 4):
        side = (side - shrinks + 1) // 2
    return side - 4


def cmu_parts(spec: InputSpec) -> Parts:
    """Return CMU DeepLens: a 7×7 convolution and five stages of three bottlenecks, 32 to 512."""
    limit = 1e-9 / (_GROUND_NOISE if spec.n_bands > 1 else _SPACE_NOISE)
    stem = nn.Sequential(*_conv_norm_elu(spec.n_bands, 32, 7))
    stages, channels = nn.Sequential(), 32
    for number in range(5):
        narrow, wide = 16 * 2**number, 32 * 2**number
        stages.append(
            nn.Sequential(
                PreactivationBlock(channels, narrow, wide, 2 if number else 1, not number),
                PreactivationBlock(wide, narrow, wide),
                PreactivationBlock(wide, narrow, wide),
            )
        )
        channels = wide
    head = DenseHead(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels)
    for layer in stages.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return FluxScale(spec, 0.0, limit / 100, limit), stem, stages, head


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _valid(channels: int, wide: int, size: int = 3) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, wide, size), CentredReLU()


def _pooled(channels: int) -> tuple[nn.Module, ...]:
    return ScaledMaxPool(channels), _norm(channels)


def _conv_norm_elu(
    channels: int, wide: int, size: int, stride: int = 1
) -> tuple[nn.Module, nn.Module, nn.Module]:
    conv = nn.Conv2d(channels, wide, size, stride, padding=size // 2, bias=False)
    return conv, _norm(wide), nn.ELU()


_NOTHING = {"max_shift": 0, "max_depth": 1.0, "depth_probability": 0.0, "noise_error": 1.0}
_NOTHING |= {"sky_offset": 0.0, "stripe_probability": 0.0, "dropout_probability": 0.0}
_SHARED_DIFFERENCES = (
    "flux in units of the object's own noise, not of the challenge's zero point",
    "a warm-up and a half cosine instead of the published steps of the learning rate",
    "the running average of the weights is kept, not the last weights",
    "batches keep the class balance of the store",
)
_ALL = (
    Comparator(
        "epfl-baseline",
        "Schaefer, Geiger, Kuntzer & Kneib 2018, arXiv:1705.07132",
        epfl_parts,
        {
            "images_seen": 1_500_000,  # 50,000 steps of 15 lenses and 15 non-lenses
            "batch_size": 30,
            "learning_rate": 1e-4,
            "warm_up": 0.01,
            "weight_decay": 0.0,
            "clip_norm": 1e6,
            "curriculum": 0.0,
            # U(0.8, 1.2) on flux, and U(-0.1, 0.1) of its scale, 7 sigma, added in each band
            "augmentation": _NOTHING | {"noise_error": 1.2, "sky_offset": 0.4, "rotate": True},
        },
        (
            *_SHARED_DIFFERENCES,
            "batch normalisation by the batch instead of by moments that average ever longer",
            "scale and offset of the augmentation are drawn for each band, not once for all",
        ),
    ),
    Comparator(
        "cmu-deeplens",
        "Lanusse et al. 2018, arXiv:1703.02642",
        cmu_parts,
        {
            "epochs": 120.0,
            "batch_size": 128,
            "learning_rate": 1e-3,
            "warm_up": 0.01,
            "weight_decay": 0.0,
            "clip_norm": 1e6,
            "curriculum": 0.0,
            "augmentation": _NOTHING | {"rotate": True},
        },
        (
            *_SHARED_DIFFERENCES,
            "quarter turns and mirror images instead of turns by any angle",
        ),
    ),
)
COMPARATORS: Mapping[str, Comparator] = MappingProxyType({entry.name: entry for entry in _ALL})


class EightViews(nn.Module):
    """Scores by the product of the probabilities of the eight views of the square.

    As EPFL's entries were scored. The logit of the product is returned, which ranks alike and does
    not round to 0 or 1.

    Parameters
    ----------
    finder : nn.Module
        A finder, folded or not, with a ``spec`` of square cutouts.
    """

    def __init__(self, finder: nn.Module) -> None:
        super().__init__()
        self.finder = finder
        self.spec: InputSpec = finder.spec  # type: ignore[assignment]
        if self.spec.shape[0] != self.spec.shape[1]:
            raise InputSpecError(f"eight views need square cutouts, got {self.spec.shape}")

    def forward(self, images: Tensor, noise: Tensor, mask: Tensor, band_present: Tensor) -> Tensor:
        """Return logits, shape (N,) float64; arguments as in LensFinder.forward."""
        total = torch.zeros(len(images), dtype=torch.float64, device=images.device)
        for mirrored in (False, True):
            for quarter in range(4):
                seen, bad = (
                    torch.rot90(x.flip(-1) if mirrored else x, quarter, (-2, -1))
                    for x in (images, mask)
                )
                logit = self.finder(seen.contiguous(), noise, bad.contiguous(), band_present)
                total = total + functional.logsigmoid(logit.double())
        return total - torch.log(-torch.expm1(total.clamp_max(-1e-300)))
