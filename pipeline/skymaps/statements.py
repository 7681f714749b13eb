"""What a map says of itself: frame, ordering, units, nside.

Each is taken from the header or, where the header is silent, from the caller. Nothing is guessed:
a map in the wrong frame still gives numbers, and nobody notices.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import healpy as hp
from astropy import units as u

from equilens.pipeline.errors import MapPixelError, MapStatementError
from equilens.pipeline.skymaps.frames import FRAMES

_SILENT = {"", "UNKNOWN", "UNDEFINED", "NONE", "N/A"}
_FRAME_NAMES = {
    "G": "galactic",
    "GALACTIC": "galactic",
    "C": "icrs",
    "CELESTIAL": "icrs",
    "EQUATORIAL": "icrs",
    "ICRS": "icrs",
    "E": "ecliptic",
    "ECLIPTIC": "ecliptic",
}
_OPTION_HINTS = {
    "--frame": " (galactic, icrs or ecliptic)",
    "--ordering": " (ring or nested)",
    "--unit": " (such as K or cm^-2; 1 for a number without unit)",
}
# thermodynamic and Rayleigh-Jeans temperatures of microwave maps
_TEMPERATURE_KIND = re.compile(r"(?<=K)_(CMB|RJ)$")
_ORDERING_NAMES = {"RING": "ring", "NEST": "nested", "NESTED": "nested"}
# SKYCOORD is what WMAP's own products write
FRAME_CARDS = ("COORDSYS", "SKYCOORD")
ORDERING_CARDS = ("ORDERING",)

Said = dict[str, Any]
"""Values by the place that states them, such as ``{"ORDERING": "RING"}``."""


def frame_of(said: Said, option: str | None, file: str) -> tuple[str, str]:
    """Frame of a map, and who stated it.

    Raises
    ------
    MapStatementError
        Nobody states it, somebody states it in an unknown word, or two statements differ.
    """
    names = _known_words("frame", _FRAME_NAMES, tuple(FRAMES), file)
    return _settle("frame", "--frame", FRAME_CARDS[0], said, option, names, file)


def ordering_of(said: Said, option: str | None, file: str) -> tuple[str, str]:
    """Pixel ordering of a map, and who stated it; raises as `frame_of` does."""
    names = _known_words("ordering", _ORDERING_NAMES, ("ring", "nested"), file)
    return _settle("ordering", "--ordering", ORDERING_CARDS[0], said, option, names, file)


def units_of(
    said: Mapping[str, Said], option: str | Mapping[str, str] | None, file: str
) -> dict[str, tuple[str, str]]:
    """Unit of each column, and who stated it.

    Parameters
    ----------
    said : by column, its TUNIT card and what that states, blank where it is silent
    option : one unit for every silent column, or units by column name; such as astropy knows, or
        with ``_CMB`` or ``_RJ`` behind it for a temperature's kind

    Raises
    ------
    MapStatementError
        Nobody states a unit, the option is none, or two statements differ.
    """
    by_column = option if isinstance(option, Mapping) else dict.fromkeys(said, option)
    unknown = sorted(set(by_column) - set(said))
    if unknown:
        raise MapStatementError(
            f"{file}: --unit names the columns {unknown}, the map has {list(said)}"
        )
    for unit in spoken(dict(by_column)).values():
        _check_unit(unit, file)
    settled = {}
    for column, values in said.items():
        what = f"unit of column {column!r}"
        card = next(iter(values))
        settled[column] = _settle(what, "--unit", card, values, by_column.get(column), str, file)
    return settled


def nside_of(stated: int | None, n_pixels: int | None, file: str) -> int:
    """`nside` of a map, agreed between its NSIDE card and its number of pixels.

    Parameters
    ----------
    stated : value of the NSIDE card, None where there is none
    n_pixels : pixels of a full-sky map; None for a partial one, which says nothing about nside
    """
    if n_pixels is None:
        if stated is None:
            raise MapStatementError(f"{file}: a partial map needs an NSIDE card, it has none")
        nside = stated
    else:
        nside = round((n_pixels / 12) ** 0.5)
        if n_pixels == 0 or 12 * nside**2 != n_pixels:
            raise MapPixelError(
                f"{file}: a full sky has 12 nside² pixels, got {n_pixels}"
                + (f"; NSIDE = {stated} needs {12 * stated**2}" if stated else "")
            )
        if stated is not None and stated != nside:
            raise MapPixelError(
                f"{file}: NSIDE = {stated} needs {12 * stated**2} pixels, got {n_pixels}, "
                f"which is nside {nside}: correct the card"
            )
    if not hp.isnsideok(nside, nest=True):
        raise MapPixelError(f"{file}: nside must be a power of two, got {nside}")
    return nside


def spoken(said: Said) -> Said:
    """Only the statements that say something."""
    return {
        place: value for place, value in said.items() if str(value).strip().upper() not in _SILENT
    }


def _settle(
    what: str,
    flag: str,
    card: str,
    said: Said,
    option: str | None,
    normalise: Callable[[str], str],
    file: str,
) -> tuple[str, str]:
    """The one value that header and option agree on, and its origin."""
    said = spoken(said)
    if option is not None and str(option).strip().upper() in _SILENT:
        raise MapStatementError(f"{file}: {flag} must state the {what}, got {option!r}")
    places = said if option is None else {**said, flag: option}
    if not places:
        raise MapStatementError(
            f"{file}: the header has no {card} card, so the {what} is unknown: state it "
            f"with {flag}{_OPTION_HINTS[flag]}"
        )
    values = {place: normalise(str(value).strip()) for place, value in places.items()}
    first, *others = values
    for other in others:
        if not _same(values[first], values[other]):
            raise MapStatementError(
                f"{file}: {first} states the {what} as {places[first]!r}, {other} as "
                f"{places[other]!r}: they must agree, drop or correct one"
            )
    return values[first], (f"header card {first}" if first in said else f"option {flag}")


def _known_words(
    what: str, words: dict[str, str], choices: tuple[str, ...], file: str
) -> Callable[[str], str]:
    def normalise(word: str) -> str:
        if word.upper() not in words:
            raise MapStatementError(f"{file}: {what} must be one of {choices}, got {word!r}")
        return words[word.upper()]

    return normalise


def _same(first: str, second: str) -> bool:
    """Equal words, or two spellings of one unit, such as cm-2 and cm^-2."""
    # K_CMB and other words of the field are no units of astropy: they equal only themselves
    units = _astropy_unit(first), _astropy_unit(second)
    return first == second or (None not in units and bool(units[0] == units[1]))


def _check_unit(text: str, file: str) -> None:
    """Refuse a word that is no unit: a header can hold any, but who types one can correct it."""
    if _astropy_unit(_TEMPERATURE_KIND.sub("", text.strip())) is None:
        raise MapStatementError(
            f"{file}: --unit must be a unit that astropy.units knows, such as K, mK_CMB or cm^-2, "
            f"or 1 for a number without unit, got {text!r}"
        )


def _astropy_unit(text: str) -> u.UnitBase | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", u.UnitsWarning)
        try:
            return u.Unit(text)
        except ValueError:
            return None
