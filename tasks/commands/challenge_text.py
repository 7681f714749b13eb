"""A challenge's figures for people: lines of fixed width."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from equilens.tasks.commands.evaluate import metrics_text

SHOWN_POINTS = 6
FIGURES = ("auroc", "tpr0", "tpr10")


def report_text(report: Mapping[str, Any]) -> str:
    """Main figures, curves and ranking, as far as the report has them."""
    lines = [metrics_text(dict(report))]
    for curve in report["curves"]:
        lines += ["", *_curve_lines(curve)]
    if "ranking" in report:
        lines += ["", *_ranking_lines(report["ranking"])]
    return "\n".join(lines)


def key_text(key: Mapping[str, Any]) -> str:
    """How the key and the images fit together."""
    text = f"key: {key['n_key']} objects; {key['n_images']} images"
    for count, example, what in (
        (key["n_without_image"], key["without_image"], "objects of the key have no image"),
        (key["n_without_row"], key["without_row"], "images have no row in the key"),
    ):
        text += f"; {count} {what}" + (f" (such as {example[0]})" if count else "")
    listed = f": listed in {key['unmatched']}" if "unmatched" in key else ""
    return text + (listed if key["n_without_image"] or key["n_without_row"] else "")


def _curve_lines(curve: Mapping[str, Any]) -> Iterator[str]:
    points = curve["points"]
    yield (
        f"lenses with {curve['column']} from a minimum up, all {points[0]['n_nonlenses']} "
        f"non-lenses kept ({curve['n_unknown']} lenses of unknown value in no line)"
    )
    yield f"{'minimum':>10} {'lenses':>7}  " + "".join(f"{name:<26}" for name in FIGURES)
    last, n_shown = len(points) - 1, min(len(points), SHOWN_POINTS)
    # from the first to the last; the table on disk has them all
    for point in (points[round(k * last / max(1, n_shown - 1))] for k in range(n_shown)):
        figures = "".join(f"{_estimate(point[name]):<26}" for name in FIGURES)
        yield f"{point['minimum']:>10.4g} {point['n_lenses']:>7}  {figures}".rstrip()


def _estimate(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "too few objects"
    return f"{figure['value']:.4f} ({figure['low']:.4f}-{figure['high']:.4f})"


def _ranking_lines(ranking: Mapping[str, Any]) -> Iterator[str]:
    yield f"published ranking, {ranking['image_set']} set, and this submission (>), by AUROC"
    width = max(len(row["name"]) for row in ranking["rows"])
    yield f"  {'':<{width}}  {'AUROC':>6} {'TPR0':>6} {'TPR10':>6}  {'non-lenses':>10}  method"
    for row in ranking["rows"]:
        mark = ">" if row["is_ours"] else " "
        figures = " ".join("     -" if row[f] is None else f"{row[f]:6.4f}" for f in FIGURES)
        yield f"{mark} {row['name']:<{width}}  {figures}  {row['n_nonlenses']:>10}  {row['method']}"
    places = ", ".join(f"{name} {place}" for name, place in ranking["places"].items())
    yield f"place among {ranking['n_published']} published entries and itself: {places}"
    yield ranking["caveat"]
