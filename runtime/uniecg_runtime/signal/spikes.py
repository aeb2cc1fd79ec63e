"""Pacing spikes taken out of a signal, so that no filter smears them over the P or QRS that follows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float32]

LEAST_HZ = 200.0  # under it a spike is one sample, and so may be the rise of a QRS
BEFORE_S = 0.012  # the quiet that comes before a spike
STEEPER = 8.0  # times the steepest step in it
BACK_S, BACK_SHARE = 0.012, 0.5  # how soon it has come back by how much
LENGTH_S = 0.016  # bridged from a spike on
LEAST_SHARE = 0.08  # of the lead's range that the step must span


def find_spikes(signal: Signal, fs: float) -> NDArray[np.int64]:
    """The last sample before each spike of (leads, samples) without NaN: a step of one sample, over several leads
    together, out of the quiet and soon back. Samples next to each other may be of one spike. None under LEAST_HZ."""
    back, quiet = round(BACK_S * fs), round(BEFORE_S * fs)
    if fs < LEAST_HZ or signal.shape[1] < quiet + back + 3:
        return np.empty(0, dtype=np.int64)
    low, high = np.percentile(signal[:, :: max(1, round(fs / 100))], (1, 99), axis=1)
    size = np.maximum(np.maximum(high - low, signal.std(axis=1)), 1e-9)[:, None]
    steps = np.diff(signal, axis=1) / size
    rise = np.sqrt((steps**2).mean(axis=0))
    steepest = np.lib.stride_tricks.sliding_window_view(rise, quiet).max(axis=1)
    found = quiet + np.flatnonzero((rise[quiet:] > STEEPER * steepest[:-1]) & (rise[quiet:] > LEAST_SHARE))
    found = found[found + 1 + back < signal.shape[1]]
    returned = -(signal[:, found + 1 + back] - signal[:, found + 1]) / size
    there = steps[:, found]
    return np.asarray(found[(returned * there).sum(axis=0) > BACK_SHARE * (there**2).sum(axis=0)], dtype=np.int64)


def without_spikes(signal: Signal, fs: float, spikes: NDArray[np.int64] | None = None) -> Signal:
    """(leads, samples) without NaN, straight lines in the place of spikes; the same array where there are none.

    spikes: of `find_spikes`, found here where they are not given.
    """
    spikes = find_spikes(signal, fs) if spikes is None else spikes
    if not spikes.size:
        return signal
    length = round(LENGTH_S * fs)
    cleaned = signal.copy()
    for place in spikes.tolist():
        last = min(place + 1 + length, signal.shape[1] - 1)
        line = np.linspace(0.0, 1.0, last - place + 1)
        cleaned[:, place : last + 1] = signal[:, [place]] * (1 - line) + signal[:, [last]] * line
    return cleaned
