"""Skies without mass on disk, for finders that read stores: noise only, or shear turned by 45°."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from equilens.pipeline.masses.errors import SkyEvaluationError
from equilens.pipeline.masses.shear import read_shear
from equilens.pipeline.masses.sky_columns import count_bins
from equilens.pipeline.skymaps.store import SkyMapStore
from equilens.pipeline.skymaps.writer import write_map_store

CONTROLS = ("noise", "rotated")


def write_control_sky(
    sky: Path | str, kind: str, out: Path | str, *, seed: int = 0, replace: bool = False
) -> SkyMapStore:
    """Write a sky with the mask, counts and weights of another, and no mass to be found.

    Parameters
    ----------
    kind : "noise", Gaussian shear of the stated variance, or "rotated", each shear by 45°
    seed : of the noise

    Raises
    ------
    SkyEvaluationError
        An unknown kind.
    """
    if kind not in CONTROLS:
        raise SkyEvaluationError(f"a control must be one of {CONTROLS}, got {kind!r}")
    store = SkyMapStore.open(sky)
    maps = read_shear(store)
    control = maps.noise_only(seed) if kind == "noise" else maps.rotated_45_degrees()
    columns = {}
    for k in range(count_bins(store)):
        shear = np.where(maps.weight[k] > 0, control.shear[k], np.nan).astype(np.float32)
        columns[f"G1_BIN{k + 1}"], columns[f"G2_BIN{k + 1}"] = shear
        for kept in (f"COUNT_BIN{k + 1}", f"WEIGHT_BIN{k + 1}"):
            columns[kept] = store.read(kept, "ring")
    facts = {
        "sky": store.manifest.get("sky", {}),
        "control": {"kind": kind, "of": store.fingerprint, "seed": seed},
    }
    return write_map_store(
        out, columns, ordering="ring", frame=store.frame, facts=facts, replace=replace
    )


def controls_by_fingerprint(
    controls: Sequence[Path | str], skies: Sequence[str]
) -> Mapping[str, tuple[str, str]]:
    """Kind of each control and fingerprint of its sky, by the control's own fingerprint.

    Raises
    ------
    SkyEvaluationError
        A store that is no control, or of a sky that is not evaluated.
    """
    found = {}
    for path in controls:
        store = SkyMapStore.open(path)
        said = store.manifest.get("control")
        if said is None or said["of"] not in skies:
            raise SkyEvaluationError(
                f"{path} is no control of the skies evaluated: make it of one of them"
            )
        found[store.fingerprint] = (said["kind"], said["of"])
    return found
