"""Map a whole sky out of core: linear estimates, base pixels as tasks, peaks, tiles.

A call is idempotent: base pixels that the same mapper wrote from the same sky stay, and another
mapper's are never mixed in.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from distributed import Client, KilledWorker, as_completed

from equilens.models.spherical.mapper_checkpoint import StoredMapper, load_mapper
from equilens.pipeline.cluster import available_cores, open_client
from equilens.pipeline.errors import DomainError, PipelineError, ScoringError
from equilens.pipeline.lock import lock_store
from equilens.pipeline.masses.linear_inputs import store_linear
from equilens.pipeline.masses.map_blocks import IDENTITY, MapTask, map_base_pixels, map_layout
from equilens.pipeline.masses.prior import ConvergencePrior
from equilens.pipeline.masses.products import MASS_MAP, MassIdentity
from equilens.pipeline.masses.sky_columns import count_bins
from equilens.pipeline.provenance import write_json_atomic
from equilens.pipeline.skymaps.ordering import N_BASE_PIXELS
from equilens.pipeline.skymaps.store import SkyMapStore
from equilens.pipeline.skymaps.writer import MapWriter
from equilens.pipeline.stores import MANIFEST, prepare_path

LINEAR = "linear.zarr"
# the larger a square, the less of the work is its margin's, a sixth at 256 pixels a side, and the
# more memory its stencils take
MOST_SIDE_PIXELS = 256
LEAST_SQUARES = 2
RETRIES = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class MapSummary:
    """What a mapping did.

    Attributes
    ----------
    path : of the mass map
    n_mapped_now : base pixels done by this call; 0 where it was complete already
    sha256 : of the mapper
    seconds : of this call
    """

    path: Path
    n_mapped_now: int
    sha256: str
    seconds: float


def map_sky(
    sky: Path | str,
    model: str | Path,
    out: Path | str,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> MapSummary:
    """Map the mass of a sky: ``OUT/mass.zarr`` with KAPPA, KAPPA_SIGMA and HALO.

    Parameters
    ----------
    sky : path of a shear sky
    model : name of a shipped mapper, a training's folder, or a weights file
    out : folder; goes on where an equal run stopped
    scheduler : address of a Dask scheduler; by default the work is done here
    workers : base pixels at a time without a scheduler, and threads of the linear maps'
        transforms; 1 by default
    replace : give up what another mapper or sky left in `out`
    progress : called with how many base pixels are done, of how many

    Raises
    ------
    DomainError
        The mapper is for another resolution or number of redshift bins.
    ScoringError
        `out` holds another run's map, or a worker failed for good; what was written stays.
    """
    began, out = time.monotonic(), Path(out)
    mapper, store = load_mapper(model), SkyMapStore.open(sky)
    check_domain(mapper, store)
    release = lock_store(out / MASS_MAP)
    try:
        linear = store_linear(sky, prior_of(mapper), out / LINEAR, threads=workers or 1)
        task = MapTask(
            sky=str(store.path.resolve()),
            sky_fingerprint=store.fingerprint,
            linear=str(linear.path.resolve()),
            linear_fingerprint=linear.fingerprint,
            weights=str(mapper.path.resolve()),
            sha256=mapper.sha256,
            out=str((out / MASS_MAP).resolve()),
            n_squares=squares_of(store.nside, mapper.network.spec.depth),
        )
        todo = _missing(task, store.nside, replace)
        done = 0
        for part in _run(task, todo, scheduler, workers or 1):
            done += len(part)
            if progress is not None:
                progress(done, len(todo))
        if not (out / MASS_MAP / MANIFEST).exists():
            MapWriter(out / MASS_MAP, map_layout(store.nside)).finish(_about(mapper, store))
    finally:
        release()
    return MapSummary(out / MASS_MAP, len(todo), mapper.sha256, time.monotonic() - began)


def squares_of(nside: int, depth: int) -> int:
    """Squares along the side of a base pixel, for a network that pools `depth` times."""
    return min(max(LEAST_SQUARES, nside // MOST_SIDE_PIXELS), nside // 2**depth)


def check_domain(mapper: StoredMapper, store: SkyMapStore) -> None:
    """Refuse a sky that a mapper was not made for."""
    spec = mapper.network.spec
    if store.nside != spec.nside:
        raise DomainError(
            f"{mapper.name} maps skies of nside {spec.nside}, {store.path} has nside "
            f"{store.nside}: bring it to that resolution, or train a mapper for it"
        )
    if (n_bins := count_bins(store)) != spec.n_bins:
        raise DomainError(
            f"{mapper.name} takes shear in {spec.n_bins} redshift bins, {store.path} has {n_bins}"
        )


def prior_of(mapper: StoredMapper) -> ConvergencePrior:
    """The spectra that came with a mapper."""
    return ConvergencePrior(mapper.prior["spectra"].numpy())


def _about(mapper: StoredMapper, store: SkyMapStore) -> dict[str, Any]:
    return {
        "mass": asdict(MassIdentity("mass-mapper", store.fingerprint, mapper.sha256)),
        "model": mapper.name,
        "trained_on": mapper.card.get("skies", []),
    }


def _missing(task: MapTask, nside: int, replace: bool) -> list[int]:
    """Base pixels that are not there; makes the empty map where there is none of this run."""
    path, layout = Path(task.out), map_layout(nside)
    if (path / IDENTITY).exists():
        found = json.loads((path / IDENTITY).read_text())
        if found == task.identity and not replace:
            written = MapWriter(path, layout).is_written
            return [k for k in range(N_BASE_PIXELS) if not written(k)]
        if found != task.identity and not replace:
            raise ScoringError(
                f"{path} holds the map of another sky or mapper: add --replace, or choose another "
                "--out"
            )
    MapWriter.create(prepare_path(path, replace), layout)
    write_json_atomic(path / IDENTITY, task.identity)
    return list(range(N_BASE_PIXELS))


def _run(
    task: MapTask, todo: list[int], scheduler: str | None, workers: int
) -> Iterator[tuple[int, ...]]:
    """Base pixels as they get done, here or on a cluster."""
    if scheduler is None and (workers == 1 or len(todo) < 2):
        threads = torch.get_num_threads()
        try:
            for ring in _rings(todo):
                map_base_pixels(task, ring)
                yield ring
        finally:
            torch.set_num_threads(threads)
        return
    with open_client(scheduler, workers=min(workers, available_cores()), processes=True) as client:
        yield from _spread(client, task, todo)


def _rings(base_pixels: list[int]) -> list[tuple[int, ...]]:
    """Base pixels that are quarter turns of each other, together."""
    rings = (tuple(k for k in base_pixels if k // 4 == ring) for ring in range(3))
    return [ring for ring in rings if ring]


def _spread(client: Client, task: MapTask, todo: list[int]) -> Iterator[tuple[int, ...]]:
    run = uuid.uuid4().hex[:8]
    futures = {
        client.submit(
            map_base_pixels,
            task,
            (k,),
            key=f"map-base-pixel-{k}-{run}",
            retries=RETRIES,
            pure=False,
        ): k
        for k in todo
    }
    for future in as_completed(list(futures), loop=client.loop):
        try:
            future.result()
        except (OSError, RuntimeError, PipelineError, KilledWorker, CancelledError) as error:
            raise ScoringError(
                f"base pixel {futures[future]} failed {RETRIES + 1} times: {error}; what was "
                f"mapped stays in {task.out}: run the same command again to go on"
            ) from error
        yield (futures[future],)
