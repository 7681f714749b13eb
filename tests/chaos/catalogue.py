"""A small night from FITS files to a catalogue, by the command line, and what identifies it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet

from equilens.models.checkpoint import save_checkpoint
from equilens.models.inputs import InputSpec
from equilens.models.networks import build_finder
from equilens.pipeline.scores import block_file
from equilens.pipeline.toy import toy_cutouts
from equilens.tasks.cli import main

SIDE, SCALE_ARCSEC, BLOCK_ROWS = 33, 0.2, 256
SURVEY = """
name = "chaos"
version = "1"
title = "Two bands to break"
pixel_scale_arcsec = 0.2
shape = [33, 33]
zeropoint_source = "AB magnitude of 1 nJy"
[layout]
kind = "cube"
pattern = "{id}.fits"
[[bands]]
name = "g"
generic = "g"
wavelength_nm = 480
psf_fwhm_arcsec = 0.9
noise_njy = 10.0
zeropoint = 31.4
[[bands]]
name = "r"
generic = "r"
wavelength_nm = 620
psf_fwhm_arcsec = 0.7
noise_njy = 10.0
zeropoint = 31.4
"""


@dataclass(frozen=True)
class Night:
    """Paths of one night, and the three commands that make its catalogue.

    Attributes
    ----------
    inputs : folder with survey definition, weights and FITS files
    out : folder that the commands write to
    scheduler : address of a Dask scheduler; "" embeds one
    workers : processes and threads where none is
    """

    inputs: Path
    out: Path
    scheduler: str = ""
    workers: int = 2

    @property
    def store(self) -> Path:
        return self.out / "night.zarr"

    @property
    def scores(self) -> Path:
        return self.out / "scores.zarr"

    @property
    def ingest(self) -> list[str]:
        words = ["ingest", str(self.inputs / "fits"), "--survey", str(self.inputs / "chaos.toml")]
        return [
            *words,
            "--out",
            str(self.store),
            "--workers",
            str(self.workers),
            "--tolerance",
            "1",
        ]

    @property
    def score(self) -> list[str]:
        weights = str(self.inputs / "chaos.safetensors")
        words = ["score", str(self.store), "--model", weights, "--out", str(self.scores)]
        if self.scheduler:
            return [*words, "--scheduler", self.scheduler]
        return [*words, "--workers", str(self.workers)]

    @property
    def export(self) -> list[str]:
        files = [str(self.out / f"candidates{suffix}") for suffix in (".parquet", ".csv")]
        return ["export", str(self.scores), "--out", *files]

    def n_blocks(self) -> int:
        """Score blocks on disk."""
        return len(list((self.scores / "scores" / "c").glob("[0-9]*/0")))

    def block(self, index: int) -> Path:
        return block_file(self.scores, index)

    def identity(self) -> dict[str, str]:
        """sha256 of each column of the catalogue, of the CSV, and of the quarantine table."""
        table = pyarrow.parquet.read_table(self.out / "candidates.parquet")
        found = {name: _digest(table[name]) for name in table.column_names}
        for file in (self.out / "candidates.csv", self.scores / "quarantine.csv"):
            found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
        return found


def _digest(column: pyarrow.ChunkedArray) -> str:
    # repr gives every float64 and float32 back to the last bit
    return hashlib.sha256(f"{column.type} {column.to_pylist()!r}".encode()).hexdigest()


def write_inputs(folder: Path, n: int, seed: int) -> None:
    """Survey, an untrained network, and `n` FITS files of galaxies with and without a ring."""
    (folder / "fits").mkdir(parents=True)
    (folder / "chaos.toml").write_text(SURVEY)
    spec = InputSpec(("g", "r"), SCALE_ARCSEC, (SIDE, SIDE))
    save_checkpoint(
        folder / "chaos.safetensors", build_finder("d4-resnet-nano", spec, seed=seed), {}
    )
    images = toy_cutouts(n, side=SIDE, seed=seed).images
    # the toy's masked corner is zero; here it is sky
    images[:, :, 0, :3] = images[:, :, 1, :3]
    for k, pixels in enumerate(images):
        (folder / "fits" / f"object{k:05d}.fits").write_bytes(fits_bytes(pixels, 30 + 0.01 * k))


def fits_bytes(pixels: np.ndarray, ra: float, dec: float = 2.0) -> bytes:
    """A plain primary HDU with a TAN header."""
    step = SCALE_ARCSEC / 3600
    cards = {"SIMPLE": "T", "BITPIX": -32, "NAXIS": pixels.ndim}
    cards |= {f"NAXIS{i + 1}": n for i, n in enumerate(pixels.shape[::-1])}
    cards |= {"CTYPE1": "'RA---TAN'", "CTYPE2": "'DEC--TAN'", "CRPIX1": 17.0, "CRPIX2": 17.0}
    cards |= {"CRVAL1": ra, "CRVAL2": dec, "CD1_1": -step, "CD1_2": 0.0, "CD2_1": 0.0}
    cards |= {"CD2_2": step}
    lines = [f"{key:8}= {value!s:>20}".ljust(80) for key, value in cards.items()]
    header = "".join([*lines, "END".ljust(80)]).encode()
    data = np.asarray(pixels, ">f4").tobytes()
    return header + b" " * (-len(header) % 2880) + data + b"\0" * (-len(data) % 2880)


def run(words: list[str]) -> tuple[int, str]:
    """A command in this process: its exit code, and all that it printed."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = main(words)
    return code, told.getvalue()


def start(words: list[str], **options) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    command = [sys.executable, "-m", "equilens.tasks.cli", *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def must(words: list[str]) -> None:
    """A command in this process that has to succeed."""
    code, told = run(words)
    if code:
        raise AssertionError(f"equilens {' '.join(words)} gave {code}: {told}")
