"""Start from weights that exist: the same survey again, or another one with some of its bands.

The architecture must be the same. Where the bands are, every tensor comes over. Where they are
not, bands are matched by their generic names (g, r, i, VIS, …): what the stem learned about a
band that both surveys have comes over, what it must learn about a new band starts fresh, and all
that lies behind the stem comes over.

Nothing here knows how the input front orders its channels. Which bands a channel depends on is
found by changing one band at a time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilens.models.inputs import InputSpec
from equilens.models.networks import LensFinder, build_finder
from equilens.models.testing import random_inputs
from equilens.models.user_models import load_model
from equilens.pipeline.errors import SurveyError, TrainingError
from equilens.pipeline.networks import NetworkRef, describe_network
from equilens.pipeline.surveys.registry import get_survey

FROZEN_PARTS = {
    "none": (),
    "stem": ("normalizer", "stem"),
    "stages": ("normalizer", "stem", "stages"),
}
_UNKNOWN_BAND = "a band that no survey has"
Sources = dict[int, int]
"""Places along an axis of the finder → places of the base that they are copied from."""


@dataclass(frozen=True)
class WarmStart:
    """Where a training starts.

    Attributes
    ----------
    weights : shipped name, a training's folder, or a weights file
    freeze : what does not learn: ``none``, the ``stem``, or the stem and all ``stages``, so that
        only the head learns. Frozen batch statistics stay as they are too.
    blend : share of the base in the weights that are kept, see `blend_with_base`
    """

    weights: str | Path
    freeze: str = "none"
    blend: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.blend < 1:
            raise TrainingError(f"blend is a share in [0, 1), got {self.blend}")
        if self.freeze not in FROZEN_PARTS:
            raise TrainingError(
                f"freeze must be one of {', '.join(FROZEN_PARTS)}, got {self.freeze!r}"
            )

    @property
    def frozen(self) -> tuple[str, ...]:
        """Parts of a finder that do not learn."""
        return FROZEN_PARTS[self.freeze]

    def identity(self) -> dict[str, Any]:
        """What the weights of the training depend on."""
        facts = {"sha256": describe_network(self.weights).sha256, "freeze": self.freeze}
        return facts | ({"blend": self.blend} if self.blend else {})


@dataclass(frozen=True)
class Inheritance:
    """What came over, for the card.

    Attributes
    ----------
    name, sha256 : of the base
    freeze : as in `WarmStart`
    bands : for each band, the base's band whose kernels it got; None where they start fresh
    fresh, partly_fresh : tensors that came over not at all, or for some bands only
    pixel_scale_arcsec : of the base and of the training
    data : fingerprints of all stores that the base has seen; these weights have seen them too
    blend : share of the base in the weights that were kept
    """

    name: str
    sha256: str
    freeze: str
    bands: dict[str, str | None]
    fresh: tuple[str, ...]
    partly_fresh: tuple[str, ...]
    pixel_scale_arcsec: tuple[float, float]
    data: tuple[str, ...]
    blend: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)


def generic_bands(survey: str, bands: tuple[str, ...]) -> tuple[str, ...]:
    """Common names of a store's bands; the names themselves where the survey is not installed."""
    try:
        known = get_survey(survey)
        return tuple(known.band(band).generic for band in bands)
    except SurveyError:
        return bands


def inherit(finder: LensFinder, start: WarmStart, generic: tuple[str, ...]) -> Inheritance:
    """Copy into `finder` what the base of `start` knows of its bands.

    Parameters
    ----------
    generic : common names of the finder's bands, in its order

    Raises
    ------
    TrainingError
        The base is no single finder of this architecture, shares no band, or a part that would
        start fresh is to be frozen.
    """
    reference = describe_network(start.weights)
    base = _finder_of(reference, finder)
    sources = _same_bands(generic, _generic_of(reference))
    if not sources:
        raise TrainingError(
            f"{reference.name} knows none of the bands {', '.join(generic)}: it was trained on "
            f"{', '.join(_generic_of(reference))}; start from other weights, or from none"
        )
    along = {"bands": sources, "channels": _same_channels(finder, generic, base, reference)}
    axes, known = _axes(finder), base.state_dict()
    copied = {
        name: _copy(tensor, known.get(name), axes[name], along)
        for name, tensor in finder.state_dict().items()
    }
    fresh = tuple(name for name, share in copied.items() if share == 0)
    partly = tuple(name for name, share in copied.items() if 0 < share < 1)
    _refuse_frozen((*fresh, *partly), start)
    _refuse_blend((*fresh, *partly), start)
    return Inheritance(
        name=reference.name,
        sha256=reference.sha256,
        freeze=start.freeze,
        blend=start.blend,
        bands={
            band: reference.spec.bands[sources[k]] if k in sources else None
            for k, band in enumerate(finder.spec.bands)
        },
        fresh=fresh,
        partly_fresh=partly,
        pixel_scale_arcsec=(reference.spec.pixel_scale_arcsec, finder.spec.pixel_scale_arcsec),
        data=_seen_by(reference.card),
    )


def _seen_by(card: dict[str, Any]) -> tuple[str, ...]:
    """Fingerprints of stores that weights were trained on, or that their own base was."""
    stated = card.get("data")
    own = stated if isinstance(stated, list) else []
    return (*own, *card.get("inherited", {}).get("data", ()))


def _finder_of(reference: NetworkRef, finder: LensFinder) -> LensFinder:
    wanted = finder.architecture.name
    if reference.architecture != wanted:
        raise TrainingError(
            f"{reference.name} is a {reference.architecture}, the training is of a {wanted}: "
            f"start from other weights, or train --architecture {reference.architecture}"
        )
    base = load_model(reference.path)
    if not isinstance(base, LensFinder):
        raise TrainingError(f"{reference.name} is no single finder: name one of its members")
    return base


def _generic_of(reference: NetworkRef) -> tuple[str, ...]:
    return reference.spec.bands if reference.domain is None else reference.domain.generic


def _same_bands(wanted: tuple[str, ...], known: tuple[str, ...]) -> Sources:
    """Bands of one common name; of several with that name, the first that is left."""
    left = list(enumerate(known))
    sources = {}
    for k, name in enumerate(wanted):
        found = next((entry for entry in left if entry[1] == name), None)
        if found is not None:
            sources[k] = found[0]
            left.remove(found)
    return sources


def _same_channels(
    finder: LensFinder, generic: tuple[str, ...], base: LensFinder, reference: NetworkRef
) -> Sources:
    wanted, known = (
        channel_bands(network, names)
        for network, names in ((finder, generic), (base, _generic_of(reference)))
    )
    places = {key: k for k, key in enumerate(known)}
    return {k: places[key] for k, key in enumerate(wanted) if key in places}


def channel_bands(finder: LensFinder, generic: tuple[str, ...]) -> list[tuple[frozenset[str], int]]:
    """For each channel of the normalised cutout: the bands it depends on, and which such it is.

    The two stretches and the validity of band g are ({g}, 0), ({g}, 1) and ({g}, 2).
    """
    inputs = random_inputs(finder.spec, 4)
    with torch.no_grad():
        before = finder.normalizer(*inputs)
        depends: list[set[str]] = [set() for _ in range(before.shape[1])]
        for band, name in enumerate(generic):
            after = finder.normalizer(*_otherwise(inputs, band))
            for channel in (after != before).any(dim=(0, 2, 3)).nonzero()[:, 0].tolist():
                depends[channel].add(name)
    seen: dict[frozenset[str], int] = {}
    keys = []
    for names in map(frozenset, depends):
        keys.append((names, seen.get(names, 0)))
        seen[names] = keys[-1][1] + 1
    return keys


def _otherwise(inputs: tuple[Tensor, ...], band: int) -> tuple[Tensor, ...]:
    """The same cutouts with other pixels and another mask in one band."""
    images, noise, mask, present = (values.clone() for values in inputs)
    images[:, band] = 2 * images[:, band].flip(-1)
    side = mask.shape[-1] // 3
    mask[:, band, side:-side, side:-side] ^= True
    return images, noise, mask, present


def _axes(finder: LensFinder) -> dict[str, dict[int, str]]:
    """Which axes of each tensor run over bands or channels: one more band makes them longer."""
    spec = finder.spec
    longer = build_finder(finder.architecture.name, _with_another_band(spec))
    lengths = {(spec.n_channels, longer.spec.n_channels): "channels"}
    lengths[(spec.n_bands, longer.spec.n_bands)] = "bands"
    mine, theirs = finder.state_dict(), longer.state_dict()
    return {
        name: {
            axis: lengths.get(pair, "unknown")
            for axis, pair in enumerate(zip(tensor.shape, theirs[name].shape, strict=True))
            if pair[0] != pair[1]
        }
        for name, tensor in mine.items()
    }


def _with_another_band(spec: InputSpec) -> InputSpec:
    return replace(spec, bands=(*spec.bands, _UNKNOWN_BAND))


def _copy(
    mine: Tensor, theirs: Tensor | None, axes: dict[int, str], along: dict[str, Sources]
) -> float:
    """Copy what corresponds, in place; returns the share that came over."""
    if theirs is None or theirs.ndim != mine.ndim or "unknown" in axes.values():
        return 0.0
    plain = [k for k in range(mine.ndim) if k not in axes]
    if any(mine.shape[k] != theirs.shape[k] for k in plain):
        return 0.0
    to, of = [], []
    for axis, size in enumerate(mine.shape):
        sources = along[axes[axis]] if axis in axes else {k: k for k in range(size)}
        to.append(list(sources))
        of.append(list(sources.values()))
    if not mine.ndim:
        mine.copy_(theirs)
        return 1.0
    mine[np.ix_(*to)] = theirs[np.ix_(*of)]
    return float(np.prod([len(places) for places in to]) / max(mine.numel(), 1))


def _refuse_frozen(fresh: tuple[str, ...], start: WarmStart) -> None:
    frozen = [name for name in fresh if name.split(".")[0] in start.frozen]
    if frozen:
        raise TrainingError(
            f"{frozen[0]} starts fresh, and what is random must not be frozen: "
            f"freeze={start.freeze!r} needs weights of the same bands"
        )


def _refuse_blend(fresh: tuple[str, ...], start: WarmStart) -> None:
    if start.blend and fresh:
        raise TrainingError(
            f"{fresh[0]} starts fresh, and has nothing to be blended with: "
            f"blend={start.blend} needs weights of the same bands"
        )


def blend_with_base(finder: LensFinder, start: WarmStart, generic: tuple[str, ...]) -> None:
    """Move the finder's weights towards those it started from, by the share ``start.blend``.

    Fine-tuning gains on its own images and loses on others. The straight line between the two sets
    of weights keeps most of both, at the cost of one network (Wortsman et al. 2022,
    arXiv:2109.01903, equation 1, whose default is one half). Running statistics are moved too.

    Parameters
    ----------
    generic : common names of the finder's bands, in its order
    """
    if not start.blend:
        return
    begun = build_finder(finder.architecture.name, finder.spec)
    inherit(begun, start, generic)
    base = begun.state_dict()
    with torch.no_grad():
        for name, tensor in finder.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(base[name].to(tensor), start.blend)
