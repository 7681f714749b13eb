"""`equilens export-model`: a network for other programs, verified before it is written."""

from __future__ import annotations

import argparse
from pathlib import Path

from equilens.tasks.arguments import known_model
from equilens.tasks.console import Outcome
from equilens.tasks.errors import TaskError, UsageError


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "export-model", parents=[common], help="write a network for torch.export or ONNX runtimes"
    )
    parser.add_argument("model", metavar="MODEL", help="shipped name, folder or .safetensors file")
    parser.add_argument(
        "--format",
        required=True,
        choices=("torch", "onnx"),
        help="a torch.export program, .pt2, or an ONNX graph, .onnx",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE")
    parser.add_argument("--replace", action="store_true", help="overwrite --out")
    parser.set_defaults(run=run_export_model)


def run_export_model(args: argparse.Namespace) -> Outcome:
    """Fold, export, verify, write."""
    known_model(args.model)
    from equilens.models.checkpoint import load_checkpoint
    from equilens.models.export import export_finder
    from equilens.pipeline.provenance import write_atomic

    weights = _weights_of(args.model)
    _check_out(args.out, args.format, args.replace)
    finder, metadata = load_checkpoint(weights)
    exported = export_finder(finder, args.format, sha256=metadata["sha256"], card=metadata["card"])
    write_atomic(args.out, exported.data)
    check = exported.verification
    facts = {
        "file": args.out,
        "format": args.format,
        "n_bytes": len(exported.data),
        "model": args.model,
        "architecture": metadata["architecture"],
        "sha256": metadata["sha256"],
        "bands": list(finder.spec.bands),
        "n_verified": check.n,
        "largest_difference": check.largest_difference,
        "largest_logit": check.largest_logit,
        "tolerance": check.limit,
    }
    text = (
        f"{args.out}: {metadata['architecture']} ({metadata['sha256'][:12]}), {args.format}, "
        f"{len(exported.data) / 1e6:.1f} MB\n"
        f"verified on {check.n} random cutouts: logits differ by {check.largest_difference:.1e} at "
        f"most (largest logit {check.largest_logit:.3g}, tolerance {check.limit:.1e})"
    )
    return Outcome(facts, text)


def _weights_of(model: str) -> Path:
    from equilens.models.user_models import find_model

    path = find_model(model)
    if path.suffix == ".onnx":
        raise UsageError(f"{path} is an ONNX graph already; MODEL must be weights, .safetensors")
    return path


def _check_out(out: Path, form: str, replace: bool) -> None:
    """Refuse what could not be written before the work is done."""
    from equilens.models.export import SUFFIXES

    if out.suffix != SUFFIXES[form]:
        raise UsageError(f"--out {out}: with --format {form} it must end in {SUFFIXES[form]}")
    if out.is_dir():
        raise TaskError(f"{out} is a folder: choose another --out")
    if out.exists() and not replace:
        raise TaskError(f"{out} exists: add --replace, or choose another --out")
