"""Mass maps and peaks of one simulated sky against its truth, for filters and networks alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from equilens.catalogs.halo_matching import HaloTargets, JudgedPeaks, match_one_to_one
from equilens.pipeline.masses.baselines import (
    MASS_METHODS,
    MATCHED_FILTER,
    METHODS,
    BaselineSettings,
    halo_filter,
    mass_map,
)
from equilens.pipeline.masses.errors import SkyEvaluationError
from equilens.pipeline.masses.harmonics import Floats
from equilens.pipeline.masses.kaiser_squires import MassMap
from equilens.pipeline.masses.map_quality import MapQuality, map_quality
from equilens.pipeline.masses.peaks import find_halo_peaks
from equilens.pipeline.masses.prior import ConvergencePrior
from equilens.pipeline.masses.products import (
    MassIdentity,
    MassProduct,
    peaks_of,
    read_product,
)
from equilens.pipeline.masses.shear import ShearMaps, read_shear
from equilens.pipeline.masses.sky_truth import SkyTruth, read_sky_truth

MATCH_RADIUS_ARCMIN = 2.0
WHOLE_SKY_SQ_DEG = 4 * np.pi * np.degrees(1) ** 2


@dataclass
class MethodResult:
    """What one method gave on one sky.

    Attributes
    ----------
    quality : of its map
    peaks : judged
    controls : scores of its peaks on skies without mass, and the area searched, by control
    mass : the map itself, kept for figures of the first sky only
    """

    quality: MapQuality | None = None
    peaks: JudgedPeaks | None = None
    controls: dict[str, tuple[Floats, float]] = field(default_factory=dict)
    mass: MassMap | None = None


@dataclass(frozen=True)
class Judge:
    """How maps and peaks are judged.

    Attributes
    ----------
    targets : haloes that a list should have
    radius_arcmin : within which a peak is a halo's
    edges : limits of the bands of degrees that r_l is given in
    """

    targets: HaloTargets
    radius_arcmin: float
    edges: NDArray[np.int64]

    def map(self, mass: MassMap, truth: SkyTruth) -> MapQuality:
        """Compare a map where it and the shear are known."""
        compared = truth.observed & np.isfinite(mass.kappa) & np.isfinite(truth.kappa)
        return map_quality(mass, truth.kappa, compared, self.edges.tolist())

    def peaks(
        self,
        peaks: Mapping[str, Floats],
        searched: NDArray[np.bool_],
        area_sq_deg: float,
        truth: SkyTruth,
    ) -> JudgedPeaks:
        """Match a list of peaks with the haloes of the area searched."""
        ra, dec, mass, redshift = (
            np.asarray(truth.haloes[name], np.float64)
            for name in ("ra_deg", "dec_deg", "m200c_msun", "redshift")
        )
        wanted = self.targets.targets(mass, redshift)
        wanted &= searched[hp.ang2pix(hp.npix2nside(searched.size), ra, dec, lonlat=True)]
        real = np.flatnonzero(wanted | self.targets.real(mass, redshift))
        halo = match_one_to_one(
            peaks["ra"],
            peaks["dec"],
            peaks["score"],
            ra[real],
            dec[real],
            mass[real],
            self.radius_arcmin,
        )
        found_at = np.full(len(ra), -np.inf)
        found_at[real[halo[halo >= 0]]] = peaks["score"][halo >= 0]
        return JudgedPeaks(
            scores=peaks["score"],
            false=halo < 0,
            found_at=found_at[wanted],
            mass=mass[wanted],
            redshift=redshift[wanted],
            area_sq_deg=area_sq_deg,
        )


def judge_baselines(
    maps: ShearMaps,
    truth: SkyTruth,
    prior: ConvergencePrior,
    judge: Judge,
    methods: Sequence[str],
    settings: BaselineSettings,
) -> dict[str, MethodResult]:
    """Run the classical methods on one sky, and the halo finder on its controls."""
    results = {name: MethodResult() for name in methods}
    for name in [m for m in methods if m in MASS_METHODS]:
        results[name].mass = mass = mass_map(name, maps, prior, settings)
        results[name].quality = judge.map(mass, truth)
    if MATCHED_FILTER in methods:
        result = results[MATCHED_FILTER]
        finder = halo_filter(maps, prior, settings)
        for control, sky in {"": maps, **control_skies(maps)}.items():
            filtered = finder.filter(sky)
            peaks = find_halo_peaks(filtered, method=MATCHED_FILTER)
            searched = np.any([one.searched for one in filtered], axis=0)
            area = searched.mean() * WHOLE_SKY_SQ_DEG
            if control:
                result.controls[control] = (peaks.score, area)
            else:
                result.peaks = judge.peaks(vars(peaks), searched, area, truth)
    return results


def control_skies(maps: ShearMaps) -> dict[str, ShearMaps]:
    """Skies without mass but with the same noise and mask, by name."""
    return {"rotated": maps.rotated_45_degrees(), "noise": maps.noise_only(seed=1)}


def judge_product(product: MassProduct, truth: SkyTruth, judge: Judge) -> MethodResult:
    """Judge a folder that a method left for a sky."""
    result = MethodResult(mass=product.mass)
    if product.mass is not None:
        result.quality = judge.map(product.mass, truth)
    if product.peaks is not None and product.searched is not None:
        peaks = peaks_of(product.peaks)
        result.peaks = judge.peaks(peaks, product.searched, product.area_sq_deg, truth)
    return result


def judge_sky(
    sky: Path | str,
    prior: ConvergencePrior,
    judge: Judge,
    methods: Sequence[str],
    settings: BaselineSettings,
    scored: Sequence[tuple[str, Path | str]] = (),
) -> tuple[SkyTruth, dict[str, MethodResult]]:
    """All methods on one sky: the classical ones, and what networks left.

    Parameters
    ----------
    scored : folders of `equilens.pipeline.masses.products` of this sky, each with the kind of
        control that it is of, "" for the sky itself
    """
    maps = read_shear(sky)
    truth = read_sky_truth(sky, maps)
    results = judge_baselines(maps, truth, prior, judge, methods, settings)
    names: dict[MassIdentity, str] = {}
    for kind, folder in sorted(scored, key=lambda one: one[0]):
        product = read_product(folder)
        maker = replace(product.identity, data_fingerprint="")
        if not kind:
            if maker in names or (maker.method in METHODS and maker.method in results):
                raise SkyEvaluationError(f"{sky} has two results of {maker.method!r}: give one")
            names[maker] = name = _free_name(maker, results)
            results[name] = judge_product(product, truth, judge)
        elif maker in names and product.peaks is not None:
            scores = product.peaks["score"].to_numpy()
            results[names[maker]].controls[kind] = (scores, product.area_sq_deg)
    return truth, results


def _free_name(maker: MassIdentity, taken: Mapping[str, MethodResult]) -> str:
    """The method; with the start of its weights' hash where another network is named so too."""
    return f"{maker.method}-{maker.model_sha256[:8]}" if maker.method in taken else maker.method
