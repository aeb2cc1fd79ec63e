"""What a stream does with windows that cannot be read well."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import Block, Recording
from uniecg_runtime.stream import LiveState, WindowDue, WindowResult, stream

FS = 250.0


class Reader:
    """Stands in for an assistant with windows of 10 s."""

    def __init__(self) -> None:
        self.bundle = SimpleNamespace(manifest=SimpleNamespace(preprocessing=SimpleNamespace(fs=128.0, samples=1280)))

    def interpret(self, recording: Recording, *, on_text: Any) -> str:
        return "sinus rhythm"


def half_noise() -> Iterator[Block]:
    """10 s of a clean ECG, then 10 s of noise, by the tenth of a second."""
    clean = simulate(ParametricEcg(heart_rate=75), 10.0, FS, 1)
    noise = np.random.default_rng(0).normal(0, 2, clean.signal.shape).astype(np.float32)
    whole = np.concatenate([clean.signal, noise], axis=1)
    for first in range(0, whole.shape[1], 25):
        yield Block(np.ascontiguousarray(whole[:, first : first + 25]), FS, clean.leads, first / FS)


def events(**options: bool) -> tuple[list[WindowDue], list[WindowResult], LiveState]:
    told = list(stream(half_noise(), Reader(), interval=10.0, **options))  # type: ignore[arg-type]
    due = [event for event in told if isinstance(event, WindowDue)]
    results = [event for event in told if isinstance(event, WindowResult)]
    return due, results, [event for event in told if isinstance(event, LiveState)][-1]


def test_a_poor_window_is_counted_and_says_so_before_its_text() -> None:
    due, results, last = events()
    assert [window.quality.acceptable for window in due] == [True, False] and len(results) == 2
    assert (last.interpreted, last.poor) == (2, 1)


def test_a_poor_window_can_be_left_out_and_is_counted() -> None:
    due, results, last = events(skip_poor=True)
    assert [window.quality.acceptable for window in due] == [True] and len(results) == 1
    assert (last.interpreted, last.poor, last.skipped) == (1, 1, 0)
