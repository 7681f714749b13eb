"""Whole finders beside their plain twins: inference in several forms, and training steps.

python bench_finders.py --family convnext --sizes base [--compile] [--bf16] [--training]

Cutouts are 4x101x101, noisy scenes. Twins have the same widths and depths, and the same compile,
layout and type on both sides. "8 views" is the plain twin averaged over the rotations and
reflections of each cutout, which is what makes it invariant without symmetry in the network.
"""

import time

import comparison

parser = comparison.parser(__doc__, n=16)
parser.add_argument("--family", default="convnext", choices=("convnext", "resnet"))
parser.add_argument("--sizes", nargs="+", default=["nano", "small", "base"])
parser.add_argument("--group", default="d4")
parser.add_argument("--compile", action="store_true", help="torch.compile on both sides")
parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast on both sides")
parser.add_argument("--training", action="store_true", help="forward and backward, not inference")
options = parser.parse_args()
comparison.pin_threads(options.threads)

import torch  # noqa: E402

from equilens.models import InputSpec, build_finder, fold  # noqa: E402
from equilens.models.testing import random_inputs  # noqa: E402

SPEC = InputSpec(("VIS", "NIR_Y", "NIR_J", "NIR_H"), 0.1)


def inference(names):
    """Folded networks: ours block-diagonal and dense, the twin, and the twin over 8 views."""
    inputs = random_inputs(SPEC, options.n)
    ours, twin = (build_finder(name, SPEC).eval() for name in names)
    forms = {"plain twin": fold(twin), "ours": fold(ours)}
    if options.family == "convnext":
        forms["ours, dense form"] = fold(ours, dense=True)
    if options.compile:
        forms = {name: torch.compile(form, fullgraph=True) for name, form in forms.items()}

    def run(form):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            return form(*inputs)

    runs = {name: lambda f=form: run(f) for name, form in forms.items()}
    # views cost the same whatever they show
    runs["plain twin, 8 views"] = lambda: [run(forms["plain twin"]) for _ in range(8)]
    return runs


def training(names):
    """One step without the optimiser: forward and backward in training mode."""
    inputs = random_inputs(SPEC, options.n)

    def step(finder):
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            loss = finder(*inputs).float().square().mean()
        loss.backward()
        finder.zero_grad(set_to_none=True)

    ours, twin = (build_finder(name, SPEC).train() for name in names)
    finders = {"ours": ours, "plain twin": twin}
    if options.compile:
        finders = {name: torch.compile(form, fullgraph=True) for name, form in finders.items()}
    return {name: lambda f=finder: step(f) for name, finder in finders.items()}


def main():
    """Print a table for each size."""
    torch.set_num_threads(options.threads)
    what = "training, forward and backward" if options.training else "folded inference"
    how = f"{'bfloat16 autocast' if options.bf16 else 'float32'}, "
    how += "compiled" if options.compile else "eager"
    for size in options.sizes:
        name = f"{options.group}-{options.family}-{size}"
        names = (name, f"plain-{options.family}-{size}")
        runs = training(names) if options.training else inference(names)
        result = comparison.take_turns(
            runs, options.n, options.turns, "plain twin", clock=time.process_time
        )
        result.show(f"{name}, {what}, {how}", "cutouts/s")


if __name__ == "__main__":
    main()
