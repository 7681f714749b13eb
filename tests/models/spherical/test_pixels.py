"""Neighbours, rings and transport on HEALPix, and the rows that pixels share."""

import healpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.models.errors import PixelError
from equilens.models.spherical.pixels import (
    require_nside,
    ring_positions,
    shifted,
    transport,
    window_offsets,
)
from equilens.models.spherical.shared_rows import SharedRows
from equilens.models.spherical.shared_table import mirrored_squares

NSIDES = (4, 8, 16)


def sphere_pixels(nside):
    return np.arange(12 * nside**2)


def solid_angle(a, b, c):
    """Area of a spherical triangle with its sign (Van Oosterom & Strackee 1983)."""
    volume = np.einsum("...i,...i", a, np.cross(b, c))
    dots = [np.einsum("...i,...i", x, y) for x, y in ((a, b), (b, c), (c, a))]
    return 2 * np.arctan2(volume, 1 + sum(dots))


def test_transport_along_a_meridian_leaves_components_alone():
    pixels = healpy.ang2pix(16, [0.6, 1.0, 1.5], [np.pi / 4] * 3, nest=True)
    theta, _ = healpy.pix2ang(16, pixels, nest=True)
    positions, phases = transport(16, pixels[:1], 16, pixels[None])
    np.testing.assert_allclose(positions[0], theta - theta[0], atol=1e-14)
    np.testing.assert_allclose(phases[0], 1.0)


@pytest.mark.parametrize("nside", NSIDES)
def test_windows_are_healpys_neighbours(nside):
    pixels = sphere_pixels(nside)
    found = shifted(nside, pixels, *window_offsets(-1, 1))
    known = healpy.get_all_neighbours(nside, pixels, nest=True).T
    for window, neighbours, pixel in zip(found, known, pixels, strict=True):
        assert set(window) == {*neighbours, pixel}


@pytest.mark.parametrize("nside", NSIDES)
def test_wide_windows_are_symmetric_and_lack_a_corner_at_eight_places(nside):
    pixels = sphere_pixels(nside)
    window = shifted(nside, pixels, *window_offsets(-2, 2))
    pairs = {(p, q) for p, row in zip(pixels, window, strict=True) for q in row if q >= 0}
    assert len(pairs) == (window >= 0).sum()
    assert all((q, p) in pairs for p, q in pairs)
    # four pixels near each corner of a base pixel see a hole: of 4, 2, 2 and 1 pixels
    assert (window < 0).sum() == 8 * 3 * (4 + 2 + 2 + 1)


@pytest.mark.parametrize("nside", NSIDES)
def test_rings_are_healpys(nside):
    pixels = sphere_pixels(nside)
    ring, place = ring_positions(nside, pixels)
    np.testing.assert_array_equal(ring, healpy.pix2ring(nside, pixels, nest=True))
    order = np.lexsort((place, ring))
    np.testing.assert_array_equal(healpy.nest2ring(nside, pixels[order]), pixels)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_transport_around_a_triangle_turns_by_its_area(seed):
    a, b, c = np.random.default_rng(seed).choice(12 * 8**2, 3, replace=False)

    def carried(there, here):
        return transport(8, np.array([here]), 8, np.array([[there]]))[1][0, 0]

    corners = np.array(healpy.pix2vec(8, [a, b, c], nest=True)).T
    # opposite points have no one geodesic
    if min(x @ y for x, y in zip(corners, np.roll(corners, 1, 0), strict=True)) < -0.99:
        return
    around = carried(c, a) * carried(b, c) * carried(a, b)
    np.testing.assert_allclose(around, np.exp(1j * solid_angle(*corners)), atol=1e-9)


@pytest.mark.parametrize("nside", NSIDES)
def test_pixels_of_one_row_see_the_same(nside):
    pixels = sphere_pixels(nside)
    rows = SharedRows(nside, margin=4)
    found = rows.find(pixels)
    alike = rows.representatives(np.arange(len(rows)))[found.row]
    windows = shifted(nside, pixels, *window_offsets(-2, 2))
    order = mirrored_squares(5)[found.east_west + 2 * found.north_south]
    window_alike = np.take_along_axis(windows[alike], order, axis=1)
    assert ((window_alike < 0) == (windows < 0)).all()
    positions, _ = transport(nside, pixels, nside, np.maximum(windows, 0))
    expected, _ = transport(nside, alike, nside, np.maximum(window_alike, 0))
    expected = np.where(found.east_west[:, None], expected.conj(), expected)
    expected = np.where(found.north_south[:, None], -expected.conj(), expected)
    np.testing.assert_allclose(positions[windows >= 0], expected[windows >= 0], atol=1e-13)


def test_one_pixel_in_48_has_a_row():
    assert 12 * 2048**2 / len(SharedRows(2048, 4)) == pytest.approx(48, rel=0.01)


def test_without_mirrors_the_same_row_is_wrong():
    rows = SharedRows(8, margin=4)
    pixels = sphere_pixels(8)
    found = rows.find(pixels)
    alike = rows.representatives(np.arange(len(rows)))[found.row]
    windows = [shifted(8, some, *window_offsets(0, 1)) for some in (pixels, alike)]
    seen = [
        transport(8, some, 8, np.maximum(window, 0))[0]
        for some, window in zip((pixels, alike), windows, strict=True)
    ]
    mirrored = found.east_west | found.north_south
    complete = (windows[0] >= 0).all(axis=1) & (windows[1] >= 0).all(axis=1) & mirrored
    assert np.abs(seen[0] - seen[1])[complete].max() > 0.05


def test_resolutions_that_do_not_exist_are_named():
    with pytest.raises(PixelError, match="got 48; nearest are 32 and 64"):
        require_nside(48)
    with pytest.raises(PixelError, match="at least 4 here, got 2"):
        require_nside(2, at_least=4)
    with pytest.raises(PixelError, match="got 0"):
        require_nside(0)
