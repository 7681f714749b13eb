"""A short round of chaos: processes killed, blocks damaged, disks full; the catalogue is the same.

The long one is ``make chaos``.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = (
    "SIGKILL of the worker",
    "SIGKILL of the driver",
    "score block flipped, finished",
    "score block truncated, unfinished",
    "disk full while scoring",
    "read-only target",
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    table = tmp_path_factory.mktemp("chaos") / "rows.json"
    command = [sys.executable, str(Path(__file__).with_name("run.py")), "--json", str(table)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert table.exists(), done.stdout + done.stderr
    return {row["fault"]: {**row, "told": done.stdout} for row in json.loads(table.read_text())}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_catalogue_is_bit_identical_after(rows, fault):
    assert fault in rows, sorted(rows)
    row = rows[fault]
    if row["note"].startswith("skipped"):
        pytest.skip(row["note"])
    assert row["identical"], row["told"]
    assert row["redone"] <= row["allowed"], row["told"]
