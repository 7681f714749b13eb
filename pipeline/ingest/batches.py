"""A batch of objects read, calibrated and measured: what one worker does at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equilens.pipeline.cutouts import CutoutBatch, CutoutFlag
from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.ingest.calibrate import Calibrated, calibrate
from equilens.pipeline.noise import ESTIMATED, FROM_PLANE, background_noise
from equilens.pipeline.quarantine import UNEXPECTED_ERROR, ZERO_NOISE, QuarantineRow
from equilens.pipeline.surveys.objects import ObjectRef, RawCutout
from equilens.pipeline.surveys.survey import Survey

TYPICAL = "survey-typical"

Outcome = tuple[ObjectRef, RawCutout | RejectedObject]


@dataclass
class BatchResult:
    """What became of a batch, but for the pixels.

    Attributes
    ----------
    facts : per-object arrays of the accepted objects, named as in `CutoutBatch`
    columns : the manifest's columns of the accepted objects, as Python values
    rejected : rows of the quarantine table
    n_masked : masked pixels of each accepted object
    n_bytes : size of the files behind each distinct source
    """

    facts: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]
    rejected: list[QuarantineRow]
    n_masked: np.ndarray
    n_bytes: dict[str, int]

    def __len__(self) -> int:
        return len(self.facts["ids"])

    def with_pixels(self, images: np.ndarray, mask: np.ndarray) -> CutoutBatch:
        """The accepted objects, whose pixels come first in the given arrays."""
        n = len(self)
        return CutoutBatch(images=images[:n], mask=mask[:n], columns=self.columns, **self.facts)


@dataclass(frozen=True)
class _Filed:
    """What stays of a raw cutout: a batch of their pixels would fill the memory."""

    id: str
    ra: float
    dec: float
    source_file: str
    source_checksum: str
    n_bytes: int
    columns: Mapping[str, Any]

    @classmethod
    def of(cls, raw: RawCutout) -> _Filed:
        source, checksum = raw.source_file, raw.source_checksum
        return cls(raw.id, raw.ra, raw.dec, source, checksum, raw.n_bytes, raw.columns)


@dataclass
class _Accepted:
    filed: list[_Filed] = field(default_factory=list)
    known: list[Calibrated] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.filed)


def read_each(survey: Survey, refs: Iterable[ObjectRef]) -> Iterator[Outcome]:
    """Read objects one after another; a rejection stands in the place of a cutout."""
    for ref in refs:
        try:
            if ref.fault is not None:
                raise ref.fault
            yield ref, survey.read(ref)
        except RejectedObject as rejection:
            yield ref, rejection
        except Exception as error:  # one bad object never stops the rest: it gets its row
            yield ref, _unexpected(error)


def gather_batch(
    survey: Survey,
    outcomes: Iterable[Outcome],
    images: np.ndarray,
    mask: np.ndarray,
    column_names: Sequence[str] = (),
) -> BatchResult:
    """Calibrate and measure objects; the accepted ones fill the given arrays from the start.

    Parameters
    ----------
    survey : that the objects belong to
    outcomes : of reading; at most as many as the arrays have room for
    images : (N, B, ny, nx) float32, overwritten: nJy
    mask : (N, B, ny, nx) bool, overwritten
    column_names : of the manifest, carried along
    """
    accepted, rejected = _Accepted(), []
    for ref, outcome in outcomes:
        try:
            if isinstance(outcome, RejectedObject):
                raise outcome
            row = len(accepted)
            known = calibrate(outcome, survey, images[row], mask[row])
        except RejectedObject as rejection:
            rejected.append(QuarantineRow.of(ref.id, rejection, ref.source_file, ref.root))
        except Exception as error:  # as in `read_each`
            rejected.append(QuarantineRow.of(ref.id, _unexpected(error), ref.source_file))
        else:
            accepted.filed.append(_Filed.of(outcome))
            accepted.known.append(known)
    noise, methods, silent = _measure_noise(survey, accepted, images, mask)
    facts = _facts(survey, accepted, noise, methods)
    columns = {
        name: _objects([filed.columns.get(name) for filed in accepted.filed])
        for name in column_names
    }
    if silent.any():
        rejected += _reject_silent(survey, accepted, noise, silent)
        keep = np.flatnonzero(~silent)
        images[: len(keep)], mask[: len(keep)] = images[keep], mask[keep]
        facts = {name: values[keep] for name, values in facts.items()}
        columns = {name: values[keep] for name, values in columns.items()}
    # object by object, which is ten times faster than along axes
    n_masked = np.array([np.count_nonzero(part) for part in mask[: len(facts["ids"])]], dtype=int)
    n_bytes = {filed.source_file: filed.n_bytes for filed in accepted.filed}
    return BatchResult(facts, columns, rejected, n_masked, n_bytes)


def _unexpected(error: Exception) -> RejectedObject:
    return UNEXPECTED_ERROR.broken(f"{type(error).__name__}: {error}")


def _measure_noise(
    survey: Survey, accepted: _Accepted, images: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise (n, B), its method (n,), and which objects have a band without any noise (n,)."""
    n, bands = len(accepted), survey.band_names
    if not n:
        return np.empty((0, len(bands))), np.empty(0, object), np.zeros(0, bool)
    noise = np.array([known.noise_njy for known in accepted.known])
    present = np.array([known.band_present for known in accepted.known])
    method = np.full(noise.shape, FROM_PLANE, dtype=object)
    unknown = present & ~np.isfinite(noise)
    rows = np.flatnonzero(unknown.any(axis=1))
    if rows.size:
        part = slice(0, n) if rows.size == n else rows
        found = np.full(noise.shape, np.nan)
        found[rows] = background_noise(images[part], mask[part])
        noise[unknown], method[unknown] = found[unknown], ESTIMATED
    unmeasured = present & ~np.isfinite(noise)
    typical = np.broadcast_to([band.noise_njy for band in survey.bands], noise.shape)
    noise[unmeasured], method[unmeasured] = typical[unmeasured], TYPICAL
    silent = np.asarray((present & (noise <= 0)).any(axis=1))
    text = [
        _describe(bands, used, here)
        for used, here in zip(method.tolist(), present.tolist(), strict=True)
    ]
    return noise, np.array(text, dtype=object), silent


def _describe(bands: Sequence[str], methods: list[str], present: list[bool]) -> str:
    used = {method for method, here in zip(methods, present, strict=True) if here}
    if len(used) == 1:
        return used.pop()
    return " ".join(f"{b}:{m}" for b, m, here in zip(bands, methods, present, strict=True) if here)


def _reject_silent(
    survey: Survey, accepted: _Accepted, noise: np.ndarray, silent: np.ndarray
) -> list[QuarantineRow]:
    rows = []
    for i in np.flatnonzero(silent):
        filed, names = accepted.filed[i], np.array(survey.band_names)[noise[i] <= 0]
        rejection = ZERO_NOISE.broken(f"noise is 0 in {', '.join(names)}", filed.source_file)
        rows.append(QuarantineRow.of(filed.id, rejection))
    return rows


def _facts(
    survey: Survey, accepted: _Accepted, noise: np.ndarray, methods: np.ndarray
) -> dict[str, np.ndarray]:
    n, filed, known = len(accepted), accepted.filed, accepted.known
    per_band = (n, len(survey.bands))
    from_plane = np.array([FROM_PLANE in method for method in methods], dtype=bool)
    flags = np.array([entry.flags for entry in known], dtype=np.uint32)
    flags[from_plane] |= np.uint32(CutoutFlag.NOISE_FROM_RMS)
    return {
        "ids": _objects([entry.id for entry in filed]),
        "ra": np.array([entry.ra for entry in filed], dtype=np.float64),
        "dec": np.array([entry.dec for entry in filed], dtype=np.float64),
        "noise_njy": noise.astype(np.float32),
        "noise_method": methods,
        "psf_fwhm_arcsec": np.array(
            [entry.psf_fwhm_arcsec for entry in known], dtype=np.float32
        ).reshape(per_band),
        "pixel_scale_arcsec": np.full(n, survey.pixel_scale_arcsec, dtype=np.float32),
        "band_present": np.array([e.band_present for e in known], dtype=bool).reshape(per_band),
        "flags": flags,
        "wcs_header": _objects([entry.wcs_header for entry in known]),
        "source_file": _objects([entry.source_file for entry in filed]),
        "source_checksum": _objects([entry.source_checksum for entry in filed]),
    }


def _objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
