"""A HEALPix map as it lies in a FITS file: one binary table, read column by column."""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np
from astropy.io import fits

from equilens.pipeline.errors import MapFileError, MapPixelError, MapStatementError
from equilens.pipeline.skymaps.statements import Said

_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class FitsMap:
    """The HEALPix table of an open FITS file.

    Attributes
    ----------
    file : its name, for messages
    hdu : the table
    primary : header of the primary HDU, where some surveys put half of the cards
    """

    file: str
    hdu: fits.BinTableHDU
    primary: fits.Header

    @property
    def explicit(self) -> bool:
        """True for a table that lists its pixels, False for one that has all in order."""
        scheme = str(self.hdu.header.get("INDXSCHM", "")).strip().upper()
        if scheme not in ("", "IMPLICIT", "EXPLICIT"):
            raise MapFileError(
                f"{self.file}: INDXSCHM must be IMPLICIT or EXPLICIT, got {scheme!r}"
            )
        return scheme == "EXPLICIT" or (not scheme and self._names[0].upper() == "PIXEL")

    @property
    def columns(self) -> dict[str, int]:
        """Index in the table of each column of values, by name."""
        names = self._names
        if len({name.upper() for name in names}) < len(names):
            raise MapFileError(f"{self.file}: column names must differ, got {names}")
        first = 1 if self.explicit else 0
        return {name: k for k, name in enumerate(names) if k >= first}

    @property
    def stated_nside(self) -> int | None:
        value = self._number("NSIDE")
        return None if value is None else int(value)

    @property
    def bad_values(self) -> tuple[float, ...]:
        """HEALPix's UNSEEN, and what the header declares instead of it."""
        declared = self._number("BAD_DATA")
        return (hp.UNSEEN,) if declared is None else (hp.UNSEEN, declared)

    def said(self, cards: tuple[str, ...]) -> Said:
        """Every statement of these cards, in the table's header and in the primary one."""
        found: Said = {}
        for header, where in ((self.hdu.header, ""), (self.primary, " of the primary HDU")):
            for card in cards:
                for k in range(header.count(card) if card in header else 0):
                    again = f" (number {k + 1})" if k else ""
                    found[f"{card}{where}{again}"] = header[(card, k)]
        return found

    def unit_said(self, index: int) -> Said:
        """The TUNIT card of a column; blank where there is none."""
        card = f"TUNIT{index + 1}"
        return {card: self.hdu.header.get(card, "")}

    def pixels(self) -> np.ndarray:
        """Pixel numbers that an explicit table lists, (n,) int64."""
        pixels = self._raw(0)
        if pixels.dtype.kind not in "iu":
            raise MapFileError(f"{self.file}: column 1 must list pixel numbers, got {pixels.dtype}")
        return pixels.astype(np.int64)

    def values(self, index: int) -> np.ndarray:
        """A column in the file's order and precision, native byte order, (n,)."""
        values = self._raw(index)
        if values.dtype.kind == "b":
            values = values.astype(np.uint8)
        if values.dtype.kind not in "iuf":
            raise MapFileError(
                f"{self.file}: column {self._names[index]!r} must hold numbers, got {values.dtype}"
            )
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))

    def masked(self, values: np.ndarray, index: int) -> np.ndarray:
        """Where values of a column are no measurement: NaN, infinity, UNSEEN, BAD_DATA, TNULL."""
        if values.dtype.kind != "f":
            null = self.hdu.columns[index].null
            return values == null if null is not None else np.zeros(values.shape, bool)
        masked = ~np.isfinite(values)
        for bad in self.bad_values:
            # UNSEEN is not exact in float32, nor printed in full by every writer
            masked |= np.abs(values - bad) <= 1e-5 * abs(bad)
        return masked

    def _raw(self, index: int) -> np.ndarray:
        try:
            return np.asarray(self.hdu.data.field(index)).ravel()
        except (OSError, TypeError, ValueError) as error:
            raise MapFileError(f"{self.file}: the table cannot be read ({error})") from error

    def _number(self, card: str) -> float | None:
        value = self.hdu.header.get(card)
        try:
            return None if value is None else float(value)
        except ValueError as error:
            raise MapStatementError(
                f"{self.file}: {card} must be a number, got {value!r}"
            ) from error

    @property
    def _names(self) -> list[str]:
        return [name or f"column_{k + 1}" for k, name in enumerate(self.hdu.columns.names)]


@contextmanager
def open_map(path: Path | str) -> Iterator[FitsMap]:
    """Open the HEALPix table of a FITS file, gzipped or not.

    Raises
    ------
    MapFileError
        Missing, truncated, not FITS, or without exactly one HEALPix table.
    """
    path = Path(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            hdus = fits.open(_source(path))
            len(hdus)
        except (OSError, EOFError, zlib.error) as error:
            reason = "truncated" if isinstance(error, EOFError) else "not a whole FITS file"
            raise MapFileError(f"{path}: {reason} ({error}): fetch it again") from error
    with hdus:
        complaints = [" ".join(str(warning.message).split()) for warning in caught]
        for complaint in complaints:
            if "truncated" in complaint:
                raise MapFileError(f"{path}: {complaint}: fetch it again")
        table = _healpix_table(path, hdus, complaints)
        yield FitsMap(path.name, table, hdus[0].header)


def _source(path: Path) -> Path | io.BytesIO:
    if not path.is_file():
        raise MapFileError(f"{path}: no such file")
    with path.open("rb") as file:
        if file.read(2) != _GZIP_MAGIC:
            return path
    # astropy takes the end of a truncated gzip stream for the end of the file; gzip does not
    return io.BytesIO(gzip.decompress(path.read_bytes()))


def _healpix_table(path: Path, hdus: fits.HDUList, complaints: list[str]) -> fits.BinTableHDU:
    tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
    declared = [h for h in tables if str(h.header.get("PIXTYPE")).strip().upper() == "HEALPIX"]
    found = declared or [hdu for hdu in tables if "NSIDE" in hdu.header]
    if len(found) != 1:
        raise MapFileError(
            f"{path}: need one table with PIXTYPE = 'HEALPIX', got {len(found)} in {len(hdus)} HDUs"
            + (": split the file, a store holds one map" if found else "")
            + "".join(f"; {complaint}" for complaint in complaints)
        )
    if not len(found[0].columns) or not found[0].header["NAXIS2"]:
        raise MapPixelError(f"{path}: the HEALPix table is empty")
    return found[0]
