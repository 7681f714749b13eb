"""SIGKILL at random moments: worker, scheduler and driver of a scoring, writer of an ingest."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import psutil
from catalogue import Night, must, run, start
from cluster_processes import wait_until
from setting import Row, Setting, expect_failure, rewritten, stopwatch, written

KINDS = ("worker", "scheduler", "driver")


def undisturbed_seconds(setting: Setting) -> None:
    """Time one scoring on the cluster that nothing breaks."""
    night = setting.fresh("timed", remote=True)
    with stopwatch() as seconds:
        driver = start(night.score)
        told, _ = driver.communicate()
        setting.score_seconds = seconds()
    assert driver.returncode == 0, told
    assert setting.is_identical(night)
    shutil.rmtree(night.out)


def kill_at_random(setting: Setting, kinds: list[str]) -> list[Row]:
    """Kill one process after the other while nights are scored, until the list is used up."""
    rows = {kind: Row(f"SIGKILL of the {kind}", times=0, identical=True) for kind in KINDS}
    left, number = list(kinds), 0
    while left:
        night = setting.fresh(f"killed{number}", remote=True)
        before, killed = setting.cluster.n_started(), []
        with stopwatch() as seconds:
            while not _score_until_killed(setting, night, left, killed):
                setting.cluster.revive()
            lost = seconds() - setting.score_seconds
        redone = setting.cluster.n_started() - before - setting.n_blocks
        identical = setting.is_identical(night)
        _book(rows, killed, redone, lost, identical, setting.cluster.n_workers)
        shutil.rmtree(night.out)
        setting.cluster.revive()
        number += 1
    return [row for row in rows.values() if row.times]


def _score_until_killed(setting: Setting, night: Night, left: list[str], killed: list[str]) -> bool:
    """One run of the command; True where it reached its end."""
    driver = start(night.score)
    while left and _moment(setting, night, driver):
        kind = left.pop(0)
        killed.append(kind)
        blocks = written(night)
        if kind == "worker":
            setting.cluster.kill_worker(int(setting.rng.integers(setting.cluster.n_workers)))
            continue
        if kind == "driver":
            driver.kill()
            driver.communicate()
        else:
            setting.cluster.kill_scheduler()
            told, _ = driver.communicate()
            if driver.returncode == 0:
                # the last block was home already: this strike hit nothing, and is drawn again
                left.insert(0, killed.pop())
                return True
            expect_failure(driver.returncode, told, ("Dask scheduler",))
        assert rewritten(night, blocks) == 0, "finished blocks were written again"
        return False
    told, _ = driver.communicate()
    assert driver.returncode == 0, told
    return True


def _moment(setting: Setting, night: Night, driver: subprocess.Popen[str]) -> bool:
    """Wait for a random moment of the scoring; False where the command ends before."""
    have = night.n_blocks()
    goal = have + int(setting.rng.integers(0, 4))
    delay = float(setting.rng.uniform(0, 0.3))
    wait_until(lambda: driver.poll() is not None or (night.n_blocks() >= goal))
    time.sleep(delay)
    return driver.poll() is None


def _book(
    rows: dict[str, Row], killed: list[str], redone: int, lost: float, identical: bool, workers: int
) -> None:
    """Share what a night lost between its kills; a worker may lose the one block it works on."""
    for n, kind in enumerate(killed, start=1):
        row, may = rows[kind], 1 if kind == "worker" else workers
        # nobody can tell which kill cost which block: each takes its allowance, the last the rest
        cost = redone if n == len(killed) else min(redone, may)
        redone -= cost
        row.times += 1
        row.redone += cost
        row.allowed += may
        row.seconds_lost += lost / len(killed)
        row.identical = bool(row.identical and identical)


def kill_the_writer(setting: Setting, times: int) -> Row:
    """SIGKILL an ingest at random moments; the next one begins it anew, and leaves nothing."""
    night = Night(setting.undisturbed.inputs, setting.folder / "writer")
    night.out.mkdir()
    slots = _slots()
    row = Row("SIGKILL of the ingest's writer", times=times)
    for _ in range(times):
        _kill_once(night, float(setting.rng.uniform(0, 0.5)))
    with stopwatch() as seconds:
        must(night.ingest)
        row.seconds_lost = seconds()
    row.identical = setting.same_store(night)
    assert _slots() <= slots, "shared memory of killed runs was not given back"
    assert [path.name for path in night.out.iterdir()] == [night.store.name]
    return row


def _kill_once(night: Night, delay: float) -> None:
    writer = start(night.ingest)
    wait_until(lambda: (night.store / "zarr.json").exists() or writer.poll() is not None)
    time.sleep(delay)
    helpers = psutil.Process(writer.pid).children(recursive=True)
    writer.kill()
    writer.communicate()
    # workers without a parent have to end by themselves
    _, alive = psutil.wait_procs(helpers, timeout=30)
    assert not alive, f"{alive} outlived the writer that started them"


def refuse_a_second_writer(setting: Setting) -> Row:
    """Two commands on one store: the second is refused, and harms nothing."""
    from equilens.pipeline.lock import lock_store

    night = setting.fresh("second")
    release = lock_store(night.scores)
    try:
        told = expect_failure(*run(night.score), ("another process",))
    finally:
        release()
    must(night.score)
    return Row("two writers of one store", identical=setting.is_identical(night), note=told)


def _slots() -> set[Path]:
    return {path for root in ("/dev/shm", "/tmp") for path in Path(root).glob("*-equilens")}
