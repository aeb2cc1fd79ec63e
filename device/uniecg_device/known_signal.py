"""How high a known signal is in a device's counts.

A square wave is measured at its edges: on both sides of each the plateaus are fitted, without the edge and its
overshoot, and their distance is the step. A sine is fitted as IEEE 1057 describes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError

Signal = NDArray[np.float64]

_NOISE = 0.04  # most that the fit may leave, rms, of the signal from peak to peak
_FEWEST_STEPS = 6
_FEWEST_CYCLES = 5.0
_LOOK_SECONDS = 0.04  # either side of an edge, to find it
_SHORTEST_PLATEAU = 0.08
_GUARD_SECONDS = 0.02  # either side of an edge: the edge itself, overshoot, ringing of filters
_FIT_SECONDS = 0.1  # of a plateau at most: whole cycles of 50 and of 60 Hz
_MAINS = (50.0, 60.0)
_FASTEST_DECAY = 2 * math.pi * 1.0  # of a plateau, per second: a high-pass filter at 1 Hz
_FARTHEST_HZ = 0.02  # by which a sine may differ from what was told


@dataclass(frozen=True)
class Fit:
    """counts: from peak to peak, or plateau to plateau. residual: what is left, rms, as a part of that."""

    counts: float
    residual: float
    cycles: float


def fit_sine(counts: NDArray[np.int32] | Signal, fs: float, hz: float) -> Fit:
    """Least squares with four parameters (IEEE 1057): amplitude, phase, offset and, beginning at `hz`, frequency.

    The frequency is fitted as the device's clock and the generator's are not the same. Raises InputError.
    """
    samples = np.asarray(counts, np.float64)
    cycles = len(samples) / fs * hz
    if not hz < 0.4 * fs:
        raise InputError(
            f"expected a sine below {0.4 * fs:g} Hz, which {fs:g} samples a second can carry; found {hz:g} Hz"
        )
    if cycles < _FEWEST_CYCLES:
        raise InputError(
            f"expected at least {_FEWEST_CYCLES:g} cycles, found {cycles:.1f}; measure longer with --seconds"
        )
    time = (np.arange(len(samples)) - len(samples) / 2) / fs
    omega, cosine, sine = 2 * math.pi * hz, 0.0, 0.0
    left = samples
    for step in range(8):  # the first is the fit with three parameters
        c, s = np.cos(omega * time), np.sin(omega * time)
        columns = [c, s, np.ones_like(time)] + ([time * (sine * c - cosine * s)] if step else [])
        solution, left = _least_squares(columns, samples)
        cosine, sine = solution[0], solution[1]
        omega += solution[3] if step else 0.0
    height = 2 * math.hypot(cosine, sine)
    found = omega / (2 * math.pi)
    residual = _rms(left) / height if height > 0 else math.inf
    if not (residual <= _NOISE and abs(found / hz - 1) <= _FARTHEST_HZ):
        raise InputError(
            f"found no sine of {hz:g} Hz: the best that fits has {found:.3g} Hz and leaves {100 * residual:.1f} % of "
            f"its height from peak to peak, expected at most {100 * _NOISE:g} %. Check generator, "
            "frequency and mains hum"
        )
    return Fit(height, residual, cycles)


def fit_square(counts: NDArray[np.int32] | Signal, fs: float) -> Fit:
    """The distance of two plateaus, whatever their share of the time: the median step between them.

    Wander and mains hum are fitted beside each step, and so is the decay of plateaus behind a device's high-pass
    filter. Raises InputError where there are no two plateaus, too few steps, or too much noise.
    """
    samples = np.asarray(counts, np.float64) - np.median(counts)
    edges, contrast = _find_edges(samples, fs)
    decay = 0.0
    for _ in range(3):
        steps = [_fit_step(samples, fs, edge, decay, refine=True) for edge in edges]
        decay = min(max(0.0, decay + float(np.median([step.faster for step in steps]))), _FASTEST_DECAY)
    if decay == _FASTEST_DECAY:
        raise InputError(
            "found plateaus that fall as behind a high-pass filter above 1 Hz, too fast to measure; apply a sine"
        )
    steps = [_fit_step(samples, fs, edge, decay, refine=False) for edge in edges]
    heights = np.abs([step.height for step in steps])
    height = float(np.median(heights))
    residual = math.sqrt(np.mean([step.residual**2 for step in steps])) / height if height > 0 else math.inf
    spread = 1.4826 * float(np.median(np.abs(heights - height))) / height if height > 0 else math.inf
    if height < 0.6 * contrast or max(residual, spread) > _NOISE:
        raise InputError(
            f"found no two plateaus: beside its steps the signal varies by {100 * residual:.1f} % of their height "
            f"(rms) and the steps by {100 * spread:.1f} %, expected at most {100 * _NOISE:g} %. Check generator, "
            "electrodes and mains hum"
        )
    return Fit(height, residual, len(edges) / 2)


@dataclass(frozen=True)
class _Edge:
    """at: between two samples. before, after: numbers of the plateaus' samples that are fitted."""

    at: float
    before: NDArray[np.intp]
    after: NDArray[np.intp]


def _find_edges(samples: Signal, fs: float) -> tuple[list[_Edge], float]:
    """Where the mean of what follows differs most from that of what precedes, and by how much at most."""
    look = max(2, round(_LOOK_SECONDS * fs))
    if len(samples) < 4 * look:
        raise InputError("expected some seconds without a gap, found less; measure longer with --seconds")
    sums = np.concatenate([[0.0], np.cumsum(samples)])
    rise = (sums[2 * look :] - 2 * sums[look:-look] + sums[: -2 * look]) / look
    contrast = float(np.abs(rise).max())
    if contrast == 0:
        raise InputError("found a flat line; apply the signal, and check the electrodes")
    above = np.concatenate([[False], np.abs(rise) > contrast / 2, [False]])
    turns = np.flatnonzero(above[1:] != above[:-1]).reshape(-1, 2)
    places = np.array([first + int(np.argmax(np.abs(rise[first:last]))) for first, last in turns])
    lengths = np.diff(places) / fs
    if len(places) < _FEWEST_STEPS:
        raise InputError(
            f"expected at least {_FEWEST_STEPS} steps of a square wave, found {len(places)}; measure longer with "
            "--seconds, or apply a faster one"
        )
    if (np.diff(np.sign(rise[places])) == 0).any() or lengths.min() < _SHORTEST_PLATEAU:
        raise InputError(
            f"found no square wave with plateaus of at least {1000 * _SHORTEST_PLATEAU:g} ms, but "
            f"{len(places)} steps {1000 * float(np.median(lengths)):.0f} ms apart; apply a slower one, or a sine"
        )
    edges = _windows(places + look, len(samples), fs)
    if len(edges) < _FEWEST_STEPS:
        raise InputError(
            f"expected at least {_FEWEST_STEPS} steps with enough samples on both sides, found {len(edges)}; measure "
            "longer with --seconds, or apply a slower square wave"
        )
    return edges, contrast


def _windows(places: NDArray[np.intp], end: int, fs: float) -> list[_Edge]:
    """What is fitted of both plateaus at each place; edges too near the ends are left out."""
    guard, most = max(1, round(_GUARD_SECONDS * fs)), max(4, round(_FIT_SECONDS * fs))
    fewest = max(4, round((_SHORTEST_PLATEAU - 2 * _GUARD_SECONDS) * fs) - 2)
    bounds = [-guard, *places.tolist(), end + guard]
    edges = []
    for left, place, right in zip(bounds, bounds[1:], bounds[2:], strict=False):
        before = np.arange(max(left + guard, place - guard - most), place - guard)
        after = np.arange(place + guard, min(right - guard, place + guard + most))
        if min(len(before), len(after)) >= fewest:
            edges.append(_Edge(place - 0.5, before, after))
    return edges


@dataclass(frozen=True)
class _Step:
    """faster: by how much more the plateaus decay than assumed, per second. residual: rms in counts, with mains hum."""

    height: float
    faster: float
    residual: float


def _fit_step(samples: Signal, fs: float, edge: _Edge, decay: float, *, refine: bool) -> _Step:
    """A parabola across the edge, the step with its decay from there on, and mains hum.

    Behind a high-pass filter of first order a step is h exp(-decay t), whatever came before. refine: fit t times
    that too.
    """
    numbers = np.concatenate([edge.before, edge.after])
    time = (numbers - edge.at) / fs
    step = np.where(time > 0, np.exp(-decay * np.maximum(time, 0)), 0.0)
    smooth = [np.ones_like(time), time, time**2]
    columns = [step, *([time * step] if refine else []), *smooth]
    ours = len(columns)
    if len(numbers) >= 3 * (ours + 2 * len(_MAINS)):
        columns += [wave(2 * math.pi * hz * time) for hz in _MAINS for wave in (np.cos, np.sin)]
    solution, left = _least_squares(columns, samples[numbers])
    hum = np.stack(columns[ours:], axis=1) @ solution[ours:] if len(columns) > ours else np.zeros_like(left)
    faster = -solution[1] / solution[0] if refine and solution[0] else 0.0
    return _Step(float(solution[0]), float(faster), _rms(left + hum))


def _least_squares(columns: list[Signal], values: Signal) -> tuple[Signal, Signal]:
    """Coefficients, and what they leave."""
    matrix = np.stack(columns, axis=1)
    size = np.linalg.norm(matrix, axis=0)
    size[size == 0] = 1.0
    solution = np.linalg.lstsq(matrix / size, values, rcond=None)[0] / size
    return solution, values - matrix @ solution


def _rms(values: Signal) -> float:
    return math.sqrt(float(np.mean(values**2)))
