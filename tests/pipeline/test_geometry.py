import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from equilens.pipeline.geometry import Window

SIDE = st.integers(1, 40)


def placed(values, shape, fill=-1.0):
    out = np.full((*values.shape[:-2], *shape), np.nan)
    window = Window.centred(values.shape[-2:], shape)
    window.place(values, out, fill)
    return window, out


def test_even_size_has_its_centre_at_half():
    values = np.arange(120 * 120.0).reshape(1, 120, 120)
    window, out = placed(values, (119, 119))
    assert out[0, 59, 59] == values[0, 60, 60]
    assert window.shift == (-1, -1)
    assert (window.cropped, window.padded) == (True, False)


def test_padding_is_filled():
    window, out = placed(np.ones((2, 5, 5)), (9, 9))
    assert out.sum() == 2 * 25 - 2 * (81 - 25)
    assert (out[:, 2:7, 2:7] == 1).all()
    assert (window.cropped, window.padded) == (False, True)


def test_both_at_once():
    window, out = placed(np.ones((1, 20, 5)), (9, 9))
    assert (window.cropped, window.padded) == (True, True)
    assert (out == 1).sum() == 9 * 5


@given(SIDE, SIDE, SIDE, SIDE)
def test_every_kept_pixel_moves_by_the_shift(ny, nx, my, mx):
    values = np.arange(float(ny * nx)).reshape(ny, nx)
    window, out = placed(values, (my, mx))
    assert out[my // 2, mx // 2] == values[ny // 2, nx // 2]
    dy, dx = window.shift
    for (y, x), value in np.ndenumerate(out):
        inside = 0 <= y - dy < ny and 0 <= x - dx < nx
        assert value == (values[y - dy, x - dx] if inside else -1)
    assert window.padded == (my > ny or mx > nx) or (out == -1).any()
