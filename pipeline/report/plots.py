"""The report's figures: low-FPR ROC, completeness, scores, sky."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from astropy.coordinates import SkyCoord
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm

from equilens.catalogs.binned import BinnedCompleteness, binned_completeness
from equilens.catalogs.operating_points import operating_curve
from equilens.pipeline.evaluation import bin_edges, fpr_threshold
from equilens.pipeline.report.content import EvaluatedSample
from equilens.pipeline.report.theme import FigurePair, Theme, figure_pair, legend
from equilens.pipeline.skymaps import SkyMapStore

COMPLETENESS_FPRS = (0.01, 0.1)
SKY_SIZE = (7.6, 4.2)


def roc_figure(sample: EvaluatedSample) -> FigurePair:
    """Completeness against false-positive rate, the rate on a logarithmic axis."""
    curve = operating_curve(sample.truth.is_lens, sample.scores)
    fpr, value, low, high = (
        curve[name].to_numpy()
        for name in ("fpr", "completeness", "completeness_low", "completeness_high")
    )
    n_nonlenses, n_lenses = sample.truth.n_nonlenses, sample.truth.n_lenses
    floor = 1 / n_nonlenses

    def draw(axes: Axes, theme: Theme) -> None:
        # an FPR of 0 has no place on a logarithmic axis: it is drawn at half an object
        x = np.maximum(fpr, floor / 2)
        axes.fill_between(x, low, high, color=theme.lens, alpha=0.2, linewidth=0, step="post")
        axes.step(x, value, where="post", color=theme.lens, linewidth=1.8)
        chance = np.geomspace(floor / 2, 1, 60)
        axes.plot(chance, chance, color=theme.faint, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.text(0.3, 0.27, "chance", color=theme.faint, size=8, ha="left", va="top")
        axes.set(xscale="log", xlim=(floor / 2, 1), ylim=(0, 1.02))
        axes.set(xlabel="false-positive rate", ylabel="completeness")
        axes.axvline(floor, color=theme.faint, linewidth=0.8, linestyle=":")
        axes.text(floor * 1.08, 1.0, "one false positive", color=theme.faint, size=8, va="top")

    caption = (
        f"{n_lenses:,} lenses, {n_nonlenses:,} non-lenses. Band: 95 % interval of the "
        "completeness at each threshold (Clopper–Pearson)."
    )
    return figure_pair("Completeness at low false-positive rates", caption, draw)


def completeness_figure(
    sample: EvaluatedSample, column: str, label: str, log: bool = False
) -> FigurePair | None:
    """Completeness of two cuts in bins of a truth column; None where the truth lacks it."""
    edges = bin_edges(sample.truth).get(column)
    if edges is None:
        return None
    values = np.asarray(sample.truth.columns[column], dtype=np.float64)
    labels, scores = sample.truth.is_lens, sample.scores
    cuts = [fpr_threshold(labels, scores, fpr) for fpr in COMPLETENESS_FPRS]
    binned = [binned_completeness(labels, scores, values, edges, cut, column) for cut in cuts]

    def draw(axes: Axes, theme: Theme) -> None:
        for cut, fpr, colour, shift in zip(
            binned, COMPLETENESS_FPRS, (theme.lens, theme.nonlens), (-1, 1), strict=True
        ):
            _draw_bins(axes, cut, f"at a false-positive rate of {fpr:.0%}", colour, shift, log)
        axes.set(ylim=(0, 1.02), xlabel=label, ylabel="completeness")
        if log:
            axes.set_xscale("log")
        legend(axes, theme, 2)

    counts = ", ".join(str(b.completeness.n) for b in binned[0].bins if b.completeness.n)
    caption = f"Lenses a bin, from left: {counts}. Bars: 95 % intervals (Clopper–Pearson)."
    return figure_pair(f"Completeness against {label.split(' (')[0]}", caption, draw)


def _draw_bins(
    axes: Axes, binned: BinnedCompleteness, label: str, colour: str, shift: int, log: bool
) -> None:
    filled = [b for b in binned.bins if b.completeness.n]
    edges = np.array([(b.lower, b.upper) for b in filled])
    middle = np.sqrt(edges.prod(axis=1)) if log else edges.mean(axis=1)
    # two cuts in one bin stand side by side
    centre = middle + shift * 0.03 * (edges[:, 1] - edges[:, 0])
    value, low, high = (
        np.array([getattr(b.completeness, name) for b in filled])
        for name in ("value", "low", "high")
    )
    axes.hlines(value, edges[:, 0], edges[:, 1], color=colour, linewidth=1, alpha=0.4)
    axes.errorbar(
        centre,
        value,
        yerr=(value - low, high - value),
        fmt="o",
        color=colour,
        markersize=4.5,
        elinewidth=1.4,
        label=label,
    )


def score_figure(sample: EvaluatedSample) -> FigurePair:
    """Distributions of the scores of lenses and of non-lenses."""
    is_lens, scores = sample.truth.is_lens == 1, sample.scores
    finite = np.isfinite(scores)
    edges = np.histogram_bin_edges(scores[finite], bins=40).tolist()
    threshold = fpr_threshold(sample.truth.is_lens, scores, COMPLETENESS_FPRS[0])

    def draw(axes: Axes, theme: Theme) -> None:
        for chosen, colour, name in (
            (~is_lens, theme.nonlens, "non-lenses"),
            (is_lens, theme.lens, "lenses"),
        ):
            values = scores[chosen & finite]
            axes.hist(values, edges, color=colour, alpha=0.28)
            axes.hist(values, edges, histtype="step", color=colour, linewidth=1.6, label=name)
        axes.axvline(threshold, color=theme.faint, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f" {COMPLETENESS_FPRS[0]:.0%} of non-lenses\n above this score",
            (threshold, 0.97),
            xycoords=("data", "axes fraction"),
            color=theme.faint,
            size=8,
            va="top",
        )
        axes.set(xlabel="score (uncalibrated logit)", ylabel="objects")
        legend(axes, theme, 2)

    lost = int((~finite).sum())
    caption = f"{int(is_lens.sum()):,} lenses, {int((~is_lens).sum()):,} non-lenses" + (
        f"; {lost} objects without a score count as missed." if lost else "."
    )
    return figure_pair("Scores", caption, draw)


def sky_figure(
    candidates: pa.Table, sky_map: SkyMapStore | None, map_name: str
) -> FigurePair | None:
    """Positions on the whole sky, east to the left; None where no position is known."""
    ra, dec = (np.asarray(candidates[name].to_numpy(), dtype=float) for name in ("ra", "dec"))
    known = np.isfinite(ra) & np.isfinite(dec)
    if not known.any():
        return None

    def draw(axes: Axes, theme: Theme) -> None:
        if sky_map is not None:
            _draw_map(axes, sky_map, theme)
        axes.plot(*_galactic_plane(), color=theme.nonlens, linewidth=1.2)
        x, y = _project(ra[known], dec[known])
        axes.scatter(x, y, s=44, facecolor="none", edgecolor=theme.lens, linewidth=1.6, zorder=3)
        axes.set_axisbelow(False)
        axes.set_xticks(np.radians(np.arange(-120, 180, 60)))
        axes.set_xticklabels([f"{(-h) % 24}ʰ" for h in range(-8, 12, 4)], color=theme.ink, size=8)
        axes.set_yticks(np.radians((-60, -30, 0, 30, 60)))

    behind = ""
    if sky_map is not None:
        behind = f" Behind: {map_name} ({sky_map.units[sky_map.scalar_columns[0]]}), logarithmic."
    caption = (
        f"ICRS, Mollweide projection, east to the left; line: galactic plane. {int(known.sum())} "
        f"of {len(ra)} candidates have a position.{behind}"
    )
    return figure_pair("Where the candidates are", caption, draw, SKY_SIZE, "mollweide")


def _galactic_plane() -> tuple[np.ndarray, np.ndarray]:
    """The plane's path on the page, broken where it leaves at one side and enters at the other."""
    plane = SkyCoord(l=np.linspace(0, 360, 721), b=np.zeros(721), unit="deg", frame="galactic").icrs
    x, y = _project(plane.ra.deg, plane.dec.deg)
    jumps = np.flatnonzero(np.abs(np.diff(x)) > np.pi) + 1
    return np.insert(x, jumps, np.nan), np.insert(y, jumps, np.nan)


def _project(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return -np.radians((np.asarray(ra) + 180) % 360 - 180), np.radians(dec)


def _draw_map(axes: Axes, sky_map: SkyMapStore, theme: Theme) -> None:
    x, y = np.meshgrid(np.linspace(-180, 180, 541), np.linspace(-90, 90, 271))
    name = sky_map.scalar_columns[0]
    found = sky_map.lookup((-x.ravel()) % 360, y.ravel(), [name])[name].reshape(x.shape)
    good = found[np.isfinite(found) & (found > 0)]
    axes.grid(False)
    axes.pcolormesh(
        np.radians(x),
        np.radians(y),
        found,
        norm=LogNorm(*np.percentile(good, (1, 99.5))) if good.size else None,
        cmap=LinearSegmentedColormap.from_list("map", theme.map_colours),
        shading="nearest",
        antialiased=False,
        edgecolor="none",
        rasterized=True,
    )
    axes.grid(True, color=theme.faint, linewidth=0.4, alpha=0.35)
