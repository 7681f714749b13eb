"""Is the simulation as hard as the lens finding challenge? Published networks, trained on it.

The comparators and ours are trained on one simulated store, for the same number of images, and
scored on another one of the challenge's class balance. Where a comparator comes to the AUROC that
it has in the challenge, the simulation is as hard; where it comes higher, too easy. Stands beside
the oracle bound, and beside the networks' AUROC on the oracle's own matched set. The published
figures are a check, nothing is tuned to them.

Stores, trainings and scores are kept in a folder, and the same command goes on where it was
stopped. A few hours of two cores, and what a GPU is for:

    python tests/benchmarks/hardness.py FOLDER --survey bologna-space
    python tests/benchmarks/hardness.py FOLDER --survey bologna-ground --device cuda --threads 8 \\
        --train 20000 --test 100000 --images 2000000 --matched 100000
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comparison import pin_threads
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from equilens.pipeline.cutouts import CutoutBatch
    from equilens.pipeline.stores import CutoutStore
    from equilens.pipeline.training import TrainConfig

NETWORKS = ("epfl-baseline", "cmu-deeplens", "d4-resnet-nano")
# Metcalf et al. 2019, arXiv:1802.03609: AUROC of LASTRO EPFL and of CMU DeepLens, and the share of
# lenses in the training and in the test set
PUBLISHED = {
    "bologna-space": {"epfl-baseline": 0.9325, "cmu-deeplens": 0.9225},
    "bologna-ground": {"epfl-baseline": 0.9749, "cmu-deeplens": 0.9814},
}
LENS_SHARES = {"bologna-space": (0.7, 0.4), "bologna-ground": (0.4, 0.5)}
RADIUS_EDGES = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 10.0)
RADIUS, FLUX = 'Einstein radius (")', "arc flux (sigma)"
N_FLUX_BINS = 5
SCORED_AT_ONCE = 256
ORACLE = "oracle"
LABEL = "label"
SHOWN_DIGITS = 12


@dataclass(frozen=True)
class Finder:
    """A trained network as it is scored, and the sha256 of its weights."""

    network: nn.Module
    sha256: str


@dataclass(frozen=True)
class Scored:
    """Labels, properties of the arc by name, and scores by network, of one set: (N,) arrays."""

    labels: np.ndarray
    properties: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--survey", choices=list(PUBLISHED), default="bologna-space")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NAME")
    sizes = {
        "train": (20_000, "cutouts to train on"),
        "test": (20_000, "cutouts to score"),
        "matched": (10_000, "cutouts of the oracle's matched set"),
        "images": (200_000, "cutouts shown to each network"),
        "seed": (0, "of simulation and training"),
        "threads": (1, "of the CPU"),
    }
    for name, (default, text) in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} ({default:,})")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--one-recipe", action="store_true", help="train the comparators with our settings too"
    )
    return parser.parse_args()


def store_of(options: argparse.Namespace, part: str, seed: int) -> CutoutStore:
    """The simulated training or test store, made where it is not there."""
    from equilens.pipeline.simulation.simulate import simulate_store
    from equilens.pipeline.stores import CutoutStore
    from equilens.pipeline.surveys.registry import get_survey

    n, share = getattr(options, part), LENS_SHARES[options.survey][part == "test"]
    path = options.folder / f"{options.survey}-{part}-{n}-{seed}.zarr"
    if (path / "_manifest.json").exists():
        return CutoutStore(path)
    return simulate_store(get_survey(options.survey), n, seed, path, lens_fraction=share)


def config_of(options: argparse.Namespace, network: str) -> TrainConfig:
    """Training settings: a comparator's own recipe, at the common number of images."""
    from equilens.models.comparators import COMPARATORS
    from equilens.pipeline.training import Augmentation, TrainConfig

    settings: dict[str, Any] = {}
    how: dict[str, Any] = {"rotate": network in COMPARATORS or network.startswith("plain")}
    if network in COMPARATORS and not options.one_recipe:
        settings |= COMPARATORS[network].recipe
        how |= settings.pop("augmentation")
        settings.pop("epochs", None)
    budget = {"images_seen": options.images, "seed": options.seed}
    machine = {"threads": options.threads, "device": options.device}
    return TrainConfig(**(settings | budget | machine), augmentation=Augmentation(**how))


def trained(options: argparse.Namespace, network: str, store: CutoutStore) -> Finder:
    """The network after its training, as it is scored: EPFL's by the product of eight views."""
    from equilens.models import fold, load_checkpoint
    from equilens.models.checkpoint import model_sha256
    from equilens.models.comparators import EightViews
    from equilens.pipeline.training import other_training, train

    recipe = "one-recipe" if options.one_recipe else "own-recipe"
    out = options.folder / f"{options.survey}-{network}-{recipe}-{options.images}-{options.seed}"
    weights, config = out / "model.safetensors", config_of(options, network)
    same = {"architecture": network, "field_px": None, "config": config, "name": None}
    if not weights.exists() or other_training(weights, [store.path], **same):
        report = train([store.path], out, architecture=network, config=config)
        if report.weights is None:
            raise SystemExit(f"{network} was stopped; the same command goes on")
    finder = fold(load_checkpoint(weights)[0]).to(options.device)
    views = EightViews(finder) if network == "epfl-baseline" else finder
    return Finder(views, model_sha256(weights))


Parts = Iterator[tuple["CutoutBatch", dict[str, "np.ndarray"]]]


def scored(
    options: argparse.Namespace,
    finders: Mapping[str, Finder],
    name: str,
    parts: Callable[[], Parts],
) -> Scored:
    """Scores and properties of one set; what an earlier run has scored is read.

    Parameters
    ----------
    name : of the set; other cutouts have another one
    parts : starts over with the set's cutouts; a part may bring scores of its own, of the oracle
    """
    import numpy as np

    base = options.folder / f"{options.survey}-{name}"
    facts_file = Path(f"{base}.npz")
    files = {n: Path(f"{base}-{n}-{f.sha256[:SHOWN_DIGITS]}.npy") for n, f in finders.items()}
    todo = {n: finders[n] for n, file in files.items() if not file.exists()}
    if todo or not facts_file.exists():
        found = score_parts(todo, parts(), options.device)
        for network in todo:
            np.save(files[network], found.pop(network))
        np.savez(facts_file, **found)
    whole = dict(np.load(facts_file))
    labels, properties = whole.pop(LABEL), {key: whole.pop(key) for key in (RADIUS, FLUX)}
    return Scored(labels, properties, whole | {n: np.load(file) for n, file in files.items()})


def score_parts(finders: Mapping[str, Finder], parts: Parts, device: str) -> dict[str, np.ndarray]:
    """Labels, properties and scores of all parts, (N,) arrays by name."""
    import numpy as np

    from equilens.pipeline.training.data import examples
    from equilens.pipeline.training.predict import predict

    rows: list[dict[str, np.ndarray]] = []
    for batch, known in parts:
        columns = batch.columns
        given = examples(batch, np.ones(len(batch.ids), bool))
        logits = {
            name: predict(finder.network, given, SCORED_AT_ONCE, device)
            for name, finder in finders.items()
        }
        facts = {
            LABEL: columns["is_lens"],
            RADIUS: columns["einstein_radius_arcsec"],
            FLUX: columns["arc_flux_njy"] / batch.noise_njy[:, 0],
        }
        rows.append(facts | known | logits)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def test_set(options: argparse.Namespace, finders: Mapping[str, Finder]) -> Scored:
    """The simulated set of the challenge's class balance."""
    store = store_of(options, "test", 2 * options.seed + 2)
    name = f"test-{store.fingerprint[:SHOWN_DIGITS]}"
    shards = range(store.n_shards)
    return scored(options, finders, name, lambda: ((store.read_shard(k), {}) for k in shards))


def matched_set(options: argparse.Namespace, finders: Mapping[str, Finder]) -> Scored:
    """The set whose oracle is known: fields with and without their arcs."""
    from equilens.pipeline.simulation.oracle import matched_sets
    from equilens.pipeline.surveys.registry import get_survey

    survey, seed = get_survey(options.survey), 10**6 + options.seed

    def parts() -> Parts:
        sets = matched_sets(survey, options.matched, seed)
        return ((part.batch, {ORACLE: part.log_ratio}) for part in sets)

    first = next(parts())[0].images
    name = f"matched-{options.matched}-{hashlib.sha256(first).hexdigest()[:SHOWN_DIGITS]}"
    return scored(options, finders, name, parts)


def figures(labels: np.ndarray, scores: np.ndarray) -> str:
    """AUROC with its interval."""
    from equilens.catalogs.metrics import auroc

    found = auroc(labels, scores)
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"


def show_totals(options: argparse.Namespace, test: Scored, matched: Scored, console: Console):
    """One row a network: AUROC here and as published, TPR0 and TPR10, and the matched set's."""
    from equilens.catalogs.evaluation import evaluate_scores

    columns = ("network", "AUROC", "published", "TPR0", "TPR10", "AUROC, matched set")
    table = Table(*columns, box=box.MARKDOWN)
    for name in (*options.networks, ORACLE):
        published = PUBLISHED[options.survey].get(name)
        here = ["", "", ""]
        if name in test.scores:
            found = evaluate_scores(test.labels, test.scores[name])
            low_fpr = [found[key] for key in ("tpr0", "tpr10")]
            here = [
                figures(test.labels, test.scores[name]),
                *("" if value is None else f"{value:.3f}" for value in low_fpr),
            ]
        bound = figures(matched.labels, matched.scores[name])
        shown = "" if published is None else f"{published:.4f}"
        table.add_row(name, here[0], shown, *here[1:], bound)
    console.print(
        f"\n{options.survey}: {options.images:,} images shown to each, of {options.train:,}; seed "
        f"{options.seed}; test {_counts(test)}; matched set {_counts(matched)}\n",
        soft_wrap=True,
    )
    console.print(table)


def show_bins(found: Scored, matched: bool, console: Console) -> None:
    """AUROC by a property of the arc: lenses of a bin against all non-lenses, or the bin's own."""
    import numpy as np

    for name, values in found.properties.items():
        lenses = found.labels == 1
        edges = np.asarray(RADIUS_EDGES)
        if name == FLUX:
            edges = np.unique(np.quantile(values[lenses], np.linspace(0, 1, N_FLUX_BINS + 1)))
        against = "the bin's own fields" if matched else "all non-lenses"
        table = Table(f"{name}, against {against}", "lenses", *found.scores, box=box.MARKDOWN)
        for low, high in pairwise(edges):
            inside = (values >= low) & ((values < high) | (values == edges[-1]))
            chosen = inside & lenses
            used = inside if matched else chosen | ~lenses
            if chosen.sum() < 10 or (used & ~lenses).sum() < 10:
                continue
            shown = (figures(found.labels[used], s[used]) for s in found.scores.values())
            table.add_row(f"{low:.3g} to {high:.3g}", f"{chosen.sum():,}", *shown)
        if table.row_count:
            console.print(table)


def _counts(found: Scored) -> str:
    n = int(found.labels.sum())
    return f"{n:,} lenses and {len(found.labels) - n:,} non-lenses"


def main() -> None:
    options = arguments()
    pin_threads(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    training = store_of(options, "train", 2 * options.seed + 1)
    finders = {name: trained(options, name, training) for name in options.networks}
    test, matched = test_set(options, finders), matched_set(options, finders)
    console = Console(width=200, highlight=False)
    show_totals(options, test, matched, console)
    show_bins(test, False, console)
    show_bins(matched, True, console)


if __name__ == "__main__":
    main()
