"""The surveys that come along, each a TOML file beside this module."""

from __future__ import annotations

from importlib.resources import files

from equilens.pipeline.surveys.loading import parse_survey
from equilens.pipeline.surveys.survey import Survey


def shipped(name: str) -> Survey:
    """The survey of that name that ships with equilens."""
    resource = files(__package__) / f"{name}.toml"
    return parse_survey(resource.read_text(encoding="utf-8"), f"{name}.toml")


def bologna_space() -> Survey:
    """Space set of the Bologna lens finding challenge 1.0."""
    return shipped("bologna-space")


def bologna_ground() -> Survey:
    """Ground set of the Bologna lens finding challenge 1.0."""
    return shipped("bologna-ground")


def euclid_mer() -> Survey:
    """Euclid cutouts from MER mosaics."""
    return shipped("euclid-mer")


def panstarrs1() -> Survey:
    """Pan-STARRS1 stack cutouts."""
    return shipped("panstarrs1")


def des_cube() -> Survey:
    """Cubes of Dark Energy Survey galaxies."""
    return shipped("des-cube")


def lsst_like() -> Survey:
    """Six bands at the depth of Rubin's ten years."""
    return shipped("lsst-like")
