"""Scoring a store: `equilens score` against the bare network, and against a plain script.

Bare is the folded network on batches of 64 that are in memory already: nothing read, nothing
written. `plain_script.py` does from the FITS files what a user would write instead, with one loader
process a thread. All run the same network with the same number of threads; whole commands include
starting Python and importing torch.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from comparison import arguments, take_turns

ARCHITECTURE = "d4-resnet-nano"
BATCH = 64
BARE = "bare network in memory"
TARGET = "0.85 of the bare network (a command starts Python as well), and faster than the script"


def main() -> None:
    options = arguments(__doc__, n=5000, turns=3)
    import torch
    from fits_cubes import folder_of_cubes

    torch.set_num_threads(options.threads)
    with folder_of_cubes(options.n) as paths, TemporaryDirectory() as scratch:
        contest = Contest(paths[0].parent, Path(scratch), options.threads)
        contest.check()
        found = take_turns(contest.contenders(), options.n, options.turns, BARE)
    title = f"Scoring 4x101x101 cutouts with {ARCHITECTURE}, threads: {options.threads}"
    found.show(title, "cutouts/s", TARGET)
    script = found.ratio("equilens score, command") / found.ratio("plain script, command")
    sys.stdout.write(f"equilens score over plain script, both whole commands: {script:.2f}\n")


class Contest:
    """The same cubes as files, as a store and in memory, and one network for all."""

    def __init__(self, folder: Path, scratch: Path, threads: int) -> None:
        from fits_cubes import BANDS, PIXEL_SCALE_ARCSEC, write_survey

        from equilens.models.checkpoint import save_checkpoint
        from equilens.models.fold import fold
        from equilens.models.inputs import InputSpec
        from equilens.models.networks import build_finder
        from equilens.pipeline.surveys.registry import get_survey

        self.folder, self.scratch, self.threads = folder, scratch, threads
        self.survey = get_survey(str(write_survey(scratch)))
        self.store, self.weights = scratch / "store.zarr", scratch / "network.safetensors"
        finder = build_finder(ARCHITECTURE, InputSpec(BANDS, PIXEL_SCALE_ARCSEC)).eval()
        save_checkpoint(self.weights, finder, {"title": "random weights, for timing"})
        self.network = fold(finder)
        self.ingest()
        self.batches = batches_in_memory(self.store)

    def contenders(self):
        return {
            BARE: self.bare,
            "equilens score, in process": self.score,
            "equilens score, command": self.command,
            "plain script, command": self.script,
            "equilens ingest and score, in process": self.ingest_and_score,
        }

    def check(self) -> None:
        """All must give the same scores, or the times mean nothing."""
        import numpy as np

        from equilens.pipeline.scores import ScoreStore

        self.score()
        scores = ScoreStore(self.scratch / "scores.zarr").combined()
        assert np.allclose(scores, self.bare(), atol=1e-4), "scores must agree"

    def bare(self):
        import torch

        with torch.inference_mode():
            return torch.cat([self.network(*batch) for batch in self.batches]).numpy()

    def score(self) -> None:
        from shutil import rmtree

        from equilens.pipeline.scoring import score

        out = self.scratch / "scores.zarr"
        # scores that are there already would not be computed again
        rmtree(out, ignore_errors=True)
        score(self.store, self.weights, out, workers=self.threads, batch_size=BATCH)

    def command(self) -> None:
        from shutil import rmtree

        out = self.scratch / "by_command.zarr"
        rmtree(out, ignore_errors=True)
        equilens = Path(sys.executable).with_name("equilens")
        arguments = [self.store, "--model", self.weights, "--out", out]
        run([equilens, "score", *arguments, "--workers", self.threads])

    def script(self) -> None:
        script = Path(__file__).with_name("plain_script.py")
        arguments = [self.folder, self.weights, self.scratch / "scores.csv", self.threads]
        run([sys.executable, script, *arguments])

    def ingest(self) -> None:
        from equilens.pipeline.ingest import ingest

        ingest(self.folder, self.survey, self.store, replace=True, workers=self.threads)

    def ingest_and_score(self) -> None:
        self.ingest()
        self.score()


def batches_in_memory(path: Path):
    """Every cutout of a store, in the batches that scoring takes."""
    import torch

    from equilens.pipeline.stores import CutoutStore

    store, batches = CutoutStore(path), []
    for start in range(0, store.n_objects, BATCH):
        part = store.read(slice(start, min(start + BATCH, store.n_objects)))
        arrays = (part.images, part.noise_njy, part.mask, part.band_present)
        batches.append(tuple(torch.from_numpy(values.copy()) for values in arrays))
    return batches


def run(command) -> None:
    """Run a command to its end; its complaints are ours."""
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
