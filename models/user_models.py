"""Models from outside: find one by name or path, and run an ONNX graph like a finder.

An ONNX graph must have an input named ``images`` (N, B, ny, nx) float32 in nJy. It may declare
``noise`` (N, B) float32 in nJy, NaN where a band is missing; ``mask`` (N, B, ny, nx) bool or
float32, 1 where a pixel is bad; ``band_present`` (N, B) bool or float32. Its output ``logits``, or
the first one, is (N,) or (N, 1). What it was made for stands as JSON under ``input_spec`` in the
graph's metadata properties, or under that key in a ``.json`` file of the same name beside it. A
card under ``card`` may say more: such a file's, where there is one, else the graph's.
"""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from equilens.models.checkpoint import load_checkpoint, refuse_unsafe, shipped_weights
from equilens.models.committee import Committee
from equilens.models.errors import CheckpointError, MissingExtraError
from equilens.models.inputs import InputSpec
from equilens.models.networks import LensFinder

SUFFIXES = (".safetensors", ".onnx")
INPUT_NAMES = ("images", "noise", "mask", "band_present")
_DTYPES = {"tensor(float)": np.float32, "tensor(bool)": np.bool_}


class OnnxFinder:
    """An ONNX graph with a finder's call: images, noise, mask, band_present → logits (N,).

    Parameters
    ----------
    path : path ending in .onnx
    spec : InputSpec, optional
        Default: the graph's own metadata, or the JSON file beside it.

    Raises
    ------
    MissingExtraError
        Where onnxruntime is not installed.
    CheckpointError
        For a graph that cannot be read, or whose inputs are not the ones above.
    """

    def __init__(self, path: str | os.PathLike, spec: InputSpec | None = None) -> None:
        self.path = Path(path)
        refuse_unsafe(self.path)
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self.session = runtime.InferenceSession(
                str(self.path), options, providers=["CPUExecutionProvider"]
            )
        except _load_errors() as error:
            raise CheckpointError(f"{self.path} is not a readable ONNX graph: {error}") from error
        self.inputs = {node.name: node for node in self.session.get_inputs()}
        self._check_inputs()
        self.output = self._choose_output()
        self.spec = spec or _declared_spec(self.path, self.session)
        self.card = _declared_card(self.path, self.session)

    def _check_inputs(self) -> None:
        unknown = sorted(set(self.inputs) - set(INPUT_NAMES))
        if unknown or "images" not in self.inputs:
            raise CheckpointError(
                f"{self.path} must take inputs named {', '.join(INPUT_NAMES)} (images is "
                f"required), got {sorted(self.inputs)}; rename them with onnx.compose or on export"
            )
        for name, node in self.inputs.items():
            if node.type not in _DTYPES:
                raise CheckpointError(
                    f"input {name!r} of {self.path} must be float32 or bool, got {node.type}"
                )

    def _choose_output(self) -> str:
        names = [node.name for node in self.session.get_outputs()]
        return "logits" if "logits" in names else names[0]

    def __call__(self, images: Tensor, noise: Tensor, mask: Tensor, band_present: Tensor) -> Tensor:
        """Return logits, shape (N,); arguments as in LensFinder.forward."""
        given = dict(zip(INPUT_NAMES, (images, noise, mask, band_present), strict=True))
        feed: dict[str, np.ndarray] = {
            name: np.ascontiguousarray(given[name].numpy(), dtype=_DTYPES[node.type])
            for name, node in self.inputs.items()
        }
        batch = self.inputs["images"].shape[0]
        whole = len(images)
        step = batch if isinstance(batch, int) else max(whole, 1)
        parts = [self._run(feed, start, step) for start in range(0, whole, step)]
        return torch.from_numpy(np.concatenate(parts)[:whole]) if parts else torch.empty(0)

    def _run(self, feed: dict[str, np.ndarray], start: int, step: int) -> np.ndarray:
        """Run rows start … start + step, the last repeated where the graph's batch is fixed."""
        rows = np.minimum(np.arange(start, start + step), len(feed["images"]) - 1)
        (logits,) = self.session.run([self.output], {name: x[rows] for name, x in feed.items()})
        if logits.size != step:
            raise CheckpointError(
                f"output {self.output!r} of {self.path} must be one logit an object, shape "
                f"({step},) or ({step}, 1), got {logits.shape}"
            )
        return logits.reshape(step)


def find_model(name_or_path: str | os.PathLike) -> Path:
    """Return the weights file meant by a shipped name, a file, or a folder holding just one.

    Raises
    ------
    CheckpointError
        Where there is none, or more than one.
    """
    shipped = shipped_weights()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    path = Path(name_or_path)
    if path.is_dir():
        found = sorted(child for child in path.iterdir() if child.suffix in SUFFIXES)
        if len(found) != 1:
            raise CheckpointError(
                f"{path} must hold exactly one .safetensors or .onnx file, found "
                f"{[child.name for child in found]}; name the file itself"
            )
        return found[0]
    if not path.is_file():
        raise CheckpointError(
            f"no weights file or folder {path}, and no shipped weights of that name; "
            f"shipped are {', '.join(shipped) or 'none'}"
        )
    return path


def load_model(name_or_path: str | os.PathLike) -> LensFinder | Committee | OnnxFinder:
    """Return the finder behind a shipped name, a .safetensors or .onnx file, or their folder.

    It may be a committee of finders. All have ``.spec`` and take the same four tensors. Nothing
    that unpickles is opened.

    Raises
    ------
    CheckpointError
        For anything else, with the reason; its subclass UnsafeWeightsError for pickles.
    """
    return load_with_card(name_or_path)[0]


def load_with_card(
    name_or_path: str | os.PathLike,
) -> tuple[LensFinder | Committee | OnnxFinder, dict]:
    """Return the same finder, and the card that came with it: empty where none did."""
    path = find_model(name_or_path)
    refuse_unsafe(path)
    if path.suffix == ".onnx":
        graph = OnnxFinder(path)
        return graph, graph.card
    if path.suffix == ".safetensors":
        finder, metadata = load_checkpoint(path)
        return finder, dict(metadata["card"])
    raise CheckpointError(f"a model must end in .safetensors or .onnx, got {path.name!r}")


def _onnxruntime() -> ModuleType:
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtraError(
            "running an ONNX model needs onnxruntime; install it with: pip install equilens[onnx]"
        ) from error


def _load_errors() -> tuple[type[Exception], ...]:
    """Return what onnxruntime raises for a bad graph; its classes share no base of their own."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
    return tuple(getattr(state, name) for name in (*names, "RuntimeException"))


def _declared_spec(path: Path, session) -> InputSpec:
    declared = session.get_modelmeta().custom_metadata_map.get("input_spec")
    beside = path.with_suffix(".json")
    try:
        if declared is None and beside.is_file():
            return InputSpec.from_dict(json.loads(beside.read_text())["input_spec"])
        if declared is not None:
            return InputSpec.from_dict(json.loads(declared))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has an input_spec that cannot be read: {error}") from error
    raise CheckpointError(
        f"{path} does not say what it was made for; put JSON such as "
        f'{{"bands": ["VIS"], "pixel_scale_arcsec": 0.1, "shape": [101, 101]}} into its metadata '
        f"property input_spec, or under that key into {beside.name}"
    )


def _declared_card(path: Path, session) -> dict:
    """Return the card in the JSON file beside a graph, in the graph where there is no such file."""
    beside = path.with_suffix(".json")
    try:
        if beside.is_file():
            return dict(json.loads(beside.read_text()).get("card", {}))
        return dict(json.loads(session.get_modelmeta().custom_metadata_map.get("card", "{}")))
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has a card that cannot be read: {error}") from error
