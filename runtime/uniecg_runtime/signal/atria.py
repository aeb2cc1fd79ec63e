"""The P wave of a kind of beat, if it has one: what comes before the QRS the same way each time."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from uniecg_runtime.signal.bounds import BEFORE, Rows, foot, running_mean
from uniecg_runtime.signal.kinds import Kind, Rhythm, is_paced

REACH, REACH_IRREGULAR = 170, 125  # samples before the QRS within which a P may begin
LEAST_ROOM = 20  # samples between T and QRS under which nothing can be told
ALIKE, ALIKE_IRREGULAR = 0.65, 0.8  # median correlation of a beat's P, over all leads, with that of the others
CLEAR = 1.5  # root mean square over the leads of its height over its error
LEAST_ERROR = 0.012  # of the QRS, that a lead is taken to have
STANDS_OUT = 2.0  # times the usual activity between T and P
SETTLED = 15  # samples behind the T wave
NARROW = 14  # samples at half height under which it is a pacing spike
AROUND = 62  # samples each way of its peak that it may take up
CORE = 35  # samples each way of its peak that are compared between beats
FOOT_ON, FOOT_OFF = 0.18, 0.18  # of its height: where readers put its onset and end (LUDB)
HALF = 40  # samples: how far its foot may be from its peak
APART = 10  # samples that a lead's edges may lie off the leads' median
BLEND_ON, BLEND_OFF = 0.4, 0.1  # how much of the leads' common deviation goes into each lead's


def p_wave(kind: Kind, scale: Rows, rhythm: Rhythm, onset: int, t_end: int | None) -> NDArray[np.int64] | None:
    """Onset, peak and end per lead, int64 (leads, 3), as samples of the kind's shape; None without a P wave.

    scale: (leads,), the size of each lead's QRS. onset, t_end: of the kind's QRS and T.
    A P wave is wider than a spike and comes before every beat alike. Where the rhythm is irregular it must also stand
    out of what lies between T and P otherwise, which in atrial fibrillation is more of the same. Before a paced QRS
    none is marked, as readers do (all four records with a pacemaker of LUDB's shared half), for it does not conduct.
    """
    last = onset - 8
    previous_t = 0.0 if t_end is None else t_end - rhythm.rr
    first = int(max(2, previous_t + 6, onset - (REACH_IRREGULAR if rhythm.irregular else REACH)))
    if last - first < 2 * LEAST_ROOM:
        first = max(2, last - 3 * LEAST_ROOM)
    beats = kind.beats / scale[:, None, None]
    if last - first < LEAST_ROOM or beats.shape[1] < 2 or is_paced(kind, rhythm):
        return None
    shape = running_mean(kind.shape, 7) / scale[:, None]
    least = np.maximum(kind.error[:, first:last].mean(axis=1) / scale, LEAST_ERROR)[:, None]
    peak = first + int(np.argmax(_energy(shape[:, first:last], least)))
    first, last = max(first, peak - AROUND), min(last, peak + AROUND)
    deviation = _off_line(shape[:, first:last]) / least
    energy = (deviation**2).mean(axis=0)
    peak = int(np.argmax(energy))
    if energy[peak] < CLEAR**2 or _width(energy, peak) < NARROW:
        return None
    core = slice(first + max(0, peak - CORE), min(last, first + peak + CORE + 1))
    if _likeness(running_mean(beats, 7)[:, :, core]) < (ALIKE_IRREGULAR if rhythm.irregular else ALIKE):
        return None
    if rhythm.irregular and t_end is not None:
        here = float(np.sqrt((_off_line(shape[:, core]) ** 2).mean()))
        elsewhere = _activity(rhythm, scale, t_end - BEFORE + SETTLED, core.start - BEFORE)
        if here < STANDS_OUT * elsewhere:
            return None
    return first + _edges(deviation, energy, peak)


def _activity(rhythm: Rhythm, scale: Rows, after: int, before: int) -> float:
    """Usual size of what lies from `after` samples behind a beat to `before` samples ahead of the next; 0 without."""
    width = 2 * CORE
    found = []
    for beat, following in itertools.pairwise(rhythm.beats.tolist()):
        for start in range(beat + after, following + before - width + 1, width // 2):
            part = _off_line(rhythm.smooth[:, start : start + width] / scale[:, None])
            found.append(float(np.sqrt((part**2).mean())))
    return float(np.median(found)) if found else 0.0


def _off_line(part: Rows) -> Rows:
    """The deviation of each lead from a straight line through its two ends."""
    line = np.linspace(0, 1, part.shape[1])
    left, right = (np.median(side, axis=1, keepdims=True) for side in (part[:, :8], part[:, -8:]))
    return np.asarray(part - left * (1 - line) - right * line)


def _energy(part: Rows, least: Rows) -> Rows:
    return np.asarray(((_off_line(part) / least) ** 2).mean(axis=0))


def _width(energy: Rows, peak: int) -> int:
    low = np.flatnonzero(energy < energy[peak] / 4)
    left, right = low[low < peak], low[low > peak]
    return int((right[0] if right.size else energy.size) - (left[-1] if left.size else -1))


def _likeness(beats: Rows) -> float:
    """Median over the beats of the correlation with the mean of the others, all leads together."""
    flat = (beats - beats.mean(axis=2, keepdims=True)).transpose(1, 0, 2).reshape(beats.shape[1], -1)
    others = (flat.sum(axis=0) - flat) / (len(flat) - 1)
    size = np.linalg.norm(flat, axis=1) * np.linalg.norm(others, axis=1)
    return float(np.median((flat * others).sum(axis=1) / np.maximum(size, 1e-12)))


def _edges(deviation: Rows, energy: Rows, peak: int) -> NDArray[np.int64]:
    found = np.empty((len(deviation), 3), np.int64)
    for lead, row in enumerate(deviation**2):
        low = max(0, peak - 20)
        own = row / max(float(row[low : peak + 21].max()), 1e-12) * float(energy.max())
        before, behind = (np.sqrt((1 - blend) * own + blend * energy) for blend in (BLEND_ON, BLEND_OFF))
        top = low + int(np.argmax(before[low : peak + 21]))
        found[lead] = foot(before, top, -1, FOOT_ON, HALF), top, foot(behind, top, 1, FOOT_OFF, HALF)
    middle = np.median(found, axis=0).astype(np.int64)
    return np.clip(found, middle - APART, middle + APART)
