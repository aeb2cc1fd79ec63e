"""When a simulated heart beats, and what its atria do in between."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uniecg_device.ecg_parameters import ParametricEcg

Floats = NDArray[np.float64]


class BeatTimes(NamedTuple):
    """R times in s, also just outside the stretch; kind 0 conducted, 1 PVC, 2 PAC; flutter waves per second."""

    times: Floats
    kinds: NDArray[np.int64]
    flutter_hz: float


def beat_times(p: ParametricEcg, seconds: float, random: np.random.Generator) -> BeatTimes:
    """R times whose mean interval within the stretch is exactly 60 / heart_rate."""
    mean = 60 / p.heart_rate
    first = random.uniform(0, min(mean, seconds / 2))
    count = max(int((seconds - first) / mean), 0)  # intervals within the stretch
    if p.rhythm == "atrial flutter":
        return _flutter_rhythm(mean, first, count, seconds, random)
    kinds = _kinds(p, count + 3, random)
    intervals = _intervals(p, kinds, mean, random)
    inside = intervals[1 : count + 1]
    scale = mean * count / inside.sum() if count else 1.0
    intervals *= scale
    intervals[0] = max(intervals[0], first + 1e-3)  # so that no further beat slips into the stretch
    last = first + inside.sum()
    intervals[count + 1] = max(intervals[count + 1], seconds - last + 1e-3)
    return BeatTimes(first + np.concatenate([[-intervals[0], 0.0], np.cumsum(intervals[1:-1])]), kinds, 0.0)


def _kinds(p: ParametricEcg, beats: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Which beats are ectopic; never two in a row, so that each can come early."""
    kinds = np.zeros(beats, np.int64)
    if p.rhythm == "paced" or p.pvc + p.pac == 0:
        return kinds
    pac = 0.0 if p.rhythm == "atrial fibrillation" else p.pac  # no atrial beat to come early
    wanted = (p.pvc + pac) * beats
    total = int(wanted) + int(random.random() < wanted % 1)
    for place in random.permutation(np.arange(1, beats - 1)):
        if total <= 0:
            break
        if kinds[place - 1] == 0 and kinds[place + 1] == 0:
            kinds[place] = 1 if random.random() * (p.pvc + pac) < p.pvc else 2
            total -= 1
    return kinds


def _intervals(p: ParametricEcg, kinds: NDArray[np.int64], mean: float, random: np.random.Generator) -> Floats:
    """RR before each following beat, shape (beats,): entry k leads from beat k to beat k + 1."""
    beats = len(kinds)
    if p.rhythm == "atrial fibrillation":
        spread = random.uniform(0.17, 0.27)
        return np.asarray(np.maximum(mean * np.exp(random.normal(0, spread, beats)), min(0.28, 0.8 * mean)))
    jitter = 0.002 if p.rhythm == "paced" else 0.01
    breath = random.uniform(0.18, 0.3)
    phase = 2 * np.pi * (breath * mean * np.arange(beats) + random.random())
    swing = 0.0 if p.rhythm == "paced" else p.respiratory_arrhythmia
    intervals: Floats = mean * (1 + swing * np.sin(phase) + random.normal(0, jitter, beats))
    early = np.flatnonzero(kinds)
    coupling = random.uniform(0.58, 0.72)
    intervals[early - 1] *= coupling
    intervals[early] *= np.where(kinds[early] == 1, 2 - coupling, 1.08)  # only a PVC's pause is compensatory
    return intervals


def _flutter_rhythm(mean: float, first: float, count: int, seconds: float, random: np.random.Generator) -> BeatTimes:
    """R waves locked to flutter waves near 300 per minute, at a steady or a changing ratio."""
    per_beat = max(mean / 0.2, 2.0)
    ratios = np.full(count + 3, round(per_beat))
    if random.random() < 0.4:
        ratios = (math.floor(per_beat) + (random.random(count + 3) < per_beat % 1)).astype(np.int64)
    inside = ratios[1 : count + 1]
    period = mean * count / inside.sum() if count else mean / ratios[0]
    ratios[0] = max(ratios[0], math.ceil((first + 1e-3) / period))
    rest = seconds - first - period * inside.sum()
    ratios[count + 1] = max(ratios[count + 1], math.ceil((rest + 1e-3) / period))
    steps = np.concatenate([[-ratios[0], 0], np.cumsum(ratios[1:-1])])
    return BeatTimes(first + period * steps, np.zeros(count + 3, np.int64), 1 / period)


def fibrillation(clock: Floats, random: np.random.Generator) -> Floats:
    """Fibrillatory waves of 4 to 9 Hz whose rate and size wander, largest in V1: heart vectors (3, samples), mV."""
    size = random.uniform(0.6, 1.4)
    total = np.zeros((3, len(clock)))
    for vector in ((0.02, 0.035, -0.055), (0.02, 0.03, 0.02)):
        rate, wander = random.uniform(5, 7.5), random.uniform(0.3, 0.9)
        phase = 2 * np.pi * (rate * clock + random.random())
        phase += 1.5 * np.sin(2 * np.pi * wander * clock + random.normal())
        swell = 1 + 0.4 * np.sin(2 * np.pi * random.uniform(0.2, 0.6) * clock + random.normal())
        wave = swell * (np.sin(phase) + 0.3 * np.sin(2 * phase + random.normal()))
        total += np.array(vector)[:, None] * wave * size
    return total


def flutter(clock: Floats, rhythm: BeatTimes) -> Floats:
    """Sawtooth flutter waves, negative in II, III and aVF and positive in V1: heart vectors (3, samples), mV."""
    phase = 2 * np.pi * (rhythm.flutter_hz * (clock - rhythm.times[1]) + 0.3)
    saw = np.sum([np.sin(n * phase) / n for n in range(1, 5)], axis=0)
    waves: Floats = np.array([-0.01, -0.10, -0.09])[:, None] * saw
    return waves
