"""One finder in every form that scores: types, layouts, compilers and runtimes, with their drift.

python bench_runtimes.py --size base [--weights FILE.safetensors]

All against the plain twin's folded network in float32, eager. Drift is the root mean square change
of a logit against the network's own float32 form, in units of the logits' scatter over the
cutouts: give trained weights, since those of a random network hardly differ between cutouts.
"""

import tempfile
import time
import warnings
from pathlib import Path

import comparison

parser = comparison.parser(__doc__, n=16)
parser.add_argument("--size", default="base")
parser.add_argument("--family", default="convnext", choices=("convnext", "resnet"))
parser.add_argument("--weights", help="trained weights of ours, for the drift")
options = parser.parse_args()
comparison.pin_threads(options.threads)

import torch  # noqa: E402
from rich.console import Console  # noqa: E402
from torch import nn  # noqa: E402

from equilens.models import InputSpec, build_finder, fold  # noqa: E402
from equilens.models.checkpoint import load_checkpoint  # noqa: E402
from equilens.models.testing import random_inputs  # noqa: E402

NAMES = ("images", "noise", "mask", "band_present")


def eager(network, inputs):
    """The module as it is."""
    return lambda: network(*inputs)


def compiled(network, inputs):
    """Inductor, without graph breaks."""
    return eager(torch.compile(network, fullgraph=True), inputs)


def autocast(network, inputs):
    """bfloat16 where autocast deems it safe."""

    def run():
        with torch.autocast("cpu", torch.bfloat16):
            return network(*inputs)

    return run


def int8(network, inputs):
    """Linear layers in int8, activations quantised as they come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, torch.qint8)
    return eager(small, inputs)


def session(network, inputs, *, quantized=False):
    """ONNX Runtime on the dense graph; with int8 weights of matrix products if asked."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from equilens.models import onnx_graph

    graph = onnx_graph.write(torch.export.export(network, inputs), NAMES, {})
    if quantized:
        with tempfile.TemporaryDirectory() as folder:
            whole, small = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
            whole.write_bytes(graph)
            quantize_dynamic(whole, small, ["MatMul", "Gemm"], weight_type=QuantType.QInt8)
            graph = small.read_bytes()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    runtime = onnxruntime.InferenceSession(graph, settings, ["CPUExecutionProvider"])
    arrays = {name: value.numpy() for name, value in zip(NAMES, inputs, strict=True)}
    return lambda: torch.from_numpy(runtime.run(None, arrays)[0])


def forms(ours, twin, inputs):
    """What to time, by name."""
    blocks, dense, plain = fold(ours), fold(ours, dense=True), fold(twin)
    rows = fold(twin)
    for layer in rows.features.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(memory_format=torch.contiguous_format)
    runs = {
        "plain twin, float32": eager(plain, inputs),
        "plain twin, compiled": compiled(plain, inputs),
        "plain twin, bfloat16": autocast(plain, inputs),
        "ours, float32": eager(blocks, inputs),
        "ours, compiled": compiled(blocks, inputs),
        "ours, bfloat16": autocast(blocks, inputs),
        "ours, dense form": eager(dense, inputs),
        "ours, ONNX Runtime": session(dense, inputs),
    }
    if options.family == "convnext":
        runs["ours, dense form, int8"] = int8(dense, inputs)
        runs["ours, ONNX Runtime, int8"] = session(dense, inputs, quantized=True)
    return runs


def main():
    """Print the table of speed, then the drifts."""
    torch.set_num_threads(options.threads)
    name = f"d4-{options.family}-{options.size}"
    spec = InputSpec(("VIS", "NIR_Y", "NIR_J", "NIR_H"), 0.1)
    ours = load_checkpoint(options.weights)[0] if options.weights else build_finder(name, spec)
    twin = build_finder(ours.architecture.twin, ours.spec)
    inputs = random_inputs(ours.spec, options.n)
    with torch.no_grad():
        runs = forms(ours.eval(), twin.eval(), inputs)
        result = comparison.take_turns(
            runs, options.n, options.turns, "plain twin, float32", clock=time.process_time
        )
        result.show(f"{ours.architecture.name} in all forms", "cutouts/s")
        drifts(ours.architecture.name, {k: v() for k, v in runs.items() if k.startswith("ours")})


def drifts(name, logits):
    """Print how far each form's logits are from float32 ones."""
    reference = logits["ours, float32"]
    say = Console(width=110, highlight=False).print
    say(f"Drift of logits, {name}, root mean square over their scatter (N = {len(reference)}):")
    for form, values in logits.items():
        drift = float((values - reference).float().square().mean().sqrt() / reference.std())
        say(f"- {form}: {100 * drift:.4f} %")


if __name__ == "__main__":
    main()
