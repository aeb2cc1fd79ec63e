"""The bench measures what it says, and refuses what it cannot measure."""

from __future__ import annotations

import pytest

from uniecg_device.errors import BundleError, InputError
from uniecg_runtime.bench import bench, latency
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.machine import machine, peak_memory_mb, usable_cpus


def test_latency_is_the_median_and_the_tails() -> None:
    found = latency([float(v) for v in range(1, 102)])
    assert (found.median, found.p90, found.p99, found.runs) == (51.0, 91.0, 100.0, 101)


def test_latency_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="at least one run"):
        latency([])


def test_bench_times_every_stage_as_often_as_asked(bundle: Bundle) -> None:
    result = bench(str(bundle.folder), runs=2, warm_up=1, threads=1)
    assert {"interpret encode", "interpret first_token", "interpret total", "generate total"} <= result.stages.keys()
    assert all(stage.runs == 2 and 0 <= stage.median <= stage.p99 for stage in result.stages.values())
    assert result.stages["interpret first_token"].median < result.stages["interpret total"].median
    assert result.backend["encoder"] == "CPUExecutionProvider" and "denoiser" in result.backend
    assert result.threads == 1 and result.load_ms > 0 and result.tokens_per_second > 0
    assert result.machine["cpu"] and result.peak_memory_mb > 20


@pytest.mark.parametrize(("runs", "warm_up"), [(0, 0), (1, -1)])
def test_bench_refuses_counts_that_measure_nothing(runs: int, warm_up: int) -> None:
    with pytest.raises(InputError, match="at least one run"):
        bench("uniecg-nano", runs=runs, warm_up=warm_up)


def test_bench_refuses_a_bundle_that_is_not_there() -> None:
    with pytest.raises(BundleError):
        bench("/nowhere", runs=1)


def test_the_machine_knows_itself() -> None:
    this = machine()
    assert this.cpus == usable_cpus() >= 1
    assert this.memory_mb > peak_memory_mb() > 1
    assert this.cpu
