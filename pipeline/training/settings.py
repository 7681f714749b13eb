"""What the configurations of all trainings share: checks of their values, and the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from equilens.pipeline.errors import TrainingError


def require_settings(
    config: object, *, counts: Iterable[str], positive: Iterable[str], shares: Iterable[str]
) -> None:
    """Refuse counts below one, what must be positive and is not, and shares out of (0, 1).

    Raises
    ------
    TrainingError
    """
    for name in counts:
        if getattr(config, name) < 1:
            raise TrainingError(f"{name} must be at least 1, got {getattr(config, name)}")
    for name in positive:
        if not getattr(config, name) > 0:
            raise TrainingError(f"{name} must be positive, got {getattr(config, name)}")
    for name in shares:
        if not 0 < getattr(config, name) < 1:
            raise TrainingError(f"{name} must be between 0 and 1, got {getattr(config, name)}")


def known_settings(
    group: type, values: Mapping[str, Any], prefix: str, training: str = "a training"
) -> Mapping[str, Any]:
    """The values, if `group` has a field for each.

    Raises
    ------
    TrainingError
        Naming the first that is unknown, and those that there are.
    """
    names = {entry.name for entry in fields(group)}
    if unknown := sorted(set(values) - names):
        raise TrainingError(
            f"{prefix}{unknown[0]} is no setting of {training}; there are "
            f"{', '.join(prefix + name for name in sorted(names))}"
        )
    return values


def warm_cosine(peak: float, warm_up: float, progress: float) -> float:
    """Learning rate at `progress` in [0, 1]: a linear warm-up, then half a cosine down to 1 %."""
    if progress < warm_up:
        return peak * max(progress / warm_up, 0.01)
    done = min((progress - warm_up) / (1 - warm_up), 1.0)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
