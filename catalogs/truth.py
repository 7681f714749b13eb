"""Truth keys: who is a lens, and what is known of it.

Three kinds are told apart by their columns:

===========================  =================================================================
column                       is_lens
===========================  =================================================================
``is_lens``                  as it says, 0 or 1
``no_source``                no_source == 0: a background source was added, visible or not
                             (test catalogues of the lens-finding challenge 1.0)
``n_source_im``, ``mag_eff``  n_source_im > 0 and mag_eff > 1.6 and n_pix_source > 20; an empty
and ``n_pix_source``         field is not above anything (challenge 2.0)
===========================  =================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equilens.catalogs.errors import TruthError
from equilens.catalogs.reading import ABSENT, find_column, floats, read_columns, text_ids

ID_COLUMNS = ("id", "object_id", "objid", "name")
EINSTEIN_AREA_COLUMNS = ("einstein_area", "ein_area")
CHALLENGE_2_COLUMNS = ("n_source_im", "mag_eff", "n_pix_source")


@dataclass(frozen=True)
class Truth:
    """Truth of N objects.

    Attributes
    ----------
    ids : (N,) array of str
    is_lens : (N,) array of int8, 0 or 1
    columns : every other column, (N,) arrays: float64 where all fields are numbers, else str.
        ``einstein_radius_arcsec`` is there whenever the key gives an Einstein area.
    rule : how the label was made, in words
    """

    ids: NDArray[np.object_]
    is_lens: NDArray[np.int8]
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    rule: str = "is_lens"

    @property
    def n_lenses(self) -> int:
        return int(self.is_lens.sum())

    @property
    def n_nonlenses(self) -> int:
        return len(self.is_lens) - self.n_lenses


def einstein_radius_arcsec(area_steradian: ArrayLike) -> NDArray[np.float64]:
    """θ_E = √(A/π), in arcsec from the area inside the critical curve in steradians."""
    radians = np.sqrt(np.asarray(area_steradian, dtype=np.float64) / math.pi)
    return np.degrees(radians) * 3600


def read_truth(
    path: str | Path, id_column: str | None = None, label_column: str | None = None
) -> Truth:
    """Read a truth key from delimited text, Parquet, FITS, VOTable or ECSV.

    Parameters
    ----------
    id_column : default: the first of ID, object_id, objid, name that is there, in any letter case
    label_column : default: by the table in this module's docstring

    Raises
    ------
    TruthError
        If the label or ID column is missing, an ID is empty or repeated, or a label is not 0 or 1.
    """
    path = Path(path)
    if not path.is_file():
        raise TruthError(f"truth key {path} does not exist; give the path of a table")
    columns = read_columns(path, TruthError)
    id_name = _id_column(columns, id_column, path)
    ids = text_ids(columns[id_name], f"{path}, column {id_name!r}", TruthError)
    is_lens, rule, used = _labels(columns, label_column, path)
    rest = {
        name: _numbers_or_text(values)
        for name, values in columns.items()
        if name not in (id_name, used)
    }
    return Truth(ids, is_lens, _with_einstein_radius(rest, is_lens, path), rule)


def _id_column(columns: Mapping, wanted: str | None, path: Path) -> str:
    name = wanted if wanted in columns else None
    if wanted is None:
        name = find_column(columns, ID_COLUMNS)
    if name is None:
        raise TruthError(
            f"{path} needs an ID column ({wanted or 'ID'}), got columns {list(columns)}; "
            "name it with id_column"
        )
    return name


def _labels(columns: Mapping, wanted: str | None, path: Path) -> tuple[NDArray[np.int8], str, str]:
    label = wanted if wanted in columns else None
    if wanted is None:
        label = find_column(columns, ("is_lens",))
    if label is not None:
        return _zero_or_one(columns[label], label, path), label, label
    if wanted is None and "no_source" in columns:
        no_source = _zero_or_one(columns["no_source"], "no_source", path)
        return (1 - no_source).astype(np.int8), "no_source == 0", ""
    if wanted is None and all(name in columns for name in CHALLENGE_2_COLUMNS):
        return _challenge_2_labels(columns, path)
    raise TruthError(
        f"{path} has no label column {wanted or 'is_lens'!r}, got columns {list(columns)}; "
        "name it with label_column, or give a challenge catalogue "
        f"(no_source, or {', '.join(CHALLENGE_2_COLUMNS)})"
    )


def _challenge_2_labels(columns: Mapping, path: Path) -> tuple[NDArray[np.int8], str, str]:
    n_images, magnification, n_pixels = (
        floats(columns[name], f"{path}, column {name!r}", TruthError)
        for name in CHALLENGE_2_COLUMNS
    )
    is_lens = (n_images > 0) & (magnification > 1.6) & (n_pixels > 20)
    return is_lens.astype(np.int8), "n_source_im > 0 & mag_eff > 1.6 & n_pix_source > 20", ""


def _zero_or_one(values: np.ndarray, name: str, path: Path) -> NDArray[np.int8]:
    labels = floats(values, f"{path}, column {name!r}", TruthError)
    strange = ~np.isin(labels, (0.0, 1.0))
    if strange.any():
        example = np.asarray(values)[strange][0]
        raise TruthError(
            f"{path}: {name} must be 0 or 1, got {int(strange.sum())} other values such as "
            f"{example!r}; write 1 for a lens and 0 for anything else"
        )
    return labels.astype(np.int8)


def _numbers_or_text(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "O":
        return values
    if all(value is None or str(value).strip().lower() in ABSENT for value in values):
        return np.full(len(values), np.nan)
    try:
        return floats(values, "", TruthError)
    except TruthError:
        return values


def _with_einstein_radius(
    columns: dict[str, np.ndarray], is_lens: NDArray[np.int8], path: Path
) -> dict[str, np.ndarray]:
    area = find_column(columns, EINSTEIN_AREA_COLUMNS)
    if area is None or "einstein_radius_arcsec" in columns:
        return columns
    steradians = floats(columns[area], f"{path}, column {area!r}", TruthError)
    negative = steradians < 0
    if np.any(negative & (is_lens == 1)):
        raise TruthError(f"{path}: {area} of a lens is in steradians and must not be negative")
    # a key may mark an object without a critical curve by a negative area
    steradians = np.where(negative, np.nan, steradians)
    return {**columns, "einstein_radius_arcsec": einstein_radius_arcsec(steradians)}
