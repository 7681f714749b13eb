"""Steered Gaussians: the kernels that local convolutions are made of.

In normal coordinates x = ρ e^{iα} about a point, in units of the pixel spacing, a kernel of m
turns and order b is

    K(x) = c σ⁻² (x/σ)^m L_b^(m)(|x|²/2σ²) e^{−|x|²/2σ²},

a derivative of order m + 2b of a Gaussian. It answers to the wave e^{ik·x} by
i^m e^{imφ} (σk)^(m+2b) e^{−σ²k²/2}, times a constant that makes the largest answer 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

WIDTH = 0.7
"""σ in pixel spacings √(4π/12 nside²): narrow enough for a window of 5×5 pixels."""


@dataclass(frozen=True)
class SteeredGaussian:
    """One kernel.

    Parameters
    ----------
    turns : int
        m ≥ 0, the rotation frequency; conjugate the kernel for −m.
    order : int
        b ≥ 0: Laplacians on top.
    width : float
        σ.
    """

    turns: int
    order: int
    width: float = WIDTH

    @property
    def degree(self) -> int:
        """Derivatives that it takes: m + 2b."""
        return self.turns + 2 * self.order

    def answer(self, wavenumber: Tensor) -> Tensor:
        """|∫ K e^{ik·x} d²x| for waves of |k| radians a pixel spacing."""
        scaled = self.width * wavenumber
        return scaled**self.degree * torch.exp(-0.5 * scaled**2) / self._peak

    def blurred(self, position: Tensor, blur: float = 0.0) -> Tensor:
        """K convolved with a Gaussian of unit sum and width ``blur``, at complex positions."""
        variance = self.width**2 + blur**2
        half_square = position.abs().square() / (2 * variance)
        envelope = self._laguerre(half_square) * torch.exp(-half_square)
        shrunk = (self.width / math.sqrt(variance)) ** self.degree
        scale = math.factorial(self.order) * 2**self.order / (2 * math.pi * variance)
        steered = (position / math.sqrt(variance)) ** self.turns
        return steered * envelope * (scale * shrunk / self._peak)

    @property
    def _peak(self) -> float:
        """Largest value of x^n e^{−x²/2}, n = m + 2b, at x² = n."""
        n = self.degree
        return n ** (n / 2) * math.exp(-n / 2)

    def _laguerre(self, x: Tensor) -> Tensor:
        """L_b^(m)(x) by its three-term recurrence."""
        before, value = torch.zeros_like(x), torch.ones_like(x)
        for n in range(self.order):
            following = ((2 * n + 1 + self.turns - x) * value - (n + self.turns) * before) / (n + 1)
            before, value = value, following
        return value


def kernels_of_degree(degree: int) -> tuple[SteeredGaussian, ...]:
    """Return all kernels that take at most that many derivatives, by turns, then order."""
    return tuple(
        SteeredGaussian(turns, order)
        for turns in range(degree + 1)
        for order in range((degree - turns) // 2 + 1)
    )
