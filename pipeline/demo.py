"""The demonstration: the real objects that ship, a simulated set beside them, and some bad files.

Euclid Q1: 3 strong lenses and 9 field objects. Dark Energy Survey: 23 galaxies. HI4PI: a map of
neutral hydrogen. Where they come from and their licences stand in NOTICE.
A disc of simulated shear stands for a sky to map the mass of.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.csv
from astropy.io import fits

from equilens.catalogs.calibration_result import read_calibration
from equilens.catalogs.errors import CatalogError
from equilens.catalogs.evaluation import evaluate_scores
from equilens.catalogs.export import read_catalog
from equilens.catalogs.footprint import area_sq_deg, read_footprint
from equilens.catalogs.selection_table import read_selection
from equilens.models.spherical.mapper_checkpoint import load_mapper
from equilens.pipeline.challenge import quarantine_of
from equilens.pipeline.evaluation import join_truth, store_truth
from equilens.pipeline.masses.products import FOOTPRINT, MASS_MAP, PEAK_LIST
from equilens.pipeline.provenance import provenance, sha256_file, write_atomic
from equilens.pipeline.quarantine import write_quarantine
from equilens.pipeline.report import (
    EvaluatedSample,
    MappedSky,
    MeasuredSelection,
    ReportContent,
    Sample,
    write_report,
)
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.skymaps import SkyMapStore
from equilens.pipeline.stores import CutoutStore

REAL_SURVEY, CUBE_SURVEY, MAP_NAME = "euclid-mer", "des-cube", "h1_column_density"
MAP_FILE = "healpix/h1_nh_HI4PI_healpix_lowres.fits.gz"
SHEAR_FILE, CONVERGENCE_FILE = "shear/shear.fits.gz", "shear/convergence.fits.gz"
HALO_FILE, MAPPER = "shear/haloes.csv", "euclid-sky-512"
CATALOG_SUFFIXES = ("parquet", "vot", "fits", "ecsv")
TRUNCATED_SHARE = 0.6
# the sample that the candidate catalogue is made of
CATALOGUED = "euclid"
# Euclid Q1: 497 lenses found among about a million galaxies on 63 deg2 (arXiv:2503.15324)
LENS_SHARE, LENSES_PER_SQUARE_DEGREE = 5e-4, 7.9

Product = TypeVar("Product")


@dataclass(frozen=True)
class DemoFolder:
    """Where the demonstration keeps what."""

    path: Path

    @property
    def manifest(self) -> Path:
        """Table of the real objects to ingest, bad ones included; written last."""
        return self.path / "files" / "euclid.csv"

    def store(self, name: str) -> str:
        """A store of the folder: euclid, des, simulated, sky, shear or convergence."""
        return str(self.path / "stores" / f"{name}.zarr")

    def scores(self, name: str) -> str:
        """The scores of a store."""
        return str(self.path / "stores" / f"{name}.scores.zarr")

    @property
    def catalogs(self) -> tuple[str, ...]:
        """The candidate catalogue in its formats."""
        return tuple(str(self.path / f"candidates.{suffix}") for suffix in CATALOG_SUFFIXES)

    @property
    def calibration(self) -> Path:
        """Scores of the simulated set to probabilities."""
        return self.path / "calibration.json"

    @property
    def selection(self) -> Path:
        """Which of the simulated lenses a cut finds."""
        return self.path / "selection.parquet"

    @property
    def ranks(self) -> Path:
        """Where the real Euclid objects rank among the simulated non-lenses."""
        return self.path / "ranks.csv"

    @property
    def mass(self) -> Path:
        """Folder of the mass map and its peaks."""
        return self.path / "mass"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def quarantine(self) -> Path:
        """Every rejected object of every store."""
        return self.path / "quarantine.csv"


def sample_path(name: str) -> Path:
    """A file or folder of the sample that ships."""
    return Path(str(files("equilens.pipeline"))) / "sample" / name


def prepare_files(folder: DemoFolder) -> None:
    """Copy the real Euclid files, spoil some copies, and list them all in a manifest.

    Three of the rows can not be used: a file that ends early, one without a single valid pixel,
    and an object whose ID came before.
    """
    root = folder.manifest.parent
    rows = []
    with open(sample_path("euclid_q1") / "labels.csv", newline="") as file:
        for row in csv.DictReader(file):
            target = root / row["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sample_path("euclid_q1") / row["path"], target)
            rows.append({"id": target.stem, "path": row["path"], "is_lens": row["is_lens"]})
    good = root / rows[0]["path"]
    (root / "bad").mkdir(exist_ok=True)
    _truncate(good, root / "bad" / "truncated.fits")
    _blank(good, root / "bad" / "all_nan.fits")
    for name in ("truncated", "all_nan"):
        rows.append({"id": f"demo-{name}", "path": f"bad/{name}.fits", "is_lens": "0"})
    rows.append(dict(rows[0]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(folder.manifest, text.getvalue().encode())


def _truncate(source: Path, target: Path) -> None:
    content = source.read_bytes()
    target.write_bytes(content[: int(TRUNCATED_SHARE * len(content))])


def _blank(source: Path, target: Path) -> None:
    with fits.open(source) as hdus:
        for hdu in hdus:
            if hdu.name.endswith("_FLUX"):
                hdu.data = np.full_like(hdu.data, np.nan)
        hdus.writeto(target, overwrite=True)


@contextmanager
def unless_impossible(product: Path) -> Iterator[None]:
    """Make a product of the simulated scores; where they allow none, keep the reason instead.

    Few simulated objects, or a network that does not rank them, end no demonstration.
    """
    reason = _reason_file(product)
    for stale in (product, reason):
        stale.unlink(missing_ok=True)
    try:
        yield
    except CatalogError as problem:
        write_atomic(reason, f"{problem}\n".encode())


def made_or_none(product: Path, read: Callable[[Path], Product]) -> Product | None:
    """What `read` finds in a product; None where `unless_impossible` kept a reason."""
    return None if _reason_file(product).exists() else read(product)


def _reason_file(product: Path) -> Path:
    return product.with_suffix(".absent.txt")


def read_measured(path: Path) -> MeasuredSelection:
    """A selection function's file as the report takes it."""
    return MeasuredSelection(*read_selection(path))


def write_demo_report(folder: DemoFolder, *, with_sky: bool = True) -> None:
    """Write quarantine table and report from the finished stores, catalogues and mass map."""
    samples = _samples(folder)
    write_quarantine(folder.quarantine, [row for s in samples for row in s.quarantine])
    table = read_catalog(folder.catalogs[0])
    labels = dict(zip(table["id"].to_pylist(), table["is_lens"].to_pylist(), strict=True))
    content = ReportContent(
        title="equilens: demonstration",
        remarks=(
            "Real galaxies of Euclid and the Dark Energy Survey, a simulated set whose truth is "
            "known, and a few spoilt files, from pixels to a ranked catalogue.",
            *_absences(folder),
        ),
        samples=samples,
        candidates=table,
        evaluated=_evaluated(folder),
        calibration=made_or_none(folder.calibration, read_calibration),
        selection=made_or_none(folder.selection, read_measured),
        ranks=read_catalog(folder.ranks),
        labels=labels,
        mapped=mapped_sky(folder) if with_sky else None,
        sky_map=SkyMapStore(folder.store("sky")),
        map_name="column density of neutral hydrogen, HI4PI",
        provenance=_provenance(folder, samples),
    )
    write_report(folder.report, content)


def _absences(folder: DemoFolder) -> list[str]:
    """Why the page has no calibration, or no selection function."""
    products = {"calibration": folder.calibration, "selection function": folder.selection}
    reasons = {name: _reason_file(product) for name, product in products.items()}
    return [
        f"There is no {name}: {file.read_text().strip()}."
        for name, file in reasons.items()
        if file.exists()
    ]


def _samples(folder: DemoFolder) -> list[Sample]:
    titles = {
        "euclid": "Euclid Q1, real",
        "des": "Dark Energy Survey, real",
        "simulated": "Euclid, simulated",
    }
    samples = []
    for name, title in titles.items():
        store = CutoutStore(folder.store(name))
        scores = ScoreStore(folder.scores(name)) if Path(folder.scores(name)).is_dir() else None
        samples.append(
            Sample(
                title,
                store,
                scores,
                quarantine_of(store.path, None if scores is None else scores.path),
                read_catalog(folder.catalogs[0]).num_rows if name == CATALOGUED else None,
                "" if scores is not None else _why_not_scored(store),
                name == "simulated",
            )
        )
    return samples


def _why_not_scored(store: CutoutStore) -> str:
    return (
        f"No weights for {' '.join(store.band_names)} ship with equilens, so these were ingested "
        "and not scored."
    )


def _evaluated(folder: DemoFolder) -> EvaluatedSample:
    scores = ScoreStore(folder.scores("simulated"))
    truth = store_truth(scores)
    joined = join_truth(scores, truth)
    metrics = evaluate_scores(truth.is_lens, joined.scores)
    store = CutoutStore(folder.store("simulated"))
    return EvaluatedSample("simulated Euclid cutouts", store, truth, joined.scores, metrics)


def mapped_sky(folder: DemoFolder) -> MappedSky:
    """The mass map of the folder, with the truth."""
    mass = SkyMapStore.open(folder.mass / MASS_MAP)
    mapper = load_mapper(MAPPER)
    return MappedSky(
        mass=mass,
        truth=SkyMapStore.open(folder.store("convergence")),
        peaks=read_catalog(folder.mass / PEAK_LIST),
        haloes=pyarrow.csv.read_csv(sample_path(HALO_FILE)),
        area_sq_deg=area_sq_deg(read_footprint(folder.mass / FOOTPRINT)),
        mapper=f"{mapper.name} ({mapper.sha256[:12]})",
    )


def _provenance(folder: DemoFolder, samples: list[Sample]) -> dict[str, str]:
    run = provenance()
    facts = {
        "command": run["command"],
        "written": run["created_utc"],
        "commit": run["commit"] or "installed package",
        "versions": ", ".join(f"{name} {v}" for name, v in run["versions"].items()),
    }
    for sample in samples:
        facts[f"cutouts: {sample.title}"] = sample.store.fingerprint
        if sample.scores is not None:
            network = sample.scores.manifest["network"]
            facts[f"network: {sample.title}"] = (
                f"{network['name']}, {network['architecture']}, sha256 {network['sha256']}"
            )
    sky = SkyMapStore(folder.store("sky"))
    facts["sky map"] = f"HI4PI, nside {sky.nside}, {sky.fingerprint}"
    for product in (folder.calibration, folder.selection):
        if product.exists():
            facts[product.stem] = f"{product.name}, sha256 {sha256_file(product)}"
    facts["catalogue"] = f"candidates.parquet, sha256 {sha256_file(folder.catalogs[0])}"
    return facts
