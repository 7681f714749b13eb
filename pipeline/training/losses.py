"""Losses: cross-entropy over all objects, and one that looks at the hardest non-lenses.

A survey is searched at a false-positive rate of 1e-4 or below, where one non-lens in thousands
decides. Cross-entropy spends itself on all of them alike. What matters there is the partial AUROC:
the share of pairs of a lens and a non-lens that are in the right order, counted over the highest
β of the non-lenses alone. Its empirical form (Narasimhan & Agarwal 2013, "A structural SVM based
approach for optimizing partial AUC", ICML, PMLR 28, equation 2, with α = 0)

    pAUC = 1 / (n₊ j_β) Σ_i Σ_{j ≤ j_β} 1[s(x_i⁺) > s(x₍ⱼ₎⁻)],    j_β = ⌈β n₋⌉,

with the non-lenses in order of falling score, is made smooth by the sigmoid of s⁻ − s⁺ in place
of the indicator of a wrong pair (Yan, Dodier, Mozer & Wolniewicz 2003, ICML, equation 6, with a
sigmoid of slope 1), and estimated from batches with a memory, since a batch holds fewer
non-lenses than 1/β. The sigmoid is bounded: a lens that nothing shows cannot outweigh the others,
as it would in a convex surrogate, which then makes all logits small instead.

Focal loss is not offered: it takes weight from whatever is classified with confidence, lens or
not, and does not know which end of the ROC curve is looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.pipeline.errors import TrainingError

LOSSES = ("bce", "tail")


@dataclass(frozen=True)
class Tail:
    """Of the loss ``tail``.

    Attributes
    ----------
    share : β, of non-lenses that the pairwise term looks at, those with the highest scores
    weight : of the pairwise term beside cross-entropy
    memory : logits of recent non-lenses that tell which scores are high
    """

    share: float = 0.02
    weight: float = 1.0
    memory: int = 4096

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise TrainingError(f"tail.share must be in (0, 1], got {self.share}")
        if not self.weight >= 0:
            raise TrainingError(f"tail.weight must not be negative, got {self.weight}")
        if self.memory < 0:
            raise TrainingError(f"tail.memory must not be negative, got {self.memory}")


class CrossEntropy(nn.Module):
    """Mean binary cross-entropy of logits; with weights, Σ w ℓ / N."""

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        return functional.binary_cross_entropy_with_logits(logits, labels, weights)


class TailLoss(nn.Module):
    """Cross-entropy, and pairs of lenses with the hardest non-lenses.

    The memory is part of the state of a training: its content is a buffer.

    Parameters
    ----------
    settings : Tail
    """

    recent: Tensor
    written: Tensor

    def __init__(self, settings: Tail) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("recent", torch.full((settings.memory,), -math.inf))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch, and remember its non-lenses.

        Parameters
        ----------
        logits, labels : (N,) Tensor
        weights : (N,) Tensor, of cross-entropy alone: the pairs are about ranks
        """
        entropy = functional.binary_cross_entropy_with_logits(logits, labels, weights)
        lenses, nonlenses = logits[labels > 0.5], logits[labels <= 0.5]
        known = int(self.written.clamp(max=len(self.recent)))
        pairs = hardest_pairs(lenses, nonlenses, self.recent[:known], self.settings.share)
        self._remember(nonlenses.detach())
        return entropy + self.settings.weight * pairs

    def _remember(self, logits: Tensor) -> None:
        """Write over the oldest."""
        size = len(self.recent)
        if not size:
            return
        logits = logits[-size:].to(self.recent.dtype)
        places = (self.written + torch.arange(len(logits), device=logits.device)) % size
        self.recent[places] = logits
        self.written += len(logits)


def hardest_pairs(lenses: Tensor, nonlenses: Tensor, recent: Tensor, share: float) -> Tensor:
    """Mean of 1 / (1 + exp(s⁺ − s⁻)) over lenses and the highest `share` of non-lenses.

    The highest are taken from the batch and the memory together, and lenses are pulled above all
    of them. Those of the memory can not be moved any more. So those of the batch are pushed with
    the weight that makes their expected gradient that of the whole population: each stands for
    1 / (β m) of the highest, m being the batch's non-lenses. Without a memory, and with β m whole,
    value and gradient are those of the batch's partial AUROC itself.

    Parameters
    ----------
    lenses : (P,) Tensor, logits
    nonlenses : (m,) Tensor, logits
    recent : (M,) Tensor, logits without a gradient
    share : β
    """
    if not len(lenses) or not len(nonlenses):
        return (lenses.sum() + nonlenses.sum()) * 0
    known = torch.cat([nonlenses.detach(), recent.to(nonlenses.dtype)])
    hardest = known.topk(math.ceil(share * len(known))).values
    pull = torch.sigmoid(hardest - lenses[:, None]).mean()
    pushed = nonlenses[nonlenses.detach() >= hardest[-1]]
    push = torch.sigmoid(pushed - lenses.detach()[:, None]).mean(dim=0).sum()
    push = push / (share * len(nonlenses))
    # the second term is there for its gradient: its value is the first one's, by another estimate
    return pull + (push - push.detach())


def build_loss(name: str, tail: Tail) -> nn.Module:
    """Return the loss of that name.

    Raises
    ------
    TrainingError
        Where there is none.
    """
    if name == "bce":
        return CrossEntropy()
    if name == "tail":
        return TailLoss(tail)
    raise TrainingError(f"loss must be one of {', '.join(LOSSES)}, got {name!r}")
