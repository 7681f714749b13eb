"""Convolution on HEALPix maps: error under rotations, tables and time, beside a graph convolution.

Both take white fields of all degrees up to nside. The baseline is a Chebyshev convolution of the
graph of eight neighbours, twice applied, so that it sees the same 5×5 pixels (DeepSphere,
arXiv:1904.05146, with weights e^{−d²/2⟨d²⟩} and the normalized Laplacian).

python bench_local_convolution.py [--sizes NSIDE …] [--rotated NSIDE …] [-n CHANNELS] [--turns T]
"""

import time
import warnings

import comparison

parser = comparison.parser(__doc__, n=16, turns=5)
parser.add_argument("--sizes", type=int, nargs="*", default=(64, 128, 256, 512, 1024, 2048))
parser.add_argument("--rotated", type=int, nargs="*", default=(64, 128))
options = parser.parse_args()
comparison.pin_threads(options.threads)

import ducc0  # noqa: E402
import healpy  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from rich import box  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from torch import nn  # noqa: E402

from equilens.models.continuous_groups import O2  # noqa: E402
from equilens.models.fields import FieldType  # noqa: E402
from equilens.models.homogeneous import sphere  # noqa: E402
from equilens.models.planar.nonlinearities import GatedNonlinearity  # noqa: E402
from equilens.models.spherical.healpix_rotations import healpix_rotation_error  # noqa: E402
from equilens.models.spherical.local_convolution import SphereConv  # noqa: E402
from equilens.models.spherical.pixels import shifted, window_offsets  # noqa: E402
from equilens.models.spherical.resolution import (  # noqa: E402
    SmoothPooling,
    SmoothUpsampling,
    SpherePooling,
    SphereUpsampling,
)
from equilens.models.spherical.steered_gaussians import SteeredGaussian  # noqa: E402
from equilens.models.spherical.stencil_tables import window_table  # noqa: E402
from equilens.models.spherical.stencils import pixel_spacing  # noqa: E402
from equilens.models.spherical.tiles import Tiling  # noqa: E402
from equilens.models.spherical.wigner import wigner_d  # noqa: E402

LENSING = FieldType(O2(), "irrep(0,0)+irrep(1,2)")
SCALARS = sphere().field_type("4xirrep(0)")
MIXED = sphere().field_type("2xirrep(0)+2xirrep(2)")
DEGREE = 2
ORDER = 3
"""Chebyshev polynomials, T_0 to T_2."""

KERNELS = {1: SteeredGaussian(0, 0), 2: SteeredGaussian(0, 1), 3: SteeredGaussian(2, 0)}


class ChebyshevConv(nn.Module):
    """Σ_k T_k(L − 1) x Θ_k on the graph of a whole sphere or tile, scalars only."""

    def __init__(self, in_type, out_type):
        super().__init__()
        self.in_type, self.out_type = in_type, out_type
        shape = (ORDER, in_type.channels, out_type.channels)
        self.weight = nn.Parameter(torch.randn(shape) / np.sqrt(ORDER * in_type.channels))
        self.graphs = {}

    def graph(self, geometry, dtype):
        """−D^{−½} A D^{−½}, the Laplacian with its spectrum moved to [−1, 1]."""
        if geometry not in self.graphs:
            pixels = geometry.pixels[0]
            found = shifted(geometry.nside, pixels, *window_offsets(-1, 1))
            place = np.full(12 * geometry.nside**2, -1)
            place[pixels] = np.arange(len(pixels))
            there = np.where(found < 0, -1, place[found])
            here = np.repeat(np.arange(len(pixels)), 9).reshape(-1, 9)
            keep = (there >= 0) & (there != here)
            here, there = here[keep], there[keep]
            centres = np.array(healpy.pix2vec(geometry.nside, pixels, nest=True)).T
            squares = ((centres[here] - centres[there]) ** 2).sum(axis=1)
            weights = np.exp(-squares / (2 * squares.mean()))
            degrees = np.bincount(here, weights, len(pixels))
            values = -weights / np.sqrt(degrees[here] * degrees[there])
            index = torch.from_numpy(np.stack([here, there]))
            shape = (len(pixels), len(pixels))
            matrix = torch.sparse_coo_tensor(index, torch.from_numpy(values), shape)
            self.graphs[geometry] = matrix.coalesce().to(dtype).to_sparse_csr()
        return self.graphs[geometry]

    def forward(self, features, geometry):
        batch = features.shape[0]
        rows = features.permute(2, 0, 1).reshape(geometry.n, -1)
        graph = self.graph(geometry, features.dtype)
        terms = [rows, graph @ rows]
        terms.append(2 * (graph @ terms[1]) - rows)
        stacked = torch.stack([t.view(geometry.n, batch, -1) for t in terms])
        mixed = torch.einsum("knbi,kio->bon", stacked, self.weight.to(features.dtype))
        return mixed


class Stack(nn.Module):
    """Layers one after the other; pointwise ones take no geometry, pooled tiles are coarser."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.in_type, self.out_type = layers[0].in_type, layers[-1].out_type

    def forward(self, x, geometry):
        for layer in self.layers:
            pointwise = isinstance(layer, (GatedNonlinearity, Relu))
            x = layer(x) if pointwise else layer(x, geometry)
        return x


class Relu(nn.ReLU):
    """With types, like a layer."""

    in_type = out_type = SCALARS


def multipliers(kernel, source, target, nside):
    """What a kernel does to degrees 0 … nside: 2π ∫ K(β) d^ℓ_{s's}(β) β dβ.

    On fine grids that is the answer of the plane; it is within 4e-6 from nside 512 on.
    """
    h = pixel_spacing(nside)
    if nside > 512:
        return kernel.answer((torch.arange(nside + 1, dtype=torch.float64) + 0.5) * h).numpy()
    nodes, weights = np.polynomial.legendre.leggauss(96)
    distance = torch.from_numpy((nodes + 1) * 4)
    radial = kernel.blurred(torch.complex(distance, torch.zeros_like(distance))).real
    measure = torch.from_numpy(weights) * 8 * np.pi * distance
    return (wigner_d(nside, target, source, distance * h) * radial * measure).sum(dim=1).numpy()


def exact_answer(layer, alms, nside):
    """The operator that the layer samples, on (f, E, B): E is minus the spin harmonics' part."""
    scalar, shear = ([w.detach().numpy().ravel() for w in p.coefficients] for p in layer.parts)
    f, e, b = alms

    def times(alm, coefficients, source, target, kernels):
        total = np.zeros(nside + 1)
        for coefficient, kernel in zip(coefficients, kernels, strict=True):
            total += coefficient * (
                1.0 if kernel is None else multipliers(kernel, source, target, nside)
            )
        return healpy.almxfl(alm, total)

    same, turned = (None, KERNELS[1], KERNELS[2]), (KERNELS[3],)
    return (
        times(f, scalar[0], 0, 0, same) - times(e, shear[0], 2, 0, turned),
        times(e, shear[1], 2, 2, same) - times(f, scalar[1], 0, 2, turned),
        times(b, shear[1], 2, 2, same),
    )


def sampled(alms, nside, pixels):
    """(f, γ1, γ2) at NESTED pixels."""
    at = np.stack(healpy.pix2ang(nside, pixels, nest=True), axis=1)
    lmax = healpy.Alm.getlmax(alms[0].size)
    settings = {"loc": at, "lmax": lmax, "epsilon": 1e-9, "nthreads": options.threads}
    scalar = ducc0.sht.synthesis_general(alm=alms[0][None], spin=0, **settings)
    shear = ducc0.sht.synthesis_general(alm=np.stack(alms[1:]), spin=2, **settings)
    return np.concatenate([scalar, shear])


def distance_from_exact(nside):
    """Relative rms difference from the exact operator on tiles all over the sky, and pixels."""
    torch.manual_seed(0)
    layer = SphereConv(LENSING, LENSING, degree=DEGREE).double()
    generator = np.random.default_rng(0)
    ell, m = healpy.Alm.getlm(nside)
    parts = generator.normal(size=(2, 3, len(ell)))
    alms = (parts[0] + 1j * np.where(m > 0, parts[1], 0)) * (ell > 1)
    # a pole, a corner of three base pixels, both sides of the belt's edge, and the equator
    tiling = Tiling(nside, nside // 16, nside // 4)
    size = tiling.core_size
    numbers = [
        healpy.ang2pix(nside, *place, nest=True) // size
        for place in ((0.01, 0.1), (np.arccos(2 / 3), 0.0), (0.6, 0.75), (0.9, 1.3), (1.57, 2.0))
    ]
    off = norm = 0.0
    for number in numbers:
        tile = tiling.tile(number)
        with torch.no_grad():
            x = torch.from_numpy(sampled(alms, nside, tile.pixels))
            found = layer(x[None], tile.geometry)[0, :, :size].numpy()
        exact = sampled(exact_answer(layer, alms, nside), nside, tile.pixels[:size])
        off, norm = off + ((found - exact) ** 2).sum(), norm + (exact**2).sum()
    return np.sqrt(off / norm), size * len(numbers)


def show_scaling():
    """Error, memory and time of tables by nside."""
    table = Table("nside", "error", "pixels", "table MB", "µs a row", box=box.MARKDOWN)
    for column in table.columns:
        column.justify = "right"
    for nside in options.sizes:
        error, n = distance_from_exact(nside)
        rows = window_table(nside, DEGREE)
        some = np.linspace(0, len(rows.rows) - 1, 4096).astype(int)
        fresh = np.unique(some)[~rows._known[np.unique(some)]]
        start = time.process_time()
        rows.complete(fresh)
        per_row = (time.process_time() - start) / max(len(fresh), 1) * 1e6
        table.add_row(
            str(nside), f"{error:.1e}", f"{n:,}", f"{rows.n_bytes / 1e6:,.1f}", f"{per_row:.0f}"
        )
    console = Console(width=110, highlight=False)
    console.print(
        "Linear layer, scalar and shear, distance from the operator that commutes exactly"
    )
    console.print(table)
    console.print("Target: ≤ 2e-3 at nside 2048 in ≤ 2 GB of tables")


def networks():
    """What is rotated, by name, with the degree to compare up to as a fraction of the fields'."""
    gate = GatedNonlinearity(MIXED)
    gated = Stack(SphereConv(MIXED, gate.in_type), gate, SphereConv(MIXED, MIXED))
    rectified = Stack(SphereConv(SCALARS, SCALARS), Relu(), SphereConv(SCALARS, SCALARS))
    quick = Stack(SpherePooling(MIXED), SphereUpsampling(MIXED))
    smooth = Stack(SmoothPooling(MIXED), SmoothUpsampling(MIXED))
    return [
        ("SphereConv, scalars", SphereConv(SCALARS, SCALARS), 1.0),
        ("ChebyshevConv, scalars (baseline)", ChebyshevConv(SCALARS, SCALARS), 1.0),
        ("SphereConv, scalars and shear", SphereConv(MIXED, MIXED), 1.0),
        ("conv, gate, conv", gated, 1.0),
        ("conv, ReLU, conv, scalars", rectified, 1.0),
        ("mean and copy, to half its degree", quick, 0.5),
        ("smooth down and up, to half its degree", smooth, 0.5),
    ]


def show_rotations():
    """Errors under one rotation, for fields up to degree nside and nside / 2."""
    columns = (f"{n}, ℓ ≤ {n // k}" for n in options.rotated for k in (1, 2))
    table = Table("", *columns, box=box.MARKDOWN)
    torch.manual_seed(0)
    for name, module, fraction in networks():
        module = module.double()
        errors = [
            healpix_rotation_error(module, n, n // k, out_degree=int(fraction * n // k))
            for n in options.rotated
            for k in (1, 2)
        ]
        table.add_row(name, *(f"{error:.1e}" for error in errors))
    console = Console(width=110, highlight=False)
    console.print("Error under a rotation of SO(3), white fields, by nside and band limit")
    console.print(table)
    console.print("Target: linear ≤ 2e-3, after a nonlinearity ≤ 3e-3")


def show_times():
    """Forward and backward passes on one tile of nside 512."""
    tile = Tiling(512, 8, 32).tile(100)
    fields = sphere().field_type(f"{options.n}xirrep(0)")
    wide = sphere().field_type(f"{options.n}xirrep(0)+{options.n // 2}xirrep(2)")
    x, y = (torch.randn(1, t.channels, tile.geometry.n) for t in (fields, wide))
    ours, theirs = SphereConv(fields, fields), ChebyshevConv(fields, fields)
    both = SphereConv(wide, wide)

    def infer(module, inputs):
        with torch.no_grad():
            module(inputs, tile.geometry)

    def learn(module, inputs):
        module(inputs.requires_grad_(), tile.geometry).sum().backward()

    for name, work in (("Inference", infer), ("Forward and backward", learn)):
        result = comparison.take_turns(
            {
                "ChebyshevConv": lambda work=work: work(theirs, x),
                "SphereConv": lambda work=work: work(ours, x),
                "SphereConv, with shear": lambda work=work: work(both, y),
            },
            tile.geometry.n,
            options.turns,
            "ChebyshevConv",
            clock=time.process_time,
        )
        result.show(f"{name}, {options.n} scalars, {options.n // 2} shears", "pixels/s")


def main():
    """Print all tables."""
    torch.set_num_threads(options.threads)
    # the baseline's sparse matrices: PyTorch calls them beta
    warnings.filterwarnings("ignore", message="Sparse")
    show_times()
    if options.rotated:
        show_rotations()
    if options.sizes:
        show_scaling()


if __name__ == "__main__":
    main()
