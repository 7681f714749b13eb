"""Run a benchmark and append what it prints to RESULTS.md, with where and when it ran.

python record.py bench_decode.py -n 2000
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"


def processor() -> str:
    """Name of the CPU, as Linux has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown CPU"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown CPU"


def circumstances(command: list[str]) -> str:
    """Command, commit, machine and load, a line of Markdown each."""
    from equilens.pipeline.provenance import source_commit

    load = os.getloadavg()[0]
    return "\n".join(
        (
            f"## {command[0].removesuffix('.py')}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "",
            f"- command: `python tests/benchmarks/{' '.join(command)}`",
            f"- commit: {source_commit() or 'not under version control'}",
            f"- machine: {processor()}, {len(os.sched_getaffinity(0))} cores, "
            f"load {load:.1f} before the run",
        )
    )


def main(command: list[str]) -> int:
    """Run one script of this folder; its exit code. Nothing is recorded of a failed run."""
    if not command or not (HERE / command[0]).is_file():
        sys.stderr.write(f"{__doc__}\n")
        return 2
    said = circumstances(command)
    done = subprocess.run(
        [sys.executable, *command], cwd=HERE, stdout=subprocess.PIPE, text=True, check=False
    )
    sys.stdout.write(done.stdout)
    if done.returncode == 0:
        with RESULTS.open("a") as file:
            file.write(f"\n{said}\n\n{done.stdout.strip()}\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
