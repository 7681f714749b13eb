"""What each ingredient of the training gains: one small network, ingredients added one at a time.

    python tests/benchmarks/ablation.py FOLDER --survey bologna-space

Every rung has the ingredients of those before it and one more, sees the same number of images of
the same simulated store in as many seeds, and is scored on one test store that none has seen. A
rung and seed that has a line in ``results.jsonl`` is not trained again; trainings themselves go on
where they were stopped. The differences are those of short trainings, to be read with their range
over seeds: an ingredient that needs time can gain more, or less, in a long one.

With a GPU: --device cuda --threads 8 --train 100000 --test 100000 --images 2000000
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from comparison import pin_threads
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from equilens.pipeline.stores import CutoutStore
    from equilens.pipeline.training import TrainConfig

NO_AUGMENTATION = {
    "max_shift": 0,
    "depth_probability": 0.0,
    "noise_error": 1.0,
    "sky_offset": 0.0,
    "stripe_probability": 0.0,
    "dropout_probability": 0.0,
}
FIGURES = ("auroc", "tpr0", "tpr10")
TRAIN_SEED, TEST_SEED = 2_000_001, 2_000_002


@dataclass(frozen=True)
class Rung:
    """One ingredient.

    Attributes
    ----------
    name : of the rung
    config : settings of `TrainConfig` that it changes
    augmentation : settings of `Augmentation` that it changes; None goes back to the defaults
    train : arguments of `train` that it changes
    other_survey_first : start from a training of the same recipe and length on ``--base``
    """

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Mapping[str, Any] | None = field(default_factory=dict)
    other_survey_first: bool = False


LADDER = (
    Rung("bare", {"curriculum": 0.0, "ema_decay": 1e-6}, NO_AUGMENTATION),
    Rung("curriculum", {"curriculum": 0.4}),
    Rung("augmentation", augmentation=None),
    Rung("running average", {"ema_decay": 0.998}),
    Rung(
        "sizes, seeing, holes",
        augmentation={
            "max_scale": 1.1,
            "subpixel": True,
            "max_blur_px": 0.7,
            "zeropoint_error": 1.03,
            "hole_probability": 0.1,
        },
    ),
    Rung("tail loss", {"loss": "tail"}),
    Rung("mining", {"mining": {"share": 0.3}}),
    Rung("warm start", other_survey_first=True),
)


@dataclass(frozen=True)
class Recipe:
    """All that the rungs up to one have brought together."""

    name: str
    config: dict[str, Any]
    other_survey_first: bool

    def key(self) -> dict[str, Any]:
        """What tells its trainings from others'."""
        return {"config": self.config, "base": self.other_survey_first}


def recipes(ladder: tuple[Rung, ...]) -> list[Recipe]:
    """The recipe of each rung."""
    config: dict[str, Any] = {"augmentation": {}}
    found = []
    for rung in ladder:
        changed = {} if rung.augmentation is None else config["augmentation"] | rung.augmentation
        config = config | rung.config | {"augmentation": changed}
        found.append(Recipe(rung.name, config, rung.other_survey_first))
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--survey", default="bologna-space", metavar="NAME")
    parser.add_argument("--base", default="euclid-mer", help="survey of the warm start")
    parser.add_argument("--architecture", default="d4-resnet-nano", metavar="NAME")
    sizes = {
        "train": (8_000, "cutouts to train on"),
        "test": (8_000, "cutouts to score"),
        "images": (40_000, "cutouts shown in each training"),
        "threads": (1, "of the CPU"),
    }
    for name, (default, text) in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} ({default:,})")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings")
    parser.add_argument("--rungs", nargs="+", metavar="NAME", help="train these alone")
    parser.add_argument("--lens-fraction", type=float, default=0.5)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def store_of(options: argparse.Namespace, part: str, survey: str) -> CutoutStore:
    """The simulated training or test store, made where it is not there."""
    from equilens.pipeline.simulation.simulate import simulate_store
    from equilens.pipeline.stores import CutoutStore
    from equilens.pipeline.surveys.registry import get_survey

    n, seed = getattr(options, part), TRAIN_SEED if part == "train" else TEST_SEED
    path = options.folder / f"{survey}-{part}-{n}-{options.lens_fraction:g}.zarr"
    if (path / "_manifest.json").exists():
        return CutoutStore(path)
    share = options.lens_fraction
    return simulate_store(get_survey(survey), n, seed, path, lens_fraction=share)


def config_of(options: argparse.Namespace, recipe: Recipe, seed: int) -> TrainConfig:
    """The recipe's settings at the common length."""
    from equilens.pipeline.training import TrainConfig

    machine = {"threads": options.threads, "device": options.device}
    same = {"images_seen": options.images, "seed": seed, "validations": 2}
    return TrainConfig.from_dict(recipe.config | same | machine)


def trained(
    options: argparse.Namespace, recipe: Recipe, seed: int, survey: str
) -> tuple[Path, int]:
    """Weights of one training, and the images shown in it and in what it started from."""
    from equilens.pipeline.training import WarmStart, train

    start, before = None, 0
    if recipe.other_survey_first and survey != options.base:
        base = Recipe(f"{recipe.name} base", recipe.config, False)
        weights, before = trained(options, base, seed, options.base)
        start = WarmStart(weights)
    name = f"{survey}-{recipe.name.replace(',', '').replace(' ', '-')}-{options.images}-{seed}"
    report = train(
        [store_of(options, "train", survey).path],
        options.folder / name,
        architecture=options.architecture,
        config=config_of(options, recipe, seed),
        start=start,
    )
    if report.weights is None:
        raise SystemExit(f"{recipe.name} was stopped; the same command goes on")
    return report.weights, report.images + before


def measured(options: argparse.Namespace, recipe: Recipe, seed: int) -> dict[str, Any]:
    """One line of the results: train, score the test store, evaluate."""
    from equilens.catalogs.evaluation import evaluate_scores
    from equilens.pipeline.evaluation import scored_truth
    from equilens.pipeline.scoring import score

    began = time.monotonic()
    weights, images = trained(options, recipe, seed, options.survey)
    test = store_of(options, "test", options.survey)
    out = weights.parent / f"test-{options.test}.scores.zarr"
    score(test.path, weights, out, workers=1, replace=True, device=options.device)
    joined = scored_truth(out, None)[1]
    report = evaluate_scores(joined.truth.is_lens, joined.scores)
    names = (*FIGURES, "intervals", "n_lenses", "n_nonlenses")
    return {
        **identity(options, recipe, seed),
        **{name: report[name] for name in names},
        "images": images,
        "seconds": round(time.monotonic() - began, 1),
    }


def identity(options: argparse.Namespace, recipe: Recipe, seed: int) -> dict[str, Any]:
    """What a line of the results is of; a change of any of it makes another line."""
    sizes = {name: getattr(options, name) for name in ("train", "test", "images", "lens_fraction")}
    about = {"survey": options.survey, "architecture": options.architecture, "seed": seed}
    base = options.base if recipe.other_survey_first else None
    return {"rung": recipe.name, **about, **sizes, "other": base, "recipe": recipe.key()}


def results(options: argparse.Namespace, chosen: list[Recipe]) -> list[dict[str, Any]]:
    """A line for each rung and seed, from the file or made now."""
    path, lines = options.folder / "results.jsonl", []
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for seed in options.seeds:
        for recipe in chosen:
            wanted = json.loads(json.dumps(identity(options, recipe, seed)))
            line = next((k for k in known if k | wanted == k), None)
            if line is None:
                sys.stderr.write(f"{recipe.name}, seed {seed}\n")
                line = measured(options, recipe, seed)
                with path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
            lines.append(line)
    return lines


def show(options: argparse.Namespace, lines: list[dict[str, Any]], console: Console) -> None:
    """One row a rung: median and range over seeds, and the first seed's interval."""
    first = lines[0]
    console.print(
        f"{options.architecture} on simulated {options.survey}: {options.images:,} images shown of "
        f"{options.train:,}; test {first['n_lenses']:,} lenses and {first['n_nonlenses']:,} "
        f"non-lenses; seeds {', '.join(map(str, options.seeds))}; median (range over seeds) "
        f"[95 % interval of seed {options.seeds[0]}]\n",
        soft_wrap=True,
    )
    table = Table("and", *(name.upper() for name in FIGURES), "images", "s", box=box.MARKDOWN)
    for name in dict.fromkeys(line["rung"] for line in lines):
        own = [line for line in lines if line["rung"] == name]
        seconds = median(line["seconds"] for line in own)
        cells = (_cell(own, figure) for figure in FIGURES)
        table.add_row(name, *cells, f"{own[0]['images']:,}", f"{seconds:,.0f}")
    console.print(table)


def _cell(lines: list[dict[str, Any]], figure: str) -> str:
    values = [line[figure] for line in lines]
    low, high = lines[0]["intervals"][figure]
    spread = f" ({min(values):.4f} to {max(values):.4f})" if len(values) > 1 else ""
    return f"{median(values):.4f}{spread} \\[{low:.3f}, {high:.3f}]"


def main() -> None:
    options = arguments()
    pin_threads(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    chosen = recipes(LADDER)
    if options.rungs:
        chosen = [recipe for recipe in chosen if recipe.name in options.rungs]
    show(options, results(options, chosen), Console(width=170, highlight=False))


if __name__ == "__main__":
    main()
