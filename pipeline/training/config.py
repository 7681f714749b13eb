"""What decides how a finder is trained; two runs with equal values give equal weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from equilens.pipeline.errors import TrainingError
from equilens.pipeline.training.augmentation import Augmentation


@dataclass(frozen=True)
class TrainConfig:
    """Budget, optimiser and split of one training.

    Attributes
    ----------
    images_seen : length of the schedule, in cutouts shown to the network
    epochs : the same in passes over the training set; wins over `images_seen`
    batch_size : cutouts a step
    learning_rate : peak of a linear warm-up followed by a half cosine
    warm_up : share of the schedule spent warming up
    weight_decay : of AdamW, on kernels only
    clip_norm : largest norm of the whole gradient
    ema_decay : of the running average of the weights, which is what is kept in the end
    validation_fraction : share of parents held out; a parent is on one side with all its children
    validation_size : most held-out cutouts to score for a line of the log
    validations : lines of the log with held-out figures
    pool_shards : store shards held in memory and shuffled together
    checkpoint_every_s : between two checkpoints to resume from
    time_limit_s : wall time over all resumed parts; the schedule ends with the budget that ends
        first, so that the learning rate always comes down
    threads : of torch, in this process
    device : where the network runs
    curriculum_snr : at the start, lenses with fainter arcs (column ``arc_snr``) are left out; the
        limit comes down linearly
    curriculum : share of the images of the schedule until all lenses are in; 0 for no curriculum
    seed : of initial weights, order and augmentation
    augmentation : see `Augmentation`
    """

    images_seen: int = 200_000
    epochs: float | None = None
    batch_size: int = 32
    learning_rate: float = 3e-3
    warm_up: float = 0.05
    weight_decay: float = 1e-2
    clip_norm: float = 5.0
    ema_decay: float = 0.998
    validation_fraction: float = 0.1
    validation_size: int = 1024
    validations: int = 20
    pool_shards: int = 2
    checkpoint_every_s: float = 180.0
    time_limit_s: float = math.inf
    threads: int = 1
    device: str = "cpu"
    curriculum_snr: float = 60.0
    curriculum: float = 0.4
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        at_least_one = ("images_seen", "batch_size", "validation_size", "validations")
        for name in (*at_least_one, "pool_shards", "threads"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm", "time_limit_s", "checkpoint_every_s"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("warm_up", "ema_decay", "validation_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise TrainingError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.curriculum_snr < 0 or not 0 <= self.curriculum < 1:
            raise TrainingError(
                "curriculum_snr must not be negative and curriculum in [0, 1), "
                f"got {self.curriculum_snr} and {self.curriculum}"
            )
        if self.epochs is not None and not self.epochs > 0:
            raise TrainingError(f"epochs must be positive, got {self.epochs}")

    def budget(self, n_training: int) -> int:
        """Cutouts to show in all."""
        return self.images_seen if self.epochs is None else math.ceil(self.epochs * n_training)

    def rate(self, progress: float) -> float:
        """Learning rate at `progress` in [0, 1] of the schedule."""
        if progress < self.warm_up:
            return self.learning_rate * max(progress / self.warm_up, 0.01)
        done = min((progress - self.warm_up) / (1 - self.warm_up), 1.0)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
