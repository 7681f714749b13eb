"""The command line: `equilens COMMAND …`, one result on stdout, one honest exit code.

Exit codes: 0 done; 1 failed; 2 wrong use; 3 done, but more objects were quarantined than
``--tolerance`` allows, or a night that is not accepted.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn

from equilens.catalogs.errors import CatalogError
from equilens.pipeline.errors import PipelineError
from equilens.tasks.console import FAILED, WRONG_USE, complain, show
from equilens.tasks.errors import TaskError, UsageError

FAMILIES = (
    "demo",
    "surveys",
    "ingest",
    "skymaps",
    "simulate",
    "inject",
    "oracle_bound",
    "train",
    "score",
    "evaluate",
    "calibrate",
    "selection_function",
    "rank",
    "challenge",
    "models",
    "export",
    "export_model",
    "show",
    "lenscat",
    "sky",
    "night",
    "status",
    "plan",
)
INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = _Parser(
        prog="equilens",
        description="Find strong gravitational lenses in any survey, on any sky.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 3 done but not accepted.",
    )
    parser.add_argument("--version", action="version", version=f"equilens {version('equilens')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    common.add_argument("--debug", action="store_true", help="show where an error comes from")
    for family in FAMILIES:
        import_module(f"equilens.tasks.commands.{family}").add(commands, common)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code of the process."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        args = build_parser().parse_args(words)
        outcome = args.run(args)
        show(outcome, args.json)
        return outcome.code
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    # the boundary of the program: nothing above it could do more than print a traceback
    except Exception as error:
        if "--debug" in words:
            traceback.print_exc()
        return _report(error)


def _report(error: Exception) -> int:
    if isinstance(error, UsageError):
        complain(str(error))
        return WRONG_USE
    if isinstance(error, (PipelineError, CatalogError, TaskError, *_model_errors())):
        complain(str(error))
        return FAILED
    complain(f"{type(error).__name__}: {error} (unexpected; run again with --debug for details)")
    return FAILED


def _model_errors() -> tuple[type[Exception], ...]:
    # importing equilens.models imports torch; an error of it can only come once it is loaded
    loaded = sys.modules.get("equilens.models.errors")
    return (loaded.ModelError,) if loaded is not None else ()


if __name__ == "__main__":
    sys.exit(main())
