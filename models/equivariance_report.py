"""Does a network keep its score when the sky turns? A report for any architecture or weights.

Quarter turns and mirror images move whole pixels, so a symmetric network must keep its scores up to
rounding. Turns by 45° and 22.5° are drawn anew from analytic scenes; a group that holds such an
angle keeps it up to sampling. All errors are in units of the standard deviation of the scores: 1
means that turning an object changes its score as much as taking another object.

A plain network of the same size with random weights stands in as the negative control. Where it
passes too, the cutouts cannot tell, and the report does not call that a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equilens.models.errors import EquivarianceError
from equilens.models.fold import fold
from equilens.models.groups import CyclicGroup, Group
from equilens.models.inputs import InputSpec
from equilens.models.networks import ARCHITECTURES, LensFinder
from equilens.models.random_weights import random_finder
from equilens.models.sky_moves import SQUARE, Move, moves
from equilens.models.testing import rotated_scenes, transform

FLOAT32, BFLOAT16, SAMPLED = 1e-4, 0.3, 0.4
"""Tolerances: largest error on the grid by dtype, and root mean square error at other angles."""
CONTROL_MARGIN = 10.0
DEFAULT_TWIN = "plain-resnet-nano"
CONTROL = "plain control"

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
Network = Callable[..., Tensor]


@dataclass(frozen=True)
class Form:
    """One way to run the network under test.

    Parameters
    ----------
    name : str
    network : callable of images, noise, mask and band_present
    tolerance : float
        Largest error allowed on the grid.
    """

    name: str
    network: Network
    tolerance: float


@dataclass(frozen=True)
class MoveErrors:
    """What one move does to the scores.

    Parameters
    ----------
    move : str
    on_grid : bool
        Whole pixels move, and errors are the largest over objects; else root mean squares.
    claimed : bool
        The group holds this move, so that errors are judged.
    n : int
        Objects.
    errors : dict of float
        By form, the control's too, in standard deviations of the scores.
    worst_object : int
        Row of the largest error over the judged forms.
    passed : bool
    """

    move: str
    on_grid: bool
    claimed: bool
    n: int
    errors: dict[str, float]
    worst_object: int
    passed: bool


@dataclass(frozen=True)
class EquivarianceReport:
    """All moves, and the verdict.

    Parameters
    ----------
    group : str
        Whose moves are judged.
    control : str
        Architecture of the negative control.
    rows : tuple of MoveErrors
    tolerances : dict of float
        By form; and ``sampled``, of the angles between.
    control_fails : bool
        The control breaks every judged move of the grid by ten float32 tolerances.
    """

    group: str
    control: str
    rows: tuple[MoveErrors, ...]
    tolerances: dict[str, float]
    control_fails: bool

    @property
    def passed(self) -> bool:
        """All judged moves hold, and the control shows that they could have failed."""
        return self.control_fails and all(row.passed for row in self.rows if row.claimed)

    @property
    def verdict(self) -> str:
        """One sentence."""
        broken = [row.move for row in self.rows if row.claimed and not row.passed]
        if broken:
            return f"FAILED: not invariant under {self.group}: {', '.join(broken)}"
        if not self.control_fails:
            return "INCONCLUSIVE: a plain network passes on these cutouts too; take other ones"
        judged = sum(row.claimed for row in self.rows)
        return f"passed: invariant under {self.group}, {judged} moves; the plain control is not"


def finder_forms(finder: LensFinder, *, bfloat16: bool = True) -> tuple[Form, ...]:
    """Return the finder in evaluation mode and its folded form, in float32 and autocast bf16."""
    finder.eval()
    folded = fold(finder)
    forms = (Form("finder", finder, FLOAT32), Form("folded", folded, FLOAT32))
    if not bfloat16:
        return forms
    halves = (Form(f"{form.name} bf16", _autocast(form.network), BFLOAT16) for form in forms)
    return (*forms, *halves)


def equivariance_report(
    forms: Sequence[Form],
    spec: InputSpec,
    group: Group,
    inputs: Inputs,
    *,
    architecture: str = "",
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> EquivarianceReport:
    """Move cutouts and analytic scenes, and compare the scores.

    Parameters
    ----------
    forms : of one network
    spec : InputSpec
    group : Group
        What the network is held to; D4 where it is ``CyclicGroup(1)``, which claims nothing.
    inputs : images, noise, mask, band_present
        At least two objects.
    architecture : str
        The network's, to find its plain twin.
    seed : int
        Of the analytic scenes and the control's weights.
    progress : callable, optional
        Told 1 after each move.

    Raises
    ------
    EquivarianceError
        For fewer than two objects.
    """
    if len(inputs[0]) < 2:
        raise EquivarianceError(
            f"errors are measured against the spread of scores, which takes two objects or more; "
            f"got {len(inputs[0])}"
        )
    held_to = SQUARE if group == CyclicGroup(1) else group
    control = plain_twin(architecture) or DEFAULT_TWIN
    plain = Form(CONTROL, random_finder(control, spec, seed), FLOAT32)
    runs = _Runs((*forms, plain), spec, inputs, seed)
    rows = []
    for move in moves(spec.shape):
        rows.append(_row(runs, move, held_to))
        if progress is not None:
            progress(1)
    judged = [row for row in rows if row.claimed and row.on_grid]
    return EquivarianceReport(
        group=held_to.name,
        control=control,
        rows=tuple(rows),
        tolerances={form.name: form.tolerance for form in forms} | {"sampled": SAMPLED},
        control_fails=all(row.errors[CONTROL] > CONTROL_MARGIN * FLOAT32 for row in judged),
    )


def plain_twin(architecture: str) -> str | None:
    """Return the name of the plain network of the same widths and depths, where there is one."""
    entry = ARCHITECTURES.get(architecture)
    return entry.twin if entry is not None and entry.twin in ARCHITECTURES else None


class _Runs:
    """Scores before any move, by form and kind of scene, computed once."""

    def __init__(self, forms: Sequence[Form], spec: InputSpec, inputs: Inputs, seed: int) -> None:
        self.forms, self.spec, self.inputs, self.seed = forms, spec, inputs, seed
        self.analytic = self._analytic(0.0)
        self.resting = {
            on_grid: {form.name: _scores(form, self._scenes(on_grid)) for form in self._at(on_grid)}
            for on_grid in (True, False)
        }

    def errors(self, move: Move) -> dict[str, Tensor]:
        """|score of the moved − score|, (N,) float64, in standard deviations, by form."""
        on_grid = move.element is not None
        moved = self._moved(move)
        resting = self.resting[on_grid]
        return {
            form.name: (_scores(form, moved) - resting[form.name]).abs() / resting[form.name].std()
            for form in self._at(on_grid)
        }

    def _at(self, on_grid: bool) -> list[Form]:
        # sampling, not rounding, limits the angles between: one dtype tells all
        return [form for form in self.forms if on_grid or form.tolerance <= FLOAT32]

    def _scenes(self, on_grid: bool) -> Inputs:
        return self.inputs if on_grid else self.analytic

    def _moved(self, move: Move) -> Inputs:
        if move.element is None:
            return self._analytic(move.angle_deg)
        images, noise, mask, present = self.inputs
        return (
            transform(images, SQUARE, move.element),
            noise,
            transform(mask, SQUARE, move.element),
            present,
        )

    def _analytic(self, angle_deg: float) -> Inputs:
        """The same scenes at any angle, from bright to faint, so that their scores differ."""
        n, bands = len(self.inputs[0]), self.spec.n_bands
        images = rotated_scenes(self.spec, n, angle_deg, self.seed)
        noise = torch.logspace(-1, 0.5, n)[:, None].expand(n, bands)
        mask = torch.zeros(images.shape, dtype=torch.bool)
        return images, noise, mask, torch.ones(n, bands, dtype=torch.bool)


def _row(runs: _Runs, move: Move, group: Group) -> MoveErrors:
    on_grid = move.element is not None
    by_object = runs.errors(move)
    figures = {
        name: float(values.max() if on_grid else values.square().mean().sqrt())
        for name, values in by_object.items()
    }
    judged = [form for form in runs.forms if form.name in figures and form.name != CONTROL]
    shares = torch.stack([by_object[form.name] / form.tolerance for form in judged])
    return MoveErrors(
        move=move.name,
        on_grid=on_grid,
        claimed=move.belongs_to(group),
        n=shares.shape[1],
        errors=figures,
        worst_object=int(shares.amax(dim=0).argmax()),
        # a NaN fails too
        passed=all(figures[f.name] <= (f.tolerance if on_grid else SAMPLED) for f in judged),
    )


def _scores(form: Form, inputs: Inputs) -> Tensor:
    with torch.no_grad():
        return form.network(*inputs).double()


def _autocast(network: Network) -> Network:
    def run(*inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return network(*inputs)

    return run
