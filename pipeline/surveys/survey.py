"""What a survey is: frozen values, checked once, from which everything else follows.

A survey is data, not code: bands, pixel scale, where its files keep pixels, zero points, noise and
positions. A plugin may subclass `Survey` and override `discover` and `read`; most need not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, prod
from pathlib import Path
from string import Formatter
from typing import Literal, get_args

from equilens.pipeline.errors import SurveyError
from equilens.pipeline.fits.primary import MAX_BYTES
from equilens.pipeline.surveys.discovery import discover_objects
from equilens.pipeline.surveys.objects import ObjectRef, RawCutout
from equilens.pipeline.surveys.reading import read_object

LayoutKind = Literal["file-per-band", "cube", "extensions", "object-cube"]
ZeropointRule = Literal["band", "keyword", "flux-keyword", "stack-exptime"]
WcsRule = Literal["header", "none"]
# a writer holds a chunk of 16 cutouts in memory
MAX_CUTOUT_BYTES = 2**26


@dataclass(frozen=True)
class Band:
    """One photometric passband of a survey.

    Attributes
    ----------
    name : the survey's own name, as in its files
    generic : the passband's common name: one of u g r i z y Y J H VIS, or another short name
    wavelength_nm : effective wavelength
    psf_fwhm_arcsec : typical width of the point-spread function
    noise_njy : typical background noise of a pixel, nJy
    zeropoint : AB magnitude of one count; None where the file's header states it
    """

    name: str
    generic: str
    wavelength_nm: float
    psf_fwhm_arcsec: float
    noise_njy: float
    zeropoint: float | None = None

    def __post_init__(self) -> None:
        for quantity in ("wavelength_nm", "psf_fwhm_arcsec", "noise_njy"):
            value = getattr(self, quantity)
            if not 0 < value < inf:
                raise SurveyError(f"band {self.name!r}: {quantity} must be positive, got {value}")


@dataclass(frozen=True)
class Layout:
    """Where a survey's files keep their objects, bands and planes.

    Attributes
    ----------
    kind : ``file-per-band`` (one image a file), ``cube`` (band, y, x of one object a file),
        ``extensions`` (one image extension a band) or ``object-cube`` (object, y, x; one file a
        band)
    pattern : file name with ``{id}`` and ``{band}``, relative to any folder below the source; a
        ``.gz`` or ``.fz`` behind it is welcome
    image, rms, psf : for ``extensions``, the extension names or numbers, with ``{band}``; for
        ``file-per-band`` and ``cube``, rms and psf are names of files beside the image, with
        ``{id}`` and ``{band}``
    band_tokens : what stands for each band in file and extension names, where not its name
    object_id : for ``object-cube``, an object's id from its ``{index}`` in the cube and ``{id}``,
        or ``{ID}``: that in capitals with hyphens
    """

    kind: LayoutKind
    pattern: str
    image: str = ""
    rms: str = ""
    psf: str = ""
    band_tokens: tuple[tuple[str, str], ...] = ()
    object_id: str = "{id}-{index:06d}"

    def __post_init__(self) -> None:
        if self.kind not in get_args(LayoutKind):
            raise SurveyError(
                f"layout kind must be one of {get_args(LayoutKind)}, got {self.kind!r}"
            )
        if not self.pattern or self.pattern.startswith("/") or ".." in self.pattern.split("/"):
            raise SurveyError(
                f"layout pattern must name a file below the source folder, got {self.pattern!r}; "
                "for example '{id}_{band}.fits'"
            )
        _check_template("pattern", self.pattern, ("id", "band"))
        _check_template("object_id", self.object_id, ("id", "ID", "index"))
        for name in ("image", "rms", "psf"):
            _check_template(name, getattr(self, name), ("id", "band"))
        if self.kind == "extensions" and not self.image:
            raise SurveyError("layout of kind 'extensions' needs image, such as '{band}_FLUX'")
        needed = {"file-per-band": "id", "cube": "id", "extensions": "id", "object-cube": "band"}
        if f"{{{needed[self.kind]}}}" not in self.pattern:
            raise SurveyError(
                f"pattern of a {self.kind} layout needs {{{needed[self.kind]}}}, "
                f"got {self.pattern!r}"
            )

    def token(self, band: str) -> str:
        """What stands for `band` in a name."""
        return dict(self.band_tokens).get(band, band)


def _check_template(name: str, text: str, fields: tuple[str, ...]) -> None:
    """Placeholders are plain: attributes, conversions and wide paddings are no business of theirs.

    Python's format language reaches into objects, and pads to any width it is told.
    """
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise SurveyError(f"layout {name} {text!r}: {error}") from None
    for _, field_name, spec, conversion in parts:
        if field_name is None:
            continue
        padded = field_name == "index" and re.fullmatch(r"0?\d{0,2}d?", spec or "")
        if field_name not in fields or conversion or (spec and not padded):
            raise SurveyError(
                f"layout {name} may hold {', '.join(f'{{{f}}}' for f in fields)}, got {text!r}"
            )


@dataclass(frozen=True)
class MaskRule:
    """Which pixels carry no sky; NaN and infinity never do.

    Attributes
    ----------
    values : exact pixel values that mark masked pixels, in file units
    rms_above : a noise plane at or above this marks pixels without data
    """

    values: tuple[float, ...] = ()
    rms_above: float | None = None


@dataclass(frozen=True)
class Survey:
    """A survey: enough to find, read, calibrate and describe its cutouts.

    Attributes
    ----------
    name, version, title : how it is called, which release this describes, one line for people
    bands : in the order every array of this survey has
    pixel_scale_arcsec : of the cutouts
    shape : (ny, nx) that every cutout is brought to; odd, so that there is a centre pixel
    layout : where the files keep what
    zeropoint_rule : ``band`` (declared here), ``keyword`` (a header card), ``flux-keyword`` (a
        card with the counts of AB magnitude 0) or ``stack-exptime`` (a sum over exposures: zero
        point + 2.5 log10(EXPTIME))
    zeropoint_keyword : the header card for ``keyword`` and ``flux-keyword``
    zeropoint_source : where declared zero points come from, for the catalogue's readers
    wcs_rule : ``header``, or ``none`` where headers hold no sky position or a dummy one
    mask_rule : which pixels are masked
    max_missing_bands : objects that lack more bands are rejected
    footprint : where its sky is, in words
    """

    name: str
    version: str
    title: str
    bands: tuple[Band, ...]
    pixel_scale_arcsec: float
    shape: tuple[int, int]
    layout: Layout
    zeropoint_rule: ZeropointRule = "band"
    zeropoint_keyword: str = ""
    zeropoint_source: str = ""
    wcs_rule: WcsRule = "header"
    mask_rule: MaskRule = field(default_factory=MaskRule)
    max_missing_bands: int = 0
    footprint: str = ""

    def __post_init__(self) -> None:
        if not self.bands:
            raise SurveyError(f"survey {self.name!r}: at least one band is needed")
        if len(set(self.band_names)) != len(self.bands):
            raise SurveyError(f"survey {self.name!r}: band names repeat: {self.band_names}")
        if not 0 < self.pixel_scale_arcsec < inf:
            raise SurveyError(
                f"survey {self.name!r}: pixel_scale_arcsec must be positive, "
                f"got {self.pixel_scale_arcsec}"
            )
        if any(side < 33 or side % 2 == 0 for side in self.shape):
            raise SurveyError(
                f"survey {self.name!r}: shape must be odd and at least 33, got {self.shape}"
            )
        if 4 * len(self.bands) * prod(self.shape) > MAX_CUTOUT_BYTES:
            raise SurveyError(
                f"survey {self.name!r}: a cutout may take {MAX_CUTOUT_BYTES} bytes, got "
                f"{len(self.bands)} bands of {self.shape}; cut smaller ones"
            )
        if not 0 <= self.max_missing_bands < len(self.bands):
            raise SurveyError(
                f"survey {self.name!r}: max_missing_bands must be below {len(self.bands)}, "
                f"got {self.max_missing_bands}"
            )
        self._check_rules()

    def _check_rules(self) -> None:
        for rule, allowed in ((self.zeropoint_rule, ZeropointRule), (self.wcs_rule, WcsRule)):
            if rule not in get_args(allowed):
                raise SurveyError(
                    f"survey {self.name!r}: a rule must be one of {get_args(allowed)}, got {rule!r}"
                )
        if self.zeropoint_rule.endswith("keyword") and not self.zeropoint_keyword:
            raise SurveyError(
                f"survey {self.name!r}: zeropoint_rule {self.zeropoint_rule!r} needs "
                "zeropoint_keyword"
            )
        if self.zeropoint_rule in ("band", "stack-exptime"):
            unset = [band.name for band in self.bands if band.zeropoint is None]
            if unset:
                raise SurveyError(
                    f"survey {self.name!r}: zeropoint_rule {self.zeropoint_rule!r} needs a "
                    f"zeropoint in every band, {', '.join(unset)} has none"
                )
        unknown = {name for name, _ in self.layout.band_tokens} - set(self.band_names)
        if unknown:
            raise SurveyError(
                f"survey {self.name!r}: band_tokens names {sorted(unknown)}, "
                f"bands are {self.band_names}"
            )

    @property
    def band_names(self) -> tuple[str, ...]:
        return tuple(band.name for band in self.bands)

    def band(self, name: str) -> Band:
        """The band of that name."""
        for band in self.bands:
            if band.name == name:
                return band
        raise SurveyError(f"survey {self.name!r} has no band {name!r}: {self.band_names}")

    def discover(self, source: Path | str, night: object | None = None) -> Iterator[ObjectRef]:
        """Find the objects of `source`: a folder, a glob, a file, or a CSV or Parquet manifest.

        Parameters
        ----------
        source : where to look; nothing outside its folder is read
        night : take only files with a folder of this name above them

        Raises
        ------
        SurveyError
            If there is nothing to read at all. What is wrong with one object is its `fault`.
        """
        return discover_objects(self, source, night)

    def read(self, ref: ObjectRef, max_bytes: int = MAX_BYTES) -> RawCutout:
        """Read one object's pixels.

        Parameters
        ----------
        ref : from `discover`
        max_bytes : most that one file may hold; whole tiles need more than the default

        Raises
        ------
        RejectedObject
            If it can not be used, with the rule that it breaks.
        """
        return read_object(self, ref, max_bytes)
