"""What can be done to a sky around a centre pixel: quarter turns, mirror images, turns between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from equilens.models.groups import CyclicGroup, DihedralGroup, Group

SQUARE = DihedralGroup(4)
ANGLES_DEG = (45.0, 22.5)


@dataclass(frozen=True)
class Move:
    """An element of D4, which moves whole pixels, or a turn by another angle.

    Parameters
    ----------
    angle_deg : float
        Of the turn, after the mirror image.
    mirrored : bool
    element : int or None
        Of D4; None where the pixel grid lacks the angle.
    """

    angle_deg: float
    mirrored: bool = False
    element: int | None = None

    @property
    def name(self) -> str:
        """Such as ``90°`` or ``mirror 90°``."""
        turn = f"{self.angle_deg:g}°" if self.angle_deg else ""
        return " ".join(filter(None, ("mirror" if self.mirrored else "", turn)))

    def belongs_to(self, group: Group) -> bool:
        """Whether the group holds this move."""
        turns = Fraction(self.angle_deg / 360).denominator
        kind = DihedralGroup if self.mirrored else CyclicGroup
        return group.contains(kind(turns))


def moves(shape: tuple[int, int]) -> Iterator[Move]:
    """Yield the moves of the pixel grid but the identity, then turns between them.

    Cutouts that are not square have no quarter turns.
    """
    for element in SQUARE.elements:
        quarters, mirrored = SQUARE.split(element)
        if element and (shape[0] == shape[1] or quarters % 2 == 0):
            yield Move(90.0 * quarters, bool(mirrored), element)
    yield from (Move(angle) for angle in ANGLES_DEG)
