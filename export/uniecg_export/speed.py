"""How long an artifact takes beside the one that it replaces, in one run and in turn, and what memory it needs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from uniecg_device.errors import BackendError
from uniecg_runtime.backends.llama import LanguageModel
from uniecg_runtime.backends.onnx import Graph
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.machine import peak_memory_mb
from uniecg_runtime.manifest import Role, decode, encode, need

PAIRS = 31
SECONDS = 20.0  # after which fewer pairs do, but never fewer than LEAST_PAIRS
LEAST_PAIRS = 5
PROMPT_TOKENS, WRITTEN_TOKENS = 64, 16

Run = Callable[[], object]


@dataclass(frozen=True)
class Speed:
    """Milliseconds of the reference and of the trial, medians; other work on the machine is in both.

    of_pairs: median over pairs of trial / reference. of_fastest: quotient of the fastest tenths, which other work
    disturbs least. Both rise where the trial is slower.
    """

    reference_ms: float
    trial_ms: float
    of_pairs: float
    of_fastest: float

    @property
    def ratio(self) -> float:
        """The lower of both."""
        return min(self.of_pairs, self.of_fastest)


def compare(reference: Run, trial: Run) -> Speed:
    """Run both in turn, who is first changing each time, so that what else the machine does falls on both alike."""
    for run in (reference, trial):
        run()
    times: list[tuple[float, float]] = []
    begin = time.perf_counter()
    while len(times) < PAIRS and (len(times) < LEAST_PAIRS or time.perf_counter() - begin < SECONDS):
        if len(times) % 2:
            b, a = _time(trial), _time(reference)
        else:
            a, b = _time(reference), _time(trial)
        times.append((a, b))
    pairs = np.array(times) * 1e3
    a, b = np.median(pairs, 0)
    fastest = np.quantile(pairs, 0.1, 0)
    of_pairs, of_fastest = np.median(pairs[:, 1] / pairs[:, 0]), fastest[1] / fastest[0]
    return Speed(float(a), float(b), float(of_pairs), float(of_fastest))


def _time(run: Run) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def open_role(bundle: Bundle, role: Role, threads: int = 1) -> Run:
    """The artifact, ready to run over and over on its golden inputs; a language model on a prompt and an answer."""
    arrays: dict[str, Any] = bundle.golden()
    artifact = bundle.manifest.artifact(role)
    if role == "language_model":
        context = need(bundle.manifest.prompt, "a language model").context
        model = LanguageModel(bundle.path(role), context=context, threads=threads)
        tokens = np.resize(arrays["language_model.in.before"].ravel(), PROMPT_TOKENS)
        return lambda: _converse(model, [int(t) for t in tokens])
    graph = Graph(bundle.path(role), artifact, threads=threads)
    inputs = {tensor.name: arrays[f"{role}.in.{tensor.name}"] for tensor in artifact.inputs}
    return lambda: graph.run(**inputs)


def _converse(model: LanguageModel, tokens: list[int]) -> None:
    model.reset()
    model.feed_tokens(tokens)
    for token in tokens[:WRITTEN_TOKENS]:
        model.feed_tokens([token])


def memory_mb(bundle: Bundle, role: Role) -> float:
    """Peak resident memory that loading and running the artifact adds to a fresh process, MiB.

    Raises BackendError where that process fails.
    """
    command = [sys.executable, "-m", __name__, str(bundle.folder), role]
    done = subprocess.run(command, input=encode(bundle.manifest), capture_output=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise BackendError(f"expected the {role} to run in a process of its own, it failed ({reason[:200]}).")
    return float(done.stdout)


def _print_added_memory(folder: str, role: Role) -> None:
    bundle = Bundle(Path(folder), decode(sys.stdin.buffer.read()))
    before = peak_memory_mb()
    open_role(bundle, role)()
    print(peak_memory_mb() - before)


if __name__ == "__main__":
    _print_added_memory(sys.argv[1], cast(Role, sys.argv[2]))
