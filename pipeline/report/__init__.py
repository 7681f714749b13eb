"""The report: one HTML page with pictures inside, for a browser without a network."""

from equilens.pipeline.report.content import (
    EvaluatedSample,
    MeasuredSelection,
    ReportContent,
    Sample,
)
from equilens.pipeline.report.mass_section import MappedSky
from equilens.pipeline.report.page import render_report, write_report

__all__ = [
    "EvaluatedSample",
    "MappedSky",
    "MeasuredSelection",
    "ReportContent",
    "Sample",
    "render_report",
    "write_report",
]
