"""`equilens models`: networks by name, and the weights that ship."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from equilens.tasks.console import Outcome
from equilens.tasks.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE_BANDS = ("VIS", "NIR_Y", "NIR_J", "NIR_H")
REFERENCE_SCALE_ARCSEC = 0.1


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "models", parents=[common], help="the networks and shipped weights, with cost and card"
    )
    parser.add_argument("--card", metavar="NAME", help="show the card of these weights")
    parser.set_defaults(run=run_models)


def run_models(args: argparse.Namespace) -> Outcome:
    """Tables of networks and weights, or one card."""
    if args.card is not None:
        return _card(args.card)
    from rich.console import Group

    networks, weights = _networks(), _weights()
    return Outcome(
        {"networks": networks, "weights": weights},
        Group(_network_table(networks), "", _weights_table(weights)),
    )


def _networks() -> list[dict[str, Any]]:
    from dataclasses import asdict

    from equilens.models.cost import finder_cost
    from equilens.models.inputs import InputSpec
    from equilens.models.networks import ARCHITECTURES, build_finder

    spec = InputSpec(REFERENCE_BANDS, REFERENCE_SCALE_ARCSEC)
    return [
        {"name": name, "group": str(entry.group), **asdict(finder_cost(build_finder(name, spec)))}
        for name, entry in ARCHITECTURES.items()
    ]


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
    from rich.table import Table

    columns = ("network", "parameters", "MAC a cutout", "memory, scoring", "memory, training")
    table = Table(*columns, box=None, pad_edge=False, title_justify="left")
    table.title = "Networks, for four bands of 101x101 pixels"
    for row in networks:
        table.add_row(
            f"[bold]{row['name']}",
            f"{row['parameters']:,}",
            f"{row['macs'] / 1e6:.1f} M",
            f"{row['inference_bytes'] / 1e6:.1f} MB",
            f"{row['training_bytes'] / 1e6:.1f} MB",
        )
    return table


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
