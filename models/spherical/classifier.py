"""SphericalClassifier: a whole sphere → class logits that no rotation of the sphere changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from equilens.models.errors import ArchitectureError
from equilens.models.fields import FieldType
from equilens.models.spherical.correlations import (
    LiftingCorrelation,
    RotationCorrelation,
    scalars,
)
from equilens.models.spherical.euler_grid import EulerGrid
from equilens.models.spherical.fibres import functions_on_rotations
from equilens.models.spherical.so3_nonlinearities import PowerNormalization, RotationNonlinearity
from equilens.models.spherical.so3_transforms import SphereTransform
from equilens.models.spherical.sphere_pooling import IntegralPooling


@dataclass(frozen=True)
class Stage:
    """One correlation, normalisation and nonlinearity.

    Parameters
    ----------
    fields : functions on SO(3) that it gives
    lmax : highest degree of the correlation, inclusive
    n_max : highest frequency in γ
    reach_rad : radius of the kernel
    n_beta, n_alpha, n_gamma : points of the kernel
    grid : of the nonlinearity; None for the network's oversampling
    """

    fields: int
    lmax: int
    n_max: int
    reach_rad: float
    n_beta: int = 3
    n_alpha: int = 6
    n_gamma: int = 1
    grid: EulerGrid | None = None

    def __post_init__(self) -> None:
        if min(self.fields, self.n_beta, self.n_alpha, self.n_gamma) < 1:
            raise ArchitectureError(f"a stage needs fields and points of a kernel, got {self}")
        if not 0 <= self.n_max <= self.lmax:
            raise ArchitectureError(f"n_max must be 0 … lmax, got {self}")


SMALL = (
    Stage(8, 19, 2, 0.45),
    Stage(16, 11, 2, 0.6, 3, 5, 5),
    Stage(36, 6, 2, 0.9, 3, 5, 5),
)
"""Three stages of falling band, for maps of degree 19 or more."""

COHEN_LIKE = (
    Stage(20, 9, 9, math.pi / 8, 3, 8, grid=EulerGrid(20, 20, 20, "equiangular")),
    Stage(40, 5, 5, math.pi / 8, 2, 6, 6, grid=EulerGrid(12, 12, 12, "equiangular")),
)
"""The network for spherical digits of Cohen et al. (2018, section 5.2): bandwidths 10 and 6."""


class SphericalClassifier(nn.Module):
    """Maps on the sphere → logits.

    (N, in_channels, n_beta, n_alpha) → (N, classes). The first stage lifts scalars to functions
    on SO(3) of few frequencies in γ; each nonlinearity gives the next stage its lower band;
    the last one's values are integrated over SO(3), and a perceptron reads the integrals.
    Everything but the nonlinearities' aliasing commutes with all rotations.

    Parameters
    ----------
    in_channels, classes : int
    grid : EulerGrid
        Of the maps.
    stages : tuple of Stage
        Their degrees must not grow, nor exceed what the grid resolves.
    function : str
        See RotationNonlinearity, as for oversampling and taper.
    normalize : bool
        Normalise the power of each field.
    hidden : int
        Width of the perceptron; 0 for a linear one.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        grid: EulerGrid,
        stages: tuple[Stage, ...] = SMALL,
        *,
        function: str = "silu",
        oversampling: float = 1.25,
        taper: float = 0.0,
        normalize: bool = True,
        hidden: int = 96,
    ) -> None:
        super().__init__()
        _check_stages(stages)
        self.stages = stages
        field_type = scalars(in_channels)
        self.transform = SphereTransform(field_type, stages[0].lmax, grid)
        self.correlations, self.norms, self.activations = (nn.ModuleList() for _ in range(3))
        for number, stage in enumerate(stages):
            out_type = functions_on_rotations(stage.fields, stage.n_max)
            self.correlations.append(_correlation(number, field_type, out_type, stage))
            self.norms.append(PowerNormalization(out_type) if normalize else nn.Identity())
            following = stages[min(number + 1, len(stages) - 1)]
            activation = RotationNonlinearity(
                out_type,
                stage.lmax,
                function,
                oversampling=oversampling,
                taper=taper,
                out_lmax=following.lmax,
                out_n_max=min(stage.n_max, following.n_max),
                grid=stage.grid,
            )
            self.activations.append(activation)
            field_type = activation.out_type
        self.pooling = IntegralPooling(activation.forwards.grid)
        self.head = perceptron(stages[-1].fields, hidden, classes)

    def forward(self, maps: Tensor) -> Tensor:
        return self.head(self.invariants(self.transform.analysis(maps)))

    def invariants(self, coefficients: Tensor) -> Tensor:
        """Return the integrals (N, fields) from the maps' real coefficients."""
        last = len(self.stages) - 1
        for number, correlation in enumerate(self.correlations):
            coefficients = self.norms[number](correlation(coefficients))
            if number < last:
                coefficients = self.activations[number](coefficients)
        activation = self.activations[last]
        assert isinstance(activation, RotationNonlinearity)
        return self.pooling(activation.on_grid(coefficients))


def cohen_like(classes: int, grid: EulerGrid) -> SphericalClassifier:
    """Return the comparator of 58,600 parameters: full bands in γ, ReLU, no oversampling.

    As published, save for kernels of 24 and 72 points, so many that the parameters come to the
    published number, and batch normalisation, which the original has in its larger networks only.
    """
    return SphericalClassifier(1, classes, grid, COHEN_LIKE, function="relu", hidden=0)


def planar_comparator(classes: int) -> nn.Module:
    """Return a CNN of 57,800 parameters for equiangular maps (N, 1, 60, 60), taken as images.

    Three 5 × 5 convolutions of stride 3, as the planar baseline of Cohen et al. (2018, section
    5.2), with fewer channels and batch normalisation.
    """
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, stride=3),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 54, 5, stride=3),
        nn.BatchNorm2d(54),
        nn.ReLU(),
        nn.Conv2d(54, classes, 5, stride=3),
        nn.Flatten(),
    )


def perceptron(features: int, hidden: int, classes: int) -> nn.Module:
    """Return batch normalisation, one hidden layer and logits; a linear layer where hidden is 0."""
    if not hidden:
        return nn.Linear(features, classes)
    return nn.Sequential(
        nn.BatchNorm1d(features), nn.Linear(features, hidden), nn.SiLU(), nn.Linear(hidden, classes)
    )


def _correlation(number: int, in_type: FieldType, out_type: FieldType, stage: Stage) -> nn.Module:
    lmax, reach, rings, ring = stage.lmax, stage.reach_rad, stage.n_beta, stage.n_alpha
    if number == 0:
        return LiftingCorrelation(
            in_type, out_type, lmax, reach_rad=reach, n_beta=rings, n_alpha=ring
        )
    return RotationCorrelation(
        in_type,
        out_type,
        lmax,
        reach_rad=reach,
        n_beta=rings,
        n_alpha=ring,
        n_gamma=stage.n_gamma,
    )


def _check_stages(stages: tuple[Stage, ...]) -> None:
    degrees = [stage.lmax for stage in stages]
    if not stages or degrees != sorted(degrees, reverse=True):
        raise ArchitectureError(
            f"stages must be one or more, of degrees that do not grow, got {degrees}"
        )
