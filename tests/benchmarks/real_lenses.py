"""Real lenses and galaxies among simulated non-lenses of their survey: where a finder puts them.

    cd tests/benchmarks
    EQUILENS_DATA=… python real_lenses.py FOLDER --weights euclid-mer --survey euclid-mer

The survey says which real objects: 3 Euclid lenses with 9 field objects; 31 lenses of Pan-STARRS1;
23 red galaxies of DES, none a known lens; and for bologna-space, the lens J0946+1006 from HST, as a
camera like VIS would have seen it (F814W, so redder than VIS; in 16 draws of the added noise). None
of them may have been trained on. Non-lenses are simulated and scored in a stream, kept in FOLDER.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from streamed_scores import parsed, parser, stream

if TYPE_CHECKING:
    from equilens.pipeline.stores import CutoutStore

HST_SURVEY = Path(__file__).resolve().parents[1] / "data" / "surveys" / "hst-slacs.toml"
NOISE_DRAWS = 16


@dataclass(frozen=True)
class RealSample:
    """Real objects of one survey.

    Attributes
    ----------
    source : files, below EQUILENS_DATA
    label : of an object, from its ID and what a table of the sample says
    """

    source: str
    label: Callable[[str, dict[str, int]], int]


SAMPLES = {
    "euclid-mer": RealSample("euclid_q1/*/*.fits", lambda name, known: known[name]),
    "panstarrs1": RealSample("ps1_lenses", lambda name, known: 1),
    "des-cube": RealSample("des_lrg", lambda name, known: 0),
    "bologna-space": RealSample("hst_slacs0946", lambda name, known: 1),
}


def main() -> None:
    options = parsed(parser(__doc__, 100_000, "simulated non-lenses"))
    if not os.environ.get("EQUILENS_DATA") or options.survey not in SAMPLES:
        sys.exit(f"EQUILENS_DATA must name the real files, and --survey one of {list(SAMPLES)}")
    from equilens.catalogs.export import read_catalog
    from equilens.pipeline.ranks import rank_among, read_reference
    from equilens.pipeline.scoring import score
    from equilens.tasks.commands.rank import rank_text

    data = Path(os.environ["EQUILENS_DATA"])
    store = real_store(options, data)
    key = write_key(options, data, store)
    scores = options.folder / f"{options.survey}-real.scores.zarr"
    score(store.path, options.weights, scores, workers=1, replace=True, device=options.device)
    reference = read_reference(stream(options, "nonlenses", options.n).path, options.n)
    out = options.folder / f"{options.survey}-ranks.csv"
    facts = rank_among(scores, reference, out, labels=key)
    table = read_catalog(out)
    sys.stdout.write(f"{rank_text(facts, table)}\n")
    if options.survey == "bologna-space":
        shares = sorted(table["share"].to_pylist())
        sys.stdout.write(
            f"All of these are one lens: {median(shares):.3g} ({shares[0]:.3g} to "
            f"{shares[-1]:.3g}) of the non-lenses score as high, over {len(shares)} noise draws\n"
        )


def real_store(options: argparse.Namespace, data: Path) -> CutoutStore:
    """The real objects, ingested; an HST image is made into cutouts of the survey first."""
    from equilens.pipeline.ingest import ingest
    from equilens.pipeline.stores import CutoutStore
    from equilens.pipeline.surveys.registry import get_survey

    is_hst = options.survey == "bologna-space"
    survey = get_survey(str(HST_SURVEY) if is_hst else options.survey)
    path = options.folder / f"{survey.name}-real.zarr"
    source = data / SAMPLES[options.survey].source
    summary = ingest(source, survey, path, replace=True, workers=1)
    sys.stderr.write(f"{summary}\n")
    return coarser_store(path, options) if is_hst else CutoutStore(path)


def coarser_store(path: Path, options: argparse.Namespace) -> CutoutStore:
    """The HST lens as the survey would have seen it, in several draws of the added noise."""
    from coarser_camera import as_seen_by

    from equilens.pipeline.store_writer import CutoutWriter
    from equilens.pipeline.stores import CutoutStore
    from equilens.pipeline.surveys.registry import get_survey

    survey = get_survey(options.survey)
    batch = as_seen_by(CutoutStore(path).read(slice(0, 1)), survey, NOISE_DRAWS, options.seed)
    out = options.folder / f"{survey.name}-from-hst.zarr"
    with CutoutWriter(
        out,
        survey=survey.name,
        bands=survey.band_names,
        shape=survey.shape,
        config={"coarser": str(path.name), "seed": options.seed},
        replace=True,
    ) as writer:
        writer.append(batch)
    return CutoutStore(out)


def write_key(options: argparse.Namespace, data: Path, store: CutoutStore) -> Path:
    """IDs and is_lens of the real objects, quarantined ones as well."""
    from equilens.pipeline.score_writer import rejected_before

    known: dict[str, int] = {}
    table = data / "euclid_q1" / "labels.csv"
    if options.survey == "euclid-mer":
        with table.open(newline="") as file:
            known = {Path(r["path"]).stem: int(r["is_lens"]) for r in csv.DictReader(file)}
    label = SAMPLES[options.survey].label
    rejected = [row.id for row in rejected_before(store)]
    rows = [f"{name},{label(name, known)}" for name in (*store.facts("ids"), *rejected)]
    path = options.folder / f"{options.survey}-real.key.csv"
    path.write_text("\n".join(["id,is_lens", *rows, ""]))
    return path


if __name__ == "__main__":
    main()
