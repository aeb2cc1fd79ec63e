"""Calls timed in turn, so that a busy moment of the machine is everyone's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True)
class Ratio:
    """Of two medians over the same rounds; `low` to `high` holds 95 % of bootstrap draws over rounds."""

    value: float
    low: float
    high: float


def take_turns(
    calls: Mapping[str, Callable[[], object]],
    runs: int,
    warm_up: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Milliseconds of each call in each of `runs` rounds; every other round goes in the opposite order."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    forward = list(calls.items())
    for run in range(-warm_up, runs):
        for name, call in forward if run % 2 else reversed(forward):
            begin = clock()
            call()
            spent = 1000 * (clock() - begin)
            if run >= 0:
                times[name].append(spent)
    return times


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Median of `above` by that of `below`; both as `take_turns` gives them."""
    pairs = np.array([above, below])
    drawn = pairs[:, np.random.default_rng(0).integers(0, pairs.shape[1], (DRAWS, pairs.shape[1]))]
    medians = np.median(drawn, 2)
    low, high = np.percentile(medians[0] / medians[1], (2.5, 97.5))
    whole = np.median(pairs, 1)
    return Ratio(float(whole[0] / whole[1]), float(low), float(high))
