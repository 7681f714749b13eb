"""What a survey's nights are made of: one TOML file, checked once.

The smallest one::

    survey = "euclid-mer"
    source = "/data/euclid/{night}"
    out = "/data/equilens"
    model = "euclid-mer"
    unit = "visit"

Paths are relative to the file. Nothing in it is ever run but ``notify.command``, a list of words
that no shell sees.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from equilens.pipeline.nightly.errors import NightConfigError
from equilens.pipeline.nightly.strict_toml import from_table

NIGHT = "{night}"
WEIGHTS_SUFFIXES = (".safetensors", ".onnx")


@dataclass(frozen=True)
class InspectRule:
    """Which objects are for people to look at.

    Attributes
    ----------
    top : at most so many, the best ones
    threshold : none with a score below it
    """

    top: int = 1000
    threshold: float | None = None

    def __post_init__(self) -> None:
        _at_least("inspect.top", self.top, 0)


@dataclass(frozen=True)
class Acceptance:
    """What a night must keep to, beside the tolerance, for its objects to enter the history.

    Attributes
    ----------
    least_objects : with a score
    largest_list : of objects to inspect; None for any
    most_out_of_domain : largest share of objects that the network was not trained for
    alarms : ``report`` a drift, or ``refuse`` a night that shows one
    """

    least_objects: int = 1
    largest_list: int | None = None
    most_out_of_domain: float = 1.0
    alarms: Literal["report", "refuse"] = "report"

    def __post_init__(self) -> None:
        _at_least("acceptance.least_objects", self.least_objects, 0)
        _share("acceptance.most_out_of_domain", self.most_out_of_domain)


@dataclass(frozen=True)
class DriftRule:
    """How a night is compared with accepted ones before it.

    Attributes
    ----------
    nights : most that are compared with, the latest
    least_nights : fewer say too little to test anything
    level : chance of any false alarm in a night that is like the others
    """

    nights: int = 14
    least_nights: int = 5
    level: float = 0.01

    def __post_init__(self) -> None:
        _at_least("drift.least_nights", self.least_nights, 2)
        _at_least("drift.nights", self.nights, self.least_nights)
        if not 0 < self.level < 1:
            raise NightConfigError(f"drift.level must lie between 0 and 1, got {self.level}")


@dataclass(frozen=True)
class SentinelRule:
    """A fixed set of known lenses and non-lenses, scored every night.

    Attributes
    ----------
    kind : ``shipped`` (the Euclid sample), ``simulated``, ``auto`` (shipped where the network
        takes its bands, else simulated) or ``none``
    n, seed : of a simulated set
    """

    kind: Literal["auto", "shipped", "simulated", "none"] = "auto"
    n: int = 64
    seed: int = 1

    def __post_init__(self) -> None:
        _at_least("sentinels.n", self.n, 2)


@dataclass(frozen=True)
class InjectionRule:
    """Simulated arcs in the night's own cutouts, scored beside them.

    Attributes
    ----------
    n : objects to make; 0 for none
    seed : drawn anew for each night from this
    backgrounds : most cutouts of the night that are looked at for carrying one
    """

    n: int = 64
    seed: int = 1
    backgrounds: int = 256

    def __post_init__(self) -> None:
        _at_least("injections.n", self.n, 0)
        _at_least("injections.backgrounds", self.backgrounds, 1)


@dataclass(frozen=True)
class Compute:
    """On what a night runs; changes no product."""

    workers: int | None = None
    scheduler: str | None = None
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        if self.workers is not None:
            _at_least("compute.workers", self.workers, 1)


@dataclass(frozen=True)
class Notify:
    """Whom to tell that a night has ended, well or badly; the summary is on standard input.

    Attributes
    ----------
    command : a program and its arguments
    webhook : an address on this machine or in its local network, by number; gets a POST
    timeout_s : of either
    """

    command: tuple[str, ...] = ()
    webhook: str = ""
    timeout_s: float = 20.0

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise NightConfigError(f"notify.timeout_s must be above 0, got {self.timeout_s}")
        if self.webhook:
            _check_local(self.webhook)


@dataclass(frozen=True)
class NightConfig:
    """All nights of one survey.

    Attributes
    ----------
    survey : name, or a TOML file that defines it
    source : where a night's files are: a path with ``{night}`` in it, or a folder with one folder
        a night somewhere below it
    out : folder of everything that nights leave
    model : shipped name, or path of weights
    unit : what a night's cutouts are: single ``visit``s, or ``coadd``s, whose repeated scores
        share pixels and are no independent evidence
    calibration : file of `equilens calibrate` for the model; "" for scores without probabilities
    tolerance : largest share of quarantined objects
    merge_radius_arcsec : sightings of one night within it, in different files, are one object
    crossmatch_radius_arcsec : sightings of two nights within it are one object
    match_ids : whether an ID means the same object every night; positions that are known and
        differ by more than the radius overrule it
    metrics_file : Prometheus text file, ends in .prom; "" for none
    report : whether to write the HTML page
    """

    survey: str
    source: str
    out: str
    model: str
    unit: Literal["visit", "coadd"]
    calibration: str = ""
    tolerance: float = 0.05
    merge_radius_arcsec: float = 0.5
    crossmatch_radius_arcsec: float = 1.0
    match_ids: bool = True
    metrics_file: str = ""
    report: bool = True
    inspect: InspectRule = field(default_factory=InspectRule)
    acceptance: Acceptance = field(default_factory=Acceptance)
    drift: DriftRule = field(default_factory=DriftRule)
    sentinels: SentinelRule = field(default_factory=SentinelRule)
    injections: InjectionRule = field(default_factory=InjectionRule)
    compute: Compute = field(default_factory=Compute)
    notify: Notify = field(default_factory=Notify)

    def __post_init__(self) -> None:
        _share("tolerance", self.tolerance)
        for name in ("merge_radius_arcsec", "crossmatch_radius_arcsec"):
            value = getattr(self, name)
            if not 0 < value < 60:
                raise NightConfigError(f"{name} must lie between 0 and 60 arcsec, got {value}")
        if self.metrics_file and not self.metrics_file.endswith(".prom"):
            raise NightConfigError(
                f"metrics_file must end in .prom, which is all that the textfile collector reads, "
                f"got {self.metrics_file!r}"
            )

    @property
    def out_path(self) -> Path:
        return Path(self.out)

    def rules_of_comparison(self) -> dict[str, Any]:
        """What decides everything after the night's own objects are measured."""
        names = ("unit", "tolerance", "crossmatch_radius_arcsec", "match_ids", "report")
        plain = {name: getattr(self, name) for name in names}
        rules = (self.inspect, self.acceptance, self.drift)
        return plain | {type(rule).__name__: asdict(rule) for rule in rules}


def load_night_config(path: Path | str) -> NightConfig:
    """Read and check a configuration.

    Raises
    ------
    NightConfigError
        The file can not be read, or a key or value of it can not be used.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise NightConfigError(f"{path} can not be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise NightConfigError(f"{path} is not valid TOML: {error}") from None
    try:
        return _resolved(from_table(NightConfig, content), path.resolve().parent)
    except NightConfigError as error:
        raise NightConfigError(f"{path}: {error}") from None


def parse_night(text: str) -> date:
    """A night by its date, YYYY-MM-DD.

    Raises
    ------
    NightConfigError
        It is no such date.
    """
    try:
        night = date.fromisoformat(text)
    except ValueError:
        night = None
    if night is None or night.isoformat() != text:
        raise NightConfigError(f"a night is a date such as 2026-11-20, got {text!r}")
    return night


def _resolved(config: NightConfig, folder: Path) -> NightConfig:
    """Paths from the file's folder on; names of surveys and of shipped weights stay names."""
    named: dict[str, Any] = {
        name: str(folder / text)
        for name in ("source", "out", "calibration", "metrics_file")
        if (text := getattr(config, name))
    }
    if config.survey.endswith(".toml"):
        named["survey"] = str(folder / config.survey)
    if "/" in config.model or config.model.endswith(WEIGHTS_SUFFIXES):
        named["model"] = str(folder / config.model)
    for name, text in named.items():
        if NIGHT in text and name != "source":
            raise NightConfigError(f"{name} must be one path for all nights, got {text!r}")
    return replace(config, **named)


def _check_local(address: str) -> None:
    parts = urlsplit(address)
    host = parts.hostname or ""
    try:
        local = host == "localhost" or ip_address(host).is_private
    except ValueError:
        local = False
    if parts.scheme != "http" or not local or parts.username:
        raise NightConfigError(
            "notify.webhook must be http:// and an address of this machine or its local network "
            f"by number, such as http://127.0.0.1:9000/night, got {address!r}"
        )


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise NightConfigError(f"{name} must be at least {least}, got {value}")


def _share(name: str, value: float) -> None:
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise NightConfigError(f"{name} is a share and must lie in [0, 1], got {value}")
