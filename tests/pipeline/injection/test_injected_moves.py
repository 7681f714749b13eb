"""Turns, mirrors and shifts: exact for pixels, and for the sky that they show."""

import numpy as np
import pytest
from astropy.io.fits import Header
from astropy.wcs import WCS

from equilens.pipeline.injection.moves import Moves, draw_moves, move_cutouts, moved_wcs
from equilens.pipeline.simulation.truth import tan_header
from equilens.pipeline.toy import toy_cutouts

EVERY = [(mirror, quarters) for mirror in (False, True) for quarters in range(4)]


def moves(mirror, quarters, shift=(0, 0), n=1):
    return Moves(np.full(n, mirror), np.full(n, quarters), np.tile(shift, (n, 1)))


@pytest.mark.parametrize(("mirror", "quarters"), EVERY)
def test_every_pixel_goes_where_the_matrix_says(mirror, quarters):
    batch = toy_cutouts(1, side=33)
    move = moves(mirror, quarters, (2, -1))
    moved = move_cutouts(batch, move)
    for y, x in ((3, 5), (16, 16), (20, 9), (30, 31)):
        to_x, to_y = move.axes[0] @ (x - 16, y - 16) + (16, 16) + move.shift[0]
        if 0 <= to_x < 33 and 0 <= to_y < 33:
            np.testing.assert_array_equal(moved.images[0, :, to_y, to_x], batch.images[0, :, y, x])
            np.testing.assert_array_equal(moved.mask[0, :, to_y, to_x], batch.mask[0, :, y, x])
    uncovered = np.zeros((33, 33), bool)
    uncovered[:, :2] = uncovered[-1:] = True
    assert moved.mask[0][:, uncovered].all()
    assert not moved.images[moved.mask].any()


def test_the_eight_moves_differ_and_undo_each_other():
    batch = toy_cutouts(1, side=33)
    seen = {move_cutouts(batch, moves(*move)).images.tobytes() for move in EVERY}
    assert len(seen) == 8
    for mirror, quarters in EVERY:
        back = (mirror, quarters if mirror else -quarters % 4)
        again = move_cutouts(move_cutouts(batch, moves(mirror, quarters)), moves(*back))
        np.testing.assert_array_equal(again.images, batch.images)


@pytest.mark.parametrize(("mirror", "quarters"), EVERY)
def test_headers_keep_each_pixel_on_its_sky(mirror, quarters):
    shape, shift = (101, 91), np.array([1, -2])
    axes = moves(mirror, quarters).axes[0]
    text = tan_header(52.0, -29.0, 0.1, shape)
    scaled = text.replace("CD1_1 ", "CDELT1").replace("CD2_2 ", "CDELT2")
    scaled = "\n".join(line for line in scaled.split("\n") if not line.startswith("CD1_2"))
    scaled = "\n".join(line for line in scaled.split("\n") if not line.startswith("CD2_1"))
    for header in (text, scaled):
        before, after = (
            WCS(Header.fromstring(h, sep="\n"))
            for h in (header, moved_wcs(header, axes, shift, shape))
        )
        for x, y in ((0, 0), (45, 50), (80, 13)):
            to_x, to_y = axes @ (x - 45, y - 50) + (45, 50) + shift
            there = after.pixel_to_world(to_x, to_y)
            assert there.separation(before.pixel_to_world(x, y)).arcsec < 1e-6


def test_headers_that_are_not_linear_are_left_out():
    text = tan_header(52.0, -29.0, 0.1, (61, 61))
    same = np.eye(2, dtype=int), np.zeros(2, int), (61, 61)
    assert moved_wcs("", *same) == ""
    assert moved_wcs(text + "\nPV1_1   = 1.0", *same) == ""
    assert moved_wcs(text + "\nA_ORDER = 2.0", *same) == ""


def test_oblong_cutouts_turn_by_halves_and_shifts_stay_small():
    rng = np.random.default_rng(0)
    drawn = draw_moves(rng, 400, (33, 41), 2)
    assert set(drawn.quarters) == {0, 2}
    assert (drawn.shift.min(), drawn.shift.max()) == (-2, 2)
    square = draw_moves(rng, 4000, (33, 33), 0)
    share = np.bincount(square.quarters + 4 * square.mirror) / 4000
    np.testing.assert_allclose(share, 1 / 8, atol=0.03)
    assert not square.shift.any()
