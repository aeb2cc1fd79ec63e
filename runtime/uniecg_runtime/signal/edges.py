"""Where the waves of a kind of beat begin, peak and end, lead by lead.

Each lead is read with an eye on the others, as people read a page of twelve: what is looked for is the lead's own
slope or deviation blended with that of all leads, so that a lead in which a wave is all but flat follows the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_runtime.signal.atria import p_wave
from uniecg_runtime.signal.kinds import BEFORE, Kind, Rhythm, Rows, running_mean

QRS_BLEND = 0.6  # how much of the leads' common speed goes into each lead's
ONSET_SHARE, OFFSET_SHARE = 0.05, 0.07  # of the peak speed, over that of the quiet before and behind
R_SHARE = 0.2  # of the S: an R this tall is the peak, as readers mark it
QUIET = 6  # samples under the threshold that end the QRS

FAST = 250  # samples between beats, under which T may run into P
T_END_STRETCH = 1.6  # readers put the T end behind the tangent's foot, by this much of its run
T_OWN = 0.5  # weight of a lead's own T end beside the leads' common one


@dataclass(frozen=True, eq=False)
class Edges:
    """Samples of a kind's shape at 500 Hz, int64 (leads, 3): onset, peak, end; None where the kind has no such wave."""

    p: NDArray[np.int64] | None
    qrs: NDArray[np.int64]
    t: NDArray[np.int64] | None


def edges_of(kind: Kind, rhythm: Rhythm) -> Edges | None:
    """The waves of `kind`, one of those that make up `rhythm`. None where no QRS stands out."""
    scale = np.maximum(np.abs(kind.shape[:, BEFORE - 50 : BEFORE + 60]).max(axis=1), 1e-9)
    shape = kind.shape / scale[:, None]
    qrs = _qrs(shape)
    if qrs is None:
        return None
    onset, offset = int(np.median(qrs[:, 0])), int(np.median(qrs[:, 2]))
    t = _t_wave(shape, onset, offset, rhythm.rr)
    t_end = None if t is None else int(np.median(t[:, 2]))
    if t is None and rhythm.rr < FAST:
        return Edges(None, qrs, None)  # what lies before the QRS may as well be the last beat's T
    return Edges(p_wave(kind, scale, rhythm, onset, t_end), qrs, t)


def _qrs(shape: Rows) -> NDArray[np.int64] | None:
    slope = np.zeros_like(shape)
    slope[:, 2:-2] = (shape[:, 4:] - shape[:, :-4]) / 4
    power = slope**2
    together = power.mean(axis=0)
    common = _bounds(_smooth_speed(together))
    if common is None:
        return None
    found = np.empty((len(shape), 3), np.int64)
    for lead, row in enumerate(power):
        own = row / max(float(row[BEFORE - 50 : BEFORE + 60].max()), 1e-12) * float(together.max())
        bounds = _bounds(_smooth_speed((1 - QRS_BLEND) * own + QRS_BLEND * together)) or common
        inside = shape[lead, bounds[0] : bounds[1] + 1] - shape[lead, bounds[0]]
        is_r = inside.max() > R_SHARE * -inside.min()
        peak = inside.argmax() if is_r else inside.argmin()
        found[lead] = bounds[0], bounds[0] + int(peak), bounds[1]
    return found


def _smooth_speed(power: Rows) -> Rows:
    return np.convolve(np.sqrt(power), np.ones(3) / 3, mode="same")


def _bounds(speed: Rows) -> tuple[int, int] | None:
    core = slice(BEFORE - 50, BEFORE + 60)
    peak = float(speed[core].max())
    if peak <= 0:
        return None
    floor = float(np.percentile(speed[BEFORE - 110 : BEFORE - 20], 25))
    fast = np.flatnonzero(speed[core] > 0.4 * peak) + core.start
    near = fast[np.abs(fast - BEFORE) < 60]
    first, last = (int(near[0]), int(near[-1])) if near.size else (int(fast[0]), int(fast[-1]))
    onset = _quiet(speed, first, -1, floor + ONSET_SHARE * (peak - floor), BEFORE - 90)
    tail = float(np.percentile(speed[last : last + 70], 15))
    offset = _quiet(speed, last, 1, tail + OFFSET_SHARE * (peak - tail), BEFORE + 110)
    return onset, offset


def _quiet(speed: Rows, start: int, step: int, threshold: float, limit: int) -> int:
    """The first sample from `start` on at which the speed is, and for QUIET samples stays, under `threshold`."""
    place = start
    while place != limit:
        ahead = speed[place : place + QUIET] if step > 0 else speed[place - QUIET + 1 : place + 1]
        if (ahead < threshold).all():
            return place
        place += step
    return limit


def _t_wave(shape: Rows, onset: int, offset: int, rr: float) -> NDArray[np.int64] | None:
    first = offset + 30
    late = min(0.72 * rr + 40, max(0.62 * rr, 210) + 50, 0.9 * rr - 10)  # the next beat's own waves begin behind it
    last = int(min(shape.shape[1] - 10, onset + late))
    if last - first < 40:
        return None
    smooth = running_mean(shape, 9)
    waves = [_t_edges(row[first:last]) for row in smooth]
    held = [wave for wave in waves if wave is not None]
    if not held:
        return None
    heights = np.array([wave[3] for wave in held])
    trusted = [wave for wave in held if wave[3] > 0.35 * heights.max()]
    weights = np.array([wave[3] for wave in trusted])
    common = [weighted_median(np.array([float(wave[edge]) for wave in trusted]), weights) for edge in range(3)]
    found = np.empty((len(shape), 3), np.int64)
    for lead, wave in enumerate(waves):
        trust = 0.0 if wave is None else T_OWN * min(1.0, wave[3] / max(0.35 * heights.max(), 1e-9))
        own = common if wave is None or abs(wave[1] - common[1]) > 60 else [float(edge) for edge in wave[:3]]
        found[lead] = [first + round(trust * a + (1 - trust) * b) for a, b in zip(own, common, strict=True)]
        if own is not common:
            found[lead, 1] = first + round(own[1])
    return found


def _t_edges(row: Rows) -> tuple[int, int, int, float] | None:
    """Onset, peak, end and height of a lead's T within `row`: the end is where the tangent at the steepest fall behind
    the peak meets the level that follows, stretched to where readers put it; the onset likewise before it."""
    swing = np.abs(row - row[-1])
    peak = int(np.argmax(swing[: row.size - 15]))
    height = float(swing[peak])
    if height < 0.03 or peak < 3:
        return None
    slope = np.gradient(row) * -np.sign(row[peak] - row[-1])
    behind = slope[peak : peak + 70]
    if behind.size < 8 or behind.max() <= 0:
        return None
    steepest = peak + int(np.argmax(behind))
    settle = row[steepest + 30 : steepest + 60]
    base = float(np.median(settle)) if settle.size > 5 else float(row[-1])
    run = abs(row[steepest] - base) / float(slope[steepest])
    end = steepest + int(min(T_END_STRETCH * run, 75))
    rise = -slope[max(0, peak - 90) : peak]
    onset = max(0, peak - 60)
    if rise.size > 8 and rise.max() > 0:
        up = max(0, peak - 90) + int(np.argmax(rise))
        foot = float(np.median(row[:8]))
        onset = max(0, up - int(min(T_END_STRETCH * abs(row[up] - foot) / float(rise.max()), 75)))
    return onset, peak, end, height


def weighted_median(values: Rows, weights: Rows) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
