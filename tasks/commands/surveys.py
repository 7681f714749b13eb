"""`equilens surveys`: which surveys there are, and whether a definition is sound."""

from __future__ import annotations

import argparse
from typing import Any

from equilens.tasks.arguments import existing_path, known_survey
from equilens.tasks.console import DONE, FAILED, Outcome


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    parser = commands.add_parser("surveys", help="list surveys, or check a definition")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", parents=[common], help="all registered surveys")
    listing.set_defaults(run=run_list)
    check = actions.add_parser("check", parents=[common], help="check one definition")
    check.add_argument("survey", metavar="NAME_OR_TOML")
    check.add_argument(
        "--source", type=existing_path, help="read the first objects found there as well"
    )
    check.set_defaults(run=run_check)


def run_list(args: argparse.Namespace) -> Outcome:
    """All registered surveys; a broken plugin is a row with its error."""
    from rich.markup import escape
    from rich.table import Table

    from equilens.pipeline.surveys.registry import list_surveys

    table = Table("survey", "bands", "pixel", "cutout", "from", box=None, pad_edge=False)
    facts: list[dict[str, Any]] = []
    for entry in list_surveys():
        survey = entry.survey
        if survey is None:
            facts.append({"name": entry.name, "origin": entry.origin, "error": entry.error})
            table.add_row(entry.name, f"[red]{escape(entry.error)}", "", "", entry.origin)
            continue
        facts.append(
            {
                "name": survey.name,
                "origin": entry.origin,
                "title": survey.title,
                "version": survey.version,
                "bands": list(survey.band_names),
                "pixel_scale_arcsec": survey.pixel_scale_arcsec,
                "shape": list(survey.shape),
            }
        )
        table.add_row(
            f"[bold]{survey.name}",
            " ".join(survey.band_names),
            f'{survey.pixel_scale_arcsec:g}"',
            "x".join(map(str, survey.shape)),
            entry.origin,
        )
    return Outcome({"surveys": facts}, table)


def run_check(args: argparse.Namespace) -> Outcome:
    """One definition, and its files where a source is given."""
    from dataclasses import asdict

    from rich.markup import escape
    from rich.table import Table

    from equilens.pipeline.surveys.check import check_survey

    survey = known_survey(args.survey)
    findings = check_survey(survey, args.source)
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    table = Table("", "subject", "finding", box=None, pad_edge=False)
    for finding in findings:
        level = f"[{colours[finding.level]}]{finding.level}"
        table.add_row(level, escape(finding.subject), escape(finding.message))
    failed = any(finding.level == "error" for finding in findings)
    facts = {"survey": survey.name, "ok": not failed, "findings": [asdict(f) for f in findings]}
    return Outcome(facts, table, FAILED if failed else DONE)
