"""Networks on the sphere: invariant logits, comparators of one size, one graph."""

import pytest
import torch

from equilens.models.errors import ArchitectureError
from equilens.models.spherical.classifier import (
    SphericalClassifier,
    Stage,
    cohen_like,
    planar_comparator,
)
from equilens.models.spherical.correlations import scalars
from equilens.models.spherical.euler_grid import EulerGrid
from equilens.models.spherical.real_harmonics import random_rotations, rotate
from equilens.models.spherical.rotation_checks import random_fields
from equilens.models.spherical.so3_transforms import SphereTransform

GRID = EulerGrid(20, 20, rings="equiangular")
STAGES = (Stage(4, 7, 2, 0.6), Stage(6, 4, 2, 0.9, n_gamma=3))


def maps_and_turned(n=8, lmax=7):
    transform = SphereTransform(scalars(2), lmax, GRID)
    generator = torch.Generator().manual_seed(0)
    fields = random_fields(scalars(2), lmax, n, generator)
    angles = random_rotations(n, generator)
    return transform.synthesis(fields), transform.synthesis(rotate(fields, angles))


def settled(network, maps):
    """In evaluation mode, with statistics of these maps."""
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(maps)
    return network.eval()


def change(network):
    """Root mean square change of the logits by rotations, in units of their spread."""
    maps, turned = maps_and_turned()
    network = settled(network, maps)
    with torch.no_grad():
        logits, moved = network(maps), network(turned)
    return float((moved - logits).norm() / (logits - logits.mean(dim=0)).norm())


def test_logits_are_invariant_under_all_rotations():
    torch.manual_seed(0)
    assert change(SphericalClassifier(2, 3, GRID, STAGES, oversampling=2.0)) < 1e-2


def test_oversampling_is_what_keeps_them():
    torch.manual_seed(0)
    coarse = SphericalClassifier(2, 3, GRID, STAGES, oversampling=1.0, function="relu")
    assert change(coarse) > 1e-2


def test_a_planar_network_is_not_invariant():
    """Negative control on the same maps."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(2, 8, 5), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(3)
    )
    assert change(network) > 0.3


def test_comparators_have_as_many_parameters():
    grid = EulerGrid(60, 60, rings="equiangular")
    networks = SphericalClassifier(1, 10, grid), cohen_like(10, grid), planar_comparator(10)
    sizes = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert sizes == [57_658, 58_610, 57_768]
    maps = torch.rand(2, 1, 60, 60)
    assert all(network.eval()(maps).shape == (2, 10) for network in networks)


@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
def test_the_whole_network_is_one_graph(backend):
    network = SphericalClassifier(2, 3, GRID, (Stage(2, 2, 1, 0.6), Stage(2, 1, 1, 0.9, n_gamma=2)))
    maps = maps_and_turned(2)[0]
    network.eval()
    compiled = torch.compile(network, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(maps), network(maps))


def test_every_parameter_learns():
    network = SphericalClassifier(2, 3, GRID, STAGES)
    torch.nn.functional.cross_entropy(network(maps_and_turned()[0]), torch.arange(8) % 3).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(bool(parameter.grad.isfinite().all()) for parameter in network.parameters())


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Stage(4, 3, 5, 0.5), "n_max must be 0 … lmax"),
        (lambda: Stage(0, 3, 1, 0.5), "needs fields"),
        (lambda: SphericalClassifier(1, 2, GRID, STAGES[::-1]), "do not grow, got [4, 7]"),
    ],
)
def test_impossible_networks_are_refused(build, words):
    with pytest.raises(ArchitectureError) as refusal:
        build()
    assert words in str(refusal.value)
