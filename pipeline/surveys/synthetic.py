"""Write small FITS files the way a survey keeps them, with pixels that are known.

For plugin authors, and for anyone who wants to try a survey without its data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from equilens.pipeline.surveys.survey import Survey

# far from 0 and 360 degrees and from the poles: any survey's TAN header is well-behaved there
CENTRE_DEG = (150.0, 2.0)
SPACING_DEG = 0.02


@dataclass(frozen=True)
class WrittenObject:
    """What went into the files of one object.

    Attributes
    ----------
    id : as the survey should find it
    images : (B, ny, nx) float32, in file units
    ra, dec : ICRS degrees of its centre pixel; what the header says, if it may
    """

    id: str
    images: np.ndarray
    ra: float
    dec: float


def write_objects(survey: Survey, folder: Path, n: int = 3, seed: int = 0) -> list[WrittenObject]:
    """Write `n` objects of noise around a bright spot, in files that follow the survey's layout.

    Parameters
    ----------
    survey : whose layout, bands, zero-point cards and WCS rule the files follow
    folder : to write below
    n : number of objects
    seed : of the noise
    """
    rng = np.random.default_rng(seed)
    objects = [_object(survey, index, rng) for index in range(n)]
    if survey.layout.kind == "object-cube":
        objects = [_renamed(survey, index, item) for index, item in enumerate(objects)]
        _write_object_cubes(survey, folder, objects)
        return objects
    write = {"file-per-band": _band_files, "cube": _cube, "extensions": _extensions}
    for item in objects:
        for name, hdus in write[survey.layout.kind](survey, item):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            fits.HDUList(hdus).writeto(path)
    return objects


def _object(survey: Survey, index: int, rng: np.random.Generator) -> WrittenObject:
    ny, nx = survey.shape
    y, x = np.mgrid[:ny, :nx]
    spot = np.exp(-((x - nx // 2) ** 2 + (y - ny // 2) ** 2) / 18.0)
    # every band has its own level, so that a swapped band is seen
    levels = 1.0 + np.arange(len(survey.bands))[:, None, None]
    images = (levels * (1 + 5 * spot) + 0.1 * rng.normal(size=(len(levels), ny, nx))).astype("f4")
    return WrittenObject(
        f"J{index:04d}", images, CENTRE_DEG[0] + SPACING_DEG * index, CENTRE_DEG[1]
    )


def _renamed(survey: Survey, index: int, item: WrittenObject) -> WrittenObject:
    name = survey.layout.object_id.format(id="set", ID="SET", index=index)
    return WrittenObject(name, item.images, item.ra, item.dec)


def _header(survey: Survey, item: WrittenObject, band: str) -> fits.Header:
    header = fits.Header()
    ny, nx = survey.shape
    step = survey.pixel_scale_arcsec / 3600
    if survey.wcs_rule == "header":
        header.update(
            CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CUNIT1="deg", CUNIT2="deg", RADESYS="ICRS"
        )
        header.update(CRPIX1=nx // 2 + 1, CRPIX2=ny // 2 + 1, CRVAL1=item.ra, CRVAL2=item.dec)
        header.update(CD1_1=-step, CD1_2=0.0, CD2_1=0.0, CD2_2=step)
    index = survey.band_names.index(band)
    if survey.zeropoint_rule == "keyword":
        header[survey.zeropoint_keyword] = 25.0 + index
    elif survey.zeropoint_rule == "flux-keyword":
        header[survey.zeropoint_keyword] = 10.0 ** (10 + 0.4 * index)
    elif survey.zeropoint_rule == "stack-exptime":
        header["EXPTIME"] = 100.0 * (1 + index)
    return header


def _name(survey: Survey, item: WrittenObject, band: str = "") -> str:
    return survey.layout.pattern.format(id=item.id, band=survey.layout.token(band))


def _planes(survey: Survey, item: WrittenObject) -> Iterator[tuple[str, np.ndarray, fits.Header]]:
    for band, image in zip(survey.band_names, item.images, strict=True):
        yield band, image, _header(survey, item, band)


def _band_files(survey: Survey, item: WrittenObject) -> Iterator[tuple[str, list[fits.PrimaryHDU]]]:
    for band, image, header in _planes(survey, item):
        yield _name(survey, item, band), [fits.PrimaryHDU(image, header)]


def _cube(survey: Survey, item: WrittenObject) -> Iterator[tuple[str, list[fits.PrimaryHDU]]]:
    header = _header(survey, item, survey.band_names[0])
    yield _name(survey, item), [fits.PrimaryHDU(item.images, header)]


def _extensions(survey: Survey, item: WrittenObject) -> Iterator[tuple[str, list]]:
    """One file with all bands, or one a band where the pattern says so."""
    layout = survey.layout
    files: dict[str, list] = {}
    for band, image, header in _planes(survey, item):
        token = layout.token(band)
        hdus = files.setdefault(_name(survey, item, band), [fits.PrimaryHDU()])
        named = layout.image.format(band=token, id=item.id)
        hdus.append(fits.ImageHDU(image, header, name="" if named.isdigit() else named))
        rms = layout.rms.format(band=token, id=item.id)
        if rms and not rms.isdigit():
            hdus.append(fits.ImageHDU(np.full_like(image, 0.1), name=rms))
    yield from files.items()


def _write_object_cubes(survey: Survey, folder: Path, objects: list[WrittenObject]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, band in enumerate(survey.band_names):
        name = survey.layout.pattern.format(id="set", band=survey.layout.token(band))
        cube = np.stack([item.images[index] for item in objects])
        fits.PrimaryHDU(cube, _header(survey, objects[0], band)).writeto(folder / name)
