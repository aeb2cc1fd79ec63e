"""Calls take turns in both orders, and a ratio comes with what it could have been."""

from __future__ import annotations

import itertools

import numpy as np

from timing import ratio, take_turns


def test_every_round_has_every_call_and_the_order_alternates() -> None:
    said: list[str] = []
    calls = {name: lambda name=name: said.append(name) for name in "ab"}
    ticks = itertools.count()
    times = take_turns(calls, 3, warm_up=1, clock=lambda: next(ticks) * 0.001)
    assert "".join(said) in ("abbaabba", "baabbaab")
    assert {name: np.round(values, 6).tolist() for name, values in times.items()} == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_the_time_is_that_of_the_call() -> None:
    now = 0.0

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds

    times = take_turns({"short": lambda: wait(0.25), "long": lambda: wait(2.0)}, 2, clock=lambda: now)
    assert times == {"short": [250.0, 250.0], "long": [2000.0, 2000.0]}


def test_a_ratio_is_of_medians_and_its_interval_narrows_with_rounds() -> None:
    rng = np.random.default_rng(1)
    slow, fast = 3 + rng.exponential(1, 1000), 1 + rng.exponential(0.3, 1000)
    many, few = ratio(slow.tolist(), fast.tolist()), ratio(slow[:20].tolist(), fast[:20].tolist())
    assert many.value == np.median(slow) / np.median(fast)
    assert few.low < many.low < many.value < many.high
    assert many.high - many.low < (few.high - few.low) / 3
    assert ratio([4.0] * 5, [2.0] * 5).low == 2.0
