"""Everything that a night's products depend on, as fingerprints; light enough to ask often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from equilens.pipeline.nightly.config import WEIGHTS_SUFFIXES, NightConfig
from equilens.pipeline.nightly.discovery import Discovery, discover_night, list_night
from equilens.pipeline.nightly.errors import NightConfigError
from equilens.pipeline.nightly.folders import NightFolder
from equilens.pipeline.provenance import fingerprint, sha256_file
from equilens.pipeline.surveys.registry import get_survey
from equilens.pipeline.surveys.survey import Survey

# one that a change of what is done with the same inputs raises: products of another are no match
FORMAT = 1


@dataclass(frozen=True)
class NightInputs:
    """One night's objects, and what is to be done with them.

    Attributes
    ----------
    survey : as defined now
    weights : file of the network
    model_sha256, calibration_sha256 : of the files; "" without a calibration
    """

    config: NightConfig
    night: date
    survey: Survey
    discovery: Discovery
    weights: Path
    model_sha256: str
    calibration_sha256: str

    @classmethod
    def find(
        cls, config: NightConfig, night: date, known: Mapping[str, Any] | None = None
    ) -> NightInputs:
        """Look at files and folders as they are now.

        Parameters
        ----------
        known : summary of an earlier run; where the night's folder still lists the same, its
            objects are not looked for again, and `discovery` has none

        Raises
        ------
        NightError, SurveyError
            Something that the configuration names is not there.
        """
        survey, weights = get_survey(config.survey), weights_file(config.model)
        calibration = ""
        if config.calibration:
            if not Path(config.calibration).is_file():
                raise NightConfigError(
                    f"calibration {config.calibration} is no file: make it with `equilens "
                    "calibrate`, or leave the key out for scores without probabilities"
                )
            calibration = sha256_file(config.calibration)
        found = _unchanged(survey, config, night, known)
        if found is None:
            found = discover_night(survey, config.source, night)
        return cls(config, night, survey, found, weights, sha256_file(weights), calibration)

    @property
    def folder(self) -> NightFolder:
        return NightFolder(self.config.out_path, self.night)

    @cached_property
    def survey_identity(self) -> str:
        """Of what turns files into cutouts."""
        return survey_identity(self.survey)

    def parts(self) -> dict[str, Any]:
        """What the night's own products depend on, by name: so that a change can be named."""
        return {
            "night": self.night.isoformat(),
            "survey": self.survey_identity,
            "files": self.discovery.fingerprint,
            "network": self.model_sha256,
            "calibration": self.calibration_sha256,
            "merge_radius_arcsec": self.config.merge_radius_arcsec,
            "sentinels": asdict(self.config.sentinels),
            "injections": asdict(self.config.injections),
        }

    @cached_property
    def data_identity(self) -> str:
        """Of all that the night's own products depend on."""
        return fingerprint(self.parts())


def _unchanged(
    survey: Survey, config: NightConfig, night: date, known: Mapping[str, Any] | None
) -> Discovery | None:
    """What an earlier run has found, if the night's folder lists as it did then."""
    if known is None or not known["listing"]:
        return None
    listing = list_night(survey, config.source, night)
    if listing != known["listing"] or known["parts"]["survey"] != survey_identity(survey):
        return None
    files, n_files, n_found = known["parts"]["files"], known["n_files"], known["n_found"]
    return Discovery((), {}, files, n_files, n_found, listing)


def survey_identity(survey: Survey) -> str:
    """Fingerprint of what turns files into cutouts."""
    kind = type(survey).__qualname__
    return fingerprint({"format": FORMAT, "kind": kind, "survey": asdict(survey)})


def weights_file(model: str) -> Path:
    """The weights behind a shipped name or a path, without loading torch.

    Raises
    ------
    NightConfigError
        There are none.
    """
    path = Path(model)
    if path.is_dir():
        found = [child for child in path.iterdir() if child.suffix in WEIGHTS_SUFFIXES]
        if len(found) == 1:
            return found[0]
    if path.suffix in WEIGHTS_SUFFIXES and path.is_file():
        return path
    shipped = shipped_weights_folder()
    named = shipped / f"{model}.safetensors"
    if "/" not in model and named.is_file():
        return named
    known = ", ".join(sorted(file.stem for file in shipped.glob("*.safetensors")))
    raise NightConfigError(
        f"model {model}: neither shipped ({known}) nor a .safetensors or .onnx file, or a folder "
        "with just one"
    )


def shipped_weights_folder() -> Path:
    """Where the shipped weights lie; importing their package would load torch."""
    spec = find_spec("equilens.models")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))) / "weights"
