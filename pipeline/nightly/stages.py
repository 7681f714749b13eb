"""What is done of a night, stage by stage, and what is missing; for `equilens status`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from equilens.pipeline.nightly.folders import SUMMARY
from equilens.pipeline.nightly.inputs import NightInputs
from equilens.pipeline.nightly.instalments import Instalment, current_instalment, read_plan
from equilens.pipeline.nightly.products import FACTS, OBJECTS
from equilens.pipeline.scores import IDENTITY, block_file
from equilens.pipeline.stores import MANIFEST, CutoutStore


@dataclass(frozen=True)
class StageState:
    """One stage: is it done, and in words how far."""

    name: str
    done: bool
    text: str


def stage_states(inputs: NightInputs) -> list[StageState]:
    """Every stage of a night, for its files and network as they are now."""
    parts = read_plan(inputs.folder.cutouts(inputs.survey_identity))
    held = current_instalment([part for part in parts if part.is_ingested], inputs.discovery)
    n_found, n_ids = inputs.discovery.n_found, len(inputs.discovery.stamps)
    work = inputs.folder.work(inputs.data_identity)
    summary = inputs.folder.current / SUMMARY
    return [
        StageState(
            "discover", n_found > 0, f"{n_found} objects in {inputs.discovery.n_files} files"
        ),
        StageState(
            "ingest",
            n_ids > 0 and len(held) == n_ids,
            f"{len(held)} of {n_ids} objects in {len(parts)} instalments",
        ),
        *(_score_state(part, inputs.model_sha256) for part in parts if part.has_cutouts),
        _file_state("merge", work / OBJECTS, "one row an object, calibrated"),
        _file_state("sentinels", work / "sentinels.json", "fixed set scored"),
        _file_state("inject", work / "injections.json", "injections scored"),
        _file_state("measure", work / FACTS, "figures of the night"),
        _file_state("crossmatch, report, publish", summary, "products of some run"),
    ]


def _score_state(part: Instalment, model_sha256: str) -> StageState:
    name, path = f"score {part.number}", part.scores(model_sha256)
    if (path / MANIFEST).exists():
        return StageState(name, True, f"all {CutoutStore(part.cutouts).n_objects} objects")
    if not (path / IDENTITY).exists():
        return StageState(name, False, f"not begun with network {model_sha256[:12]}")
    n_blocks = len(list(block_file(path, 0).parents[1].glob("*/0")))
    return StageState(name, False, f"{n_blocks} blocks are written; a run does the others")


def _file_state(name: str, path: Path, text: str) -> StageState:
    there = path.exists()
    return StageState(name, there, text if there else "not made of these files and this network")


def describe_stages(states: Sequence[StageState]) -> str:
    """The stages as lines."""
    width = max(len(state.name) for state in states)
    lines = [f"  {'done' if s.done else 'to do':<6} {s.name:<{width}}  {s.text}" for s in states]
    return "\n".join(lines)
