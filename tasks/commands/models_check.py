"""`equilens models check`: is a network as symmetric as it claims, here and on your cutouts?"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from equilens.tasks.arguments import existing_path, known_survey, positive
from equilens.tasks.console import DONE, FAILED, Outcome, progress_bar
from equilens.tasks.errors import UsageError

if TYPE_CHECKING:
    from equilens.models.committee import Committee
    from equilens.models.equivariance_report import EquivarianceReport, Form, Inputs
    from equilens.models.groups import Group
    from equilens.models.inputs import InputSpec
    from equilens.models.networks import LensFinder
    from equilens.models.user_models import OnnxFinder
    from equilens.pipeline.domain import TrainingDomain

N_SCENES = 16


def add(actions: argparse._SubParsersAction) -> None:
    """Declare the command."""
    check = actions.add_parser(
        "check", help="does turning and mirroring a cutout leave its score alone?"
    )
    check.add_argument(
        "model",
        metavar="NAME_OR_FILE",
        help="an architecture (random weights), shipped weights, or a weights file",
    )
    check.add_argument(
        "--images",
        type=existing_path,
        metavar="PATH",
        help="check on your cutouts too: a store, or survey files with --survey",
    )
    check.add_argument("--survey", metavar="NAME_OR_TOML", help="of the files in --images")
    check.add_argument("-n", type=positive, default=N_SCENES, metavar="N", help="cutouts")
    check.add_argument("--seed", type=int, default=0, help="of random scenes and weights")
    check.add_argument("--no-bf16", action="store_true", help="float32 alone, which is quicker")
    # `equilens models` has these as well: what stands before `check` must not be forgotten
    unset = argparse.SUPPRESS
    check.add_argument("--json", action="store_true", default=unset, help="print one JSON object")
    check.add_argument("--debug", action="store_true", default=unset, help="show where errors are")
    check.set_defaults(run=run_check)


def run_check(args: argparse.Namespace) -> Outcome:
    """The report on random scenes or on the user's cutouts, and its verdict as exit code."""
    if args.n < 2:
        raise UsageError("-n must be 2 or more: errors are measured against the spread of scores")
    survey = None if args.survey is None else known_survey(args.survey)
    from equilens.models.testing import random_inputs

    if args.images is None:
        subject = _Subject(args, None)
        inputs = random_inputs(subject.spec, args.n, args.seed)
        return _outcome(subject, inputs, tuple(f"scene {k}" for k in range(args.n)), args)
    from equilens.pipeline.network_inputs import opened_cutouts, store_inputs, store_spec

    with opened_cutouts(args.images, survey) as store:
        subject = _Subject(args, store_spec(store))
        inputs, ids = store_inputs(store, subject.spec, subject.domain, args.n)
    return _outcome(subject, inputs, ids, args)


class _Subject:
    """The network under test: a finder with weights, or random ones, or an ONNX graph."""

    def __init__(self, args: argparse.Namespace, spec: InputSpec | None) -> None:
        from equilens.models.networks import ARCHITECTURES
        from equilens.models.random_weights import random_finder
        from equilens.tasks.commands.models import reference_spec

        self.domain: TrainingDomain | None = None
        self.model: LensFinder | Committee | OnnxFinder
        if args.model in ARCHITECTURES:
            self.model = random_finder(args.model, spec or reference_spec(), args.seed)
            self.weights = f"random, seed {args.seed}"
        else:
            self._load(args.model)
        self.spec = self.model.spec

    def _load(self, name_or_path: str) -> None:
        from equilens.models.errors import CheckpointError
        from equilens.models.networks import ARCHITECTURES
        from equilens.models.user_models import find_model, load_model
        from equilens.pipeline.networks import describe_network

        try:
            find_model(name_or_path)
        except CheckpointError as error:
            known = ", ".join(ARCHITECTURES)
            raise UsageError(f"{error}; and no architecture: there are {known}") from error
        reference = describe_network(name_or_path)
        self.model, self.domain = load_model(name_or_path), reference.domain
        self.weights = f"{reference.name} ({reference.sha256[:12]})"

    @property
    def architecture(self) -> str:
        return "onnx" if self._is_graph else self.model.architecture.name  # type: ignore[union-attr]

    @property
    def group(self) -> Group:
        from equilens.models.groups import CyclicGroup

        # a graph does not say what it is symmetric under: it is held to D4
        return CyclicGroup(1) if self._is_graph else self.model.architecture.group  # type: ignore[union-attr]

    def forms(self, bfloat16: bool) -> tuple[Form, ...]:
        from equilens.models.equivariance_report import FLOAT32, Form, finder_forms

        if self._is_graph:
            return (Form("graph", self.model, FLOAT32),)
        return finder_forms(self.model, bfloat16=bfloat16)  # type: ignore[arg-type]

    @property
    def _is_graph(self) -> bool:
        from equilens.models.user_models import OnnxFinder

        return isinstance(self.model, OnnxFinder)


def _outcome(
    subject: _Subject, inputs: Inputs, ids: tuple[str, ...], args: argparse.Namespace
) -> Outcome:
    from dataclasses import asdict

    from rich.console import Group

    from equilens.models.equivariance_report import equivariance_report
    from equilens.models.sky_moves import moves

    forms = subject.forms(not args.no_bf16)
    with progress_bar("moving the sky", len(list(moves(subject.spec.shape)))) as advance:
        report = equivariance_report(
            forms,
            subject.spec,
            subject.group,
            inputs,
            architecture=subject.architecture,
            seed=args.seed,
            progress=advance,
        )
    rows = [asdict(row) | {"worst_object": ids[row.worst_object]} for row in report.rows]
    facts: dict[str, Any] = {
        "architecture": subject.architecture,
        "weights": subject.weights,
        "images": args.images or "random scenes",
        "n_objects": len(ids),
        **asdict(report),
        "rows": rows,
        "passed": report.passed,
        "verdict": report.verdict,
    }
    code = DONE if report.passed else FAILED
    return Outcome(facts, Group(_table(report, facts), "", _caption(report)), code)


def _table(report: EquivarianceReport, facts: dict[str, Any]) -> Any:
    from rich.markup import escape
    from rich.table import Column, Table

    names = list(report.rows[0].errors)
    figures = [Column(name, justify="right") for name in names]
    move, verdict = (Column(name, no_wrap=True) for name in ("move", "verdict"))
    columns: list[Column | str] = [move, "N", *figures, "worst object", verdict]
    table = Table(*columns, box=None, pad_edge=False, title_justify="left")
    table.title = (
        f"{facts['architecture']}, weights {facts['weights']}, held to {report.group}, "
        f"on {facts['images']}"
    )
    for row, stored in zip(report.rows, facts["rows"], strict=True):
        judged = "[green]holds" if row.passed else "[red]BROKEN"
        table.add_row(
            f"[bold]{row.move}",
            str(row.n),
            *(f"{row.errors[name]:.1e}" if name in row.errors else "" for name in names),
            # an analytic scene is none of the user's objects
            escape(stored["worst_object"]) if row.on_grid else f"scene {row.worst_object}",
            judged if row.claimed else "[dim]no claim",
        )
    return table


def _caption(report: EquivarianceReport) -> str:
    limits = ", ".join(
        f"{name} {limit:g}" for name, limit in report.tolerances.items() if name != "sampled"
    )
    angles = " and ".join(row.move for row in report.rows if not row.on_grid)
    return (
        "Errors are in standard deviations of the scores; the largest of N on the pixel grid, with "
        f"tolerances {limits};\nroot mean square at {angles}, on analytic scenes, with tolerance "
        f"{report.tolerances['sampled']:g}. Control: {report.control}, random weights.\n"
        f"{report.verdict}"
    )
