"""The table of published networks, built and measured."""

import dataclasses

import pytest

from equilens.models.classification import (
    PUBLISHED,
    ClassifiedNetwork,
    classification,
    classification_table,
)
from equilens.models.groups import DihedralGroup
from equilens.models.homogeneous import pixel_grid


@pytest.fixture(scope="module")
def rows():
    return classification()


def test_every_planar_row_on_square_pixels_works_and_the_others_say_why_not(rows):
    for row in rows:
        planar = row.network.space.base_space in ("Z²", "R²")
        assert row.works == planar == (row.verdict == "yes"), row
        assert bool(row.network.lacking) != planar
        if row.network.space.base_space == "R²":
            assert row.constraint_error < 1e-12


def test_the_table_shows_each_row_once(rows):
    lines = classification_table(rows).splitlines()
    assert len(lines) == 1 + len(PUBLISHED)
    assert lines[0].split()[:4] == ["G", "H", "G/H", "ρ"]
    assert max(map(len, lines)) <= 100


def test_a_row_whose_layers_miss_their_type_fails(rows):
    """Negative control: a regular field that claims not to move."""
    good = next(row for row in rows if row.verdict == "yes" and row.constraint_error is not None)
    for change in ({"constraint_error": 1e-3}, {"grid_error": 0.1}, {"grid_error": float("nan")}):
        assert dataclasses.replace(good, **change).verdict == "FAILS"
    unmeasured = dataclasses.replace(PUBLISHED[0], space=pixel_grid(DihedralGroup(4)))
    assert ClassifiedNetwork(unmeasured).verdict == "FAILS"
