"""Small skies to test with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

GALACTIC_MK = {"COORDSYS": "G", "ORDERING": "RING"}


def save_map(
    path: Path,
    columns: dict[str, np.ndarray],
    *,
    unit: str | None = "mK",
    per_row: int = 1,
    pixels: np.ndarray | None = None,
    **cards: Any,
) -> Path:
    """Write a HEALPix table card by card, right or wrong; a card of None is left out."""
    tables = []
    if pixels is not None:
        tables.append(fits.Column("PIXEL", "K", array=pixels))
    codes = {"f4": "E", "f8": "D", "i2": "I", "i4": "J", "i8": "K"}
    for name, values in columns.items():
        code = codes[values.dtype.str[1:]]
        rows = values.reshape(-1, per_row) if per_row > 1 else values
        form = f"{per_row}{code}" if per_row > 1 else code
        tables.append(fits.Column(name, form, array=rows, unit=unit))
    table = fits.BinTableHDU.from_columns(tables)
    scheme = "IMPLICIT" if pixels is None else "EXPLICIT"
    defaults = {"PIXTYPE": "HEALPIX", "INDXSCHM": scheme, **GALACTIC_MK}
    for card, value in {**defaults, **cards}.items():
        if value is not None:
            table.header[card] = value
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return path


@pytest.fixture
def write_map(tmp_path: Path) -> Callable[..., Path]:
    """`save_map` into the test's own folder; the file is ``map.fits`` unless named."""

    def write(columns: dict[str, np.ndarray], name: str = "map.fits", **options: Any) -> Path:
        return save_map(tmp_path / name, columns, **options)

    return write


@pytest.fixture
def real_maps() -> Path:
    folder = os.environ.get("EQUILENS_DATA")
    if not folder:
        pytest.skip("EQUILENS_DATA is not set: no real maps")
    return Path(folder) / "healpix"
