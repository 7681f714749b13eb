"""The fast decoder gives what astropy gives, to the bit, and refuses what is not whole."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.fits.cards import BLOCK, Cards, parse_value
from equilens.pipeline.fits.primary import ImageLayout, NotPlain, PrimaryDecoder, layout_of

RNG = np.random.default_rng(1)
PIXELS = {
    "f4": RNG.normal(size=(4, 11, 13)).astype("f4"),
    "f8": RNG.normal(size=(7, 5)),
    "u1": RNG.integers(0, 255, (3, 4, 5)).astype("u1"),
    "i2": RNG.integers(-30000, 30000, (6, 9)).astype("i2"),
    "i4": RNG.integers(-(2**31), 2**31 - 1, (6, 9)).astype("i4"),
    "i8": RNG.integers(-(2**62), 2**62, (6, 9)),
}


def by_astropy(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False) as hdus:
            data = hdus[0].data
            return data.astype(data.dtype.newbyteorder("="))


@pytest.mark.parametrize("kind", PIXELS)
def test_pixels_equal_astropy_to_the_bit(tmp_path, kind):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(PIXELS[kind]).writeto(path)
    found = PrimaryDecoder().read(path)
    expected = by_astropy(path)
    assert found.dtype == expected.dtype
    assert found.dtype.isnative
    assert found.tobytes() == expected.tobytes()


def test_nan_payloads_and_signed_zeros_survive(tmp_path):
    path = tmp_path / "a.fits"
    bits = np.array([[0x7FC00001, 0xFFC12345, 0x80000000, 0x7F800000]], "u4")
    fits.PrimaryHDU(bits.view("f4")).writeto(path)
    assert PrimaryDecoder().read(path).view("u4").tolist() == bits.tolist()


@pytest.mark.parametrize(("scale", "zero"), [(0.5, 0.0), (1.0, 100.0), (0.013, -7.25)])
def test_scaled_integers_equal_astropy_to_the_bit(tmp_path, scale, zero):
    path = tmp_path / "a.fits"
    hdu = fits.PrimaryHDU(PIXELS["i2"])
    hdu.header["BSCALE"], hdu.header["BZERO"] = scale, zero
    # astropy drops the two cards of an integer array on writing, so the bytes are put together
    path.write_bytes(_file({"BITPIX": 16, "BSCALE": scale, "BZERO": zero}, PIXELS["i2"], ">i2"))
    found = PrimaryDecoder().read(path)
    assert found.dtype == np.float32
    assert found.tobytes() == by_astropy(path).tobytes()


def test_blank_means_nothing_for_floating_point(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(_file({"BITPIX": -32, "BLANK": -32768}, PIXELS["f4"], ">f4"))
    assert PrimaryDecoder().read(path).tobytes() == PIXELS["f4"].tobytes()


@pytest.mark.parametrize(
    "cards",
    [
        {"BITPIX": 16, "BLANK": -32768},
        {"BITPIX": 16, "BZERO": 32768.0},
        {"BITPIX": 32, "BSCALE": 2.0},
        {"BITPIX": 16, "GROUPS": True},
    ],
)
def test_what_is_not_plain_is_left_to_astropy(cards):
    with pytest.raises(NotPlain):
        layout_of(Cards.from_bytes(_header({**cards, "NAXIS": 2, "NAXIS1": 3, "NAXIS2": 3})))


def test_output_array_is_filled_in_place(tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(PIXELS["f4"]).writeto(path)
    out = np.full(PIXELS["f4"].shape, np.nan, "f4")
    assert PrimaryDecoder().read(path, out) is out
    assert out.tobytes() == PIXELS["f4"].tobytes()


def test_one_decoder_reads_files_of_different_headers_and_sizes(tmp_path):
    decoder = PrimaryDecoder()
    kinds = [*PIXELS, *reversed(PIXELS)]
    large = RNG.normal(size=(400, 300)).astype("f4")  # larger than the first buffer
    for index, pixels in enumerate([*(PIXELS[kind] for kind in kinds), large, PIXELS["f4"]]):
        path = tmp_path / f"{index}.fits"
        fits.PrimaryHDU(pixels).writeto(path)
        assert decoder.read(path).tobytes() == pixels.tobytes()


def test_a_header_equal_to_the_last_does_not_hide_a_truncated_file(tmp_path):
    decoder = PrimaryDecoder()
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(PIXELS["f4"]).writeto(path)
    whole = path.read_bytes()
    decoder.read(path)
    # the buffer still holds the last file's pixels: they must not be taken for this one's
    path.write_bytes(whole[:-BLOCK])
    with pytest.raises(RejectedObject, match=f"truncated: holds {len(whole) - BLOCK} of"):
        decoder.read(path)


@pytest.mark.parametrize("missing", [1, 100, BLOCK, BLOCK + 1])
def test_every_missing_byte_is_noticed(tmp_path, missing):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(PIXELS["f4"]).writeto(path)
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(RejectedObject) as caught:
        PrimaryDecoder().read(path)
    assert caught.value.rule == "truncated"
    assert caught.value.file == str(path)


def test_a_claim_of_a_trillion_pixels_is_refused_before_allocation(tmp_path):
    path = tmp_path / "a.fits"
    claim = {"BITPIX": -32, "NAXIS": 2, "NAXIS1": 10**6, "NAXIS2": 10**6}
    path.write_bytes(_header(claim) + bytes(BLOCK))
    with pytest.raises(RejectedObject, match="too-large"):
        PrimaryDecoder().read(path)


@pytest.mark.parametrize("content", [b"", b"SIMPLE", b"not FITS" * 999])
def test_other_files_are_rejected(tmp_path, content):
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    with pytest.raises(RejectedObject):
        PrimaryDecoder().read(path)


@settings(max_examples=60, deadline=None)
@given(
    value=st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(-(2**62), 2**62),
        st.booleans(),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    )
)
def test_card_values_are_those_of_astropy(value):
    card = fits.Card("KEY", value)
    expected = fits.Card.fromstring(card.image).value
    assert parse_value(card.image[8:80]) == expected


def test_numbers_that_are_none_are_not_taken_for_numbers():
    for text in ("= 1_000", "= nan", "= inf", "= 0x10", "= 1e", "= ", "  5", "= " + "9" * 60):
        assert parse_value(text.ljust(72)) is None
    assert parse_value("= 1.5D3 / old Fortran".ljust(72)) == 1500.0


def test_the_first_of_repeated_cards_counts():
    cards = Cards.from_bytes(_header({"A": 1}) + _header({"A": 2}))
    assert cards["A"] == 1


def test_layout_counts_bytes_with_padding():
    layout = ImageLayout(">f4", (4, 101, 101))
    assert layout.n_bytes == 163_216
    assert layout.n_padded == 57 * BLOCK


def _header(values):
    cards = [fits.Card("SIMPLE", True), *(fits.Card(key, value) for key, value in values.items())]
    text = "".join(card.image for card in cards) + "END".ljust(80)
    return text.encode().ljust(-(-len(text) // BLOCK) * BLOCK)


def _file(cards, pixels, dtype):
    axes = {f"NAXIS{i + 1}": side for i, side in enumerate(reversed(pixels.shape))}
    ordered = {"BITPIX": cards["BITPIX"], "NAXIS": pixels.ndim, **axes, **cards}
    data = pixels.astype(dtype).tobytes()
    return _header(ordered) + data.ljust(-(-len(data) // BLOCK) * BLOCK, b"\0")
