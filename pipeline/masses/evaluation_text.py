"""The evaluation as a text table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def evaluation_text(figures: Mapping[str, Any]) -> str:
    """Main figures of every method, with intervals and N."""
    lines = [
        f"{figures['n_skies']} skies, targets: {figures['targets']}",
        f"a peak is a halo's within {figures['match_radius_arcmin']:g}'; intervals are "
        f"{figures['level']:.0%}, ± is the scatter from sky to sky",
    ]
    maps = {k: v["map"] for k, v in figures["methods"].items() if "map" in v}
    lists = {k: v["haloes"] for k, v in figures["methods"].items() if "haloes" in v}
    if maps:
        lines += ["", *_map_table(maps)]
    if lists:
        lines += ["", *_halo_table(lists)]
    lines += _paired_lines(figures["paired"])
    return "\n".join(lines)


def _map_table(maps: Mapping[str, Any]) -> list[str]:
    n_pixels = next(iter(maps.values()))["n_pixels"]
    names = list(maps)
    lines = [f"κ in the mask ({n_pixels:,} pixels)".ljust(34) + "".join(f"{n:>24}" for n in names)]
    rows = (
        ("mean squared error", "mse", ".4e"),
        ("  of a map of zeros", "truth_variance", ".4e"),
        ("χ² a pixel", "chi_squared", ".3f"),
        ("within 1σ (0.683)", "within_1_sigma", ".3f"),
        ("within 2σ (0.954)", "within_2_sigma", ".3f"),
    )
    for label, key, style in rows:
        lines.append(label.ljust(34) + "".join(f"{_pm(maps[n][key], style):>24}" for n in names))
    for k, band in enumerate(maps[names[0]]["r_ell"]):
        label = f"r, ℓ {band['ell_min']} to {band['ell_max']}".ljust(34)
        lines.append(label + "".join(f"{_pm(maps[n]['r_ell'][k], '.4f'):>24}" for n in names))
    return lines


def _halo_table(lists: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, figures in lists.items():
        lines.append(
            f"{name}: {figures['n_haloes']:,} haloes, {figures['n_peaks']:,} peaks, "
            f"{figures['area_sq_deg']:,.0f} sq. deg."
        )
        for density, at in figures["at_false_per_sq_deg"].items():
            whole = "" if at["list_goes_deep_enough"] else " (the list ends before)"
            lines.append(
                f"  at {density} false peaks a sq. deg.{whole}: complete to "
                f"{_estimate(at['completeness'])}, by sky {_pm(at['completeness_by_sky'], '.4f')}"
            )
            lines += [
                f"    M200c from {b['m200c_msun'][0]:.0e}: {_estimate(b)}" for b in at["by_mass"]
            ]
            lines += [
                f"    z {b['redshift'][0]:g} to {b['redshift'][1]:g}: {_estimate(b)}"
                for b in at["by_redshift"]
            ]
            for kind, control in at["controls"].items():
                lines.append(
                    f"    {kind} control: {control['per_sq_deg']:.3f} peaks a sq. deg. "
                    f"[{control['low']:.3f}, {control['high']:.3f}] (N={control['n']:,})"
                )
    return lines


def _paired_lines(paired: Mapping[str, Any]) -> list[str]:
    lines = []
    for reference, methods in paired.items():
        for name, differences in methods.items():
            for what, value in differences.items():
                if value["value"] is not None:
                    figure = f"{value['value']:.4f}{_interval(value)}"
                    lines.append(f"{name} against {reference}, {what}: {figure}")
    return ["", "sky by sky:", *lines] if lines else []


def _pm(value: Mapping[str, Any], style: str) -> str:
    if value["value"] is None:
        return "none"
    scatter = "" if value["scatter"] is None else f" ± {value['scatter']:{style}}"
    return f"{value['value']:{style}}{scatter}"


def _interval(value: Mapping[str, Any]) -> str:
    if value["low"] is None:
        return f" (N={value['n_skies']})"
    return f" [{value['low']:.4f}, {value['high']:.4f}] (N={value['n_skies']})"


def _estimate(value: Mapping[str, Any]) -> str:
    if value["value"] is None:
        return "no haloes"
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}] (N={value['n']:,})"
