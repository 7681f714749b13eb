"""Cut objects out of survey tiles by a catalogue of positions.

A tile is read like an object of its survey, only larger. Headers alone decide which tile each
position is cut from; each tile is then loaded once, for all its objects.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from equilens.pipeline.cutouts import CutoutFlag
from equilens.pipeline.errors import RejectedObject, SurveyError
from equilens.pipeline.fits.headers import read_headers
from equilens.pipeline.fits.wcs import pixel_to_sky, shift_wcs, sky_to_pixel, wcs_text
from equilens.pipeline.surveys.manifests import plain_values, read_table
from equilens.pipeline.surveys.objects import ObjectRef, RawCutout
from equilens.pipeline.surveys.reading import check_present
from equilens.pipeline.surveys.survey import Survey

# a Euclid mosaic tile holds 19,200 x 19,200 pixels of 4 bytes in a file
TILE_MAX_BYTES = 2**34


@dataclass(frozen=True)
class TileCuts:
    """One tile and the objects to cut from it.

    Attributes
    ----------
    tile : the tile's files
    objects : references whose files are the tile's; positions are set
    x, y : (N,) their centre pixels in the tile, from 0
    """

    tile: ObjectRef
    objects: tuple[ObjectRef, ...]
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class CutPlan:
    """Which objects are cut from which tile, and which lie on none (each with its `fault`)."""

    cuts: tuple[TileCuts, ...]
    uncovered: tuple[ObjectRef, ...]


def plan_cuts(survey: Survey, source: Path | str, positions: Path | str) -> CutPlan:
    """Assign positions to tiles by the tiles' headers.

    Where tiles overlap, a position belongs to the one whose edge is farthest from it.

    Parameters
    ----------
    survey : whose tiles these are; its shape is the shape that is cut
    source : the tiles: a folder, glob or manifest
    positions : CSV or Parquet table with columns id, ra and dec in ICRS degrees; further columns
        are carried along

    Raises
    ------
    SurveyError
        If the table lacks a column, or no tile can be placed on the sky.
    """
    refs, ra, dec = _read_positions(Path(positions))
    margin = np.full(len(refs), -np.inf)
    owner = np.full(len(refs), -1)
    x, y = np.zeros(len(refs)), np.zeros(len(refs))
    tiles = list(survey.discover(source))
    faults = []
    for number, tile in enumerate(tiles):
        try:
            text, shape = _placement(survey, tile)
        except RejectedObject as fault:
            faults.append(fault)
            continue
        near = np.flatnonzero(_near(text, shape, ra, dec))
        if len(near) == 0:
            continue
        tx, ty = (np.rint(v) for v in sky_to_pixel(text, ra[near], dec[near]))
        inside = np.minimum.reduce([tx, ty, shape[1] - 1 - tx, shape[0] - 1 - ty])
        better = (inside >= 0) & (inside > margin[near])
        picked = near[better]
        margin[picked], owner[picked] = inside[better], number
        x[picked], y[picked] = tx[better], ty[better]
    if len(faults) == len(tiles):
        raise SurveyError(f"{source}: no tile can be used; the first: {faults[0]}")
    return _plan(tiles, refs, owner, x.astype(int), y.astype(int))


def cut_tile(
    survey: Survey, cuts: TileCuts
) -> Iterator[tuple[ObjectRef, RawCutout | RejectedObject]]:
    """Load one tile and cut its objects; a fault stands in the place of a cutout."""
    try:
        tile = survey.read(cuts.tile, max_bytes=TILE_MAX_BYTES)
    except RejectedObject as fault:
        yield from ((ref, fault) for ref in cuts.objects)
        return
    for ref, x, y in zip(cuts.objects, cuts.x, cuts.y, strict=True):
        try:
            yield ref, cut(survey, tile, ref, int(x), int(y))
        except RejectedObject as fault:
            yield ref, fault


def cut(survey: Survey, tile: RawCutout, ref: ObjectRef, x: int, y: int) -> RawCutout:
    """The cutout of the survey's shape around pixel (`x`, `y`) of a tile.

    Pixels beyond the tile's edge are NaN, masked, and flagged TILE_EDGE.

    Raises
    ------
    RejectedObject
        If too few bands have a valid pixel there.
    """
    height, width = survey.shape
    left, bottom = x - width // 2, y - height // 2
    window = _Window(bottom, left, height, width)
    mask = window.of(tile.mask, True)
    present = np.asarray(~mask.all(axis=(1, 2)))
    check_present(survey, ref, present)
    images = window.of(tile.images, np.nan)
    images[~present] = np.nan
    edge = CutoutFlag.TILE_EDGE if window.leaves(tile.images.shape) else 0
    return replace(
        tile,
        id=ref.id,
        images=images,
        mask=mask,
        rms=None if tile.rms is None else window.of(tile.rms, np.nan),
        zeropoint=np.where(present, tile.zeropoint, np.nan),
        band_present=present,
        wcs_header=shift_wcs(tile.wcs_header, -left, -bottom),
        ra=ref.ra,
        dec=ref.dec,
        columns=ref.columns,
        flags=int(tile.flags | edge),
    )


@dataclass(frozen=True)
class _Window:
    bottom: int
    left: int
    height: int
    width: int

    def leaves(self, shape: tuple[int, ...]) -> bool:
        top, right = self.bottom + self.height, self.left + self.width
        return self.bottom < 0 or self.left < 0 or top > shape[1] or right > shape[2]

    def of(self, planes: np.ndarray, fill: Any) -> np.ndarray:
        out = np.full((len(planes), self.height, self.width), fill, planes.dtype)
        y0, x0 = max(0, self.bottom), max(0, self.left)
        part = planes[:, y0 : self.bottom + self.height, x0 : self.left + self.width]
        y, x = y0 - self.bottom, x0 - self.left
        out[:, y : y + part.shape[1], x : x + part.shape[2]] = part
        return out


def _read_positions(path: Path) -> tuple[list[ObjectRef], np.ndarray, np.ndarray]:
    table = read_table(path, text=("id",))
    lacking = [name for name in ("id", "ra", "dec") if name not in table.column_names]
    if lacking:
        raise SurveyError(
            f"positions {path}: column {lacking[0]} is missing; id, ra and dec (ICRS degrees) are "
            f"needed, it has {', '.join(table.column_names)}"
        )
    try:
        ra, dec = (
            np.array([math.nan if v in (None, "") else float(v) for v in table[name].to_pylist()])
            for name in ("ra", "dec")
        )
    except (TypeError, ValueError) as error:
        raise SurveyError(f"positions {path}: ra and dec must be degrees: {error}") from None
    extras = {
        name: plain_values(table[name])
        for name in table.column_names
        if name not in ("id", "ra", "dec")
    }
    refs = [
        ObjectRef(str(name), (), None, {k: v[i] for k, v in extras.items()}, ra[i], dec[i])
        for i, name in enumerate(table["id"].to_pylist())
    ]
    return refs, ra, dec


def _placement(survey: Survey, tile: ObjectRef) -> tuple[str, tuple[int, int]]:
    """WCS text and (ny, nx) of a tile, from the header of its first band."""
    if tile.fault is not None:
        raise tile.fault
    band, path = tile.files[0]
    wanted = survey.layout.image.format(band=survey.layout.token(band), id=tile.id)
    for info in read_headers(path):
        if wanted and info.name != wanted:
            continue
        text = wcs_text(info.cards)
        if text and not math.isnan(pixel_to_sky(text, 0, 0)[0]):
            return text, (info.shape[-2], info.shape[-1])
    raise RejectedObject("no-wcs", "no sky position in its header", "give tiles with a WCS", path)


def _near(text: str, shape: tuple[int, int], ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Positions within the circle around a tile: what is worth projecting."""
    corners = [(x, y) for x in (0, shape[1] - 1) for y in (0, shape[0] - 1)]
    centre = _vector(*pixel_to_sky(text, (shape[1] - 1) / 2, (shape[0] - 1) / 2))
    reach = min(float(centre @ _vector(*pixel_to_sky(text, x, y))) for x, y in corners)
    with np.errstate(invalid="ignore"):
        return _vector(ra, dec).T @ centre >= reach - 1e-9


def _vector(ra: Any, dec: Any) -> np.ndarray:
    lon, lat = np.radians(ra), np.radians(dec)
    return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _plan(
    tiles: list[ObjectRef], refs: list[ObjectRef], owner: np.ndarray, x: np.ndarray, y: np.ndarray
) -> CutPlan:
    cuts = []
    for number, tile in enumerate(tiles):
        rows = np.flatnonzero(owner == number)
        if len(rows):
            objects = tuple(replace(refs[row], files=tile.files, root=tile.root) for row in rows)
            cuts.append(TileCuts(tile, objects, x[rows], y[rows]))
    uncovered = tuple(
        replace(refs[row], fault=_uncovered(refs[row])) for row in np.flatnonzero(owner < 0)
    )
    return CutPlan(tuple(cuts), uncovered)


def _uncovered(ref: ObjectRef) -> RejectedObject:
    if math.isnan(ref.ra) or math.isnan(ref.dec) or abs(ref.dec) > 90:
        return RejectedObject("bad-position", f"ra {ref.ra}, dec {ref.dec}", "give ICRS degrees")
    found = f"no tile covers ra {ref.ra:.6f}, dec {ref.dec:.6f}"
    return RejectedObject("no-tile", found, "add the tile that does")
