"""What passes through a graph on calibration inputs, and the int8 thresholds that follow from it.

Four ways to choose a threshold for a tensor, from a histogram of its absolute values: `minmax` cuts nothing;
`percentile` cuts the largest 0.01 %; `entropy` loses least information (Migacz, 8-bit inference with TensorRT, GTC
2017); `mse` makes the expected squared error of rounding and cutting least.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from uniecg_device.errors import InputError
from uniecg_export.int8 import LARGEST
from uniecg_export.open_graph import Array, Inputs, OpenGraph
from uniecg_export.rounding import Moments

Calibrator = Literal["minmax", "percentile", "entropy", "mse"]
CALIBRATORS: Final[tuple[Calibrator, ...]] = get_args(Calibrator)
BINS: Final = 4096
PERCENTILE: Final = 99.99


@dataclass(frozen=True, eq=False)
class Seen:
    """What a tensor held. counts: (BINS,) of |x| in equal bins from 0 to `largest`; zeros are left out."""

    largest: float
    counts: NDArray[np.int64]


def check_calibration(graph: OpenGraph, calibration: Sequence[Inputs]) -> None:
    """Raises InputError where there is nothing to calibrate with, or an input does not fit the graph."""
    if not calibration:
        raise InputError("expected calibration inputs, found none; give some real recordings' windows.")
    for number, inputs in enumerate(calibration):
        found = {name: (str(value.dtype), tuple(value.shape)) for name, value in inputs.items()}
        expected = graph.signature
        if found != expected:
            raise InputError(
                f"expected calibration inputs {expected}, found {found} at place {number}; prepare them for this graph."
            )
        if bad := [name for name, value in inputs.items() if not np.isfinite(value).all()]:
            raise InputError(
                f"expected finite calibration inputs, found others in {', '.join(bad)} at place {number}; leave it out."
            )


def run_graph(graph: OpenGraph, calibration: Sequence[Inputs]) -> list[tuple[Array, ...]]:
    """The graph's float outputs for each of the calibration inputs, in ONNX Runtime."""
    session = graph.session()
    names = [value.name for value in graph.outputs]
    return [tuple(session.run(names, dict(inputs))) for inputs in calibration]


def largest_seen(graph: OpenGraph, tensors: Iterable[str], calibration: Sequence[Inputs]) -> dict[str, float]:
    """The largest magnitude in each of the float `tensors`."""
    largest: dict[str, float] = {}
    for name, value in _passing(graph, tensors, calibration):
        largest[name] = max(largest.get(name, 0.0), float(np.abs(value).max(initial=0)))
    return largest


def observe(graph: OpenGraph, tensors: Iterable[str], calibration: Sequence[Inputs]) -> dict[str, Seen]:
    """Run the graph twice over the calibration inputs: for the tensors' ranges, then for their histograms."""
    names = set(tensors)
    largest = largest_seen(graph, names, calibration)
    counts = {name: np.zeros(BINS, np.int64) for name in sorted(names)}
    for name, value in _passing(graph, names, calibration):
        counts[name] += np.histogram(np.abs(value[value != 0]), BINS, (0, largest[name] or 1.0))[0]
    return {name: Seen(largest[name], found) for name, found in counts.items()}


def second_moments(graph: OpenGraph, tensors: Iterable[str], calibration: Sequence[Inputs]) -> dict[str, Moments]:
    """The sum of x x' over every row x, along the last axis, of each tensor: (channels, channels)."""
    moments: dict[str, Moments] = {}
    for name, value in _passing(graph, tensors, calibration):
        rows = value.reshape(-1, value.shape[-1])
        moments[name] = moments.get(name, np.float32(0)) + rows.T @ rows
    return moments


def _passing(
    graph: OpenGraph, tensors: Iterable[str], calibration: Sequence[Inputs]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each float tensor of `tensors` as each of the calibration inputs makes it, inputs and outputs among them."""
    names = sorted(name for name in set(tensors) if graph.types.get(name) == TensorProto.FLOAT)
    inside = [name for name in names if name not in graph.signature]
    outputs = {value.name for value in graph.outputs}
    session = graph.session(observed=[name for name in inside if name not in outputs])
    for inputs in calibration:
        yield from zip(inside, session.run(inside, dict(inputs)), strict=True) if inside else ()
        yield from ((name, inputs[name]) for name in names if name in inputs)


def threshold(seen: Seen, calibrator: Calibrator) -> float:
    """The value that the largest int8 code stands for; above 0 unless the tensor held zeros alone."""
    if calibrator == "minmax" or not seen.counts.any():
        return seen.largest
    if calibrator == "percentile":
        share = np.cumsum(seen.counts) / seen.counts.sum()
        return seen.largest * (int(np.searchsorted(share, PERCENTILE / 100)) + 1) / BINS
    costs = [(_lost(seen.counts, used) if calibrator == "entropy" else _squared(seen.counts, used)) for used in USED]
    return seen.largest * USED[int(np.argmin(costs))] / BINS


# Bins below the threshold that are tried: from all but one sixteenth cut off to none.
USED: Final = tuple(range(BINS // 16, BINS + 1, BINS // 256))


def _squared(counts: NDArray[np.int64], used: int) -> float:
    """Expected squared error, in bins squared, where the largest code stands for `used` bins."""
    centre = np.arange(BINS) + 0.5
    step = used / LARGEST
    error = centre - np.minimum(np.rint(centre / step), LARGEST) * step
    return float(counts @ error**2) / float(counts.sum())


def _lost(counts: NDArray[np.int64], used: int) -> float:
    """Kullback-Leibler divergence of what 128 codes keep of the distribution, the rest put on the last bin."""
    kept = counts[:used].astype(np.float64)
    reference = kept.copy()
    reference[-1] += counts[used:].sum()
    code = np.arange(used) * (LARGEST + 1) // used
    filled = kept > 0
    total = np.bincount(code, kept, LARGEST + 1)
    places = np.bincount(code, filled, LARGEST + 1)
    spread = np.where(filled, (total / np.maximum(places, 1))[code], 0)
    p, q = reference / reference.sum(), spread / max(spread.sum(), 1.0)
    both = p > 0
    with np.errstate(divide="ignore"):
        return float(np.sum(p[both] * np.log(p[both] / np.maximum(q[both], 1e-12))))
