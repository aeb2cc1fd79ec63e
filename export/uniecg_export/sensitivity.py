"""Which products can be quantized: each one's own damage is measured, and the worst stay in float32.

Damage is the signal-to-quantization-noise ratio of the graph's outputs against float32 on calibration inputs. Noises of
products that are quantized together nearly add up, so the products that cost most noise for each weight are given up
first; how many, bisection finds by measuring, and what can be taken back after all is taken back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from uniecg_export.open_graph import Array

Measure = Callable[[frozenset[str]], float]
SURE: Final = 3.0  # dB below the target, where a product's own damage says that it need not be tried again


@dataclass(frozen=True)
class Found:
    """What a search found. sqnr: dB, measured with exactly `quantized`; inf where that is nothing.

    damage: product -> dB with that one alone quantized, the worst first; empty where all together were good enough.
    """

    quantized: frozenset[str]
    sqnr: float
    damage: Mapping[str, float]


def sqnr(reference: Array, found: Array) -> float:
    """10 log10 of the power of `reference` over that of `found` - `reference`, in dB.

    inf where they are equal, -inf where `found` has another shape or a number that is not finite.
    """
    if reference.shape != found.shape or not np.isfinite(found).all():
        return -math.inf
    exact = reference.astype(np.float64)
    signal, noise = float(np.sum(exact**2)), float(np.sum((found - exact) ** 2))
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def worst_sqnr(reference: Iterable[tuple[Array, ...]], found: Iterable[tuple[Array, ...]]) -> float:
    """The lowest SQNR of a graph's outputs, each over all calls. Both: outputs of each call, in the same order."""
    pairs = zip(zip(*reference, strict=True), zip(*found, strict=True), strict=True)
    return min(sqnr(np.stack(exact), np.stack(other)) for exact, other in pairs)


def search(sizes: Mapping[str, int], measure: Measure, target: float, alone: Measure | None = None) -> Found:
    """The products to quantize: as many weights as `target` dB allow.

    sizes: product -> weights. measure: the SQNR with exactly these products quantized, deterministic. alone: the same
    for one product at a time, where that can be told from less; it only says in which order to try. What is returned
    was measured at `target` or better, or is nothing at all; where noises add up, no product that is left out could be
    added to it.
    """
    everything = frozenset(sizes)
    together = measure(everything) if everything else math.inf
    if together >= target:
        return Found(everything, together, {})
    damage = {name: (alone or measure)(frozenset((name,))) for name in sizes}
    noise = {name: 10 ** (-value / 10) for name, value in damage.items()}
    worst = sorted(sizes, key=lambda name: (-noise[name] / sizes[name], name))
    kept, reached = _bisect(worst, measure, target)
    for name in sorted(everything - kept, key=lambda name: (-sizes[name], noise[name], name)):
        if damage[name] < target - SURE:
            continue
        with_it = measure(kept | {name})
        if with_it >= target:
            kept, reached = kept | {name}, with_it
    return Found(kept, reached, {name: damage[name] for name in worst})


def _bisect(worst: list[str], measure: Measure, target: float) -> tuple[frozenset[str], float]:
    """All but the first few of `worst`: the fewest that bisection finds."""
    low, high = 0, len(worst)  # too few left out; enough
    reached = math.inf
    while high - low > 1:
        middle = (low + high) // 2
        value = measure(frozenset(worst[middle:]))
        if value >= target:
            high, reached = middle, value
        else:
            low = middle
    return frozenset(worst[high:]), reached
