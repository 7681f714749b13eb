"""An exported program as an ONNX graph; needs the packages of the extra ``onnx``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from equilens.models.errors import MissingExtraError

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
BATCH_AXIS = "N"


def require_packages() -> None:
    """Import what writing and checking a graph needs.

    Raises
    ------
    MissingExtraError
        Where a package is not installed.
    """
    for name in PACKAGES:
        try:
            import_module(name)
        except ImportError as error:
            raise MissingExtraError(
                f"exporting to ONNX needs {', '.join(PACKAGES)}, and {name} is missing; install "
                f"them with: pip install equilens[onnx]"
            ) from error


def write(program: ExportedProgram, names: Sequence[str], metadata: Mapping[str, str]) -> bytes:
    """Return a checked graph with inputs ``names``, output ``logits`` and these properties."""
    onnx = import_module("onnx")
    with _quiet_exporter():
        exported = torch.onnx.export(
            program.run_decompositions(_in_onnx_operators()),
            (),
            input_names=list(names),
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert exported is not None  # it is, unless a file was named
    graph = exported.model_proto
    _tidy(graph)
    onnx.helper.set_model_props(graph, dict(metadata))
    onnx.checker.check_model(graph, full_check=True)
    return graph.SerializeToString()


def load(data: bytes, names: Sequence[str]) -> Callable[..., Tensor]:
    """Return the graph as a function of tensors that onnxruntime computes."""
    session = import_module("onnxruntime").InferenceSession(
        data, providers=["CPUExecutionProvider"]
    )

    def run(*inputs: Tensor) -> Tensor:
        feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(["logits"], feed)[0])

    return run


def _in_onnx_operators() -> dict[Any, Callable]:
    """Operators of the normaliser that ONNX lacks, by those that it has."""
    return {
        torch.ops.aten.copysign.Tensor: _copysign,
        torch.ops.aten.nanmedian.dim: _nanmedian,
    }


def _copysign(size: Tensor, sign: Tensor) -> Tensor:
    # the sign of a zero is lost, and sizes of zero are all that it is asked for
    return torch.where(sign < 0, -size.abs(), size.abs())


def _nanmedian(values: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Lower median of what is a number: NaN sorted to the end, then the middle of the rest."""
    known = ~torch.isnan(values)
    ordered, order = values.masked_fill(~known, torch.inf).sort(dim=dim)
    count = known.sum(dim=dim, keepdim=True)
    middle = ((count - 1) // 2).clamp(min=0)
    median = ordered.gather(dim, middle).masked_fill(count == 0, torch.nan)
    index = order.gather(dim, middle)
    return (median, index) if keepdim else (median.squeeze(dim), index.squeeze(dim))


def _tidy(graph: Any) -> None:
    """Name the batch axis, and drop the exporter's notes, which hold paths of this computer."""
    body = graph.graph
    traced = body.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*body.input, *body.output, *body.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param == traced:
                axis.dim_param = BATCH_AXIS
    for part in (*body.node, *body.input, *body.output, *body.value_info, *body.initializer, body):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """torch's exporter warns of its own internals, and of packages that nothing here uses."""
    log = logging.getLogger("torch.onnx._internal.exporter")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
