"""The median beat and where its waves begin and end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_runtime.signal.bounds import AFTER, BEFORE, foot, qrs_bounds, running_mean, weighted_median
from uniecg_runtime.signal.bounds import t_end as find_t_end

WORK_HZ = 500.0
SAME_SHAPE = 0.85  # correlation of two beats' QRS from which they count as one kind
STEADY = 0.15  # of the median RR: beats that come earlier or later say less about QT
P_CLEAR, P_CLEAR_IRREGULAR = 4.0, 6.0  # PTB-XL: 5th percentile of sinus rhythm 6.9, 95th of atrial fibrillation 4.7
IRREGULAR = 0.12  # standard deviation of RR over RR
P_ERROR = 0.004  # of the QRS: the least error that a lead is taken to have
P_REACH, P_REACH_IRREGULAR = 170, 125  # samples: how long before the QRS a P may begin
P_HALF = 55  # samples: how far its foot may be from its peak
P_FOOT = 0.25  # of the P's height: where its onset and end are taken (LUDB)
ONSET_SHARE, OFFSET_SHARE = 0.08, 0.10  # of the peak spatial velocity


@dataclass(frozen=True, eq=False)
class MedianBeat:
    """shape: (leads, BEFORE + AFTER) with the QRS at BEFORE; noise: per lead and sample the standard error of the
    median over the beats; used: how many beats it rests on."""

    shape: NDArray[np.float64]
    noise: NDArray[np.float64]
    used: int


@dataclass(frozen=True)
class Landmarks:
    """Samples of the median beat at WORK_HZ; p_onset and p_offset None without a P wave, t_end None without a T."""

    p_onset: int | None
    p_offset: int | None
    qrs_onset: int
    qrs_offset: int
    t_peak: int | None
    t_end: int | None

    @property
    def level(self) -> slice:
        """The PR segment's end: the 16 ms before the QRS, against which ST is measured."""
        return slice(max(0, self.qrs_onset - 10), max(1, self.qrs_onset - 2))


def median_beat(signal: NDArray[np.float32], beats: NDArray[np.floating]) -> MedianBeat | None:
    """The usual beat of (leads, samples) at WORK_HZ around `beats`: ectopic beats dropped, the others aligned.

    None where no whole beat lies within the signal.
    """
    centres = np.rint(beats).astype(int)
    reach = 15
    inside = (centres >= BEFORE + reach) & (centres + AFTER + reach < signal.shape[1])
    if not inside.any():
        return None
    intervals = np.diff(centres, prepend=np.nan)
    kept = centres[inside]
    kept = kept[_usual_kind(signal, kept, intervals[inside])]
    kept = _align(signal, kept, reach)
    members = signal[:, kept[:, None] + np.arange(-BEFORE, AFTER)].astype(np.float64)
    level = np.median(members[:, :, BEFORE - 60 : BEFORE - 30], axis=2, keepdims=True)
    members = members - level
    shape = np.median(members, axis=1)
    spread = np.median(np.abs(members - shape[:, None]), axis=1) * 1.4826
    return MedianBeat(shape, 1.25 * spread / np.sqrt(kept.size), int(kept.size))


def _usual_kind(
    signal: NDArray[np.float32], centres: NDArray[np.int_], intervals: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which beats belong to the most frequent QRS shape and, where enough do, follow a usual RR."""
    if centres.size < 3:
        return np.ones(centres.size, dtype=bool)
    cut = signal[:, centres[:, None] + np.arange(-50, 70, 2)]
    cut = cut / np.maximum(cut.std(axis=(1, 2), keepdims=True), 1e-9)
    flat = cut.transpose(1, 0, 2).reshape(centres.size, -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    alike = flat @ flat.T
    kind = alike[int(np.argmax((alike > SAME_SHAPE).sum(axis=1) + alike.mean(axis=1)))] > SAME_SHAPE
    usual = np.nanmedian(intervals) if np.isfinite(intervals).any() else np.nan
    steady = kind & ~(np.abs(intervals - usual) > STEADY * usual)
    return np.asarray(steady if steady.sum() >= max(3, kind.sum() // 2) else kind)


def _align(signal: NDArray[np.float32], centres: NDArray[np.int_], reach: int) -> NDArray[np.int_]:
    """Beats shifted by up to `reach` samples to fit their common shape best."""
    if centres.size < 2:
        return centres
    offsets = np.arange(-40, 50)
    scale = np.maximum(signal.std(axis=1), 1e-9)[:, None, None]
    wide = signal[:, centres[:, None] + np.arange(-40 - reach, 50 + reach)] / scale
    shift = np.zeros(centres.size, dtype=int)
    for _ in range(2):
        placed = np.take_along_axis(wide, (reach + shift[:, None] + np.arange(offsets.size))[None], axis=2)
        template = np.median(placed, axis=1)
        template -= template.mean(axis=1, keepdims=True)
        views = np.lib.stride_tricks.sliding_window_view(wide, offsets.size, axis=2)
        score = np.einsum("lbso,lo->bs", views, template)
        shift = score.argmax(axis=1) - reach
    return centres + shift


def delineate(beat: MedianBeat, intervals: NDArray[np.float64]) -> Landmarks | None:
    """Wave boundaries common to all leads. `intervals` are RR in ms. None where the QRS does not stand out.

    QRS: spatial velocity of the leads at one size, from its peak outwards until it stays under a threshold. T end:
    per lead where the steepest tangent behind the T peak meets the level before the P, then the leads' weighted median.
    P: the wave before the QRS, if it stands out of the beats' variation.
    """
    rr = float(np.median(intervals)) * WORK_HZ / 1000.0 if intervals.size else float(AFTER)
    scale = np.maximum(np.abs(beat.shape[:, BEFORE - 50 : BEFORE + 60]).max(axis=1), 1e-9)
    shape = beat.shape / scale[:, None]
    velocity = _velocity(shape)
    bounds = qrs_bounds(velocity, ONSET_SHARE, OFFSET_SHARE)
    if bounds is None:
        return None
    onset, offset = bounds
    t_peak, t_end = _t_wave(shape, offset, rr, onset)
    p_onset, p_offset = None, None
    if beat.used > 1:
        p_onset, p_offset = _p_wave(shape, beat.noise / scale[:, None], onset, intervals, t_end)
    return Landmarks(p_onset, p_offset, onset, offset, t_peak, t_end)


def _velocity(shape: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square slope over the leads, smoothed over 10 ms."""
    slope = np.zeros_like(shape)
    slope[:, 2:-2] = (shape[:, 4:] - shape[:, :-4]) / 4
    speed = np.sqrt((slope**2).mean(axis=0))
    return np.convolve(speed, np.ones(3) / 3, mode="same")


def _t_wave(shape: NDArray[np.float64], offset: int, rr: float, onset: int) -> tuple[int | None, int | None]:
    """Peak and end of the T wave: per lead, then the median over the leads weighted by T height."""
    first = offset + 30
    last = int(min(shape.shape[1] - 10, onset + 0.72 * rr + 40, onset + max(0.62 * rr, 210) + 50))
    if last - first < 40:
        return None, None
    smooth = running_mean(shape, 9)
    found = [wave for row in smooth if (wave := find_t_end(row[first:last])) is not None]
    if not found:
        return None, None
    peaks, ends, heights = (np.array(column) for column in zip(*found, strict=True))
    trusted = heights > 0.35 * heights.max()
    end = weighted_median(ends[trusted].astype(float), heights[trusted])
    return first + int(np.median(peaks[trusted])), first + round(end)


def _p_wave(
    shape: NDArray[np.float64],
    noise: NDArray[np.float64],
    onset: int,
    intervals: NDArray[np.float64],
    t_end: int | None,
) -> tuple[int | None, int | None]:
    """Bounds of the P wave, or None twice: the deviation from a line through its surroundings, each lead in units of
    its error, root mean square over the leads, must be P_CLEAR (irregular rhythm: P_CLEAR_IRREGULAR)."""
    rr = float(np.median(intervals)) * WORK_HZ / 1000.0 if intervals.size else float(AFTER)
    last = onset - 8
    previous_t = onset - rr + (t_end - onset) if t_end is not None else 0.0
    irregular = intervals.size > 0 and float(intervals.std()) > IRREGULAR * float(intervals.mean())
    first = int(max(2, previous_t + 6, onset - (P_REACH_IRREGULAR if irregular else P_REACH)))
    if last - first < 40:
        first = max(2, last - 60)
    if last - first < 20:
        return None, None
    part = running_mean(shape, 7)[:, first:last]
    line = np.linspace(0, 1, part.shape[1])
    left, right = (np.median(side, axis=1, keepdims=True) for side in (part[:, :8], part[:, -8:]))
    error = np.maximum(noise[:, first:last].mean(axis=1, keepdims=True), P_ERROR)
    energy = np.sqrt((((part - left * (1 - line) - right * line) / error) ** 2).mean(axis=0))
    peak = int(np.argmax(energy))
    if energy[peak] < (P_CLEAR_IRREGULAR if irregular else P_CLEAR):
        return None, None
    return first + foot(energy, peak, -1, P_FOOT, P_HALF), first + foot(energy, peak, 1, P_FOOT, P_HALF)
