"""Folds and bootstrap samples that keep all objects of one parent together.

Objects made from one parent (an arc injected into the same galaxy at several angles) are no
independent evidence: a parent is held out whole, and drawn whole.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equilens.catalogs.errors import ScoreError


def group_codes(groups: ArrayLike | None, n: int) -> NDArray[np.int64]:
    """Number the parents 0, 1, 2, …; without ``groups`` each object is its own."""
    if groups is None:
        return np.arange(n)
    values = np.asarray(groups)
    if values.shape != (n,):
        raise ScoreError(f"parents must be one for each of {n} objects, got shape {values.shape}")
    comparable = values if values.dtype.kind in "iuU" else values.astype(str)
    return np.unique(comparable, return_inverse=True)[1].astype(np.int64)


def parents_of(columns: Mapping[str, np.ndarray], ids: ArrayLike) -> NDArray[np.object_]:
    """The column ``parent_id``; an object without one, or a table without it, is its own parent."""
    own = np.asarray(ids).astype(str).astype(object)
    if "parent_id" not in columns:
        return own
    named = np.asarray(columns["parent_id"]).astype(str).astype(object)
    nobody = np.isin(named.astype(str), ("", "nan", "None"))
    # a prefix keeps an object's own name apart from a parent that is called the same
    return np.where(nobody, "own " + own, "parent " + named)


def grouped_folds(codes: NDArray[np.int64], n_folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each object, (N,): parents shuffled, then dealt out in turn."""
    n_groups = int(codes.max()) + 1 if len(codes) else 0
    if not 2 <= n_folds <= n_groups:
        raise ScoreError(
            f"the number of folds must lie between 2 and the number of parents {n_groups}, "
            f"got {n_folds}; give more parents or fewer folds"
        )
    dealt = np.empty(n_groups, dtype=np.int64)
    dealt[np.random.default_rng(seed).permutation(n_groups)] = np.arange(n_groups) % n_folds
    return dealt[codes]


def bootstrap_weights(codes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each object is in one bootstrap sample of the parents, (N,)."""
    n_groups = int(codes.max()) + 1
    drawn = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
    return drawn[codes].astype(np.float64)
