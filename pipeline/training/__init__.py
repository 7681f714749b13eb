"""Training of finders on labelled cutouts."""

from equilens.pipeline.training.augmentation import Augmentation
from equilens.pipeline.training.committee import train_committee
from equilens.pipeline.training.config import TrainConfig
from equilens.pipeline.training.identity import other_training
from equilens.pipeline.training.loop import TrainReport, train
from equilens.pipeline.training.losses import Tail
from equilens.pipeline.training.mining import Mining
from equilens.pipeline.training.stopping import Stopping
from equilens.pipeline.training.transfer import WarmStart

__all__ = [
    "Augmentation",
    "Mining",
    "Stopping",
    "Tail",
    "TrainConfig",
    "TrainReport",
    "WarmStart",
    "other_training",
    "train",
    "train_committee",
]
