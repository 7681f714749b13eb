"""A Dask scheduler and its workers as processes of their own, to be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from count_starts import STARTS
from distributed import Client

HERE = Path(__file__).parent
# a lost connection is noticed in seconds, not after the five minutes that Dask gives a worker
QUICK = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "20s",
    "DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "1s",
}
START_TIMEOUT_S = 120
QUIET = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")


class ClusterProcesses:
    """One scheduler, and workers of one thread each under a nanny.

    Parameters
    ----------
    folder : for logs, and for the list of blocks that began
    n_workers : number of workers
    host : that all bind to
    prefix : command that workers run under, such as ``ip netns exec NAME``; one a worker
    """

    def __init__(
        self,
        folder: Path,
        n_workers: int = 2,
        host: str = "127.0.0.1",
        prefix: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        self.folder, self.host = folder, host
        self.prefix = prefix or ((),) * n_workers
        self.n_workers = len(self.prefix)
        self.port = _free_port(host)
        self.starts = folder / "starts.txt"
        self.starts.touch()
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"tcp://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        try:
            self.revive()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """SIGKILL everything."""
        for process in (*self._workers, self._scheduler):
            if process is not None and process.poll() is None:
                # a session of its own holds the nanny and its worker
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def revive(self) -> None:
        """Start whatever does not run, and wait for all of it."""
        if self._scheduler is None or self._scheduler.poll() is not None:
            arguments = ["scheduler", "--host", self.host, "--port", str(self.port)]
            self._scheduler = self._start("scheduler", (), *arguments, *QUIET)
            self._stop_workers()
            self._workers = [self._start_worker(k) for k in range(self.n_workers)]
        with Client(self.address, timeout=START_TIMEOUT_S, set_as_default=False) as client:
            client.wait_for_workers(self.n_workers, timeout=START_TIMEOUT_S)

    def kill_scheduler(self) -> None:
        """SIGKILL the scheduler; its workers end by themselves."""
        assert self._scheduler is not None
        self._scheduler.kill()
        self._scheduler.wait()

    def kill_worker(self, index: int) -> None:
        """SIGKILL a worker; its nanny starts another."""
        nanny = psutil.Process(self._workers[index].pid)
        # one that was killed just before is on its way
        wait_until(lambda: _spawned(nanny))
        for child in _spawned(nanny):
            child.kill()

    def n_started(self) -> int:
        """Blocks that began, since this was made."""
        return len(self.starts.read_text().splitlines())

    def _stop_workers(self) -> None:
        for process in self._workers:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start_worker(self, index: int) -> subprocess.Popen[bytes]:
        words = ["worker", self.address, "--nthreads", "1", "--memory-limit", "0"]
        words += [*QUIET, "--local-directory", str(self.folder / "dask")]
        words += ["--preload", str(HERE / "count_starts.py")]
        words += [] if self.prefix[index] else ["--host", self.host]
        return self._start(f"worker{index}", self.prefix[index], *words)

    def _start(self, name: str, prefix: tuple[str, ...], *words: str) -> subprocess.Popen[bytes]:
        log = open(self.folder / f"{name}.log", "ab")  # noqa: SIM115 - the process keeps it
        environment = {**os.environ, **QUICK, STARTS: str(self.starts)}
        command = [*prefix, sys.executable, "-m", "dask", *words]
        with log:
            return subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _spawned(nanny: psutil.Process) -> list[psutil.Process]:
    """The worker of a nanny; it is a child of the process, not of its main thread."""
    found = []
    for child in nanny.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "multiprocessing.spawn" in " ".join(child.cmdline()):
                found.append(child)
    return found


def wait_until(condition, timeout_s: float = START_TIMEOUT_S) -> None:
    """Poll a condition every few milliseconds."""
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"nothing happened within {timeout_s} s")
        time.sleep(0.005)
