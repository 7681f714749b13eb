"""Hard examples more often: objects are drawn by how wrong the network was about them.

Of the draws of a class, a share goes to its objects in proportion to their hardness, σ(s) for a
non-lens of logit s and σ(−s) for a lens, and the rest to all alike, so that none is forgotten and
every logit is renewed. An epoch draws as many of each class as without mining, with systematic
resampling: an object whose expected number of draws is 2.3 is drawn two or three times.

Lenses are drawn alike by default: many are invisible in the noise, and those are the hardest of
all, for ever.

Weights that undo the drawing in the loss (importance sampling) are off by default. They would
give back, on average, the gradient of the training without mining, with less or more scatter; what
mining is for is another gradient, that of the operating point at a low false-positive rate. The
price is that logits are those of the mix that was drawn: like all scores here, they rank and have
to be calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equilens.pipeline.errors import TrainingError


@dataclass(frozen=True)
class Mining:
    """How hard examples are sought.

    Attributes
    ----------
    share : of the draws of non-lenses that go to hard ones; 0 for no mining
    lens_share : the same of lenses
    most : about how many draws an epoch an object can get
    corrected : weigh losses by the inverse of the draws' frequency
    """

    share: float = 0.0
    lens_share: float = 0.0
    most: float = 8.0
    corrected: bool = False

    def __post_init__(self) -> None:
        for name in ("share", "lens_share"):
            # a rest is always drawn alike, or logits of easy objects would grow stale
            if not 0 <= getattr(self, name) <= 0.9:
                raise TrainingError(
                    f"mining.{name} must be between 0 and 0.9, got {getattr(self, name)}"
                )

        if not self.most >= 1:
            raise TrainingError(f"mining.most must be at least 1, got {self.most}")

    @property
    def active(self) -> bool:
        return self.share > 0 or self.lens_share > 0


class Hardness:
    """The last known logit of every training object, as of now and as of the epoch's start.

    Draws of an epoch see the latter alone, so that they depend on no thread's timing and are the
    same after a stop. Two float32 an object; NaN for one that was never shown.

    Parameters
    ----------
    how : Mining
    n_objects : of the training set, those held out included
    """

    def __init__(self, how: Mining, n_objects: int) -> None:
        self.how = how
        self.latest = np.full(n_objects, np.nan, np.float32)
        self.at_start = self.latest.copy()
        self.epoch = 0

    def begin(self, epoch: int) -> None:
        """Draw from what is known now; once an epoch."""
        if epoch != self.epoch:
            self.at_start = self.latest.copy()
            self.epoch = epoch

    def record(self, rows: np.ndarray, logits: np.ndarray) -> None:
        """Logits of objects that were just shown."""
        self.latest[rows] = logits

    def draw(
        self, rows: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places in `rows`, as many of each class as there are, and each one's weight in the loss.

        Parameters
        ----------
        rows : (n,) int, objects that may be shown, of both classes
        labels : (n,) of them
        """
        places, weights = [], []
        for label, share in ((0, self.how.share), (1, self.how.lens_share)):
            members = np.flatnonzero(labels == label)
            if not members.size:
                continue
            expected = self._expected(rows[members], label, share)
            counts = systematic_counts(expected, rng)
            places.append(np.repeat(members, counts))
            weights.append(np.repeat(1 / expected, counts))
        weight = np.concatenate(weights).astype(np.float32)
        return np.concatenate(places), weight if self.how.corrected else np.ones_like(weight)

    def _expected(self, rows: np.ndarray, label: int, share: float) -> np.ndarray:
        """Expected draws of each object of a class; they sum to their number."""
        logits = self.at_start[rows].astype(np.float64)
        wrong = 1 / (1 + np.exp(np.clip(logits if label else -logits, -500, 500)))
        wrong[np.isnan(wrong)] = 1.0  # never shown: to be seen soon
        expected = 1 - share + share * len(rows) * wrong / wrong.sum()
        # a handful of hard objects would be learnt by heart: what they give up goes to all alike
        expected = np.minimum(expected, self.how.most)
        return expected + 1 - expected.mean()


def systematic_counts(expected: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whole numbers, each within one of its expectation and right on average, that sum as they do.

    Systematic resampling (Kitagawa 1996, J. Comput. Graph. Stat. 5, 1): one random offset for all.
    """
    steps = np.floor(np.cumsum(expected) + rng.random())
    steps[-1] = max(steps[-1], np.rint(expected.sum()))
    steps = np.minimum(steps, np.rint(expected.sum()))
    return np.diff(steps, prepend=0).astype(np.int64)
