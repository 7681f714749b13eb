import numpy as np
import pytest

from equilens.pipeline.cutouts import CutoutBatch, CutoutFlag, describe_flags


def batch(n=3, **changes):
    text = np.array([f"o{i}" for i in range(n)], dtype=object)
    values = {
        "ids": text,
        "images": np.zeros((n, 2, 5, 5), np.float32),
        "mask": np.zeros((n, 2, 5, 5), bool),
        "ra": np.zeros(n),
        "dec": np.zeros(n),
        "noise_njy": np.ones((n, 2), np.float32),
        "noise_method": text,
        "psf_fwhm_arcsec": np.ones((n, 2), np.float32),
        "pixel_scale_arcsec": np.ones(n, np.float32),
        "band_present": np.ones((n, 2), bool),
        "flags": np.zeros(n, np.uint32),
        "wcs_header": text,
        "source_file": text,
        "source_checksum": text,
        "columns": {"z": np.arange(n)},
    }
    return CutoutBatch(**values | changes)


def test_take_and_concatenate_are_inverse():
    whole = batch(7)
    joined = CutoutBatch.concatenate([whole.take(slice(0, 3)), whole.take(np.arange(3, 7))])
    assert joined.ids.tolist() == whole.ids.tolist()
    assert joined.columns["z"].tolist() == list(range(7))
    assert len(whole.take(np.array([True] + [False] * 6))) == 1


@pytest.mark.parametrize(
    "change", [{"ra": np.zeros(2)}, {"noise_njy": np.ones((3, 1))}, {"columns": {"z": np.ones(4)}}]
)
def test_shapes_are_checked(change):
    with pytest.raises(ValueError, match="must have shape"):
        batch(3, **change)


def test_different_columns_do_not_join():
    with pytest.raises(ValueError, match="different columns"):
        CutoutBatch.concatenate([batch(1), batch(1, columns={})])


def test_flags_have_names():
    assert describe_flags(CutoutFlag.PADDED | CutoutFlag.NO_POSITION) == "padded,no_position"
    assert describe_flags(0) == ""
