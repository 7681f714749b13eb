"""A survey whose bands lie on two pixel grids, the coarse one a whole number of times the fine.

Coarse pixels are repeated, each into ``factor``² fine ones that share its flux: no interpolation,
nothing lost, apertures keep their flux, and the symmetries of the square are kept. Repeated pixels
agree with each other, which would hide their noise, so it is measured on the coarse grid and
handed on as a noise plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from equilens.pipeline.errors import RejectedObject, SurveyError
from equilens.pipeline.fits.primary import MAX_BYTES
from equilens.pipeline.noise import background_noise
from equilens.pipeline.surveys.objects import ObjectRef, RawCutout
from equilens.pipeline.surveys.reading import check_present
from equilens.pipeline.surveys.survey import Survey


@dataclass(frozen=True)
class TwoGridSurvey(Survey):
    """A survey of one file a band that reads each half by its own survey.

    Attributes
    ----------
    fine, coarse : surveys of the two halves; together they have this survey's bands, in order,
        and this survey's pixels are those of `fine`. Both grids are taken to share their centre
    """

    fine: Survey | None = None
    coarse: Survey | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        fine, coarse = self.halves
        if fine.band_names + coarse.band_names != self.band_names:
            raise SurveyError(
                f"survey {self.name!r}: bands are {self.band_names}, its halves have "
                f"{fine.band_names} and {coarse.band_names}"
            )
        ratio = coarse.pixel_scale_arcsec / fine.pixel_scale_arcsec
        if ratio < 2 or abs(ratio - round(ratio)) > 1e-6:
            raise SurveyError(
                f"survey {self.name!r}: coarse pixels must be a whole number of times the fine "
                f"ones, got {ratio:g}"
            )

    @property
    def halves(self) -> tuple[Survey, Survey]:
        """The fine and the coarse one."""
        if self.fine is None or self.coarse is None:
            raise SurveyError(f"survey {self.name!r} needs a fine and a coarse half")
        return self.fine, self.coarse

    @property
    def factor(self) -> int:
        """Fine pixels along a side of a coarse one."""
        fine, coarse = self.halves
        return round(coarse.pixel_scale_arcsec / fine.pixel_scale_arcsec)

    def read(self, ref: ObjectRef, max_bytes: int = MAX_BYTES) -> RawCutout:
        """Read both halves and bring the coarse one to the fine grid.

        Raises
        ------
        RejectedObject
            As the halves do; also ``missing-band`` without a file for a band, and ``wrong-shape``
            where the two grids' centres would be half a fine pixel apart.
        """
        if ref.fault is not None:
            raise ref.fault
        files = dict(ref.files)
        check_present(self, ref, np.array([name in files for name in self.band_names]))
        fine, coarse = (half.read(_part(ref, half), max_bytes) for half in self.halves)
        return _joined(fine, coarse, self._to_fine(coarse, fine, ref))

    def _to_fine(self, coarse: RawCutout, fine: RawCutout, ref: ObjectRef) -> Mapping[str, Any]:
        k, shape = self.factor, fine.images.shape[1:]
        sides = tuple(k * side for side in coarse.images.shape[1:])
        if any((there - here) % 2 for there, here in zip(shape, sides, strict=True)):
            raise RejectedObject(
                "wrong-shape",
                f"{fine.images.shape[1:]} fine and {coarse.images.shape[1:]} coarse pixels",
                f"with {k} fine pixels to a coarse one, both sides must be even or both odd",
                ref.source_file,
            )
        noise = coarse_noise(coarse) / k**2
        images = _centred(np.repeat(np.repeat(coarse.images / k**2, k, 1), k, 2), shape, np.nan)
        mask = _centred(np.repeat(np.repeat(coarse.mask, k, 1), k, 2), shape, True)
        rms = np.broadcast_to(noise[:, None, None], images.shape)
        return {"images": images, "mask": mask, "rms": rms}


def coarse_noise(raw: RawCutout) -> np.ndarray:
    """Noise a pixel (B,) in file units, on the grid of the files; NaN where it shows none."""
    images = np.where(raw.mask, 0, raw.images).astype(np.float32)[np.newaxis]
    found = background_noise(images, raw.mask[np.newaxis])[0]
    return np.where(found > 0, found, np.nan)


def _part(ref: ObjectRef, half: Survey) -> ObjectRef:
    files = tuple((band, path) for band, path in ref.files if band in half.band_names)
    return ObjectRef(ref.id, files, ref.index, ref.columns, ref.ra, ref.dec, ref.root)


def _centred(values: np.ndarray, shape: tuple[int, ...], fill: float | bool) -> np.ndarray:
    """Crop or pad (B, h, w) about its geometric centre; sizes differ by even numbers."""
    out = np.full((len(values), *shape), fill, values.dtype)
    source, target = [slice(None)], [slice(None)]
    for old, new in zip(values.shape[1:], shape, strict=True):
        cut, pad = max(0, old - new) // 2, max(0, new - old) // 2
        source.append(slice(cut, old - cut))
        target.append(slice(pad, new - pad))
    out[tuple(target)] = values[tuple(source)]
    return out


def _joined(fine: RawCutout, coarse: RawCutout, moved: Mapping[str, Any]) -> RawCutout:
    unknown = np.full(fine.images.shape, np.nan, np.float32)
    rms = unknown if fine.rms is None else fine.rms
    return RawCutout(
        id=fine.id,
        images=np.concatenate([fine.images, moved["images"].astype(np.float32)]),
        mask=np.concatenate([fine.mask, moved["mask"]]),
        rms=np.concatenate([rms, moved["rms"].astype(np.float32)]),
        psf=(*fine.psf, *coarse.psf),
        zeropoint=np.concatenate([fine.zeropoint, coarse.zeropoint]),
        zeropoint_declared=fine.zeropoint_declared and coarse.zeropoint_declared,
        band_present=np.concatenate([fine.band_present, coarse.band_present]),
        headers=(*fine.headers, *coarse.headers),
        wcs_header=fine.wcs_header,
        ra=fine.ra,
        dec=fine.dec,
        files=(*fine.files, *coarse.files),
        checksums=(*fine.checksums, *coarse.checksums),
        n_bytes=fine.n_bytes + coarse.n_bytes,
        columns=fine.columns,
        flags=fine.flags | coarse.flags,
    )
