"""Regular → regular 3×3 convolutions of 256 channels: against a plain one, and against escnn.

Forward and backward on 7², 13² and 25² maps, in both layouts; expanding the kernel alone; building
a layer; its state dict. Seconds are CPU seconds, of either process, so that waiting for a busy
machine does not count. A second plain convolution among the contenders shows the scatter.

With --escnn-python PATH (or ESCNN_PYTHON in the environment), escnn's layer of the same group and
channels takes turns from an interpreter of its own, since escnn 1.0.11 needs numpy below 2 and a
Fortran compiler:

    python3.11 -m venv escnn
    escnn/bin/pip install "numpy<2" torch==2.13.0 "setuptools<81" wheel
    escnn/bin/pip install "numpy<2" escnn==1.0.11
    python tests/benchmarks/bench_layers.py --escnn-python escnn/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from comparison import arguments, take_turns

CHANNELS, SIDES, BUILDS = 256, (7, 13, 25), 5
LAYOUTS = {"rows (NCHW)": False, "channels-last": True}
WORKER = Path(__file__).with_name("escnn_worker.py")


def escnn_python() -> str | None:
    """Take --escnn-python off the command line; the environment carries it over a restart."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--escnn-python", default=os.environ.get("ESCNN_PYTHON"))
    options, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    if options.escnn_python:
        os.environ["ESCNN_PYTHON"] = options.escnn_python
    return options.escnn_python


class Escnn:
    """escnn's layers in another process; ``cpu_seconds`` adds up what they took."""

    def __init__(self, python: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([python, WORKER], stdin=pipe, stdout=pipe, text=True)
        self.cpu_seconds = 0.0

    def __call__(self, command: str, *arguments) -> dict:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"escnn's worker ended with code {self.process.wait()}")
        answer = json.loads(line)
        self.cpu_seconds += answer["cpu_seconds"]
        return answer


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def groups():
    """The symmetries of the table."""
    from equilens.models.groups import CyclicGroup, DihedralGroup

    return (DihedralGroup(4), CyclicGroup(8), DihedralGroup(8))


def our_layer(group):
    """Our convolution of that group."""
    from equilens.models.fields import regular_type
    from equilens.models.planar.convolutions import GroupConv

    fields = regular_type(group, CHANNELS)
    return GroupConv(fields, fields, 3, padding=1)


def step(layer, images):
    """One forward and backward pass, to the input as well."""
    import torch

    images.grad = None
    layer.zero_grad(set_to_none=True)
    output = layer(images)
    output.backward(torch.ones_like(output))


def contenders(layers: dict, side: int, batch: int, channels_last: bool, escnn: Escnn | None):
    """What takes turns on maps of one size and layout, by name."""
    import torch

    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.randn(batch, CHANNELS, side, side)
    images = images.contiguous(memory_format=layout).requires_grad_()
    runs = {}
    for name, layer in layers.items():
        layer.to(memory_format=layout)
        runs[name] = lambda layer=layer: step(layer, images)
    for group in groups() if escnn else ():
        job = (group.name, CHANNELS, side, batch, channels_last)
        runs[f"escnn {group.name}"] = lambda job=job: escnn("step", *job)
    return runs


def expand(layer) -> None:
    """The kernel from its coefficients, and their gradient."""
    import torch

    layer.zero_grad(set_to_none=True)
    kernel = layer.weight()
    kernel.backward(torch.ones_like(kernel))


def cpu_clock(escnn: Escnn | None):
    """CPU seconds of this process and escnn's."""
    return lambda: time.process_time() + (escnn.cpu_seconds if escnn else 0.0)


def compare_expansion(batch: int, turns: int, escnn: Escnn | None) -> None:
    """Expansion alone, beside the plain convolution that it comes on top of."""
    import torch

    images = torch.randn(batch, CHANNELS, 13, 13, requires_grad=True)
    plain = torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
    runs = {"plain convolution, 13² maps": lambda: step(plain, images)}
    for group in groups():
        layer = our_layer(group)
        runs[f"equilens {group.name}"] = lambda layer=layer: expand(layer)
        if escnn:
            runs[f"escnn {group.name}"] = lambda name=group.name: escnn("expand", name, CHANNELS)
    found = take_turns(runs, 1, turns, next(iter(runs)), cpu_clock(escnn))
    found.show("Expanding the kernel, forward and backward, one thread", "kernels/s")
    shares = {name: 1 / found.ratio(name) for name in found.seconds if name != found.baseline}
    say("Share of the plain time: " + ", ".join(f"{k} {v:.1%}" for k, v in shares.items()) + "\n")


def compare_steps(batch: int, turns: int, escnn: Escnn | None) -> None:
    """Whole forward and backward passes, in each layout, then compiled."""
    import torch

    clock = cpu_clock(escnn)

    def plain():
        return torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)

    layers = {"plain": plain(), "plain again": plain()}
    layers |= {f"equilens {group.name}": our_layer(group) for group in groups()}
    compiled = {name: torch.compile(layer, fullgraph=True) for name, layer in layers.items()}
    for name, channels_last in LAYOUTS.items():
        for side in SIDES:
            runs = contenders(layers, side, batch, channels_last, escnn)
            found = take_turns(runs, batch, turns, baseline="plain", clock=clock)
            report(found, f"Forward and backward, {side}² maps, {name}")
    runs = contenders(compiled, 13, batch, True, None)
    found = take_turns(runs, batch, turns, baseline="plain", clock=clock)
    report(found, "The same compiled, one graph, 13² maps, channels-last")


def report(found, title: str) -> None:
    found.show(f"{title}, one thread", "maps/s", "equilens at most 1.10 times the plain time")
    times = {name: 1 / found.ratio(name) for name in found.seconds if name != found.baseline}
    say("Times the plain time: " + ", ".join(f"{k} {v:.2f}" for k, v in times.items()) + "\n")


def forget_tables() -> None:
    """Empty the package's caches, so that a layer is built as if it were the first."""
    for name, module in list(sys.modules.items()):
        if name.startswith("equilens.models"):
            for value in vars(module).values():
                getattr(value, "cache_clear", int)()


def compare_building(escnn: Escnn | None) -> None:
    """Building the first layer of its kind, and the median of later ones, in milliseconds."""
    say(f"Building a layer of {CHANNELS} channels, ms of CPU: the first of its kind, later ones")
    for group in groups():
        first, later = [], []
        for _ in range(BUILDS):
            forget_tables()
            for times in (first, later):
                start = time.process_time()
                our_layer(group)
                times.append(1e3 * (time.process_time() - start))
        say(f"- equilens {group.name}: {median(first):.1f}, {median(later):.1f}")
        if escnn:
            times = [
                1e3 * escnn("build", group.name, CHANNELS)["cpu_seconds"] for _ in range(BUILDS)
            ]
            say(f"- escnn {group.name}: {times[0]:,.0f}, {median(times[1:]):,.0f}")
    say("Target: at most 20 ms\n")


def compare_state_dicts(escnn: Escnn | None) -> None:
    """Keys in training and in evaluation."""
    group = groups()[0]
    layer = our_layer(group)
    training, evaluation = list(layer.train().state_dict()), list(layer.eval().state_dict())
    say(f"State dict of equilens {group.name} in training {training}, in evaluation {evaluation}")
    if escnn:
        keys = escnn("state", group.name, CHANNELS)
        say(
            f"State dict of escnn {group.name} in training {keys['training']}, "
            f"in evaluation {keys['evaluation']}"
        )


def main() -> None:
    python = escnn_python()
    options = arguments(__doc__, n=16)
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    escnn = Escnn(python) if python else None
    # first, while escnn has built nothing yet
    compare_building(escnn)
    compare_expansion(options.n, options.turns, escnn)
    compare_steps(options.n, options.turns, escnn)
    compare_state_dicts(escnn)


if __name__ == "__main__":
    main()
