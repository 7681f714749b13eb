"""The conditions that a finder was trained under, and outside of which nobody vouches for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

Range = tuple[float, float]


@dataclass(frozen=True)
class TrainingDomain:
    """Ranges of the training cutouts, 1st to 99th percentile.

    Attributes
    ----------
    bands : names, in the network's order
    generic : the same bands' common names; equal to `bands` where those are not known
    pixel_scale_arcsec : median
    psf_fwhm_arcsec, noise_njy : a range for each band; None where no training cutout told
    max_missing_bands : most bands that a training cutout lacked
    """

    bands: tuple[str, ...]
    generic: tuple[str, ...]
    pixel_scale_arcsec: float
    psf_fwhm_arcsec: dict[str, Range | None]
    noise_njy: dict[str, Range | None]
    max_missing_bands: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingDomain:
        """The domain of `to_dict`."""
        ranges = {
            name: {band: pair and (pair[0], pair[1]) for band, pair in values[name].items()}
            for name in ("psf_fwhm_arcsec", "noise_njy")
        }
        names = {name: tuple(values[name]) for name in ("bands", "generic")}
        return cls(**{**values, **ranges, **names})


def measure_domain(
    tables: Sequence[pa.Table],
    bands: tuple[str, ...],
    generic: tuple[str, ...],
    *,
    max_depth: float = 1.0,
    max_missing_bands: int = 0,
) -> TrainingDomain:
    """The domain of the cutouts that `tables` describe.

    Parameters
    ----------
    tables : of one or more CutoutStores
    max_depth : training showed cutouts with up to this factor on their noise as well
    max_missing_bands : training took away up to this many bands as well
    """
    scale = np.concatenate([table["pixel_scale_arcsec"].to_numpy() for table in tables])
    noise = {band: _range(tables, f"noise_njy_{band}") for band in bands}
    present = [
        np.sum([table[f"band_present_{band}"].to_numpy() for band in bands], axis=0)
        for table in tables
    ]
    fewest = int(min(counts.min() for counts in present))
    return TrainingDomain(
        bands=bands,
        generic=generic,
        pixel_scale_arcsec=float(np.median(scale)),
        psf_fwhm_arcsec={band: _range(tables, f"psf_fwhm_arcsec_{band}") for band in bands},
        noise_njy={band: r and (r[0], r[1] * max_depth) for band, r in noise.items()},
        max_missing_bands=max(max_missing_bands, len(bands) - fewest),
    )


def _range(tables: Sequence[pa.Table], column: str) -> Range | None:
    values = np.concatenate([np.asarray(t[column].to_numpy(), float) for t in tables])
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    low, high = np.percentile(values, (1, 99))
    return float(low), float(high)
