"""`equilens sky …`: whole skies of shear, simulated, mapped, searched for haloes and judged."""

from __future__ import annotations

import argparse

from equilens.tasks.commands.sky_control import add_control
from equilens.tasks.commands.sky_evaluate import add_evaluate
from equilens.tasks.commands.sky_score import add_score
from equilens.tasks.commands.sky_simulate import add_simulate
from equilens.tasks.commands.sky_spectrum import add_spectrum
from equilens.tasks.commands.sky_train import add_train


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the group."""
    parser = commands.add_parser(
        "sky", help="whole skies: simulate, control, train, score, spectrum, evaluate"
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for declare in (add_simulate, add_control, add_train, add_score, add_spectrum, add_evaluate):
        declare(verbs, common)
