"""Beats of a finished recording, from two detectors that err differently.

`detect_beats` sees both ways and errs least where the signal is clean; the streaming detector of libuniecg looks at
higher frequencies too, and withstands moving electrodes. It is followed where the quality is not acceptable and its
beats come more steadily: there false and missed beats disturb the rhythm, while an irregular one is so by both.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from uniecg_device.beats import find_beats
from uniecg_device.signals import Recording
from uniecg_runtime.signal.beats import detect_beats
from uniecg_runtime.signal.quality import assess

STRETCH, AROUND = 20.0, 2.0  # s decided at once, and how much of the neighbours is seen
UNSTEADY = 0.05  # median change of the RR interval over their median, up to which nothing needs deciding
CLEARLY = 0.85  # of that unsteadiness: the streaming detector's beats must be under it to be taken
SAME = 0.12  # s apart at most: both mean the same beat

Positions = NDArray[np.int64]


def find_heartbeats(recording: Recording) -> tuple[Positions, Positions]:
    """Sample numbers of the QRS complexes, ascending: as they were detected, and placed where the leads together are
    farthest from their baselines, which is where annotators put them.

    Any number of leads at 50 Hz or more; empty as from `detect_beats`.
    """
    seen = detect_beats(recording)
    if not seen.size:
        return seen, seen
    signal = np.where(np.isinf(recording.signal), np.float32(np.nan), recording.signal)
    streamed = find_beats(signal, recording.fs).positions
    chosen = _choose(seen, streamed, recording)
    return chosen, _placed(chosen, streamed, SAME * recording.fs)


def _choose(seen: Positions, streamed: Positions, recording: Recording) -> Positions:
    found, fs = [], recording.fs
    margin = AROUND * fs
    for first in range(0, recording.signal.shape[1], round(STRETCH * fs)):
        last = first + round(STRETCH * fs)
        near = (_between(beats, first - margin, last + margin) for beats in (seen, streamed))
        unsteady, other = (_unsteadiness(beats) for beats in near)
        doubtful = unsteady > UNSTEADY and other < CLEARLY * unsteady
        if doubtful:
            doubtful = not assess(replace(recording, signal=recording.signal[:, first:last])).acceptable
        found.append(_between(streamed if doubtful else seen, first, last))
    beats = np.concatenate(found)
    apart = np.diff(beats, prepend=-fs) > 0.1 * fs  # where the choice changes, a beat may be taken twice
    return np.asarray(beats[apart], dtype=np.int64)


def _between(beats: Positions, first: float, last: float) -> Positions:
    return beats[(beats >= first) & (beats < last)]


def _unsteadiness(beats: Positions) -> float:
    intervals = np.diff(beats)
    if intervals.size < 4:
        return 1.0
    return float(np.median(np.abs(np.diff(intervals))) / np.median(intervals))


def _placed(beats: Positions, streamed: Positions, reach: float) -> Positions:
    """Each beat where the streaming detector has it, if each is the other's nearest: so their order is kept."""
    if not streamed.size or not beats.size:
        return beats
    other = _nearest(streamed, beats)
    mutual = _nearest(beats, streamed)[other] == np.arange(beats.size)
    near = np.abs(streamed[other] - beats) <= reach
    return np.asarray(np.where(mutual & near, streamed[other], beats), dtype=np.int64)


def _nearest(places: Positions, to: Positions) -> NDArray[np.intp]:
    """Which of `places`, ascending, is nearest to each of `to`."""
    behind = np.minimum(np.searchsorted(places, to), places.size - 1)
    before = np.maximum(behind - 1, 0)
    return np.asarray(np.where(to - places[before] <= places[behind] - to, before, behind), dtype=np.intp)
