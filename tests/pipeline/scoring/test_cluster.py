"""The embedded cluster serves nobody but this machine, and says what fails."""

import psutil
import pytest

from equilens.pipeline import scoring
from equilens.pipeline.cluster import open_client
from equilens.pipeline.errors import ScoringError


@pytest.mark.parametrize("dashboard", [False, True])
def test_nothing_listens_beyond_the_loopback_interface(dashboard):
    with open_client(workers=1, dashboard=dashboard) as client:
        assert client.submit(abs, -1).result() == 1
        sockets = psutil.Process().net_connections(kind="inet")
        listening = [each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN]
    assert listening
    assert set(listening) == {"127.0.0.1"}


def test_a_scheduler_without_workers_is_an_error_and_no_wait_for_ever(monkeypatch):
    monkeypatch.setattr(scoring, "WORKER_TIMEOUT_S", 0.2)
    with open_client(workers=1) as client:
        client.retire_workers()
        with pytest.raises(ScoringError, match="no Dask worker joined"):
            next(scoring._stream(client, None, [(0, 1)]))
