"""Facts that go with simulated pixels: sky positions, WCS headers, truth tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.surveys.survey import Band

TRUTH_COLUMNS = (
    "is_lens",
    "einstein_radius_arcsec",
    "arc_snr",
    "lens_mag",
    "source_mag",
    "object_class",
    "n_arc_pixels",
    "arc_flux_njy",
    "z_lens",
    "z_source",
    "parent_id",
)
# what only whole simulated scenes have: colours are those of `band_pair`, bluest minus reddest,
# AB and noiseless; slope is γ' of the deflector; of two deflectors, the Einstein radius is the sum
SCENE_COLUMNS = (
    "lens_colour",
    "source_colour",
    "band_pair",
    "source_kind",
    "slope",
    "n_deflectors",
)


def uniform_sky(rng: np.random.Generator, n: int) -> tuple[NDArray, NDArray]:
    """Return ICRS positions in degrees, uniform over the sphere."""
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def tan_header(ra: float, dec: float, pixel_scale_arcsec: float, shape: tuple[int, int]) -> str:
    """Return the cards of a tangential projection, one a line, north up and east left."""
    step = pixel_scale_arcsec / 3600
    numbers = {
        "CRVAL1": ra,
        "CRVAL2": dec,
        "CRPIX1": shape[1] // 2 + 1,
        "CRPIX2": shape[0] // 2 + 1,
        "CD1_1": -step,
        "CD1_2": 0.0,
        "CD2_1": 0.0,
        "CD2_2": step,
    }
    texts = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg"}
    texts["RADESYS"] = "ICRS"
    cards = [f"{key:8s}= '{value:8s}'" for key, value in texts.items()]
    cards += [f"{key:8s}= {value:20.12G}" for key, value in numbers.items()]
    return "\n".join(["WCSAXES =                    2", *cards])


def truth_table(batch: CutoutBatch) -> pa.Table:
    """Return the truth of a simulated batch, one row an object, with `id` first.

    Columns of `SCENE_COLUMNS` follow where the batch has them.
    """
    names = (*TRUTH_COLUMNS, *(name for name in SCENE_COLUMNS if name in batch.columns))
    return pa.table(
        {"id": batch.ids.astype(str), "ra": batch.ra, "dec": batch.dec}
        | {name: _plain(batch.columns[name]) for name in names}
    )


def colour_bands(bands: Sequence[Band]) -> tuple[int, int]:
    """Return the indices of the bluest and of the reddest band."""
    wavelengths = [band.wavelength_nm for band in bands]
    return wavelengths.index(min(wavelengths)), wavelengths.index(max(wavelengths))


def _plain(values: NDArray) -> NDArray:
    return values.astype(str) if values.dtype == object else values


def write_truth_table(tables: list[pa.Table], path: Path) -> None:
    """Write truth tables of consecutive batches as one CSV."""
    pyarrow.csv.write_csv(pa.concat_tables(tables), path)
