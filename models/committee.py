"""Several finders of one architecture that score together.

**Rule.** The score of a committee is the mean of its members' logits: the log of the geometric
mean of their odds. A mean of probabilities would be decided at the top, where candidates are, by
whichever member is most confident, and rounds to ties there; the mean of logits is high only
where no member objects strongly, and never saturates. It is an uncalibrated score like any
other. The spread of the members' logits says how much the training's randomness matters for an
object; it is no error bar of a probability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equilens.models.comparators import Comparator
from equilens.models.errors import ArchitectureError
from equilens.models.inputs import InputSpec
from equilens.models.networks import Architecture

MOST_MEMBERS = 32
RULE = "mean of the members' logits"


class Committee(nn.Module):
    """Finders that take the same cutouts; called like one of them, with their mean logit.

    Parameters
    ----------
    members : sequence of LensFinder or of FoldedFinder
        Two or more, of equal architecture and input specification.

    Raises
    ------
    ArchitectureError
    """

    def __init__(self, members: Sequence[Any]) -> None:
        super().__init__()
        if not 2 <= len(members) <= MOST_MEMBERS:
            raise ArchitectureError(
                f"a committee has 2 to {MOST_MEMBERS} members, got {len(members)}"
            )
        first = members[0]
        for number, member in enumerate(members):
            if (member.architecture, member.spec) != (first.architecture, first.spec):
                raise ArchitectureError(
                    f"member {number} is a {member.architecture.name} for {member.spec}, the first "
                    f"a {first.architecture.name} for {first.spec}: a committee's must be equal"
                )
        self.members = nn.ModuleList(members)

    @property
    def _first(self) -> Any:
        return self.members[0]

    @property
    def architecture(self) -> Architecture | Comparator:
        """That of every member."""
        return self._first.architecture

    @property
    def spec(self) -> InputSpec:
        """What every member takes."""
        return self._first.spec

    def member_logits(
        self, images: Tensor, noise: Tensor, mask: Tensor, band_present: Tensor
    ) -> Tensor:
        """Return every member's logits, shape (N, members)."""
        inputs = (images, noise, mask, band_present)
        return torch.stack([member(*inputs) for member in self.members], dim=1)

    def forward(self, images: Tensor, noise: Tensor, mask: Tensor, band_present: Tensor) -> Tensor:
        """Return scores, shape (N,): their mean; arguments as in LensFinder.forward."""
        return self.member_logits(images, noise, mask, band_present).mean(dim=1)

    def each(self, change: Callable[[Any], nn.Module]) -> Committee:
        """Return the committee of the changed members, such as folded ones."""
        return Committee([change(member) for member in self.members])

    def extra_repr(self) -> str:
        return f"{len(self.members)} × {self.architecture.name}, {RULE}"
