"""Training of finders on labelled cutouts."""

from equilens.pipeline.training.augmentation import Augmentation
from equilens.pipeline.training.config import TrainConfig
from equilens.pipeline.training.identity import other_training
from equilens.pipeline.training.loop import TrainReport, train

__all__ = ["Augmentation", "TrainConfig", "TrainReport", "other_training", "train"]
