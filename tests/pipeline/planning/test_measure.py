"""Measuring: every rate from the real stages, on cutouts as small as networks take."""

from dataclasses import replace

import pytest

from equilens.models import InputSpec, build_finder, save_checkpoint
from equilens.pipeline.cluster import open_client
from equilens.pipeline.networks import describe_network
from equilens.pipeline.planning.errors import RatesError
from equilens.pipeline.planning.measure import Sizes, measure_rates
from equilens.pipeline.planning.measure_blocks import BlockBench
from equilens.pipeline.planning.measure_driver import DriverBench
from equilens.pipeline.planning.measure_ingest import IngestBench
from equilens.pipeline.planning.rates import MAY_BE_ZERO, QUANTITIES, load_rates, save_rates

SPEC = InputSpec(("a",), 0.1, (33, 33))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_checkpoint(path, build_finder("d4-resnet-nano", SPEC, seed=1), {})
    return describe_network(path)


def test_pixels_are_read_scored_and_counted(network, tmp_path):
    bench = BlockBench(tmp_path, network, 768, 64, "cpu")
    found = bench.turn()
    assert min(found[name] for name in ("network_s", "read_s", "check_s")) > 0
    with open_client(workers=1) as client:
        found |= bench.scored(client.scheduler.address)
    # each cutout of a block goes through the network; half is for a machine that speeds up
    assert found["block_s"] > 0.5 * found["network_s"]
    assert found["block_scatter"] >= 0
    # noise hardly shrinks: 33 rows of 33 floats and 5 bytes of mask
    assert 0.5 * 33 * 132 < found["pixel_bytes"] < 33 * 137
    assert found["fact_bytes"] > 0


def test_a_driver_is_told_by_the_files_of_its_run(tmp_path):
    bench = DriverBench(tmp_path, (256, 512), "cpu")
    found = bench.turn()
    assert set(found) == set(bench.NAMES)
    assert found["open_s"] + found["open_object_s"] > 0
    assert found["close_s"] + found["close_object_s"] > 0
    assert found["score_bytes"] > 8
    # images, masks and twelve arrays of facts, and the three columns of toy cutouts
    assert found["shard_files"] >= 14
    assert bench.memory() > 0


def test_an_ingest_reads_real_files(tmp_path):
    assert IngestBench(tmp_path, SPEC, 8).turn()["ingest_s"] > 0


def test_what_can_not_be_measured_is_refused(network):
    with pytest.raises(RatesError, match="how many bands"):
        measure_rates(None, None)
    with pytest.raises(RatesError, match="takes 1 bands, 4"):
        measure_rates(network.path, 4)
    with pytest.raises(RatesError, match="768"):
        Sizes(n_cutouts=500)
    with pytest.raises(RatesError, match="spread"):
        Sizes(repeats=1)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RatesError, match="--gpu-rate"):
        measure_rates(None, 4, device="cuda")


@pytest.mark.slow
def test_all_rates_of_a_machine(network, tmp_path):
    sizes = Sizes(n_cutouts=768, n_driver=(256, 512), n_ingest=8, repeats=2)
    told = []
    rates = measure_rates(network.path, 1, sizes=sizes, progress=told.append)
    assert sum(told) == 3
    assert set(rates.measured) == set(QUANTITIES)
    assert all(rate.n == 2 for name, rate in rates.measured.items() if name != "driver_bytes")
    for name, rate in rates.measured.items():
        assert min(rate.values) > 0 or name in MAY_BE_ZERO
    assert rates.network["sha256"] == network.sha256
    assert (rates.n_bands, rates.side, rates.device) == (1, 33, "cpu")
    # a worker with torch in it
    assert rates.mean("worker_bytes") > 1e8
    save_rates(tmp_path / "rates.json", rates)
    assert load_rates(tmp_path / "rates.json") == replace(
        rates, provenance=load_rates(tmp_path / "rates.json").provenance
    )
