"""`equilens plan`: what a survey of any size takes, from measured rates."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equilens.tasks.arguments import (
    batch_size,
    existing_file,
    known_model,
    positive,
    positive_float,
    share,
)
from equilens.tasks.console import Outcome, progress_bar
from equilens.tasks.errors import UsageError

if TYPE_CHECKING:
    from equilens.pipeline.planning.campaign import Campaign
    from equilens.pipeline.planning.rates import Rates

ASSUMED_FAILURES_PER_DAY = 0.1
DESCRIPTION = (
    "Hours, storage, shards, memory, tasks and what costs most, from rates that were measured: on "
    "this machine now, or before (--measure, then --rates). The schedule is simulated, with "
    "workers that die."
)


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "plan",
        parents=[common],
        help="what scoring a survey of any size takes, from measured rates",
        description=DESCRIPTION,
    )
    parser.add_argument("--objects", type=count, metavar="N", help="to score; 1e9 is a number too")
    workers = parser.add_mutually_exclusive_group()
    workers.add_argument("--gpus", type=positive, metavar="N")
    workers.add_argument("--workers", type=positive, metavar="N", help="cores, a worker on each")
    _add_rates(parser)
    _add_cluster(parser)
    parser.set_defaults(run=run_plan)


def _add_rates(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("rates")
    source = group.add_mutually_exclusive_group()
    source.add_argument("--rates", type=existing_file, metavar="FILE.json", help="measured before")
    source.add_argument("--measure", type=Path, metavar="OUT.json", help="measure, and keep them")
    group.add_argument(
        "--model", metavar="NAME_OR_DIR", help="network; by default an untrained one"
    )
    group.add_argument("--bands", type=positive, metavar="N", help="where no network says")
    group.add_argument(
        "--side", type=positive, default=101, metavar="PIXELS", help="likewise (101)"
    )
    group.add_argument("--batch-size", type=batch_size, default=64, metavar="N")
    group.add_argument("--device", help="to measure on: cpu, or cuda with --gpus")
    group.add_argument(
        "--gpu-rate",
        type=positive_float,
        metavar="CUTOUTS_PER_S",
        help="of one GPU, where it is known and not measured",
    )


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("cluster")
    group.add_argument("--per-gpu", type=positive, default=1, metavar="N", help="workers (1)")
    group.add_argument(
        "--objects-per-store", type=count, default=10_000_000, metavar="N", help="at most (1e7)"
    )
    group.add_argument(
        "--at-once", type=positive, default=1, metavar="N", help="stores, a scheduler each (1)"
    )
    group.add_argument(
        "--ingest-workers", type=positive, metavar="N", help="a store each (as many as workers)"
    )
    group.add_argument(
        "--read-bandwidth", type=positive_float, metavar="GB_PER_S", help="that all workers share"
    )
    group.add_argument(
        "--failures-per-day",
        type=not_negative,
        metavar="N",
        help=f"of one worker (assumed: {ASSUMED_FAILURES_PER_DAY:g})",
    )
    group.add_argument(
        "--restart", type=not_negative, metavar="S", help="of a worker that died (as measured)"
    )
    group.add_argument("--slow-workers", type=share, default=0.0, metavar="SHARE")
    group.add_argument("--slow-factor", type=positive_float, default=2.0, metavar="TIMES")
    group.add_argument("--workers-per-node", type=positive, metavar="N", help="for node hours")
    group.add_argument("--replays", type=positive, default=20, metavar="N", help="simulated (20)")
    group.add_argument("--seed", type=int, default=0)


def count(text: str) -> int:
    """A whole number from 1, ``1e9`` included."""
    value = positive_float(text)
    if value != int(value):
        raise argparse.ArgumentTypeError(f"{text} is no whole number")
    return int(value)


def not_negative(text: str) -> float:
    """A number from 0."""
    return 0.0 if text.strip() in ("0", "0.0") else positive_float(text)


def run_plan(args: argparse.Namespace) -> Outcome:
    """Measure or read rates, and plan where objects are given."""
    from equilens.pipeline.planning.errors import PlanError

    if args.objects is None and args.measure is None:
        raise UsageError("plan how many? Give --objects, or --measure OUT.json for rates alone")
    try:
        campaign = None if args.objects is None else _campaign(args)
        rates = _rates(args)
        if campaign is None:
            return _measured(args, rates)
        return _planned(args, campaign, rates)
    except PlanError as error:
        raise UsageError(str(error)) from error


def _campaign(args: argparse.Namespace) -> Campaign:
    from equilens.pipeline.planning.campaign import Campaign

    if args.gpus is None and args.workers is None:
        raise UsageError("on what? Give --gpus or --workers")
    failures = args.failures_per_day
    return Campaign(
        n_objects=args.objects,
        n_workers=args.workers or args.gpus * args.per_gpu,
        on_gpus=args.gpus is not None,
        gpu_rate=args.gpu_rate,
        per_gpu=args.per_gpu,
        objects_per_store=args.objects_per_store,
        at_once=args.at_once,
        ingest_workers=args.ingest_workers,
        read_bandwidth=None if args.read_bandwidth is None else 1e9 * args.read_bandwidth,
        failures_per_day=ASSUMED_FAILURES_PER_DAY if failures is None else failures,
        restart_s=args.restart,
        slow_share=args.slow_workers,
        slow_factor=args.slow_factor,
        replays=args.replays,
        seed=args.seed,
    )


def _rates(args: argparse.Namespace) -> Rates:
    if args.rates is not None:
        from equilens.pipeline.planning.rates import load_rates

        if args.model is not None or args.device is not None:
            raise UsageError(
                "--rates says which network and device: leave --model and --device out"
            )
        return load_rates(args.rates)
    if args.measure is not None and args.measure.suffix != ".json":
        raise UsageError(f"--measure writes JSON: name the file {args.measure.stem}.json")
    from equilens.pipeline.planning.measure import N_REPEATS, check_device, measure_rates
    from equilens.pipeline.planning.rates import save_rates

    device = args.device or ("cuda" if args.gpus and args.gpu_rate is None else "cpu")
    check_device(device)
    model = None if args.model is None else known_model(args.model)
    with progress_bar("measuring", N_REPEATS + 1) as advance:
        rates = measure_rates(
            model,
            args.bands,
            side=args.side,
            device=device,
            batch_size=args.batch_size,
            progress=advance,
        )
    if args.measure is not None:
        save_rates(args.measure, rates)
    return rates


def _measured(args: argparse.Namespace, rates: Rates) -> Outcome:
    from rich.console import Group

    from equilens.tasks.commands.plan_text import origin, rates_table

    return Outcome(
        {"rates_file": args.measure, **rates.to_dict()},
        Group(f"{origin(rates)}; kept in {args.measure}", "", rates_table(rates)),
    )


def _planned(args: argparse.Namespace, campaign: Campaign, rates: Rates) -> Outcome:
    from dataclasses import asdict

    from equilens.pipeline.planning.advice import advice, bottleneck
    from equilens.pipeline.planning.campaign import check_rates
    from equilens.pipeline.planning.forecast import forecast
    from equilens.pipeline.planning.sizes import campaign_sizes
    from equilens.pipeline.provenance import provenance
    from equilens.tasks.commands.plan_text import assumptions, plan_text

    check_rates(campaign, rates, args.bands)
    sizes, found = campaign_sizes(campaign, rates), forecast(campaign, rates)
    changes = advice(campaign, rates, found)
    said = assumptions(campaign, rates, assumed_failures=args.failures_per_day is None)
    facts: dict[str, Any] = {
        "campaign": asdict(campaign),
        "sizes": sizes.to_dict(),
        "forecast": asdict(found),
        "node_hours": None,
        "bottleneck": bottleneck(found),
        "advice": changes,
        "assumptions": said,
        "rates": rates.to_dict(),
        "provenance": provenance(),
    }
    if args.workers_per_node is not None:
        nodes = -(-campaign.n_workers // args.workers_per_node)
        facts["node_hours"] = nodes * found.stormy_s.median / 3600
    text = plan_text(campaign, rates, sizes, found, changes, said, facts["node_hours"])
    return Outcome(facts, text)
