"""Heights and lengths of the waves of each lead, on the usual beat of a stretch.

The signal is low-passed at 150 Hz without phase shift and never high-passed: a real-time 0.5 Hz high-pass fakes ST
shifts. Its baseline is a line from each beat's level before the QRS to the next one's, and what is measured is the
median of the beats of the usual kind. Q, R and S need 20 uV and 6 ms (CSE Working Party, Eur Heart J 1985).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import Recording
from uniecg_runtime.signal.bounds import AFTER, BEFORE, Rows
from uniecg_runtime.signal.spikes import without_spikes
from uniecg_runtime.signal.waves import MISSING_SHARE, WORK_HZ, Marks
from uniecg_runtime.signal.window import band_pass, bridge_gaps

LOW_PASS_HZ = 150.0
LEVEL = slice(-10, -2)  # samples from the QRS onset: the 16 ms against which heights are measured
LEAST_MV, LEAST_SHARE, LEAST_SAMPLES = 0.02, 0.015, 3  # of a Q, R or S; without millivolts a share of the QRS
FOOT = 8  # samples behind the edge of a P, where it has died away
NAMES = ("p", "q", "r", "s", "r2", "t", "q_duration", "r_duration", "s_duration", "st_j", "st_60")
DURATIONS = ("q_duration", "r_duration", "s_duration")
AREAS = ("p_area", "qrs_area", "t_area")


@dataclass(frozen=True, eq=False)
class Amplitudes:
    """Of one stretch. values: (leads, NAMES and AREAS), NaN where a lead has no such wave; heights in the recording's
    units, durations in ms, areas in units x ms. error: (leads,), the usual beat's standard error, NaN for a dead lead.
    beats: how many it rests on."""

    values: Rows
    error: Rows
    beats: int


def amplitudes(part: Recording, common: Marks, leads: Marks) -> Amplitudes | None:
    """Measure a stretch. common: (beats, 9), leads: (leads, beats, 9): marks of its usual beats, in samples of it.

    None where no usual beat has a QRS within it.
    """
    ratio = WORK_HZ / part.fs
    onsets = np.rint(common[:, 3] * ratio).astype(np.int64)
    rows = [row for row, signal in enumerate(part.signal) if np.isfinite(signal).mean() >= 1 - MISSING_SHARE]
    count = round(part.signal.shape[1] * ratio)
    seen = (common[:, 3] >= 0) & (common[:, 5] >= 0)
    whole = seen & (onsets >= BEFORE) & (onsets + AFTER <= count)
    whole = whole if whole.any() else seen
    if not rows or not whole.any():
        return None
    signal = _on_line(part, rows, onsets[seen])
    places = onsets[whole][:, None] + np.arange(-BEFORE, AFTER)
    beats = signal[:, np.clip(places, 0, signal.shape[1] - 1)]
    shape = np.median(beats, axis=1)
    spread = 1.4826 * np.median(np.abs(beats - shape[:, None]), axis=1)
    size = len(part.leads)
    values, error = np.full((size, len(NAMES) + len(AREAS)), np.nan), np.full(size, np.nan)
    error[rows] = 1.25 * np.sqrt((spread**2).mean(axis=1)) / np.sqrt(whole.sum())
    along = _along(common[whole], common[whole, 3], ratio)
    for row, beat in zip(rows, shape, strict=True):
        if (leads[row][whole][:, 3] >= 0).any():
            own = _along(leads[row][whole], common[whole, 3], ratio)
            values[row] = _lead(beat, own, along, part.units == "mV")
    return Amplitudes(values, error, int(whole.sum()))


def _on_line(part: Recording, rows: list[int], onsets: NDArray[np.int64]) -> Rows:
    """Rows at WORK_HZ, less a line through the level before each QRS."""
    bridged = without_spikes(np.stack([bridge_gaps(part.signal[row])[0] for row in rows]), part.fs)
    signal = band_pass(bridged, part.fs, WORK_HZ, None, LOW_PASS_HZ).astype(np.float64)
    places = np.clip(onsets[:, None] + np.arange(LEVEL.start, LEVEL.stop), 0, signal.shape[1] - 1)
    levels = signal[:, places].mean(axis=2)
    clock = np.arange(signal.shape[1])
    baseline = np.stack([np.interp(clock, places.mean(axis=1), row) for row in levels])
    return np.asarray(signal - baseline)


def _along(marks: Marks, onsets: NDArray[np.int64], ratio: float) -> list[int | None]:
    """Where each wave usually lies on a shape with the QRS onset at BEFORE; None where fewer than half the beats have
    it, or it lies outside."""
    found: list[int | None] = []
    for column in marks.T:
        held = column >= 0
        usual = 2 * held.sum() >= max(1, held.size)
        place = BEFORE + round(float(np.median(column[held] - onsets[held])) * ratio) if usual else -1
        found.append(place if 0 <= place < BEFORE + AFTER else None)
    return found


def _lead(beat: Rows, own: list[int | None], common: list[int | None], millivolts: bool) -> Rows:
    found = dict.fromkeys((*NAMES, *AREAS), np.nan)
    step = 1000.0 / WORK_HZ
    onset, end = BEFORE, common[5] or BEFORE
    qrs = beat[onset : end + 1]
    found["qrs_area"] = float(qrs.sum()) * step
    found |= _q_r_s(qrs, LEAST_MV if millivolts else LEAST_SHARE * float(np.ptp(qrs)))
    for name, place in (("st_j", end), ("st_60", end + round(0.06 * WORK_HZ))):
        if place + 3 <= beat.size:
            found[name] = float(beat[place - 2 : place + 3].mean())
    for name, first, last in (("p", own[0], own[2]), ("t", own[6], own[8])):
        if first is not None and last is not None and last - first > 4:
            wave = beat[first : last + 1]
            if name == "p":  # over its own surroundings: a steep PR segment is none of its height
                wave = wave - _surroundings(beat, first, last)
            found[name] = float(wave[np.abs(wave).argmax()])
            found[f"{name}_area"] = float(wave.sum()) * step
    return np.array([*found.values()])


def _surroundings(beat: Rows, first: int, last: int) -> Rows:
    """A line under a wave, through what lies FOOT samples outside its edges, before the QRS."""
    left, right = max(0, first - FOOT), min(BEFORE - 2, last + FOOT)
    ends = (float(beat[max(0, place - 2) : place + 3].mean()) for place in (left, right))
    return np.interp(np.arange(first, last + 1), (left, right), tuple(ends))


def _q_r_s(qrs: Rows, least: float) -> dict[str, float]:
    """Heights and lengths of Q, R, S and R'. A complex without R is a QS, given as Q."""
    waves: list[tuple[float, int]] = []  # height with its sign, samples
    bounds = np.flatnonzero(np.diff(np.sign(qrs), prepend=0, append=0))
    for first, last in itertools.pairwise(bounds):
        wave = qrs[first:last]
        top = int(np.abs(wave).argmax())
        height = float(wave[top])
        rising = first + top >= qrs.size - 2  # into the ST segment
        if rising or abs(height) < least or wave.size < LEAST_SAMPLES:
            continue
        if waves and waves[-1][0] * height > 0:  # what lay between was no wave
            height = max(waves[-1][0], height, key=abs)
            waves[-1] = height, waves[-1][1] + wave.size
        else:
            waves.append((height, int(wave.size)))
    found: dict[str, float] = {}
    order = ["q", "r", "s", "r2"] if waves and waves[0][0] < 0 else ["r", "s", "r2"]
    for name, (height, samples) in zip(order, waves, strict=False):
        found[name] = height
        if f"{name}_duration" in DURATIONS:
            found[f"{name}_duration"] = samples * 1000.0 / WORK_HZ
    return found
