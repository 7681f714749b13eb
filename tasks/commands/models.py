"""`equilens models`: networks by name, the weights that ship, and where they stand."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from equilens.tasks.commands import models_check
from equilens.tasks.console import DONE, FAILED, Outcome
from equilens.tasks.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from equilens.models.inputs import InputSpec

REFERENCE_BANDS = ("VIS", "NIR_Y", "NIR_J", "NIR_H")
REFERENCE_SCALE_ARCSEC = 0.1


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "models", parents=[common], help="the networks and shipped weights, with cost and card"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--card", metavar="NAME", help="show the card of these weights")
    shown.add_argument(
        "--table",
        action="store_true",
        help="show published networks by symmetry and field type, and which of them equilens has",
    )
    parser.set_defaults(run=run_models)
    actions = parser.add_subparsers(dest="action", metavar="[check ...]", title="further")
    models_check.add(actions)


def run_models(args: argparse.Namespace) -> Outcome:
    """Tables of networks and weights, or one card, or the classification."""
    if args.card is not None:
        return _card(args.card)
    if args.table:
        return _classification()
    from rich.console import Group

    networks, comparators, weights = _networks(), _comparators(), _weights()
    return Outcome(
        {"networks": networks, "comparators": comparators, "weights": weights},
        Group(
            _network_table(networks),
            "",
            _comparator_table(comparators),
            "",
            _weights_table(weights),
        ),
    )


def reference_spec() -> InputSpec:
    """The images that costs are given for: four bands of 101×101 pixels."""
    from equilens.models.inputs import InputSpec

    return InputSpec(REFERENCE_BANDS, REFERENCE_SCALE_ARCSEC)


def _networks() -> list[dict[str, Any]]:
    from dataclasses import asdict

    from equilens.models.cost import finder_cost
    from equilens.models.equivariance_report import plain_twin
    from equilens.models.networks import ARCHITECTURES, build_finder

    spec = reference_spec()
    costs = {name: asdict(finder_cost(build_finder(name, spec))) for name in ARCHITECTURES}
    networks = []
    for name, entry in ARCHITECTURES.items():
        cost, twin = costs[name], plain_twin(name)
        facts = {"name": name, "group": str(entry.group), **cost, "flops": 2 * cost["macs"]}
        if twin is not None and twin != name:
            shares = {key: cost[key] / costs[twin][key] for key in ("macs", "parameters")}
            facts |= {"plain_twin": twin, "flops_of_twin": shares["macs"]}
            facts |= {"parameters_of_twin": shares["parameters"]}
        networks.append(facts)
    return networks


def _comparators() -> list[dict[str, Any]]:
    from dataclasses import asdict

    from equilens.models.comparators import COMPARATORS
    from equilens.models.cost import finder_cost
    from equilens.models.networks import build_finder

    rows = []
    for name, entry in COMPARATORS.items():
        cost = asdict(finder_cost(build_finder(name, reference_spec())))
        facts = {"source": entry.source, "differs": list(entry.differs)}
        rows.append({"name": name, **cost, "flops": 2 * cost["macs"], **facts})
    return rows


def _classification() -> Outcome:
    from dataclasses import asdict

    from equilens.models.classification import classification, classification_table

    rows = classification()
    facts = [
        {
            "symmetry": row.network.space.symmetry.name,
            "stabilizer": row.network.space.stabilizer.name,
            "base_space": row.network.space.base_space,
            "works": row.works,
            **{key: value for key, value in asdict(row.network).items() if key != "space"},
            "grid_error": row.grid_error,
            "constraint_error": row.constraint_error,
        }
        for row in rows
    ]
    broken = any(not row.works and not row.network.lacking for row in rows)
    return Outcome({"rows": facts}, classification_table(rows), FAILED if broken else DONE)


def _weights() -> list[dict[str, Any]]:
    from equilens.models.checkpoint import load_checkpoint, shipped_weights

    return [
        _describe(name, path, load_checkpoint(path)[1]) for name, path in shipped_weights().items()
    ]


def _describe(name: str, path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    card = metadata["card"]
    held_out = card.get("held_out", {})
    figures = ("auroc", "tpr0", "tpr10", "n_lenses", "n_nonlenses", "intervals", "level")
    return {
        "name": name,
        "survey": card.get("survey"),
        "architecture": metadata["architecture"],
        "bands": metadata["input_spec"]["bands"],
        "sha256": metadata["sha256"],
        "training": card.get("training"),
        "held_out": {figure: held_out.get(figure) for figure in figures},
        "path": str(path),
    }


def _network_table(networks: list[dict[str, Any]]) -> Any:
    from rich.table import Column, Table

    # figures are never cut off; where the terminal is narrow, the last heads wrap
    names = ("parameters", "/ plain", "MFLOP", "/ plain")
    figures = [Column(name, justify="right", no_wrap=True) for name in names]
    memory = [Column(name, justify="right") for name in ("score MB", "train MB")]
    columns = (Column("network", no_wrap=True), *figures, *memory)
    table = Table(*columns, box=None, pad_edge=False, title_justify="left")
    table.title = (
        "Networks; cost of one cutout of four bands and 101x101 pixels, 2 FLOP a\n"
        "multiply-accumulate, and its share of the plain network of the same widths"
    )
    for row in networks:
        table.add_row(
            f"[bold]{row['name']}",
            f"{row['parameters']:,}",
            _share(row.get("parameters_of_twin")),
            f"{row['flops'] / 1e6:.1f}",
            _share(row.get("flops_of_twin")),
            f"{row['inference_bytes'] / 1e6:.1f}",
            f"{row['training_bytes'] / 1e6:.1f}",
        )
    return table


def _comparator_table(comparators: list[dict[str, Any]]) -> Any:
    from rich.table import Column, Table

    figures = [Column(name, justify="right", no_wrap=True) for name in ("parameters", "MFLOP")]
    columns = (Column("network", no_wrap=True), *figures, Column("source"))
    table = Table(*columns, box=None, pad_edge=False, title_justify="left")
    table.title = "Comparators: published networks, rebuilt, to train on the same data"
    for row in comparators:
        cost = (f"{row['parameters']:,}", f"{row['flops'] / 1e6:.1f}")
        table.add_row(f"[bold]{row['name']}", *cost, row["source"])
    return table


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _weights_table(weights: list[dict[str, Any]]) -> Any:
    from rich.table import Column, Table

    if not weights:
        return "No weights ship with this version; make some with equilens train."
    # the name is what a user types: it is never cut off
    name = Column("weights", no_wrap=True)
    columns = (name, "network", "bands", "held-out AUROC", "TPR0", "N", "sha256")
    table = Table(*columns, box=None, pad_edge=False, title_justify="left")
    table.title = "Shipped weights; figures are of held-out simulations"
    for row in weights:
        figures = row["held_out"]
        interval = figures["intervals"] and figures["intervals"]["auroc"]
        auroc = figures["auroc"]
        table.add_row(
            f"[bold]{row['name']}",
            row["architecture"],
            " ".join(row["bands"]),
            "" if auroc is None else f"{auroc:.4f} ({interval[0]:.4f} to {interval[1]:.4f})",
            "" if figures["tpr0"] is None else f"{figures['tpr0']:.3f}",
            f"{figures['n_lenses']} + {figures['n_nonlenses']}",
            row["sha256"][:12],
        )
    return table


def _card(name: str) -> Outcome:
    from rich.markdown import Markdown

    from equilens.models.checkpoint import load_checkpoint, shipped_weights

    shipped = shipped_weights()
    if name not in shipped:
        raise UsageError(f"no shipped weights {name!r}; there are {', '.join(shipped) or 'none'}")
    metadata = load_checkpoint(shipped[name])[1]
    text = shipped[name].with_suffix(".md")
    body: Any = Markdown(text.read_text("utf-8")) if text.exists() else str(metadata["card"])
    return Outcome({**_describe(name, shipped[name], metadata), "card": metadata["card"]}, body)
