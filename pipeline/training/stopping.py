"""Ending a training that no longer gets better, and keeping the best of it.

Held-out parents are then in two parts, by a hash of their names: one **decides** when to stop and
which average to keep, and so flatters what was chosen; the other one **reports**, and only its
figures are on the card.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor, nn

from equilens.pipeline.errors import TrainingError

CRITERIA = ("auroc", "tpr_fpr_1e-2")


@dataclass(frozen=True)
class Stopping:
    """When to stop.

    Attributes
    ----------
    patience : validations without a better figure after which the training ends; 0 to take the
        whole schedule and keep its last average
    by : the figure: ``auroc``, or ``tpr_fpr_1e-2``, the completeness at a false-positive rate of
        1e-2, which needs a validation_size of thousands to be more than chance
    decides : share of the held-out parents that decide; the others report
    """

    patience: int = 0
    by: str = "auroc"
    decides: float = 0.5

    def __post_init__(self) -> None:
        if self.patience < 0:
            raise TrainingError(f"stopping.patience must not be negative, got {self.patience}")
        if self.by not in CRITERIA:
            raise TrainingError(f"stopping.by must be one of {CRITERIA}, got {self.by!r}")
        if not 0 < self.decides < 1:
            raise TrainingError(f"stopping.decides must be between 0 and 1, got {self.decides}")

    @property
    def active(self) -> bool:
        return self.patience > 0


@dataclass
class Best:
    """The best average so far.

    Attributes
    ----------
    value : its figure
    step, images : when it was
    since : validations since then
    tensors : its state; empty before the first validation
    """

    value: float = -math.inf
    step: int = 0
    images: int = 0
    since: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def see(self, value: float, average: nn.Module, step: int, images: int) -> None:
        """One more validation; a figure that is no number is no better one."""
        self.since += 1
        if value > self.value:
            self.value, self.step, self.images, self.since = value, step, images, 0
            self.tensors = {k: v.detach().clone() for k, v in average.state_dict().items()}

    def facts(self) -> dict[str, float]:
        """All but the tensors."""
        return {
            "value": self.value,
            "step": self.step,
            "images": self.images,
            "since": self.since,
        }
