"""How long each stage takes here, and how much memory: medians and tails over repeated runs."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uniecg_device.errors import InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import Recording
from uniecg_runtime.assistant import Assistant
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.machine import machine, peak_memory_mb

Stages = defaultdict[str, list[float]]  # milliseconds of every run

PROMPT = "Generate an ECG with atrial fibrillation"


@dataclass(frozen=True)
class Latency:
    """Milliseconds over `runs` repetitions."""

    median: float
    p90: float
    p99: float
    runs: int


def latency(milliseconds: list[float]) -> Latency:
    """Median and tails. Raises InputError for an empty list."""
    if not milliseconds:
        raise InputError("expected at least one run to summarise, found none; give --runs 1 or more.")
    median, p90, p99 = (float(v) for v in np.percentile(milliseconds, (50, 90, 99)))
    return Latency(median, p90, p99, len(milliseconds))


@dataclass(frozen=True)
class BenchResult:
    """What `uniecg bench` prints.

    backend: by role, what ran it. tokens_per_second: of the text, after its first token.
    """

    bundle: str
    version: str
    backend: dict[str, str]
    machine: dict[str, Any]
    threads: int
    load_ms: float
    stages: dict[str, Latency]
    tokens_per_second: float
    peak_memory_mb: float


def bench(
    source: str,
    *,
    runs: int = 20,
    warm_up: int = 2,
    backend: str = "cpu",
    threads: int | None = None,
    public_key: Path | None = None,
) -> BenchResult:
    """Interpret a simulated ECG and, where the bundle can, generate one, `runs` times after `warm_up`.

    Raises BundleError for a bundle that does not open, BackendError for a backend that does not run here, and
    InputError for a count below one.
    """
    if runs < 1 or warm_up < 0:
        raise InputError(f"expected at least one run and no negative warm-up, found {runs} and {warm_up}.")
    begin = time.perf_counter()
    bundle = Bundle.open(source, public_key=public_key)
    assistant = Assistant(bundle, backend=backend, threads=threads)
    recording = simulate(ParametricEcg(heart_rate=72.0), 10.0, 500.0, 1)
    stages, warming = Stages(list), Stages(list)
    speeds: list[float] = []
    load_ms = 0.0
    for run in range(warm_up + runs):
        kept = run >= warm_up
        ran, speed = _interpret(assistant, recording, stages if kept else warming)
        speeds += speed if kept else []
        if run == 0:
            load_ms = 1000 * (time.perf_counter() - begin)
        if bundle.manifest.generation is not None:
            ran |= _generate(assistant, run, stages if kept else warming)
    return BenchResult(
        bundle=bundle.manifest.name,
        version=bundle.manifest.version,
        backend=ran,
        machine=asdict(machine()),
        threads=assistant.threads,
        load_ms=load_ms,
        stages={name: latency(values) for name, values in stages.items()},
        tokens_per_second=float(np.median(speeds)) if speeds else 0.0,
        peak_memory_mb=peak_memory_mb(),
    )


def _interpret(assistant: Assistant, recording: Recording, stages: Stages) -> tuple[dict[str, str], list[float]]:
    """What ran, and tokens per second where there were enough of them."""
    arrivals: list[float] = []
    result = assistant.interpret(recording, on_text=lambda _: arrivals.append(time.perf_counter()))
    for name, value in _stages(result.timing_ms):
        stages[f"interpret {name}"].append(value)
    return result.backend, [1000 * (len(arrivals) - 1) / result.timing_ms["text"]] if len(arrivals) > 1 else []


def _generate(assistant: Assistant, seed: int, stages: Stages) -> dict[str, str]:
    result = assistant.generate(PROMPT, heart_rate=110, seed=seed)
    for name, value in _stages(result.timing_ms):
        stages[f"generate {name}"].append(value)
    return result.backend


def _stages(timing_ms: dict[str, float]) -> list[tuple[str, float]]:
    """All but loading, which happens once."""
    return [(name, value) for name, value in timing_ms.items() if name != "load"]
