"""Surveys as plugins: what they are, where they come from, how their files are found and read."""

from equilens.pipeline.surveys.objects import ObjectRef, RawCutout
from equilens.pipeline.surveys.registry import SurveyEntry, get_survey, list_surveys
from equilens.pipeline.surveys.survey import Band, Layout, MaskRule, Survey

__all__ = [
    "Band",
    "Layout",
    "MaskRule",
    "ObjectRef",
    "RawCutout",
    "Survey",
    "SurveyEntry",
    "get_survey",
    "list_surveys",
]
