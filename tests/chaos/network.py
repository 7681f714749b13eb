"""A worker behind a cable of its own, which is pulled while it scores."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from catalogue import start
from cluster_processes import ClusterProcesses, wait_until
from setting import Row, Setting, stopwatch

SPACE, NEAR, FAR = "equilens-chaos", "equi-near", "equi-far"
NEAR_IP, FAR_IP = "10.231.77.1", "10.231.77.2"


def dropped_network(setting: Setting, outage_s: float = 12.0) -> Row:
    """One of two workers loses the scheduler for longer than Dask waits, and comes back."""
    row = Row("network dropped between scheduler and worker")
    with cable(row) as there:
        if not there:
            return row
        folder = setting.folder / "network"
        folder.mkdir()
        prefixes = ((), ("ip", "netns", "exec", SPACE))
        with ClusterProcesses(folder, host=NEAR_IP, prefix=prefixes) as cluster:
            remote = Setting(
                setting.folder, setting.rng, setting.n, cluster, expected=setting.expected
            )
            night = remote.fresh("dropped", remote=True)
            with stopwatch() as seconds:
                driver = start(night.score)
                wait_until(lambda: night.n_blocks() >= 1 or driver.poll() is not None)
                time.sleep(float(setting.rng.uniform(0, 0.3)))
                _pull(True)
                time.sleep(outage_s)
                _pull(False)
                told, _ = driver.communicate(timeout=300)
                row.seconds_lost = seconds() - setting.score_seconds
            assert driver.returncode == 0, told
            row.redone, row.allowed = cluster.n_started() - setting.n_blocks, cluster.n_workers
            row.identical = remote.is_identical(night)
            row.note = f"for {outage_s:g} s"
    return row


@contextmanager
def cable(row: Row) -> Iterator[bool]:
    """A network namespace with one cable to this one; False, and why in `row`, if not allowed."""
    _ip("netns", "delete", SPACE, check=False)
    try:
        _ip("netns", "add", SPACE)
        _ip("link", "add", NEAR, "type", "veth", "peer", "name", FAR, "netns", SPACE)
        _ip("addr", "add", f"{NEAR_IP}/30", "dev", NEAR)
        _ip("link", "set", NEAR, "up")
        _ip("-n", SPACE, "addr", "add", f"{FAR_IP}/30", "dev", FAR)
        _ip("-n", SPACE, "link", "set", FAR, "up")
        _ip("-n", SPACE, "link", "set", "lo", "up")
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        _ip("netns", "delete", SPACE, check=False)
        row.note = f"skipped: no network namespace may be made here ({error})"
        yield False
        return
    try:
        yield True
    finally:
        _ip("netns", "delete", SPACE, check=False)


def _pull(out: bool) -> None:
    _ip("link", "set", NEAR, "down" if out else "up")


def _ip(*words: str, check: bool = True) -> None:
    try:
        subprocess.run(["ip", *words], check=check, capture_output=True)
    except FileNotFoundError:
        if check:
            raise
