"""Scores of simulated objects whose pixels nobody keeps: simulate, score, forget.

A million cutouts of four bands take 160 GB, their scores and truth 20 MB. A folder of Parquet
parts: part k holds objects ``PART k`` to ``PART (k + 1)`` of the endless sequence that a seed
stands for, and appears whole or not at all. So the same command goes on where it was stopped, and a
later one may ask for more objects. ``_identity.json`` says what the scores depend on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.errors import DomainError, ScoringError, StoreError
from equilens.pipeline.guard import LARGEST_SCALE_ERROR
from equilens.pipeline.network_inputs import batched_logits
from equilens.pipeline.networks import NetworkRef, describe_network, ready_network
from equilens.pipeline.provenance import fingerprint, write_atomic, write_json_atomic
from equilens.pipeline.score_writer import differences
from equilens.pipeline.simulation.simulate import simulate_batch
from equilens.pipeline.surveys.survey import Survey

PART = 512
BATCH_SIZE = 64
IDENTITY = "_identity.json"
TRUTH = ("object_class", "einstein_radius_arcsec", "arc_snr", "arc_flux_njy", "n_arc_pixels")


class SimulatedScores:
    """Scores and truth of simulated objects, as `score_simulated` left them.

    Parameters
    ----------
    path : folder
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not is_simulated_scores(self.path):
            raise StoreError(
                f"{self.path} holds no scores of simulated objects: make them with "
                "`equilens score-simulated`"
            )
        self.identity: dict[str, Any] = json.loads((self.path / IDENTITY).read_text())

    @property
    def n_objects(self) -> int:
        """Objects from the first on without a gap."""
        k = 0
        while part_file(self.path, k).exists():
            k += 1
        return k * PART

    def table(self, n: int | None = None) -> pa.Table:
        """Columns ``is_lens``, ``score`` and truth of the first n objects.

        Raises
        ------
        StoreError
            There are fewer.
        """
        there = self.n_objects
        wanted = there if n is None else n
        if not 0 < wanted <= there:
            raise StoreError(
                f"{self.path} holds {there:,} objects, {wanted:,} are asked for: run the command "
                "that made it again, with -n"
            )
        parts = [pq.read_table(part_file(self.path, k)) for k in range(-(-wanted // PART))]
        return pa.concat_tables(parts).slice(0, wanted)

    def fingerprint(self, n: int) -> str:
        """Of the first n objects: what a product of them depends on."""
        return fingerprint({**self.identity, "n": n})


def is_simulated_scores(path: Path | str) -> bool:
    """Whether a folder is one of `score_simulated`."""
    file = Path(path) / IDENTITY
    return file.is_file() and json.loads(file.read_text()).get("kind") == "simulated-scores"


def part_file(path: Path, k: int) -> Path:
    """The file of part k."""
    return path / f"part-{k:06d}.parquet"


def score_simulated(
    survey: Survey,
    model: str | Path,
    n: int,
    seed: int,
    out: Path | str,
    *,
    lens_fraction: float = 0.5,
    batch_size: int = BATCH_SIZE,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> SimulatedScores:
    """Simulate objects of a survey and keep their scores; no more than a part is ever in memory.

    Parameters
    ----------
    survey : whose bands, shape and pixel scale the network takes
    model : name of shipped weights, a training's folder, or a weights file
    n : objects; rounded up to whole parts of `PART`
    seed : of the simulation: none that the network was trained on
    out : folder; goes on where an equal run stopped
    lens_fraction : 0 for non-lenses alone, 1 for lenses alone
    batch_size : cutouts the network takes at once
    device : where pixels are computed and scored
    progress : called with the number of objects done since the last call

    Raises
    ------
    DomainError
        The network was not made for this survey.
    ScoringError
        `out` holds other scores, or the simulation is not the one that began it.
    """
    out, network = Path(out), describe_network(model)
    bands = bands_for(survey, network)
    first = simulate_batch(survey, 1, seed, lens_fraction=lens_fraction, device=device)
    _claim(out, _identity(survey, network, bands, seed, lens_fraction, device, first))
    scorer = ready_network(network.path, network.sha256, device)
    for k in range(-(-n // PART)):
        if not part_file(out, k).exists():
            batch = simulate_batch(
                survey, PART, seed, lens_fraction=lens_fraction, first=k * PART, device=device
            )
            pixels = (batch.images, batch.noise_njy, batch.mask, batch.band_present)
            logits = batched_logits(scorer, pixels, batch_size, device, list(bands))
            write_part(part_file(out, k), batch, logits)
        if progress is not None:
            progress(min(PART, n - k * PART))
    return SimulatedScores(out)


def bands_for(survey: Survey, network: NetworkRef) -> tuple[int, ...]:
    """Where the network's bands are among the survey's: by name, else by common name.

    Raises
    ------
    DomainError
        A band is not there, or shape or pixel scale are others.
    """
    spec = network.spec
    generic = network.domain.generic if network.domain else spec.bands
    names, common = survey.band_names, tuple(band.generic for band in survey.bands)
    by_name = all(band in names for band in spec.bands)
    there, wanted = (names, spec.bands) if by_name else (common, generic)
    off = abs(survey.pixel_scale_arcsec / spec.pixel_scale_arcsec - 1)
    if not set(wanted) <= set(there) or survey.shape != spec.shape or off > LARGEST_SCALE_ERROR:
        raise DomainError(
            f"{network.name} takes {' '.join(spec.bands)} of {spec.shape[0]}x{spec.shape[1]} "
            f'pixels of {spec.pixel_scale_arcsec:g}", survey {survey.name} has '
            f"{' '.join(names)} of {survey.shape[0]}x{survey.shape[1]} of "
            f'{survey.pixel_scale_arcsec:g}": choose the survey that the network is for'
        )
    return tuple(there.index(band) for band in wanted)


def write_part(path: Path, batch: CutoutBatch, logits: np.ndarray) -> None:
    """Scores and truth of one part, atomically."""
    columns = {"is_lens": batch.columns["is_lens"], "score": logits}
    columns |= {name: batch.columns[name] for name in TRUTH if name in batch.columns}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({k: pa.array(v) for k, v in columns.items()}), sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())


def _identity(
    survey: Survey,
    network: NetworkRef,
    bands: tuple[int, ...],
    seed: int,
    lens_fraction: float,
    device: str,
    first: CutoutBatch,
) -> dict[str, Any]:
    # the first object's pixels stand for the simulator: another version of it draws others
    return {
        "kind": "simulated-scores",
        "format": 1,
        "survey": survey.name,
        "survey_version": survey.version,
        "bands": [survey.band_names[k] for k in bands],
        "seed": seed,
        "lens_fraction": lens_fraction,
        "part": PART,
        "device": device,
        "network": network.summary(),
        "first_object": fingerprint(first.images.tobytes().hex()),
    }


def _claim(out: Path, identity: dict[str, Any]) -> None:
    """Make sure that the folder is free, or was begun by an equal run."""
    if is_simulated_scores(out):
        differing = differences(json.loads((out / IDENTITY).read_text()), identity)
        if differing:
            raise ScoringError(
                f"{out} was begun by another run ({'; '.join(differing)}): choose another folder, "
                "or remove this one"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out} holds something else: choose another folder")
    write_json_atomic(out / IDENTITY, identity)
