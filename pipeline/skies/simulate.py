"""One whole sky: matter shells, haloes, lensing, galaxies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import healpy as hp
import numpy as np

from equilens.pipeline.skies.errors import SkyError, needs
from equilens.pipeline.skies.gaussian import gaussian_convergence
from equilens.pipeline.skies.halo_lensing import paint_haloes
from equilens.pipeline.skies.halo_power import HaloPower, halo_power, without_haloes
from equilens.pipeline.skies.halo_statistics import HaloStatistics, halo_statistics
from equilens.pipeline.skies.haloes import Haloes, draw_haloes, smoothed_overdensity
from equilens.pipeline.skies.matter_power import matter_power
from equilens.pipeline.skies.observation import ObservedShear, observe
from equilens.pipeline.skies.pixel_window import pixel_window
from equilens.pipeline.skies.settings import SkySettings
from equilens.pipeline.skies.shear_maps import analyse, shear_from_convergence, synthesise
from equilens.pipeline.skies.shells import Shells, shells_to
from equilens.pipeline.skies.sky_files import write_sky
from equilens.pipeline.skies.spectra import N_CORRELATED, convergence_spectra, shell_spectra
from equilens.pipeline.skies.survey_masks import observable, unmasked_share
from equilens.pipeline.skymaps import SkyMapStore
from equilens.pipeline.stores import prepare_path

Step = Callable[[int], None]
_SMALLEST_WEIGHT = 0.01


@dataclass(frozen=True)
class SimulatedSky:
    """A sky and its truth; maps are RING.

    Attributes
    ----------
    observed : what a survey sees
    kappa : (K, npix) float32, true convergence of the whole sky, without l < 2
    haloes : all that were painted
    share : (npix,) float32, observed share of each pixel
    """

    observed: ObservedShear
    kappa: np.ndarray
    haloes: Haloes
    share: np.ndarray


def simulate_sky(
    simulator: SkySimulator,
    seed: int,
    out: Path | str,
    *,
    replace: bool = False,
    advance: Step = lambda _: None,
) -> SkyMapStore:
    """Draw one sky and write it with its truth.

    Raises
    ------
    StoreError
        `out` holds a finished sky and `replace` is false.
    """
    prepare_path(out, replace)
    sky = simulator.draw(seed, advance)
    return write_sky(
        out,
        sky.observed,
        sky.kappa,
        sky.haloes,
        simulator.kappa_spectra,
        simulator.settings.model,
        simulator.facts(seed),
        replace=replace,
    )


@lru_cache(maxsize=1)
def simulator_for(settings: SkySettings, cache: str | None = None) -> SkySimulator:
    """One simulator for all skies of the same settings."""
    return SkySimulator(settings, cache)


class SkySimulator:
    """Draws skies of the same settings; what they share is computed once.

    Parameters
    ----------
    settings : of the skies
    cache : folder for spectra of matter; `matter_power.default_cache` if none is given
    """

    def __init__(self, settings: SkySettings, cache: Path | str | None = None) -> None:
        self.settings = settings
        self._cache = cache

    def draw(self, seed: int, advance: Step = lambda _: None) -> SimulatedSky:
        """One sky; the same seed gives the same pixels.

        Parameters
        ----------
        advance : called with 1 after each of `n_steps`

        Raises
        ------
        SkyError
            A negative seed.
        """
        settings = self.settings
        if seed < 0:
            raise SkyError(f"seed must be 0 or more, got {seed}")
        streams = np.random.SeedSequence(seed).spawn(4)
        matter, halo, star, galaxy = (np.random.default_rng(stream) for stream in streams)
        if settings.gaussian:
            kappa_lm = gaussian_convergence(self.kappa_spectra, self._pixel_window, matter)
            kappa, shear, members, haloes = *self._from_modes(kappa_lm), None, Haloes.none()
        else:
            kappa, shear, members, haloes = self._lognormal(matter, halo, advance)
        # haloes end where they are painted: a tail of their mass is missing everywhere else
        kappa -= kappa.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        share = unmasked_share(settings.mask, self._observable, star)
        observed = observe(
            kappa,
            shear,
            members,
            share,
            settings.sources,
            settings.bias_by_bin,
            galaxy,
            reduced=not settings.gaussian,
        )
        advance(1)
        return SimulatedSky(observed, kappa, haloes, share)

    @property
    def n_steps(self) -> int:
        """Steps that `draw` reports."""
        return 1 if self.settings.gaussian else self.shells.n_shells + 2

    @cached_property
    def shells(self) -> Shells:
        """Shells that lens the sources measurably."""
        shells = shells_to(self.settings.model, self.settings.sources.z_max)
        weights = shells.lensing_weights(self.settings.sources).max(axis=0)
        last = int(np.flatnonzero(weights > _SMALLEST_WEIGHT * weights.max())[-1])
        return Shells(shells.cosmology, shells.edges_mpc[: last + 2])

    @cached_property
    def lensing_weights(self) -> np.ndarray:
        """Convergence per overdensity, (K, n_shells)."""
        whole = shells_to(self.settings.model, self.settings.sources.z_max)
        return whole.lensing_weights(self.settings.sources)[:, : self.shells.n_shells]

    @cached_property
    def matter_spectra(self) -> np.ndarray:
        """C_ℓ of all matter by shell, of `shell_spectra`."""
        power = matter_power(self.settings.model, self._cache)
        return shell_spectra(self.shells, power, self.settings.lmax)

    @cached_property
    def kappa_spectra(self) -> np.ndarray:
        """C_ℓ of the convergence that skies should have, without pixel window, (K, K, lmax + 1)."""
        return convergence_spectra(self.matter_spectra, self.lensing_weights)

    @cached_property
    def halo_statistics(self) -> HaloStatistics:
        """How many haloes of which mass."""
        settings = self.settings
        return halo_statistics(
            settings.model, settings.smallest_halo_msun, *settings.halo_redshifts
        )

    @cached_property
    def halo_power(self) -> HaloPower:
        """Power that the haloes bring."""
        power = halo_power(self.shells, self.halo_statistics, self.settings.lmax)
        if self.settings.haloes_follow_matter:
            return power
        return HaloPower(power.one_halo, np.zeros_like(power.response))

    @cached_property
    def _pixel_window(self) -> np.ndarray:
        return pixel_window(self.settings.nside, self.settings.lmax)

    @cached_property
    def _observable(self) -> np.ndarray:
        return observable(self.settings.mask, self.settings.nside)

    @cached_property
    def _gaussian_spectra(self) -> list[np.ndarray]:
        """Spectra of the Gaussian fields whose exponentials are the smooth shells."""
        (glass,) = needs(["glass"], "a lognormal field")
        smooth = without_haloes(self.matter_spectra, self.halo_power) * self._pixel_window**2
        none = np.empty(0)
        spectra = [
            smooth[i, i - j] if i - j <= N_CORRELATED else none
            for i in range(self.shells.n_shells)
            for j in range(i, -1, -1)
        ]
        fields = glass.lognormal_fields(self.shells.windows)
        return glass.compute_gaussian_spectra(fields, spectra)

    def facts(self, seed: int) -> dict[str, Any]:
        """What the manifest of a sky says of it."""
        sources = self.settings.sources
        return {
            "seed": seed,
            "settings_sha256": self.settings.fingerprint,
            "n_bins": sources.n_bins,
            "survey": sources.survey,
            "mean_redshift": sources.mean_redshift.tolist(),
            "bin_edges": sources.bin_edges.tolist(),
            "galaxies_per_arcmin2": sources.galaxies_per_arcmin2_by_bin.tolist(),
            "sigma_e": sources.sigma_e,
            "lmax": self.settings.lmax,
            "cosmology": asdict(self.settings.model),
            "gaussian": self.settings.gaussian,
            "settings": self.settings.facts(),
        }

    def _overdensities(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Lognormal overdensity of each shell, from the observer outward."""
        (glass,) = needs(["glass"], "a lognormal field")
        fields = glass.lognormal_fields(self.shells.windows)
        spectra = self._gaussian_spectra
        yield from glass.generate(fields, spectra, self.settings.nside, ncorr=N_CORRELATED, rng=rng)

    def _lognormal(
        self, matter: np.random.Generator, halo: np.random.Generator, advance: Step
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Haloes]:
        """Convergence, shear, members and haloes of shells and haloes together."""
        settings = self.settings
        nside, lmax = settings.nside, settings.lmax
        smooth, haloes = self._matter_and_haloes(matter, halo, advance)
        modes = np.stack([analyse(row, lmax, iterations=1) for row in smooth])
        del smooth  # as large as all that follows
        maps = paint_haloes(haloes, settings.model, settings.sources, nside, lmax)
        advance(1)
        kappa, shear = self._from_modes(modes + maps.kappa_lm)
        maps.kappa += kappa
        maps.shear += shear
        return maps.kappa, maps.shear, maps.members, haloes

    def _matter_and_haloes(
        self, matter: np.random.Generator, halo: np.random.Generator, advance: Step
    ) -> tuple[np.ndarray, Haloes]:
        """Convergence of the smooth shells, (K, npix), and the haloes that follow them."""
        settings, shells = self.settings, self.shells
        smooth = np.zeros((settings.sources.n_bins, hp.nside2npix(settings.nside)))
        parts = []
        for i, overdensity in enumerate(self._overdensities(matter)):
            for k, weights in enumerate(self.lensing_weights):
                smooth[k] += weights[i] * overdensity
            low, high = shells.edges_redshift[i : i + 2]
            follow = None
            if settings.haloes_follow_matter and self._has_haloes(low, high):
                follow = smoothed_overdensity(overdensity, shells.middle_mpc[i])
            statistics, model = self.halo_statistics, settings.model
            parts.append(draw_haloes(statistics, model, low, high, follow, halo))
            advance(1)
        return smooth, Haloes.joined(parts)

    def _from_modes(self, kappa_lm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convergence and shear of modes, float32."""
        nside, lmax = self.settings.nside, self.settings.lmax
        kappa = np.empty((len(kappa_lm), hp.nside2npix(nside)), np.float32)
        shear = np.empty((len(kappa_lm), 2, kappa.shape[1]), np.float32)
        for k, modes in enumerate(kappa_lm):
            kappa[k] = synthesise(modes, nside, lmax)
            shear[k] = shear_from_convergence(modes, nside, lmax)
        return kappa, shear

    def _has_haloes(self, low: float, high: float) -> bool:
        first, last = self.settings.halo_redshifts
        return low < last and high > first
