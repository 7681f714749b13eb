"""The embedded cluster serves nobody but this machine, and says what fails."""

import psutil
import pytest

from equilens.pipeline.cluster import open_client
from equilens.pipeline.errors import ScoringError
from equilens.pipeline.scoring import dispatch
from equilens.pipeline.scoring.blocks import Block, Source


@pytest.mark.parametrize("dashboard", [False, True])
def test_nothing_listens_beyond_the_loopback_interface(dashboard):
    with open_client(workers=1, dashboard=dashboard) as client:
        assert client.submit(abs, -1).result() == 1
        sockets = psutil.Process().net_connections(kind="inet")
        listening = [each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN]
    assert listening
    assert set(listening) == {"127.0.0.1"}


def test_a_scheduler_without_workers_is_an_error_and_no_wait_for_ever(monkeypatch):
    monkeypatch.setattr(dispatch, "WORKER_TIMEOUT_S", 0.2)
    with open_client(workers=1) as client:
        # a cluster that hears of a worker's end before its start raises on its way out
        client.cluster.wait_for_workers(1)
        client.retire_workers()
        with pytest.raises(ScoringError, match="no Dask worker joined"):
            next(dispatch.stream(client, Source("", "", ""), [Block(0, 1, ())]))
