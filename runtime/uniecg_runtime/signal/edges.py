"""Where the waves of a kind of beat begin, peak and end, lead by lead.

Each lead is read with an eye on the others, as people read a page of twelve: what is looked for is the lead's own
slope or deviation blended with that of all leads, so that a lead in which a wave is all but flat follows the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_runtime.signal.atria import p_wave
from uniecg_runtime.signal.bounds import (
    BEFORE,
    T_END_STRETCH,
    T_FARTHEST,
    Rows,
    qrs_bounds,
    running_mean,
    t_end,
    weighted_median,
)
from uniecg_runtime.signal.kinds import Kind, Rhythm

QRS_BLEND = 0.6  # how much of the leads' common speed goes into each lead's
ONSET_SHARE, OFFSET_SHARE = 0.05, 0.07  # of the peak speed, over that of the quiet before and behind
R_SHARE = 0.2  # of the S: an R this tall is the peak, as readers mark it

FAST = 250  # samples between beats, under which T may run into P
T_OWN = 0.5  # weight of a lead's own T end beside the leads' common one


@dataclass(frozen=True, eq=False)
class Edges:
    """Samples of a kind's shape at 500 Hz, int64 (leads, 3): onset, peak, end; None where the kind has no such wave."""

    p: NDArray[np.int64] | None
    qrs: NDArray[np.int64]
    t: NDArray[np.int64] | None


FindEdges = Callable[[Kind, Rhythm], Edges | None]  # as `edges_of`


def edges_of(kind: Kind, rhythm: Rhythm) -> Edges | None:
    """The waves of `kind`, one of those that make up `rhythm`. None where no QRS stands out."""
    scale = np.maximum(np.abs(kind.shape[:, BEFORE - 50 : BEFORE + 60]).max(axis=1), 1e-9)
    shape = kind.shape / scale[:, None]
    qrs = _qrs(shape)
    if qrs is None:
        return None
    onset, offset = int(np.median(qrs[:, 0])), int(np.median(qrs[:, 2]))
    t = _t_wave(shape, onset, offset, rhythm.rr)
    end = None if t is None else int(np.median(t[:, 2]))
    if t is None and rhythm.rr < FAST:
        return Edges(None, qrs, None)  # what lies before the QRS may as well be the last beat's T
    return Edges(p_wave(kind, scale, rhythm, onset, end), qrs, t)


def _qrs(shape: Rows) -> NDArray[np.int64] | None:
    slope = np.zeros_like(shape)
    slope[:, 2:-2] = (shape[:, 4:] - shape[:, :-4]) / 4
    power = slope**2
    together = power.mean(axis=0)
    common = qrs_bounds(_smooth_speed(together), ONSET_SHARE, OFFSET_SHARE)
    if common is None:
        return None
    found = np.empty((len(shape), 3), np.int64)
    for lead, row in enumerate(power):
        own = row / max(float(row[BEFORE - 50 : BEFORE + 60].max()), 1e-12) * float(together.max())
        bounds = (
            qrs_bounds(_smooth_speed((1 - QRS_BLEND) * own + QRS_BLEND * together), ONSET_SHARE, OFFSET_SHARE) or common
        )
        inside = shape[lead, bounds[0] : bounds[1] + 1] - shape[lead, bounds[0]]
        is_r = inside.max() > R_SHARE * -inside.min()
        peak = inside.argmax() if is_r else inside.argmin()
        found[lead] = bounds[0], bounds[0] + int(peak), bounds[1]
    return found


def _smooth_speed(power: Rows) -> Rows:
    return np.convolve(np.sqrt(power), np.ones(3) / 3, mode="same")


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
    """Onset, peak, end and height of a lead's T within `row`; the onset is found as the end is, before the peak."""
    found = t_end(row)
    if found is None:
        return None
    peak, end, height = found
    rise = np.gradient(row)[max(0, peak - 90) : peak] * np.sign(row[peak] - row[-1])
    onset = max(0, peak - 60)
    if rise.size > 8 and rise.max() > 0:
        up = max(0, peak - 90) + int(np.argmax(rise))
        level = float(np.median(row[:8]))
        onset = max(0, up - int(min(T_END_STRETCH * abs(row[up] - level) / float(rise.max()), T_FARTHEST)))
    return onset, peak, end, height
