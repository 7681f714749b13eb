"""Survey files in, a calibrated CutoutStore out; what can not be used goes to quarantine.

>>> from equilens.pipeline.ingest import ingest
>>> from equilens.pipeline.surveys import get_survey
>>> print(ingest("tiles/", get_survey("euclid-mer"), "euclid.zarr"))  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equilens.pipeline.ingest.run import ingest
    from equilens.pipeline.ingest.summary import IngestSummary

__all__ = ["IngestSummary", "ingest"]

_HOME = {"ingest": "run", "IngestSummary": "summary"}


def __getattr__(name: str) -> Any:
    # worker processes import from this package and must not wait for the store's libraries
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
