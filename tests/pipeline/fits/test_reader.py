"""Whatever the file, the images are astropy's, or the file is rejected by name."""

import gzip
import hashlib
import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.fits.reader import read_fits

RNG = np.random.default_rng(2)
FLUX = RNG.normal(size=(21, 19)).astype("f4")
RMS = np.abs(RNG.normal(size=(21, 19)))


def extensions_file(path):
    primary = fits.PrimaryHDU()
    primary.header["FLUXMAG0"] = 63095734448.0194
    flux = fits.ImageHDU(FLUX, name="VIS_FLUX")
    flux.header["MAGZERO"] = 24.6
    hdus = fits.HDUList([primary, flux, fits.ImageHDU(RMS, name="VIS_RMS"), fits.ImageHDU()])
    hdus.writeto(path)
    return path


def with_table(path):
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.arange(5.0))])
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(FLUX, name="SCI"), table]).writeto(path)
    return path


def compressed(path):
    hdu = fits.CompImageHDU(FLUX, name="SCI", compression_type="GZIP_2", quantize_level=0)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    return path


def gzipped(path):
    plain = extensions_file(path.with_suffix(".tmp"))
    path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


def blanked(path):
    hdu = fits.PrimaryHDU(np.arange(12, dtype="i2").reshape(3, 4))
    hdu.header["BLANK"] = 5
    hdu.writeto(path)
    return path


WRITERS = [extensions_file, with_table, compressed, gzipped, blanked]


def by_astropy(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False) as hdus:
            return [
                hdu.data.astype(hdu.data.dtype.newbyteorder("="))
                for hdu in hdus
                if hdu.is_image and hdu.data is not None
            ]


@pytest.mark.parametrize("engine", ["auto", "astropy"])
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_images_equal_astropy_to_the_bit(tmp_path, write, engine):
    path = write(tmp_path / "a.fits")
    found = [image.pixels for image in read_fits(path, engine).images if image.pixels is not None]
    expected = by_astropy(path)
    assert [pixels.tobytes() for pixels in found] == [pixels.tobytes() for pixels in expected]
    assert all(a.dtype == b.dtype for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("write", [extensions_file, compressed], ids=lambda write: write.__name__)
def test_fitsio_gives_the_same_pixels(tmp_path, write):
    pytest.importorskip("fitsio")
    path = write(tmp_path / "a.fits")
    slow, fast = read_fits(path, "astropy"), read_fits(path, "fitsio")
    for a, b in zip(slow.images, fast.images, strict=True):
        assert a.name == b.name
        if a.pixels is not None:
            np.testing.assert_array_equal(a.pixels, b.pixels)


def test_primary_cards_reach_every_extension_and_its_own_count_first(tmp_path):
    file = read_fits(extensions_file(tmp_path / "a.fits"))
    flux = file.find("VIS_FLUX")
    assert flux.cards["FLUXMAG0"] == 63095734448.0194
    assert flux.cards["MAGZERO"] == 24.6
    assert flux.cards["NAXIS"] == 2
    assert file.find("2").name == "VIS_RMS"
    assert file.find("NIR_Y_FLUX") is None


def test_checksum_is_that_of_the_bytes_on_disk(tmp_path):
    path = gzipped(tmp_path / "a.fits.gz")
    file = read_fits(path)
    assert file.checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.n_bytes == path.stat().st_size


def rule_of(path, **options):
    with pytest.raises(RejectedObject) as caught:
        read_fits(path, **options)
    assert caught.value.file == str(path)
    assert caught.value.remedy
    return caught.value.rule


@pytest.mark.parametrize("write", [extensions_file, with_table], ids=lambda w: w.__name__)
def test_truncated_files_are_rejected(tmp_path, write):
    path = write(tmp_path / "a.fits")
    whole = path.read_bytes()
    for cut in (1, 1500, 2881, len(whole) - 2880 - 100):
        path.write_bytes(whole[:-cut])
        assert rule_of(path) in ("truncated", "not-fits")


def test_truncated_gzip_is_rejected(tmp_path):
    path = gzipped(tmp_path / "a.fits.gz")
    path.write_bytes(path.read_bytes()[:-50])
    assert rule_of(path) == "truncated"


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(b"SIMPLE" + bytes(2**22)))
    assert rule_of(path, max_bytes=2**20) == "too-large"


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1"])
def test_a_compressed_image_that_claims_too_much_is_rejected(tmp_path, compression):
    path = tmp_path / "a.fits.fz"
    hdu = fits.CompImageHDU(
        FLUX, compression_type=compression, quantize_level=0 if "G" in compression else 16
    )
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    data = path.read_bytes()
    claim = b"ZNAXIS1 =                   19"
    assert claim in data
    path.write_bytes(data.replace(claim, b"ZNAXIS1 =         900000000000"))
    assert rule_of(path) in ("too-large", "not-fits")


@pytest.mark.parametrize(
    ("content", "rule"),
    [(b"", "not-fits"), (b"GIF89a", "not-fits"), (b"SIMPLE  = T", "truncated")],
)
def test_other_files_are_rejected(tmp_path, content, rule):
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    assert rule_of(path) == rule


def test_missing_files_folders_and_large_files_are_rejected(tmp_path):
    assert rule_of(tmp_path / "none.fits") == "missing-file"
    assert rule_of(tmp_path) in ("missing-file", "not-fits")
    path = extensions_file(tmp_path / "a.fits")
    assert rule_of(path, max_bytes=1000) == "too-large"


@pytest.mark.parametrize(
    ("key", "value"),
    [("NAXIS", 10**12), ("TFIELDS", 10**12), ("PCOUNT", -1), ("NAXIS2", -5), ("GCOUNT", 10**12)],
)
@pytest.mark.parametrize("engine", ["auto", "astropy"])
def test_claims_are_checked_before_a_library_believes_them(tmp_path, key, value, engine):
    path = with_table(tmp_path / "a.fits")
    data = path.read_bytes()
    place = data.index(f"{key:8}=".encode(), data.index(b"BINTABLE"))
    card = f"{key:8}= {value:>20}".ljust(80).encode()
    path.write_bytes(data[:place] + card + data[place + 80 :])
    assert rule_of(path, engine=engine) == "bad-header"


def survives(tmp_path, content):
    path = tmp_path / "fuzzed.fits"
    path.write_bytes(content)
    try:
        read_fits(path, max_bytes=2**22)
    except RejectedObject as fault:
        rule, file = fault.rule, fault.file
    else:
        return
    assert rule
    assert file


FUZZ = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(tail=st.binary(max_size=3000), head=st.sampled_from([b"", b"SIMPLE  =", b"\x1f\x8b\x08"]))
def test_arbitrary_bytes_are_rejected_and_nothing_worse(tmp_path, head, tail):
    survives(tmp_path, head + tail)


@FUZZ
@given(
    write=st.sampled_from(WRITERS),
    hits=st.lists(st.tuples(st.integers(0, 5759), st.integers(32, 126)), min_size=1, max_size=6),
)
def test_damaged_headers_are_rejected_and_nothing_worse(tmp_path, write, hits):
    path = tmp_path / f"{write.__name__}.fits"
    if not path.exists():
        write(path)
    data = bytearray(path.read_bytes())
    for offset, byte in hits:
        data[offset % len(data)] = byte
    survives(tmp_path, bytes(data))


@FUZZ
@given(
    key=st.sampled_from(
        ["BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "BSCALE", "BZERO", "BLANK"]
    ),
    value=st.one_of(st.integers(-(10**13), 10**13), st.floats(), st.text("TFabc '", max_size=9)),
)
def test_any_value_of_a_structural_card_is_survived(tmp_path, key, value):
    path = tmp_path / "whole.fits"
    if not path.exists():
        extensions_file(path)
    data = path.read_bytes()
    cards = [data[i : i + 80] for i in range(2880, 5760, 80)]
    spoilt = f"{key:8}= {value!s:>20}"[:80].encode("latin-1").ljust(80)
    place = next((i for i, card in enumerate(cards) if card[:8].strip() == key.encode()), 9)
    cards[place] = spoilt
    survives(tmp_path, data[:2880] + b"".join(cards) + data[5760:])
