"""What a mapper is to make small: squared error, misjudged variance, halo cross-entropy.

The Gaussian negative log-likelihood (κ − μ)²/2σ² + ln σ teaches μ and σ at once, but divides the
error of the mean by the network's own σ²: pixels that it calls uncertain, the massive haloes first,
teach the mean least. Here each has its own term (β = 1 in Seitzer et al. 2022, ICLR,
arXiv:2203.09168, eq. 5): the mean has plain squared error, whose minimum is the posterior mean,
and the variance has the likelihood with that mean held fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from equilens.models.spherical.mass_mapper import MassEstimate
from equilens.pipeline.masses.training_skies import Batch


@dataclass(frozen=True)
class MapperLoss:
    """Parts of the loss, each a mean over the pixels that count.

    Attributes
    ----------
    squared_error : of κ, over the square of the mapper's scale of κ
    likelihood : negative log-likelihood of the variance
    halo : cross-entropy of the halo channel
    """

    squared_error: Tensor
    likelihood: Tensor
    halo: Tensor

    def total(self, halo_weight: float) -> Tensor:
        """What is made small."""
        return self.squared_error + 0.5 * self.likelihood + halo_weight * self.halo


def mapper_loss(estimate: MassEstimate, batch: Batch, kappa_scale: float) -> MapperLoss:
    """The loss of an estimate, in units of the mapper's scale."""
    counted = batch.counted
    error = (estimate.kappa - batch.kappa)[counted] / kappa_scale
    log_variance = estimate.log_variance[counted] - 2 * torch.log(
        torch.as_tensor(kappa_scale, dtype=error.dtype)
    )
    squared = error.detach().square()
    likelihood = 0.5 * (log_variance + squared * torch.exp(-log_variance))
    halo = functional.binary_cross_entropy_with_logits(
        estimate.halo_logit[counted], batch.label[counted]
    )
    return MapperLoss(error.square().mean(), likelihood.mean(), halo)
