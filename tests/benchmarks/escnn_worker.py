"""escnn's R2Conv behind a line protocol, so that it takes turns with ours from its own interpreter.

Reads a line of JSON, ``[command, group, channels, side, batch, channels_last]``, and answers with
one: ``{"cpu_seconds": …}`` and what the command adds. Commands are ``build`` (a new layer),
``step`` (forward and backward, once), ``expand`` (the kernel alone, and back) and ``state`` (keys
of the state dict in training and in evaluation). Needs escnn and torch only; see
``bench_layers.py`` for how to install them.
"""

import json
import sys
import time

import torch
from escnn import gspaces, nn

KERNEL = 3


def field_type(group, channels):
    """Return regular fields of C_N or D_N that take that many channels."""
    n = int(group[1:])
    space = gspaces.flipRot2dOnR2(n) if group[0] == "D" else gspaces.rot2dOnR2(n)
    fields = channels // space.fibergroup.order()
    return nn.FieldType(space, fields * [space.regular_repr])


class Worker:
    """Layers and inputs, kept from one command to the next."""

    def __init__(self):
        self.layers, self.inputs = {}, {}

    def build(self, group, channels, *_):
        fields = field_type(group, channels)
        self.layers[group, channels] = nn.R2Conv(fields, fields, KERNEL, padding=1, bias=False)
        return {}

    def layer(self, group, channels):
        if (group, channels) not in self.layers:
            self.build(group, channels)
        return self.layers[group, channels].train()

    def step(self, group, channels, side, batch, channels_last):
        layer = self.layer(group, channels)
        images = self.images(channels, side, batch, channels_last)
        images.grad = None
        layer.zero_grad(set_to_none=True)
        output = layer(nn.GeometricTensor(images, layer.in_type)).tensor
        output.backward(torch.ones_like(output))
        return {}

    def expand(self, group, channels, *_):
        layer = self.layer(group, channels)
        layer.zero_grad(set_to_none=True)
        kernel = layer.expand_parameters()[0]
        kernel.backward(torch.ones_like(kernel))
        return {}

    def images(self, *shape):
        if shape not in self.inputs:
            channels, side, batch, channels_last = shape
            layout = torch.channels_last if channels_last else torch.contiguous_format
            images = torch.randn(batch, channels, side, side)
            self.inputs[shape] = images.contiguous(memory_format=layout).requires_grad_()
        return self.inputs[shape]

    def state(self, group, channels, *_):
        layer = self.layer(group, channels)
        training = sorted(layer.state_dict())
        return {"training": training, "evaluation": sorted(layer.eval().state_dict())}


def main():
    torch.set_num_threads(1)
    worker = Worker()
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        start = time.process_time()
        answer = getattr(worker, command)(*arguments)
        answer["cpu_seconds"] = time.process_time() - start
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
