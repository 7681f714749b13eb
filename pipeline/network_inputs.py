"""Cutouts of a store as the tensors that a network takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from equilens.models.inputs import InputSpec
from equilens.pipeline.domain import TrainingDomain
from equilens.pipeline.errors import SurveyError
from equilens.pipeline.guard import guard
from equilens.pipeline.ingest.run import ingest
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.surveys.survey import Survey

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


@contextmanager
def opened_cutouts(source: Path, survey: Survey | None) -> Iterator[CutoutStore]:
    """A finished store, or survey files, ingested for as long as the context lasts.

    Raises
    ------
    SurveyError
        Where `source` is no store and no survey says how to read it.
    """
    if (source / "zarr.json").exists():
        yield CutoutStore(source)
        return
    if survey is None:
        raise SurveyError(f"{source} is no store: name the survey that its files are of")
    with TemporaryDirectory() as folder:
        ingest(source, survey, Path(folder) / "cutouts.zarr", workers=1)
        yield CutoutStore(Path(folder) / "cutouts.zarr")


def store_spec(store: CutoutStore, field_px: int | None = None) -> InputSpec:
    """What a network for the cutouts of this store takes, or for their central `field_px`."""
    scale = float(np.nanmedian(store.facts("pixel_scale_arcsec")))
    return InputSpec(store.band_names, round(scale, 6), store.shape, field_px=field_px)


def batched_logits(
    network: Callable[..., Tensor],
    arrays: Sequence[np.ndarray],
    size: int,
    device: str,
    bands: Sequence[int] | slice = slice(None),
) -> np.ndarray:
    """Logits of cutouts in memory, (N,) float64.

    Parameters
    ----------
    network : in evaluation mode
    arrays : images, noise, mask and band_present, (N, B, ...) each
    size : cutouts the network takes at once
    bands : for each band of the network, its place in the arrays
    """
    parts = []
    with torch.inference_mode():
        for start in range(0, len(arrays[0]), size):
            rows = slice(start, start + size)
            taken = (np.ascontiguousarray(values[rows][:, bands]) for values in arrays)
            inputs = (torch.from_numpy(values).to(device) for values in taken)
            parts.append(network(*inputs).double().cpu().numpy())
    return np.concatenate(parts)


def store_inputs(
    store: CutoutStore, spec: InputSpec, domain: TrainingDomain | None, n: int
) -> tuple[Inputs, tuple[str, ...]]:
    """images, noise, mask and band_present of the first `n` objects, and their IDs.

    Raises
    ------
    DomainError
        Where a network of this specification cannot work on the store.
    """
    bands = list(guard(store, spec, domain).band_index)
    batch = store.read(slice(0, min(n, store.n_objects)))
    arrays = (batch.images, batch.noise_njy, batch.mask, batch.band_present)
    images, noise, mask, present = (
        torch.from_numpy(np.ascontiguousarray(values[:, bands])) for values in arrays
    )
    return (images, noise, mask, present), tuple(batch.ids)
