"""Train a finder on labelled cutouts: resumable, bounded in memory, ended by its budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equilens.models.networks import build_finder
from equilens.pipeline.network_inputs import store_spec
from equilens.pipeline.training.card import training_card, write_products
from equilens.pipeline.training.config import TrainConfig
from equilens.pipeline.training.data import TrainingSet
from equilens.pipeline.training.identity import training_identity
from equilens.pipeline.training.machine import termination, torch_settings
from equilens.pipeline.training.run import Progress, Run
from equilens.pipeline.training.state import STATE, TrainingState
from equilens.pipeline.training.transfer import (
    WarmStart,
    blend_with_base,
    generic_bands,
    inherit,
)


@dataclass(frozen=True)
class TrainReport:
    """What a training gave.

    Attributes
    ----------
    complete : False where it was stopped and can be resumed
    weights : path of ``model.safetensors``; None while incomplete
    steps, images, elapsed_s : so far, over all resumed parts
    card : the model card's facts: data, held-out metrics, training domain; empty while incomplete
    """

    complete: bool
    weights: Path | None
    steps: int
    images: int
    elapsed_s: float
    card: dict[str, Any]


def train(
    stores: Sequence[Path | str],
    out: Path | str,
    *,
    architecture: str = "d4-resnet-nano",
    field_px: int | None = None,
    config: TrainConfig | None = None,
    name: str | None = None,
    start: WarmStart | None = None,
    resume: bool = True,
    progress: Progress | None = None,
) -> TrainReport:
    """Train a finder, and write weights, card, log and report into a folder.

    Parameters
    ----------
    stores : paths of CutoutStores of equal bands and shape, with a column ``is_lens``
    out : folder for ``model.safetensors``, ``card.md``, ``training.png``, ``report.json``,
        ``log.csv``, ``held_out.csv`` and, until it is done, ``resume.safetensors``
    architecture : a name of `equilens.models.networks.ARCHITECTURES`
    field_px : side of the central square that the network sees; by default all of the cutout
    config : see `TrainConfig`
    name : of the weights; by default the survey's
    start : weights to start from instead of random ones
    resume : go on where an equal training in `out` was stopped
    progress : called with step, images, total, loss and rate about once a second

    Returns
    -------
    TrainReport
        With ``complete=False`` where SIGTERM stopped it: the same call goes on from there.

    Raises
    ------
    TrainingError
        Unfit data, a loss that is not finite, or another training's state in `out`.
    """
    config, out = config or TrainConfig(), Path(out)
    data = TrainingSet.of(stores, config)
    spec = store_spec(data.first, field_px)
    finder = build_finder(architecture, spec, config.seed)
    inherited, bands = None, generic_bands(data.first.survey_name, spec.bands)
    if start is not None:
        inherited = inherit(finder, start, bands)
    identity = training_identity(data, architecture, spec, config, start)
    out.mkdir(parents=True, exist_ok=True)
    with torch_settings(config.threads, config.seed), termination() as stop:
        frozen = () if start is None else start.frozen
        state = TrainingState.start(finder, config, data.n_objects, frozen)
        if resume and (out / STATE).exists():
            state.load(out / STATE, identity)
        complete = Run(data, config, state, identity, out, progress).until_done(stop)
        counts = (state.step, state.images, state.elapsed_s)
        if not complete:
            return TrainReport(False, None, *counts, card={})
        state.take_best()
        if start is not None:
            blend_with_base(state.average, start, bands)
        name = name or data.first.survey_name
        card = training_card(name, data, identity, state, config, out, inherited)
        weights = write_products(out, state.average, card)
    (out / STATE).unlink(missing_ok=True)
    return TrainReport(True, weights, *counts, card)
