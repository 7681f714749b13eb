"""Finders as files for other programs: a torch.export program, or an ONNX graph.

Both hold the folded network with its normaliser, take any batch size, and say what they are.
The bytes are loaded again and run beside the finder before they leave this module, so what
``export_finder`` returns gives the finder's logits.

``torch`` files are read by ``torch.export.load``, which unpickles: load only those you trust.
Their metadata stand as JSON in the extra file ``METADATA_FILE``, those of ``onnx`` files in the
metadata properties, where `user_models.OnnxFinder` looks for the input specification.
"""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from equilens.models import onnx_graph
from equilens.models.committee import Committee
from equilens.models.errors import ExportError
from equilens.models.fold import fold
from equilens.models.inputs import InputSpec
from equilens.models.networks import LensFinder
from equilens.models.testing import random_inputs
from equilens.models.user_models import INPUT_NAMES

SUFFIXES = {"torch": ".pt2", "onnx": ".onnx"}
METADATA_FILE = "equilens.json"
EXPORT_FORMAT = "equilens-export-1"
TOLERANCE = 1e-5
N_VERIFIED = 32
_BATCHES = (1, 2, N_VERIFIED - 3)

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Verification:
    """How far an exported network is from its finder.

    Parameters
    ----------
    n : int
        Random cutouts, in batches of several sizes; some masked, some lacking bands.
    largest_difference : float
        Of their logits, in float32.
    largest_logit : float
        The finder's, by magnitude.
    """

    n: int
    largest_difference: float
    largest_logit: float

    @property
    def limit(self) -> float:
        """Largest difference allowed: TOLERANCE, or that share of a largest logit above 1."""
        return TOLERANCE * max(1.0, self.largest_logit)

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed; a NaN never is."""
        return self.largest_difference <= self.limit


@dataclass(frozen=True)
class ExportedFinder:
    """A verified file that is not on disk yet.

    Parameters
    ----------
    form : "torch" or "onnx"
    data : bytes
        What the file holds.
    metadata : dict of str
        Stored inside; what is no text is JSON.
    verification : Verification
    """

    form: str
    data: bytes
    metadata: dict[str, str]
    verification: Verification


def export_finder(
    finder: LensFinder | Committee, form: str, *, sha256: str = "", card: dict | None = None
) -> ExportedFinder:
    """Return the folded network as a file's bytes, verified against the finder.

    Parameters
    ----------
    finder : LensFinder or Committee
        Left unchanged; exported as it evaluates.
    form : "torch" or "onnx"
    sha256 : str
        Of the weights file.
    card : dict, optional
        The weights' own; anything JSON can hold.

    Raises
    ------
    MissingExtraError
        Where ONNX is asked for and its packages are not installed.
    ExportError
        For another form, and where the loaded file is not the finder within ``TOLERANCE``.
    """
    if form not in SUFFIXES:
        raise ExportError(f"form must be one of {list(SUFFIXES)}, got {form!r}")
    if form == "onnx":
        onnx_graph.require_packages()
    metadata = describe(finder, sha256, card or {})
    program = _program(finder)
    data = (
        onnx_graph.write(program, INPUT_NAMES, metadata)
        if form == "onnx"
        else _archive(program, metadata)
    )
    return ExportedFinder(form, data, metadata, verify(finder, load_exported(data, form)))


def describe(finder: LensFinder | Committee, sha256: str, card: dict) -> dict[str, str]:
    """Return the metadata that an exported file carries."""
    spec = finder.spec
    return {
        "format": EXPORT_FORMAT,
        "equilens": version("equilens"),
        "architecture": finder.architecture.name,
        "sha256": sha256,
        "input_spec": json.dumps(spec.to_dict()),
        "bands": json.dumps(list(spec.bands)),
        "units": "nJy",
        "inputs": json.dumps(_input_meanings(spec)),
        "outputs": json.dumps({"logits": "(N,) float32; uncalibrated scores, lenses high"}),
        "card": json.dumps(card),
    }


def _input_meanings(spec: InputSpec) -> dict[str, str]:
    bands, (rows, columns) = spec.n_bands, spec.shape
    pixels = f"(N, {bands}, {rows}, {columns})"
    return {
        "images": f"{pixels} float32, nJy; cutouts in the order of bands, y first",
        "noise": f"(N, {bands}) float32, nJy; background noise of one pixel, NaN if band missing",
        "mask": f"{pixels} bool; true where a pixel is bad",
        "band_present": f"(N, {bands}) bool; false where a band is missing",
    }


def load_exported(data: bytes, form: str) -> Callable[..., Tensor]:
    """Return the network in an exported file; opens no torch file but one made here."""
    if form == "onnx":
        return onnx_graph.load(data, INPUT_NAMES)
    program = torch.export.load(io.BytesIO(data)).module()
    return lambda *inputs: program(*inputs)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata in an exported torch file, without loading the program."""
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(f"extra/{METADATA_FILE}"))
            return json.loads(archive.read(name))
    except (zipfile.BadZipFile, ValueError) as error:
        raise ExportError(f"{path} is no torch file that equilens exported: {error}") from error


def verify(finder: LensFinder | Committee, network: Callable[..., Tensor]) -> Verification:
    """Run a network beside the finder in evaluation mode, in float32, on random cutouts.

    Raises
    ------
    ExportError
        Where they differ by more than ``TOLERANCE``.
    """
    reference = _evaluating(finder)
    inputs = verification_inputs(finder.spec)
    with torch.no_grad():
        expected = reference(*inputs)
        parts = zip(*(column.split(_BATCHES) for column in inputs), strict=True)
        found = torch.cat([network(*batch) for batch in parts])
    result = Verification(
        n=len(expected),
        largest_difference=float((found - expected).abs().max()),
        largest_logit=float(expected.abs().max()),
    )
    if not result.passed:
        raise ExportError(
            f"the exported network must give the finder's logits within {result.limit:.2g}, but is "
            f"off by {result.largest_difference:.3g} on {result.n} random cutouts: nothing was "
            f"written; try another version of torch or onnxscript"
        )
    return result


def verification_inputs(spec: InputSpec) -> Inputs:
    """Return random cutouts, one with a pixel that is no number, one without any band."""
    images, noise, mask, present = random_inputs(spec, N_VERIFIED, seed=20)
    images[1, 0, 0, :2] = torch.nan
    images[2], noise[2], mask[2], present[2] = 0.0, torch.nan, True, False
    return images, noise, mask, present


def _evaluating(finder: LensFinder | Committee) -> LensFinder | Committee:
    return copy.deepcopy(finder).float().eval()


def _program(finder: LensFinder | Committee) -> ExportedProgram:
    """Return the folded network, of plain layers, as ATen operations that take any batch."""
    folded = _laid_out(fold(_evaluating(finder), dense=True))
    batch = {0: Dim("N", min=1)}
    return torch.export.export(
        folded,
        # a traced batch of one would be taken for a constant
        random_inputs(finder.spec, 3),
        dynamic_shapes=dict.fromkeys(INPUT_NAMES, batch),
    )


def _laid_out(folded: nn.Module) -> nn.Module:
    """Return a copy whose tensors own contiguous memory, the only kind that archives keep."""
    plain = copy.deepcopy(folded)
    for layer in plain.modules():
        for name, weight in layer._parameters.items():
            if weight is not None:
                layer._parameters[name] = nn.Parameter(_owned(weight), requires_grad=False)
        for name, table in layer._buffers.items():
            if table is not None:
                layer._buffers[name] = _owned(table)
    return plain


def _owned(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _archive(program: ExportedProgram, metadata: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files={METADATA_FILE: json.dumps(metadata)})
    return stream.getvalue()
