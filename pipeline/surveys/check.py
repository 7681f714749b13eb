"""Look over a survey's definition, and over its files where there are some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from equilens.pipeline.errors import RejectedObject, SurveyError
from equilens.pipeline.surveys.survey import Survey

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: how it stands, and what to do where it is not well."""

    level: Level
    subject: str
    message: str


def check_survey(survey: Survey, source: Path | str | None = None, n: int = 20) -> list[Finding]:
    """Findings about a survey's definition.

    Parameters
    ----------
    survey : to check
    source : files to try it on; None checks the definition alone
    n : how many objects of `source` are read
    """
    findings = [*_bands(survey), *_names(survey), *_photometry(survey)]
    if not any(finding.level == "error" for finding in findings):
        findings.insert(0, Finding("ok", "definition", _summary(survey)))
    if source is not None:
        findings += _files(survey, source, n)
    return findings


def _summary(survey: Survey) -> str:
    height, width = survey.shape
    return (
        f"{survey.name} {survey.version}: bands {', '.join(survey.band_names)}; "
        f"{height}x{width} pixels of {survey.pixel_scale_arcsec} arcsec; {survey.layout.kind}"
    )


def _bands(survey: Survey) -> Iterator[Finding]:
    for band in survey.bands:
        if not 100 <= band.wavelength_nm <= 30_000:
            yield Finding(
                "error",
                f"band {band.name}",
                f"wavelength_nm is {band.wavelength_nm}; 100 to 30000 nm is optical and infrared",
            )
        if band.psf_fwhm_arcsec < survey.pixel_scale_arcsec:
            yield Finding(
                "warning",
                f"band {band.name}",
                f"PSF of {band.psf_fwhm_arcsec} arcsec is narrower than a pixel of "
                f"{survey.pixel_scale_arcsec}: check both, they are full width and arcsec",
            )
        if band.noise_njy > 1e6:
            yield Finding(
                "warning", f"band {band.name}", f"noise of {band.noise_njy} nJy: check the unit"
            )


def _names(survey: Survey) -> Iterator[Finding]:
    layout = survey.layout
    tokens = Counter(layout.token(name) for name in survey.band_names)
    repeated = [token for token, count in tokens.items() if count > 1]
    if repeated:
        yield Finding("error", "layout", f"{repeated[0]!r} stands for several bands")
    if len(survey.bands) > 1:
        needing = {"file-per-band": layout.pattern, "object-cube": layout.pattern}
        needing["extensions"] = layout.image + (layout.pattern if layout.image.isdigit() else "")
        if "{band}" not in needing.get(layout.kind, "{band}"):
            yield Finding(
                "error", "layout", f"kind {layout.kind!r} with several bands needs {{band}}"
            )
    if not survey.footprint:
        yield Finding("warning", "footprint", "is empty: say in words where the survey's sky is")


def _photometry(survey: Survey) -> Iterator[Finding]:
    if survey.zeropoint_rule == "band" and not survey.zeropoint_source:
        yield Finding(
            "warning", "zeropoint_source", "is empty: say where the declared zero points are from"
        )


def _files(survey: Survey, source: Path | str, n: int) -> Iterator[Finding]:
    try:
        refs = list(islice(survey.discover(source), n))
    except SurveyError as error:
        yield Finding("error", "discover", str(error))
        return
    good = 0
    for ref in refs:
        try:
            survey.read(ref)
            good += 1
        except RejectedObject as fault:
            yield Finding("warning", f"object {ref.id}", str(fault))
    level: Level = "ok" if good else "error"
    yield Finding(level, "read", f"{good} of the first {len(refs)} objects of {source} are usable")
