"""`equilens sky simulate`: whole skies of lensing with their truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equilens.tasks.arguments import positive, positive_float
from equilens.tasks.console import Outcome, progress_bar

if TYPE_CHECKING:
    from equilens.pipeline.skies.settings import SkySettings


def add_simulate(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "simulate", parents=[common], help="simulate whole skies of weak lensing, with their truth"
    )
    parser.add_argument("--out", required=True, metavar="SKY.zarr")
    parser.add_argument("--nside", type=positive, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--n-skies", type=positive, default=1, help="SKY_0.zarr and so on, with following seeds"
    )
    parser.add_argument("--cosmology", default="planck18", metavar="NAME")
    parser.add_argument("--cache", metavar="FOLDER", help="keep spectra of matter here")
    parser.add_argument("--replace", action="store_true")
    _add_sources(parser)
    _add_lensing(parser)
    _add_mask(parser)
    parser.set_defaults(run=run_sky_simulate)


def _add_sources(parser: argparse.ArgumentParser) -> None:
    sources = parser.add_argument_group("galaxies")
    sources.add_argument("--survey", default="euclid", metavar="euclid|des")
    sources.add_argument("--bins", type=positive, default=2, help="redshift bins (default 2)")
    sources.add_argument(
        "--galaxies-per-arcmin2", type=positive_float, metavar="N", help="instead of the survey's"
    )
    sources.add_argument(
        "--multiplicative-bias",
        type=float,
        nargs="+",
        default=[0.0],
        metavar="M",
        help="of the shear, one for all bins or one each (default 0)",
    )


def _add_lensing(parser: argparse.ArgumentParser) -> None:
    lensing = parser.add_argument_group("lensing")
    lensing.add_argument(
        "--gaussian", action="store_true", help="Gaussian convergence without haloes, linear shear"
    )
    lensing.add_argument(
        "--min-halo-mass", type=positive_float, default=1e14, metavar="M200C", help="solar masses"
    )
    lensing.add_argument(
        "--uniform-haloes", action="store_true", help="haloes anywhere, not where matter is"
    )


def _add_mask(parser: argparse.ArgumentParser) -> None:
    mask = parser.add_argument_group("footprint")
    mask.add_argument("--whole-sky", action="store_true", help="no mask at all")
    mask.add_argument("--galactic-latitude", type=float, default=23.0, metavar="DEG")
    mask.add_argument("--ecliptic-latitude", type=float, default=15.0, metavar="DEG")
    mask.add_argument("--stars-per-deg2", type=float, default=3.0, metavar="N")
    mask.add_argument(
        "--column-density", metavar="MAP", help="hydrogen, a map store or a Galactic FITS map"
    )
    mask.add_argument("--max-column-density", type=positive_float, default=6e20, metavar="CM-2")


def settings_from(args: argparse.Namespace) -> SkySettings:
    """What the command line asks for.

    Raises
    ------
    UsageError
        It can not be simulated.
    """
    from equilens.pipeline.skies.errors import SkyError
    from equilens.pipeline.skies.settings import SkySettings
    from equilens.pipeline.skies.sources import source_sample
    from equilens.pipeline.skies.survey_masks import WHOLE_SKY, SurveyMask
    from equilens.tasks.errors import UsageError

    try:
        mask = (
            WHOLE_SKY
            if args.whole_sky
            else SurveyMask(
                galactic_latitude_deg=args.galactic_latitude,
                ecliptic_latitude_deg=args.ecliptic_latitude,
                stars_per_deg2=args.stars_per_deg2,
                column_density_map=args.column_density,
                column_density_max_cm2=args.max_column_density,
            )
        )
        return SkySettings(
            nside=args.nside,
            cosmology=args.cosmology,
            sources=source_sample(args.survey, args.bins, args.galaxies_per_arcmin2),
            mask=mask,
            gaussian=args.gaussian,
            smallest_halo_msun=args.min_halo_mass,
            haloes_follow_matter=not args.uniform_haloes,
            multiplicative_bias=tuple(args.multiplicative_bias),
        )
    except SkyError as error:
        raise UsageError(str(error)) from error


def run_sky_simulate(args: argparse.Namespace) -> Outcome:
    """Simulate skies, one after another."""
    settings = settings_from(args)
    from equilens.pipeline.skies.simulate import simulator_for
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.sky_simulate import SkySimulateTask

    paths = _paths(args.out, args.n_skies)
    steps = simulator_for(settings, args.cache).n_steps * len(paths)
    with progress_bar("simulating", steps) as advance:
        tasks = [
            SkySimulateTask(
                settings=settings,
                seed=args.seed + number,
                out=str(path),
                cache=args.cache,
                replace=args.replace,
                progress=advance,
            )
            for number, path in enumerate(paths)
        ]
        run_tasks(tasks)
    facts = [_facts(task) for task in tasks]
    lines = [
        f"{'simulated' if fact['made_now'] else 'there already:'} {fact['store']}: nside "
        f"{fact['nside']}, {fact['n_bins']} bins, {fact['n_haloes']} haloes, "
        f"{fact['sky_share']:.1%} of the sky"
        for fact in facts
    ]
    return Outcome({"skies": facts}, "\n".join(lines))


def _paths(out: str, n_skies: int) -> list[Path]:
    path = Path(out)
    if n_skies == 1:
        return [path]
    return [path.with_name(f"{path.stem}_{number}{path.suffix}") for number in range(n_skies)]


def _facts(task: Any) -> dict[str, Any]:
    import pyarrow.parquet as pq

    from equilens.pipeline.skies.sky_files import haloes_path, truth_path
    from equilens.pipeline.skymaps import SkyMapStore

    store = SkyMapStore(task.out)
    n_masked = store.column("G1_BIN1").n_masked
    return {
        "store": task.out,
        "truth": str(truth_path(task.out)),
        "haloes": str(haloes_path(task.out)),
        "nside": store.nside,
        "seed": task.seed,
        "n_bins": store.manifest["sky"]["n_bins"],
        "n_haloes": pq.read_metadata(haloes_path(task.out)).num_rows,
        "sky_share": 1 - n_masked / (12 * store.nside**2),
        "fingerprint": store.fingerprint,
        "made_now": task.made,
    }
