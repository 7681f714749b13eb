"""From a reference to pixels: gather an object's planes, its zero points, mask and position."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.fits.cards import Cards
from equilens.pipeline.fits.primary import MAX_BYTES
from equilens.pipeline.fits.reader import FitsFile, read_fits
from equilens.pipeline.fits.wcs import pixel_to_sky, wcs_text
from equilens.pipeline.surveys.calibration import linear_pixels, mask_planes, zeropoint_of
from equilens.pipeline.surveys.cubes import open_cube
from equilens.pipeline.surveys.objects import ObjectRef, RawCutout
from equilens.pipeline.surveys.paths import outside_source

if TYPE_CHECKING:
    from equilens.pipeline.surveys.survey import Survey

# below this there is no galaxy to look at, and no sky around it to measure noise on
MIN_SIDE = 9


@dataclass(frozen=True)
class BandPlane:
    """What the files say about one object in one band; `rms` and `psf` where they do."""

    image: np.ndarray
    cards: Cards
    rms: np.ndarray | None = None
    psf: np.ndarray | None = None


@dataclass(frozen=True)
class SourceFile:
    """A file that was read, for the record."""

    path: Path
    checksum: str
    n_bytes: int


@dataclass(frozen=True)
class Gathered:
    """What an object's files hold.

    Attributes
    ----------
    planes : by band
    sources : the files that were read
    cube : the images of all planes in the survey's order, where one array of their own holds them
    """

    planes: dict[str, BandPlane]
    sources: list[SourceFile]
    cube: np.ndarray | None = None


def read_object(survey: Survey, ref: ObjectRef, max_bytes: int = MAX_BYTES) -> RawCutout:
    """Read one object's pixels; see `Survey.read`."""
    if ref.fault is not None:
        raise ref.fault
    gathered = _GATHER[survey.layout.kind](survey, ref, max_bytes)
    _check_shapes(ref, gathered.planes)
    return assemble(survey, ref, gathered)


def assemble(survey: Survey, ref: ObjectRef, gathered: Gathered) -> RawCutout:
    """Put an object's planes together, in the survey's band order.

    Raises
    ------
    RejectedObject
        ``all-nan``, ``missing-band`` or ``no-zeropoint``.
    """
    names, planes, sources = survey.band_names, gathered.planes, gathered.sources
    images, rms = _stacked_images(names, gathered), _stacked_noise(names, planes)
    mask = mask_planes(survey.mask_rule, images, rms)
    present = np.asarray(~mask.all(axis=(1, 2)))
    check_present(survey, ref, present)
    if not present.all():
        images[~present] = np.nan
    cards = tuple(planes[n].cards if n in planes else Cards({}) for n in names)
    usable = [entry for entry, ok in zip(cards, present, strict=True) if ok]
    text, ra, dec = _position(survey, ref, usable, images.shape[1:])
    return RawCutout(
        id=ref.id,
        images=images,
        mask=mask,
        rms=rms,
        psf=tuple(planes[n].psf if n in planes else None for n in names),
        zeropoint=_zeropoints(survey, ref, cards, present),
        zeropoint_declared=survey.zeropoint_rule == "band",
        band_present=present,
        headers=cards,
        wcs_header=text,
        ra=ra,
        dec=dec,
        files=tuple(_name(source.path, ref.root) for source in sources),
        checksums=tuple(source.checksum for source in sources),
        n_bytes=sum(source.n_bytes for source in sources),
        columns=ref.columns,
    )


def _stacked_images(names: tuple[str, ...], gathered: Gathered) -> np.ndarray:
    """Pixels (B, h, w) in linear units; NaN all over a missing band."""
    planes, cube = gathered.planes, gathered.cube
    first = next(iter(planes.values()))
    if cube is not None and linear_pixels(cube, first.cards) is cube:
        return cube
    images = np.full((len(names), *first.image.shape), np.nan, np.float32)
    for index, name in enumerate(names):
        if name in planes:
            images[index] = linear_pixels(planes[name].image, planes[name].cards)
    return images


def _stacked_noise(names: tuple[str, ...], planes: dict[str, BandPlane]) -> np.ndarray | None:
    """Noise planes (B, h, w), NaN all over a band without one; None where no band has one."""
    known = {name: plane.rms for name, plane in planes.items() if plane.rms is not None}
    if not known:
        return None
    shape = next(iter(known.values())).shape
    rms = np.full((len(names), *shape), np.nan, np.float32)
    for index, name in enumerate(names):
        if name in known:
            rms[index] = known[name]
    return rms


def _zeropoints(
    survey: Survey, ref: ObjectRef, cards: tuple[Cards, ...], present: np.ndarray
) -> np.ndarray:
    if survey.zeropoint_rule == "band":
        declared = np.array([band.zeropoint for band in survey.bands], dtype=np.float64)
        return np.where(present, declared, np.nan)
    zeropoints = np.full(len(cards), np.nan)
    names = survey.band_names
    for index in np.flatnonzero(present).tolist():
        name = names[index]
        try:
            zeropoints[index] = zeropoint_of(survey, name, cards[index])
        except RejectedObject as fault:
            raise fault.at(dict(ref.files)[name]) from None
    return zeropoints


def _position(
    survey: Survey, ref: ObjectRef, cards: list[Cards], shape: tuple[int, ...]
) -> tuple[str, float, float]:
    text = ""
    if survey.wcs_rule == "header":
        text = next((found for entry in cards if (found := wcs_text(entry))), "")
    if not math.isnan(ref.ra):
        return text, ref.ra, ref.dec
    height, width = shape
    return text, *pixel_to_sky(text, width // 2, height // 2)


def _check_shapes(ref: ObjectRef, planes: dict[str, BandPlane]) -> None:
    shapes = {plane.image.shape for plane in planes.values()}
    if not shapes:
        raise RejectedObject("missing-band", "no band at all", "check the survey", ref.source_file)
    if any(len(sides) != 2 or min(sides) < MIN_SIDE for sides in shapes):
        remedy = f"images of two axes, {MIN_SIDE} pixels or more a side, are needed"
        raise RejectedObject("wrong-shape", _listed_sides(planes), remedy, ref.source_file)
    if len(shapes) > 1:
        remedy = "bring all bands to one pixel grid"
        raise RejectedObject("wrong-shape", _listed_sides(planes), remedy, ref.source_file)
    (shape,) = shapes
    for name, plane in planes.items():
        if plane.rms is not None and plane.rms.shape != shape:
            found = f"noise plane of {name} is {plane.rms.shape}"
            raise RejectedObject("wrong-shape", found, f"{shape} is needed", ref.source_file)


def _listed_sides(planes: dict[str, BandPlane]) -> str:
    return ", ".join(f"{n} {'x'.join(map(str, p.image.shape))}" for n, p in planes.items())


def check_present(survey: Survey, ref: ObjectRef, present: np.ndarray) -> None:
    """Reject an object that lacks all bands, or more than its survey allows.

    Parameters
    ----------
    survey, ref : of the object
    present : (B,) bool, the bands that have valid pixels
    """
    if present.all():
        return
    if not present.any():
        raise RejectedObject(
            "all-nan", "no pixel of any band is valid", "leave this object out", ref.source_file
        )
    lacking = [n for n, ok in zip(survey.band_names, present, strict=True) if not ok]
    if len(lacking) > survey.max_missing_bands:
        raise RejectedObject(
            "missing-band",
            f"{', '.join(lacking)} missing or empty",
            f"survey {survey.name!r} allows {survey.max_missing_bands}",
            ref.source_file,
        )


def _name(path: Path, root: Path | None) -> str:
    text = str(path)
    prefix = f"{root}/"
    return text[len(prefix) :] if root is not None and text.startswith(prefix) else text


def _record(file: FitsFile) -> SourceFile:
    return SourceFile(file.path, file.checksum, file.n_bytes)


def _from_band_files(survey: Survey, ref: ObjectRef, max_bytes: int) -> Gathered:
    planes: dict[str, BandPlane] = {}
    sources = []
    for band, path in ref.files:
        file = read_fits(path, max_bytes=max_bytes)
        beside = list(_beside(survey, ref, band, path))
        sources += [_record(f) for f in (file, *(f for f in beside if f is not None))]
        first = file.first
        rms, psf = (None if f is None else f.first.pixels for f in beside)
        planes[band] = BandPlane(_squeezed(first.pixels), first.cards, rms, psf)
    return Gathered(planes, sources)


def _from_cube(survey: Survey, ref: ObjectRef, max_bytes: int) -> Gathered:
    path = ref.files[0][1]
    file = read_fits(path, max_bytes=max_bytes)
    pixels, cards = file.first.pixels, file.first.cards
    assert pixels is not None
    if pixels.ndim == 2 and len(survey.bands) == 1:
        pixels = pixels[np.newaxis]
    if pixels.ndim != 3 or len(pixels) != len(survey.bands):
        raise RejectedObject(
            "wrong-shape",
            f"axes {pixels.shape}",
            f"a cube of {len(survey.bands)} bands ({', '.join(survey.band_names)}) is needed",
            path,
        )
    noise, psf = _beside(survey, ref, "", path)
    sources = [_record(f) for f in (file, noise, psf) if f is not None]
    planes = {}
    for index, band in enumerate(survey.band_names):
        rms = None if noise is None else _plane(noise, index)
        kernel = None if psf is None else _plane(psf, index)
        planes[band] = BandPlane(pixels[index], cards, rms, kernel)
    own = pixels.dtype == np.float32 and pixels.flags.writeable
    return Gathered(planes, sources, pixels if own else None)


def _from_extensions(survey: Survey, ref: ObjectRef, max_bytes: int) -> Gathered:
    layout = survey.layout
    planes: dict[str, BandPlane] = {}
    files: dict[Path, FitsFile] = {}
    for band, path in ref.files:
        file = files.get(path) or files.setdefault(path, read_fits(path, max_bytes=max_bytes))
        image, rms, psf = (
            file.find(name.format(band=layout.token(band), id=ref.id)) if name else None
            for name in (layout.image, layout.rms, layout.psf)
        )
        if image is None or image.pixels is None:
            continue
        planes[band] = BandPlane(
            image.pixels,
            image.cards,
            *(None if plane is None else plane.pixels for plane in (rms, psf)),
        )
    return Gathered(planes, [_record(file) for file in files.values()])


def _from_object_cube(survey: Survey, ref: ObjectRef, max_bytes: int) -> Gathered:
    planes, sources = {}, []
    for band, path in ref.files:
        cube = open_cube(path)
        if ref.index is None:
            raise RejectedObject("missing-file", "no index", "add a column index", path)
        planes[band] = BandPlane(cube.row(ref.index), cube.cards)
        sources.append(SourceFile(path, cube.checksum, cube.n_bytes))
    return Gathered(planes, sources)


def _beside(survey: Survey, ref: ObjectRef, band: str, path: Path) -> Iterator[FitsFile | None]:
    """The noise and PSF files beside an image, where the layout names them and they exist."""
    for name in (survey.layout.rms, survey.layout.psf):
        token = survey.layout.token(band)
        neighbour = path.parent / name.format(band=token, id=ref.id) if name else None
        if neighbour is None or not neighbour.exists():
            yield None
            continue
        fault = ref.root and outside_source(neighbour, ref.root)
        if fault:
            raise fault
        yield read_fits(neighbour)


def _plane(file: FitsFile, index: int) -> np.ndarray | None:
    pixels = file.first.pixels
    if pixels is None or pixels.ndim == 2:
        return pixels
    return pixels[index] if index < len(pixels) else None


def _squeezed(pixels: np.ndarray | None) -> np.ndarray:
    """Some writers keep an image as a cube of one plane."""
    assert pixels is not None
    return pixels[0] if pixels.ndim == 3 and len(pixels) == 1 else pixels


_GATHER = {
    "file-per-band": _from_band_files,
    "cube": _from_cube,
    "extensions": _from_extensions,
    "object-cube": _from_object_cube,
}
