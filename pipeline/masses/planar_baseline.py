"""Train the planar U-net as a mapper of the sphere is trained, and map whole skies with it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import healpy as hp
import numpy as np
import torch
import torch.nn.functional as functional

from equilens.models.spherical.mapper_spec import MapperSpec, network_inputs
from equilens.pipeline.masses.gnomonic import GnomonicTile, TilePlan, training_tiles
from equilens.pipeline.masses.map_blocks import COLUMNS
from equilens.pipeline.masses.mapper_config import MapperConfig
from equilens.pipeline.masses.mapper_run import MapperRun, Progress
from equilens.pipeline.masses.mapper_state import STATE, MapperState
from equilens.pipeline.masses.planar_unet import PlanarUnet, width_for
from equilens.pipeline.masses.training_skies import TrainingSky
from equilens.pipeline.training.machine import torch_settings

METHOD = "planar-unet"
CENTRE_SPACING = 64


@dataclass(frozen=True)
class PlanarReport:
    """A trained planar U-net.

    Attributes
    ----------
    network : running average, in evaluation mode
    figures : on patches of the held-out skies
    steps, elapsed_s : of the training
    """

    network: PlanarUnet
    figures: dict[str, float]
    steps: int
    elapsed_s: float


def train_planar(
    taught: Sequence[TrainingSky],
    held_out: Sequence[TrainingSky],
    out: Path,
    *,
    spec: MapperSpec,
    parameters: int,
    config: MapperConfig,
    progress: Progress | None = None,
) -> PlanarReport:
    """Train on the same skies, inputs, loss, schedule and number of parameters as a mapper.

    Parameters
    ----------
    spec : of the mapper
    parameters : of the mapper
    out : folder of the log and of the state to resume from
    """
    out.mkdir(parents=True, exist_ok=True)
    identity: dict[str, Any] = {
        "skies": [sky.fingerprint for sky in taught],
        "config": config.identity(),
        "spec": spec.to_dict(),
    }
    with torch_settings(config.threads, config.seed):
        network = PlanarUnet(spec, width_for(spec, parameters))
        state = MapperState.start(network, config)
        if (out / STATE).exists():
            state.load(out / STATE, identity)
        tiles = training_tiles(spec.nside, config)
        plans = (TilePlan(taught, config, tiles), TilePlan(held_out, config, tiles))
        run = MapperRun(*plans, config, state, identity, out, progress)
        run.until_done(threading.Event())
        assert isinstance(state.average, PlanarUnet)
        return PlanarReport(state.average, run.held_out_figures(), state.step, state.elapsed_s)


def map_with_tiles(network: PlanarUnet, sky: np.ndarray, linear: np.ndarray) -> dict[str, Any]:
    """KAPPA, KAPPA_SIGMA and HALO of a whole sky, (n_pixels,) NESTED; NaN where masked.

    What the network adds to the linear estimate is interpolated back to the pixels; the estimate
    itself is taken where it is.

    Parameters
    ----------
    sky : (K, 4, n_pixels)
    linear : (L, n_pixels)
    """
    nside = network.spec.nside
    seen: np.ndarray = np.any(sky[:, 3] > 0, axis=0)
    found = {name: np.full(seen.size, np.nan, np.float32) for name in COLUMNS}
    coarse = max(1, nside // CENTRE_SPACING)
    n_each = (nside // coarse) ** 2
    for number in range(hp.nside2npix(coarse)):
        pixels = np.arange(number * n_each, (number + 1) * n_each)
        if seen[pixels].any():
            lon, lat = hp.pix2ang(coarse, number, nest=True, lonlat=True)
            tile = GnomonicTile.at(nside, float(lon), float(lat), 2 * (nside // coarse))
            for name, values in _map_tile(network, tile, sky, linear, pixels).items():
                found[name][pixels] = np.where(seen[pixels], values, np.nan)
    return found


def _map_tile(
    network: PlanarUnet,
    tile: GnomonicTile,
    sky: np.ndarray,
    linear: np.ndarray,
    pixels: np.ndarray,
) -> dict[str, np.ndarray]:
    there = torch.from_numpy(tile.scalars(linear))[None]
    inputs = network_inputs(network.spec, torch.from_numpy(tile.shear_sky(sky))[None], there)
    with torch.inference_mode():
        estimate = network(tile.side, *inputs)
    said = torch.stack(
        [estimate.kappa - there[:, 0], estimate.log_variance, estimate.halo_logit], dim=1
    )
    x, y = tile.places(pixels)
    grid = torch.from_numpy(np.stack([x, y], axis=-1)).float()[None, None]
    sampled = functional.grid_sample(
        said.unflatten(-1, (tile.side, tile.side)),
        grid,
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )[0, :, 0].numpy()
    return {
        "KAPPA": linear[0, pixels] + sampled[0],
        "KAPPA_SIGMA": np.exp(0.5 * sampled[1]),
        "HALO": sampled[2],
    }
