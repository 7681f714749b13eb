"""What decides how a mass mapper is trained; two runs with equal values give equal weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from equilens.pipeline.errors import TrainingError
from equilens.pipeline.masses.halo_labels import HaloSelection
from equilens.pipeline.training.settings import known_settings, require_settings, warm_cosine

TRAINING = "a mapper's training"
# how long to run and how often to look may change between two parts of one training
FREE = ("time_limit_s", "checkpoint_every_s", "validations", "threads")


@dataclass(frozen=True)
class MapperConfig:
    """Budget, patches, optimiser and loss of one training.

    Attributes
    ----------
    patches_seen : length of the schedule, in patches shown to the network
    batch_size : patches a step; they share their place on the sky up to a quarter turn about its
        axis, so that they share their stencils too, and come from skies drawn at random
    n_squares : squares along the side of a base pixel; a patch is one of them
    margin_pixels : that a patch sees around its square while training. Less than the network's
        reach: what lies further out is then missing, as it is beyond a survey's edge
    geometries : places on the sky whose stencils are kept; drawn once, by the seed
    learning_rate : peak of a linear warm-up followed by a half cosine
    warm_up : share of the schedule spent warming up
    weight_decay : of AdamW, on kernels only
    clip_norm : largest norm of the whole gradient
    ema_decay : of the running average of the weights, which is what is kept in the end
    halo_weight : of the cross-entropy of the halo channel beside the loss of κ
    validation_patches : of held-out skies, for a line of the log
    validations : lines of the log with held-out figures
    checkpoint_every_s : between two checkpoints to resume from
    time_limit_s : wall time over all resumed parts; the schedule ends with the budget that ends
        first, so that the learning rate always comes down
    threads : of torch, in this process
    seed : of initial weights, patches and order
    halos : which haloes are to be found
    """

    patches_seen: int = 20_000
    batch_size: int = 4
    n_squares: int = 8
    margin_pixels: int = 8
    geometries: int = 48
    learning_rate: float = 4e-3
    warm_up: float = 0.05
    weight_decay: float = 1e-3
    clip_norm: float = 5.0
    ema_decay: float = 0.995
    halo_weight: float = 3.0
    validation_patches: int = 32
    validations: int = 15
    checkpoint_every_s: float = 120.0
    time_limit_s: float = math.inf
    threads: int = 1
    seed: int = 0
    halos: HaloSelection = field(default_factory=HaloSelection)

    def __post_init__(self) -> None:
        counts = ("patches_seen", "batch_size", "n_squares", "geometries", "validation_patches")
        require_settings(
            self,
            counts=(*counts, "validations", "threads"),
            positive=("learning_rate", "clip_norm", "time_limit_s", "checkpoint_every_s"),
            shares=("warm_up", "ema_decay"),
        )
        for name in ("margin_pixels", "halo_weight", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise TrainingError(f"{name} must not be negative, got {getattr(self, name)}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MapperConfig:
        """The configuration of `to_dict`, or of any part of it; unknown keys are errors."""
        settings = dict(known_settings(cls, values, "", TRAINING))
        if "halos" in settings:
            halos = known_settings(HaloSelection, settings["halos"], "halos.", TRAINING)
            settings["halos"] = HaloSelection(**halos)
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, groups as dictionaries."""
        return asdict(self)

    def identity(self) -> dict[str, Any]:
        """What the weights depend on."""
        return {name: value for name, value in self.to_dict().items() if name not in FREE}

    def rate(self, progress: float) -> float:
        """Learning rate at `progress` in [0, 1] of the schedule."""
        return warm_cosine(self.learning_rate, self.warm_up, progress)
