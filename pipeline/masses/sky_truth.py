"""What is true of simulated skies, and the prior that each is filtered with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.masses.errors import SkyEvaluationError
from equilens.pipeline.masses.halo_labels import read_haloes
from equilens.pipeline.masses.harmonics import Floats
from equilens.pipeline.masses.prior import (
    ConvergencePrior,
    kappa_spectra,
    read_truth,
)
from equilens.pipeline.masses.shear import ShearMaps
from equilens.pipeline.skies.sky_files import haloes_path
from equilens.pipeline.skymaps.store import SkyMapStore


@dataclass(frozen=True)
class SkyTruth:
    """One simulated sky, as far as it judges others.

    Attributes
    ----------
    path, fingerprint : of the observed sky
    kappa : (n_pixels,) true convergence of the mean galaxy, RING
    observed : (n_pixels,)
    haloes : columns of the halo table
    """

    path: Path
    fingerprint: str
    kappa: Floats
    observed: NDArray[np.bool_]
    haloes: Mapping[str, np.ndarray]


def read_sky_truth(path: Path | str, maps: ShearMaps) -> SkyTruth:
    """True convergence and haloes beside a simulated sky.

    Raises
    ------
    SkyEvaluationError
        The truth is of another nside or number of bins, or there is none.
    """
    kappa = read_truth(path)
    if kappa.shape != maps.weight.shape:
        raise SkyEvaluationError(
            f"{path}: truth {kappa.shape} and shear {maps.weight.shape} must have the same bins "
            "and pixels"
        )
    if not haloes_path(path).exists():
        raise SkyEvaluationError(f"{haloes_path(path)} is missing: it lists the true haloes")
    haloes = read_haloes(haloes_path(path))
    return SkyTruth(Path(path), maps.fingerprint, maps.shares @ kappa, maps.observed, haloes)


class SkyPriors:
    """Prior of each sky: the one given, or the mean over all other skies of the evaluation.

    Raises
    ------
    SkyEvaluationError
        There is neither, or the prior was measured on a sky that it is to be used for.
    """

    def __init__(self, skies: Sequence[Path | str], given: ConvergencePrior | None) -> None:
        self._given, self._spectra = given, {}
        fingerprints = {str(sky): SkyMapStore.open(sky).fingerprint for sky in skies}
        if given is not None:
            seen = [sky for sky, print_ in fingerprints.items() if print_ in given.skies]
            if seen:
                raise SkyEvaluationError(
                    f"the prior was measured on {seen[0]} itself: measure it on other skies"
                )
            return
        if len(skies) < 2:
            raise SkyEvaluationError(
                "one sky alone has no prior: give others to measure it on, or evaluate several"
            )
        self._spectra = {str(sky): kappa_spectra(read_truth(sky)) for sky in skies}
        shapes = {spectra.shape for spectra in self._spectra.values()}
        if len(shapes) != 1:
            raise SkyEvaluationError(f"skies must agree in nside and bins, got spectra {shapes}")

    def of(self, sky: Path | str) -> ConvergencePrior:
        """Prior to be used for this sky."""
        if self._given is not None:
            return self._given
        others = [spectra for name, spectra in self._spectra.items() if name != str(sky)]
        return ConvergencePrior(np.mean(others, axis=0))
