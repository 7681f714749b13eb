"""What a simulated sky is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from equilens.pipeline.provenance import fingerprint
from equilens.pipeline.skies.cosmology import Cosmology, named_cosmology
from equilens.pipeline.skies.errors import SkyError
from equilens.pipeline.skies.sources import SourceSample, source_sample
from equilens.pipeline.skies.survey_masks import SurveyMask

SMALLEST_NSIDE, LARGEST_NSIDE = 16, 2048


@dataclass(frozen=True)
class SkySettings:
    """Everything but the seed.

    Attributes
    ----------
    nside : of the maps; harmonics go to 3 nside - 1
    cosmology : one of `COSMOLOGIES`
    sources : galaxies with shapes
    mask : what is not observed
    gaussian : Gaussian convergence of the same power, without haloes, and its linear shear: a sky
        on which the Wiener filter is optimal
    smallest_halo_msun : M200c above which haloes are painted
    halo_redshifts : between which haloes are painted
    haloes_follow_matter : whether haloes cluster, or are Poisson points anywhere
    multiplicative_bias : of the shear, by bin; one value stands for all
    """

    nside: int = 512
    cosmology: str = "planck18"
    sources: SourceSample = field(default_factory=lambda: source_sample("euclid"))
    mask: SurveyMask = field(default_factory=SurveyMask)
    gaussian: bool = False
    smallest_halo_msun: float = 1e14
    halo_redshifts: tuple[float, float] = (0.05, 1.0)
    haloes_follow_matter: bool = True
    multiplicative_bias: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        n = self.nside
        if not SMALLEST_NSIDE <= n <= LARGEST_NSIDE or n & (n - 1):
            below = 2 ** int(np.log2(min(max(n, SMALLEST_NSIDE), LARGEST_NSIDE)))
            raise SkyError(
                f"nside must be a power of two in {SMALLEST_NSIDE}..{LARGEST_NSIDE}, got {n}; "
                f"nearest are {below} and {min(2 * below, LARGEST_NSIDE)}"
            )
        named_cosmology(self.cosmology)
        if len(self.multiplicative_bias) not in (1, self.sources.n_bins):
            raise SkyError(
                f"multiplicative bias needs 1 value or one for each of {self.sources.n_bins} bins, "
                f"got {len(self.multiplicative_bias)}"
            )
        if any(abs(m) >= 0.5 for m in self.multiplicative_bias):
            raise SkyError(
                f"multiplicative bias must lie in -0.5..0.5, got {self.multiplicative_bias}"
            )

    @property
    def lmax(self) -> int:
        return 3 * self.nside - 1

    @property
    def model(self) -> Cosmology:
        """The cosmology of that name."""
        return named_cosmology(self.cosmology)

    @property
    def bias_by_bin(self) -> np.ndarray:
        """Multiplicative bias, (K,)."""
        return np.broadcast_to(self.multiplicative_bias, (self.sources.n_bins,)).astype(float)

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)

    @property
    def fingerprint(self) -> str:
        """Hash of all settings."""
        return fingerprint(self.facts())
