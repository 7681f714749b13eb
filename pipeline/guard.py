"""Compare cutouts with the conditions a finder was trained under, before it scores them.

What cannot work is refused: other bands, another shape, a pixel scale that is off by more than a
fifth. What works but was never trained on is flagged, object by object, with the quantity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from equilens.models.inputs import InputSpec
from equilens.pipeline.domain import Range, TrainingDomain
from equilens.pipeline.errors import DomainError, SurveyError
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.surveys.registry import get_survey

LARGEST_SCALE_ERROR = 0.2
# a range is widened by this much before an object counts as outside of it
TOLERANCE = {"pixel_scale_arcsec": 0.05, "psf_fwhm_arcsec": 0.1, "noise_njy": 0.1}


@dataclass(frozen=True)
class DomainCheck:
    """One quantity, in one band, against its range in the training.

    Attributes
    ----------
    quantity : ``noise_njy``, ``psf_fwhm_arcsec``, ``pixel_scale_arcsec`` or ``missing_bands``
    band : "" where the quantity has none
    low, high : accepted, tolerance included
    n_outside : objects outside
    worst : the value furthest outside; None where none is
    """

    quantity: str
    band: str
    low: float
    high: float
    n_outside: int
    worst: float | None

    def __str__(self) -> str:
        name = f"{self.quantity} in {self.band}" if self.band else self.quantity
        return f"{name} outside {self.low:.4g} to {self.high:.4g}"


@dataclass(frozen=True)
class GuardReport:
    """What the guard found.

    Attributes
    ----------
    band_index : for each band of the network, its place in the store
    checks : one a quantity and band
    outside : (N,) uint64; bit k is set where an object fails ``checks[k]``
    notes : what could not be compared, and what was done
    """

    band_index: tuple[int, ...]
    checks: tuple[DomainCheck, ...]
    outside: np.ndarray
    notes: tuple[str, ...]

    @property
    def n_outside(self) -> int:
        return int(np.count_nonzero(self.outside))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the objects."""
        return {
            "n_outside": self.n_outside,
            "checks": [asdict(check) for check in self.checks],
            "notes": list(self.notes),
        }


def describe_outside(bits: int, checks: Sequence[DomainCheck]) -> str:
    """The failed checks of one object, in words, joined by semicolons."""
    return "; ".join(str(check) for k, check in enumerate(checks) if bits >> k & 1)


def guard(store: CutoutStore, spec: InputSpec, domain: TrainingDomain | None) -> GuardReport:
    """Compare every object of `store` with what a finder takes and was trained on.

    Raises
    ------
    DomainError
        Where the finder cannot work on this store at all.
    """
    index, notes = match_bands(store, spec.bands, domain)
    if store.shape != spec.shape:
        raise DomainError(
            f"{store.path}: cutouts are {store.shape[0]}x{store.shape[1]} pixels, the network "
            f"takes {spec.shape[0]}x{spec.shape[1]}: ingest again with that shape in the survey"
        )
    scale = store.facts("pixel_scale_arcsec")
    _check_scale(store, scale, spec.pixel_scale_arcsec)
    if domain is None:
        note = "the weights state no training domain: noise and PSF were not compared"
        empty = np.zeros(store.n_objects, np.uint64)
        return GuardReport(index, (), empty, (*notes, note))
    found: list[tuple[DomainCheck, np.ndarray]] = []
    wanted = domain.pixel_scale_arcsec
    found.append(_compare("pixel_scale_arcsec", "", scale, (wanted, wanted)))
    missing = len(index) - store.facts("band_present")[:, list(index)].sum(1)
    found.append(_compare("missing_bands", "", missing, (0, domain.max_missing_bands)))
    for quantity in ("noise_njy", "psf_fwhm_arcsec"):
        values = store.facts(quantity)
        for k, band in enumerate(domain.bands):
            limits = getattr(domain, quantity)[band]
            if limits is not None:
                found.append(_compare(quantity, band, values[:, index[k]], limits))
    outside = np.zeros(store.n_objects, np.uint64)
    for k, (_, out) in enumerate(found):
        outside |= out.astype(np.uint64) << np.uint64(k)
    return GuardReport(index, tuple(check for check, _ in found), outside, notes)


def match_bands(
    store: CutoutStore, wanted: tuple[str, ...], domain: TrainingDomain | None
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Where the network's bands are in the store: by name, else by common name.

    Raises
    ------
    DomainError
        A band is not there.
    """
    names = store.band_names
    if all(band in names for band in wanted):
        notes = [] if names == wanted else [f"bands {' '.join(wanted)} taken from the store"]
        return tuple(names.index(band) for band in wanted), tuple(notes)
    theirs = _generic(store)
    ours = domain.generic if domain else wanted
    if theirs and len(set(theirs)) == len(theirs) and all(band in theirs for band in ours):
        matched = ", ".join(
            f"{names[theirs.index(common)]} as {band}"
            for band, common in zip(wanted, ours, strict=True)
        )
        note = f"bands matched by their common names: {matched}"
        return tuple(theirs.index(band) for band in ours), (note,)
    pairs = zip(wanted, ours, strict=True)
    unknown = [band for band in wanted if band not in names]
    absent = [band for band, common in pairs if band in unknown and common not in (theirs or ())]
    raise DomainError(
        f"{store.path} has bands {' '.join(names)}, the network needs {' '.join(wanted)} and "
        f"{' '.join(absent or unknown)} is not there: "
        "choose weights for these bands (equilens models)"
    )


def _generic(store: CutoutStore) -> tuple[str, ...] | None:
    try:
        survey = get_survey(store.survey_name)
        return tuple(survey.band(name).generic for name in store.band_names)
    except SurveyError:
        return None


def _check_scale(store: CutoutStore, scale: np.ndarray, wanted: float) -> None:
    found = float(np.nanmedian(scale))
    if abs(found / wanted - 1) > LARGEST_SCALE_ERROR:
        raise DomainError(
            f'{store.path}: {found:.4g}" a pixel, the network was made for {wanted:.4g}" and '
            f"{LARGEST_SCALE_ERROR:.0%} either way: choose weights for this survey, or resample"
        )


def _compare(
    quantity: str, band: str, values: np.ndarray, limits: Range
) -> tuple[DomainCheck, np.ndarray]:
    """The check, and which objects fail it; unknown values fail nothing."""
    slack = 1 + TOLERANCE.get(quantity, 0.0)
    low, high = limits[0] / slack, limits[1] * slack
    values = np.asarray(values, np.float64)
    outside = (values < low) | (values > high)
    worst = None
    if outside.any():
        distance = np.where(outside, np.maximum(low - values, values - high), -np.inf)
        worst = float(values[np.argmax(distance)])
    return DomainCheck(quantity, band, low, high, int(outside.sum()), worst), outside
