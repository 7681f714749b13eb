"""Sums over windows, y[p] = Σ_k w[p, k] x[place(p, k)], without unfolding the windows.

``embedding_bag`` is that sum over rows. Its own backward pass would sort all indices each time:
ours is the same sum over the windows read backwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor


class Incoming(NamedTuple):
    """Windows read backwards: which ones each row is in.

    Attributes
    ----------
    entries : (N K,) int64 Tensor
        Entries of the windows, sorted by the row that they name.
    windows : (N K,) int32 Tensor
        Numbers of the windows of those entries.
    starts : (rows,) int32 Tensor
        First entry of each row.
    """

    entries: Tensor
    windows: Tensor
    starts: Tensor


@dataclass(frozen=True, eq=False)
class Windows:
    """Which rows each of N sums takes.

    Attributes
    ----------
    places : (N, K) int32 Tensor
    present : (N, K) bool Tensor
        Entries that count; the others name any row.
    n_rows : int
    """

    places: Tensor
    present: Tensor
    n_rows: int

    @cached_property
    @torch.inference_mode(False)
    def incoming(self) -> Incoming:
        """The windows, backwards."""
        named = self.places.reshape(-1).long()
        entries = torch.argsort(named, stable=True)
        counts = torch.bincount(named, minlength=self.n_rows)
        starts = torch.cumsum(counts, 0) - counts
        return Incoming(entries, (entries // self.places.shape[1]).int(), starts.int())


class _StencilSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor, weights: Tensor, windows: Windows) -> Tensor:
        ctx.save_for_backward(weights)
        ctx.windows = windows
        return functional.embedding_bag(
            windows.places, rows, mode="sum", per_sample_weights=weights
        )

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weights,) = ctx.saved_tensors
        incoming = ctx.windows.incoming
        returned = functional.embedding_bag(
            incoming.windows,
            gradient.contiguous(),
            incoming.starts,
            mode="sum",
            per_sample_weights=weights.reshape(-1)[incoming.entries],
        )
        return returned, None, None


def stencil_sum(rows: Tensor, weights: Tensor, windows: Windows) -> Tensor:
    """Return the weighted sum over each window, (N, columns).

    Parameters
    ----------
    rows : (rows, columns) Tensor
    weights : (N, K) Tensor
        Constants: no gradient flows into them.
    """
    return _StencilSum.apply(rows.contiguous(), weights.to(rows.dtype), windows)
