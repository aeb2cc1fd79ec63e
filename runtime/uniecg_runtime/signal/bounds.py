"""From a wave's peak to where it begins and ends: what the median beat and single kinds of beat are both read with.

Shapes are at 500 Hz, with the QRS at sample BEFORE.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]

BEFORE, AFTER = 200, 350  # samples of a beat's shape before and after its QRS: 400 and 700 ms
QUIET = 6  # samples under the threshold that end the QRS
T_END_STRETCH = 1.6  # readers put the T end behind the tangent's foot, by this much of its run (LUDB)
T_FARTHEST = 75  # samples: how far that may be


def qrs_bounds(speed: Rows, onset_share: float, offset_share: float) -> tuple[int, int] | None:
    """Onset and end of the QRS: from its fastest part outwards until the speed stays under these shares of its peak,
    over that of the quiet before and behind. None where nothing moves."""
    core = slice(BEFORE - 50, BEFORE + 60)
    peak = float(speed[core].max())
    if peak <= 0:
        return None
    floor = float(np.percentile(speed[BEFORE - 110 : BEFORE - 20], 25))
    fast = np.flatnonzero(speed[core] > 0.4 * peak) + core.start
    near = fast[np.abs(fast - BEFORE) < 60]
    first, last = (int(near[0]), int(near[-1])) if near.size else (int(fast[0]), int(fast[-1]))
    onset = _quiet(speed, first, -1, floor + onset_share * (peak - floor), BEFORE - 90)
    tail = float(np.percentile(speed[last : last + 70], 15))
    offset = _quiet(speed, last, 1, tail + offset_share * (peak - tail), BEFORE + 110)
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


def t_end(row: Rows) -> tuple[int, int, float] | None:
    """Peak, end and height of one lead's T wave within `row`: the end is where the tangent at
    the steepest fall behind the peak meets the level that follows, stretched to where readers put it."""
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
    return peak, steepest + int(min(T_END_STRETCH * run, T_FARTHEST)), height


def foot(height: Rows, peak: int, step: int, share: float, reach: int) -> int:
    """From `peak` to where the wave falls under `share` of it, or to a valley under half of it, `reach` at most."""
    place = peak
    while 0 < place < height.size - 1 and abs(place - peak) < reach and height[place] > share * height[peak]:
        ahead = height[place + step : place + 9 * step : step] if step > 0 else height[max(0, place - 8) : place]
        if height[place] < 0.5 * height[peak] and ahead.size and height[place] <= ahead.min():
            break
        place += step
    return place


def running_mean(rows: Rows, width: int) -> Rows:
    """Mean over `width` samples (odd) about each, along the last axis."""
    half = width // 2
    total = np.cumsum(np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(half + 1, half)], mode="edge"), axis=-1)
    return np.asarray((total[..., width:] - total[..., :-width]) / width)


def weighted_median(values: Rows, weights: Rows) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
