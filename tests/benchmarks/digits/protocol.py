"""Data, skeleton and training that all contenders on rotated digits share: numpy and torch only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

SIDE = 29
N_CLASSES, N_TRAIN_EACH = 10, 300
N_VALIDATION_EACH = 50
SPLIT_SEED = 20_260_101
EPOCHS, BATCH, WEIGHT_DECAY = 20, 50, 1e-4
LEARNING_RATE = 1e-2
Block = Callable[[int, int, int, int], nn.Module]


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 29, 29) in 0…1 and their classes (N,)."""

    images: Tensor
    labels: Tensor


def rotated_digits(data: Path, seed: int, validate: bool = False) -> tuple[Digits, Digits]:
    """Return what to train on and what to test on; the split is one for all seeds.

    Parameters
    ----------
    data : Path
        Folder with ``mnist/mnist_4000.npz``.
    seed : int
        Draws the angle of every digit.
    validate : bool
        Test on the last 50 digits a class of the training part and train on the rest of it.
    """
    arrays = np.load(data / "mnist" / "mnist_4000.npz")
    labels = arrays["labels"].astype(np.int64)
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(labels))
    images = rotate(torch.from_numpy(arrays["images"]).float() / 255, torch.from_numpy(angles))
    draw = np.random.default_rng(SPLIT_SEED)
    shuffled = [draw.permutation(np.flatnonzero(labels == k)) for k in range(N_CLASSES)]
    stop = N_TRAIN_EACH
    start = stop - N_VALIDATION_EACH if validate else stop
    train = np.concatenate([numbers[:start] for numbers in shuffled])
    test = np.concatenate([numbers[start : stop if validate else None] for numbers in shuffled])
    return tuple(
        Digits(images[part], torch.from_numpy(labels[part]))
        for part in (torch.from_numpy(train), torch.from_numpy(test))
    )  # type: ignore[return-value]


def rotate(images: Tensor, angles: Tensor) -> Tensor:
    """Return (N, 28, 28) images turned about their centre, sampled once on 29², bicubic.

    The grid of 29² has the same centre and pixel, so rotation and padding are one interpolation;
    outside the image is 0.
    """
    axis = torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    cosine, sine = angles.cos()[:, None, None], angles.sin()[:, None, None]
    source = torch.stack([cosine * x + sine * y, cosine * y - sine * x], dim=3)
    source = (source * 2 / images.shape[-1]).float()
    turned = functional.grid_sample(images[:, None], source, mode="bicubic", align_corners=False)
    return turned.clamp(0, 1)


class DigitNetwork(nn.Module):
    """Four 5×5 blocks, pooling over the fibre and the disc, then a perceptron.

    Blocks give maps of 29², 15², 8² and 4² pixels. Maps fade out towards the inscribed circle and
    are blurred before they are halved, for every contender alike.

    Parameters
    ----------
    block : callable
        ``block(in fields, out fields, padding, index)`` → convolution, normalisation and ELU
        between plain tensors; the first one takes the image.
    fields : tuple of int
        Output fields of the four blocks.
    fibre : int
        Channels of a field.
    """

    def __init__(self, block: Block, fields: tuple[int, ...], fibre: int) -> None:
        super().__init__()
        first, second, third, last = fields
        self.fibre = fibre
        self.features = nn.Sequential(
            Taper(SIDE, 2.0),
            block(1, first, 2, 0),
            Blur(),
            Taper(15, 1.0),
            block(first, second, 2, 1),
            Blur(),
            Taper(8, 1.0),
            block(second, third, 2, 2),
            block(third, last, 0, 3),
        )
        self.register_buffer("disc", disc(4), persistent=False)
        invariants = last * (1 if fibre == 1 else 2)
        self.head = nn.Sequential(nn.Linear(invariants, 64), nn.ELU(), nn.Linear(64, N_CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Return class logits (N, 10) of images (N, 1, 29, 29)."""
        features = self.features(images)
        if self.fibre > 1:
            fibres = features.unflatten(1, (-1, self.fibre))
            features = torch.cat([fibres.mean(dim=2), fibres.amax(dim=2)], dim=1)
        return self.head((features * self.disc).sum(dim=(2, 3)))


def distance(side: int) -> Tensor:
    """Return each pixel's distance from the centre, in pixels."""
    axis = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    return torch.hypot(axis[:, None], axis)


def disc(side: int) -> Tensor:
    """Return weights of unit sum over the inscribed disc."""
    inside = (distance(side) <= side / 2).float()
    return inside / inside.sum()


class Taper(nn.Module):
    """Fade a map to 0 over ``edge`` pixels inside its inscribed circle."""

    def __init__(self, side: int, edge: float) -> None:
        super().__init__()
        inside = ((side / 2 - distance(side)) / edge).clamp(0, 1).float()
        self.register_buffer("taper", inside.square() * (3 - 2 * inside), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return features * self.taper


class Blur(nn.Module):
    """Binomial blur, then every second pixel."""

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("blur", (line[:, None] * line)[None, None], persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        channels = features.shape[1]
        kernel = self.blur.expand(channels, -1, -1, -1)
        return functional.conv2d(features, kernel, stride=2, padding=1, groups=channels)


def train(network: nn.Module, digits: Digits, seed: int, rate: float, epochs: int) -> float:
    """Train in place by AdamW and a one-cycle rate; return CPU seconds."""
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
    steps = epochs * math.ceil(len(digits.labels) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    start = time.process_time()
    network.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(digits.labels), generator=draw).split(BATCH):
            loss = functional.cross_entropy(network(digits.images[batch]), digits.labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return time.process_time() - start


def error(network: nn.Module, digits: Digits) -> float:
    """Return the fraction of digits that the network gets wrong."""
    network.eval()
    with torch.inference_mode():
        parts = zip(digits.images.split(250), digits.labels.split(250), strict=True)
        wrong = [int((network(images).argmax(1) != labels).sum()) for images, labels in parts]
    return sum(wrong) / len(digits.labels)
