"""What decides how a finder is trained; two runs with equal values give equal weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from equilens.pipeline.errors import TrainingError
from equilens.pipeline.training.augmentation import Augmentation
from equilens.pipeline.training.losses import LOSSES, Tail
from equilens.pipeline.training.mining import Mining
from equilens.pipeline.training.settings import known_settings, require_settings, warm_cosine
from equilens.pipeline.training.stopping import Stopping

PRECISIONS = ("auto", "float32", "bfloat16")


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
    loss : ``bce``, cross-entropy; or ``tail``, which cares for the lowest false-positive rates
    tail : of that loss, see `Tail`
    mining : hard examples more often, see `Mining`
    stopping : when nothing gets better, see `Stopping`
    bootstrap : train on a bootstrap of the training parents, drawn by `seed`
    precision : ``float32``, ``bfloat16`` (mixed, by autocast), or ``auto``: the latter on a GPU
        that has it
    compile : let torch compile the network; worth it for long trainings on a GPU
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
    loss: str = "bce"
    tail: Tail = field(default_factory=Tail)
    mining: Mining = field(default_factory=Mining)
    stopping: Stopping = field(default_factory=Stopping)
    bootstrap: bool = False
    precision: str = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        counts = ("images_seen", "batch_size", "validation_size", "validations")
        require_settings(
            self,
            counts=(*counts, "pool_shards", "threads"),
            positive=("learning_rate", "clip_norm", "time_limit_s", "checkpoint_every_s"),
            shares=("warm_up", "ema_decay", "validation_fraction"),
        )
        if self.curriculum_snr < 0 or not 0 <= self.curriculum < 1:
            raise TrainingError(
                "curriculum_snr must not be negative and curriculum in [0, 1), "
                f"got {self.curriculum_snr} and {self.curriculum}"
            )
        if self.loss not in LOSSES:
            raise TrainingError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}")
        if self.precision not in PRECISIONS:
            raise TrainingError(
                f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}"
            )
        if self.epochs is not None and not self.epochs > 0:
            raise TrainingError(f"epochs must be positive, got {self.epochs}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The configuration of `to_dict`, or of any part of it; unknown keys are errors.

        Raises
        ------
        TrainingError
        """
        settings = dict(known_settings(cls, values, ""))
        for name, group in GROUPS.items():
            if name in settings:
                settings[name] = group(**known_settings(group, settings[name], f"{name}."))
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, groups as dictionaries."""
        return asdict(self)

    def budget(self, n_training: int) -> int:
        """Cutouts to show in all."""
        return self.images_seen if self.epochs is None else math.ceil(self.epochs * n_training)

    def rate(self, progress: float) -> float:
        """Learning rate at `progress` in [0, 1] of the schedule."""
        return warm_cosine(self.learning_rate, self.warm_up, progress)


GROUPS: dict[str, type] = {
    "augmentation": Augmentation,
    "tail": Tail,
    "mining": Mining,
    "stopping": Stopping,
}
