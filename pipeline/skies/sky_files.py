"""A simulated sky on disk: what was observed, and the truth beside it.

``SKY.zarr`` is what a survey gives. ``SKY.zarr.truth.zarr`` holds the convergence,
``SKY.zarr.haloes.parquet`` the haloes and ``SKY.zarr.spectra.parquet`` the convergence's expected
angular power, without pixel window.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from equilens.pipeline.provenance import write_atomic
from equilens.pipeline.skies.cosmology import Cosmology
from equilens.pipeline.skies.haloes import Haloes
from equilens.pipeline.skies.observation import ObservedShear
from equilens.pipeline.skymaps import SkyMapStore
from equilens.pipeline.skymaps.writer import write_map_store
from equilens.pipeline.stores import prepare_path


def truth_path(sky: Path | str) -> Path:
    """Store of the true convergence."""
    return Path(f"{sky}.truth.zarr")


def haloes_path(sky: Path | str) -> Path:
    """Table of the true haloes."""
    return Path(f"{sky}.haloes.parquet")


def spectra_path(sky: Path | str) -> Path:
    """Table of the convergence's expected power."""
    return Path(f"{sky}.spectra.parquet")


def write_sky(
    out: Path | str,
    observed: ObservedShear,
    kappa: np.ndarray,
    haloes: Haloes,
    spectra: np.ndarray,
    cosmology: Cosmology,
    facts: dict[str, Any],
    replace: bool = False,
) -> SkyMapStore:
    """Write a sky and its truth; the manifest of the sky itself comes last.

    Parameters
    ----------
    observed, kappa : RING
    spectra : (K, K, lmax + 1) expected power of the convergence
    facts : the entry "sky" of both manifests

    Raises
    ------
    StoreError
        `out` holds a finished sky and `replace` is false.
    """
    out = prepare_path(out, replace)
    bins = range(1, observed.n_bins + 1)
    truth = {f"KAPPA_BIN{k}": kappa[k - 1] for k in bins}
    write_map_store(truth_path(out), truth, ordering="ring", facts={"sky": facts}, replace=True)
    _write_table(haloes_path(out), _halo_columns(haloes, cosmology))
    _write_table(spectra_path(out), _spectra_columns(spectra))
    columns = {}
    for k in bins:
        columns[f"G1_BIN{k}"], columns[f"G2_BIN{k}"] = observed.shear[k - 1]
        columns[f"COUNT_BIN{k}"] = observed.counts[k - 1]
        columns[f"WEIGHT_BIN{k}"] = observed.weights[k - 1]
    return write_map_store(out, columns, ordering="ring", facts={"sky": facts})


def _halo_columns(haloes: Haloes, cosmology: Cosmology) -> dict[str, np.ndarray]:
    theta200 = np.degrees(haloes.theta200(cosmology)) * 60
    # positions need more than float32 gives: 0.04" at 360 degrees
    return {
        "halo_id": np.arange(len(haloes), dtype=np.int32),
        "ra_deg": haloes.ra_deg,
        "dec_deg": haloes.dec_deg,
        "redshift": haloes.redshift.astype(np.float32),
        "m200c_msun": haloes.m200c_msun.astype(np.float32),
        "concentration": haloes.concentration.astype(np.float32),
        "theta200_arcmin": theta200.astype(np.float32),
    }


def _spectra_columns(spectra: np.ndarray) -> dict[str, np.ndarray]:
    columns = {"ell": np.arange(spectra.shape[-1])}
    for k in range(len(spectra)):
        columns |= {f"cl_{j + 1}_{k + 1}": spectra[j, k] for j in range(k + 1)}
    return columns


def _write_table(path: Path, columns: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    write_atomic(path, buffer.getvalue())
