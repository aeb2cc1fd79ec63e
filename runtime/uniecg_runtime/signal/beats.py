"""Where the ventricles beat: QRS complexes from the slope energy of one to twelve leads.

Offline: thresholds look both ways. The lead normalisation, the two-sided local level and the search-back follow the
ideas of Pan and Tompkins (IEEE Trans Biomed Eng 1985) with the event window of Elgendi (PLoS ONE 2013).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import Recording
from uniecg_runtime.signal.window import band_pass, bridge_gaps

WORK_HZ = 125.0
BAND_HZ = (5.0, 25.0)
EVENT = 0.11  # s, about a QRS: over it the slope energy is averaged
REFRACTORY = 0.22  # s between two QRS
HIDES_A_BEAT = 0.1  # s without signal
LEVEL = 5.0  # s each way over which the local QRS level is taken
THRESHOLD = 0.38  # of the local level, on the amplitude (root energy) scale
SEARCH_BACK = 0.22
SILENT = 1e-6  # of the highest energy: a block under it holds no signal, only what the filter rounds
LEAST = 0.05  # of a QRS' usual height: nothing lower is a beat, whatever is around it
LONG_PAUSE = 1.6  # times the local RR: then a weaker beat is looked for
T_WAVE = 0.40  # s after a beat in which a wave of less than T_SHARE of its slope is the T wave
T_SHARE = 0.55
P_WAVE = 0.30  # s before a beat in which a wave of less than P_SHARE of its slope is the P wave
P_SHARE = 0.55
WEAK_SHARE, SAME_RR = 0.6, 0.12  # of the local level and of the RR: a weaker peak that fits within one RR intrudes
CAP = 2.0  # times the local level: what an artefact of one lead may add
CHUNK = 300.0  # s processed at once: bounds the memory of a long recording
OVERLAP = 10.0


def detect_beats(recording: Recording) -> NDArray[np.int64]:
    """Sample indices of the QRS complexes at the recording's own rate, ascending, int64.

    Any number of leads, any units, 50 Hz or more; leads without signal are ignored, leads whose slope energy is
    not concentrated in beats count less. Empty where there is no beat, no signal or less than a second of it.
    """
    fs = recording.fs
    count = recording.signal.shape[1]
    if count < fs or not recording.leads:
        return np.empty(0, dtype=np.int64)
    found: list[NDArray[np.int64]] = []
    size, margin = round(CHUNK * fs), round(OVERLAP * fs)
    for first in range(0, count, size):
        low, high = max(0, first - margin), min(count, first + size + margin)
        part = low + _detect(recording.signal[:, low:high], fs)
        found.append(part[(part >= first) & (part < first + size)])
    beats: NDArray[np.int64] = np.concatenate(found)
    if beats.size < 2:
        return beats
    apart = np.concatenate([[True], np.diff(beats) > 0.5 * REFRACTORY * fs])
    return np.asarray(beats[apart], dtype=np.int64)


def rr_intervals(recording: Recording, beats: NDArray[np.int64]) -> NDArray[np.float64]:
    """Milliseconds from each of `beats` to the next, those left out in which all leads are missing for so long that a
    beat may be."""
    missing = np.concatenate([[0], np.cumsum(~np.isfinite(recording.signal).any(axis=0))])
    seen = np.diff(missing[beats]) < HIDES_A_BEAT * recording.fs
    return np.asarray(np.diff(beats)[seen] / recording.fs * 1000.0, dtype=np.float64)


def _detect(signal: NDArray[np.float32], fs: float) -> NDArray[np.int64]:
    filtered = _filtered(signal, fs)
    if not filtered.shape[0] or filtered.shape[1] < WORK_HZ / 2:
        return np.empty(0, dtype=np.int64)
    envelope, shaped = _envelope(filtered)
    peaks = _peaks(envelope)
    if not peaks.size:
        return np.empty(0, dtype=np.int64)
    beats = _choose(peaks, envelope[peaks])
    placed = _place(beats, shaped)
    samples = np.rint(placed * (fs / WORK_HZ)).astype(np.int64)
    return np.asarray(np.minimum(samples, signal.shape[1] - 1), dtype=np.int64)


def _filtered(signal: NDArray[np.float32], fs: float) -> NDArray[np.float32]:
    """Leads that have a signal, band-passed to the steep part of the QRS, at WORK_HZ."""
    finite = np.isfinite(signal)
    rows = [bridge_gaps(row)[0] for row, ok in zip(signal, finite, strict=True) if ok.mean() > 0.2]
    rows = [row for row in rows if float(np.ptp(row)) > 0]
    if not rows:
        return np.empty((0, 0), dtype=np.float32)
    return band_pass(np.stack(rows), fs, WORK_HZ, *BAND_HZ)


def _envelope(filtered: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Root of the leads' weighted slope energy over a QRS' length, and the leads' weighted deviation."""
    slope = np.zeros(filtered.shape)
    slope[:, 1:-1] = (filtered[:, 2:] - filtered[:, :-2]) / 2
    energy = _smooth(slope**2, round(EVENT * WORK_HZ))
    level, floor = _local_levels(energy)
    # Muscle noise lifts the floor between the beats; while it does, the lead's weight falls with the square.
    weight = np.maximum(1.0 - 2.5 * floor / level, 0.03) ** 2
    weight /= weight.sum(axis=0)
    deviation = (weight * np.abs(filtered) / np.sqrt(level)).sum(axis=0)
    return np.sqrt((weight * np.minimum(energy / level, CAP)).sum(axis=0)), deviation


def _local_levels(energy: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per lead and sample: the usual height of the highest peak in 2 s (median over the blocks within 10 s), and the
    median energy of the 2 s itself, which is low where beats stand out."""
    block = round(2 * WORK_HZ)
    blocks = max(1, energy.shape[1] // block)
    parts = np.array_split(energy, blocks, axis=1)
    highest = np.stack([part.max(axis=1) for part in parts], axis=1)
    reach = min(2, blocks - 1)
    padded = np.pad(highest, ((0, 0), (reach, reach)), mode="reflect") if reach else highest
    level = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=1), axis=2)
    # A stretch of silence must not be blown up to a heart beat, even if most is silence.
    heard = np.where(highest >= SILENT * highest.max(axis=1, keepdims=True), highest, np.nan)
    level = np.maximum(level, 0.04 * np.nanmedian(heard, axis=1, keepdims=True) + 1e-30)
    floor = np.stack([np.median(part, axis=1) for part in parts], axis=1)
    lengths = [part.shape[1] for part in parts]
    return np.repeat(level, lengths, axis=1), np.repeat(floor, lengths, axis=1)


def _smooth(rows: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Triangular-weighted running mean of about `width`, along the last axis."""
    half = max(1, width // 2)
    for _ in range(2):
        total = np.cumsum(np.pad(rows, ((0, 0), (half // 2 + 1, half - half // 2 - 1)), mode="edge"), axis=1)
        total = np.concatenate([np.zeros((rows.shape[0], 1)), total], axis=1)
        rows = (total[:, half:] - total[:, :-half])[:, : rows.shape[1]] / half
    return rows


def _peaks(envelope: NDArray[np.float64]) -> NDArray[np.int64]:
    """Local maxima that are the highest within half a refractory time each way."""
    reach = round(REFRACTORY * WORK_HZ / 2)
    padded = np.pad(envelope, reach, mode="constant", constant_values=-1.0)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
    peaks = np.flatnonzero((envelope >= highest) & (envelope > LEAST))
    if peaks.size > 1:
        peaks = peaks[np.concatenate([[True], np.diff(peaks) > reach])]
    return peaks.astype(np.int64)


def _choose(peaks: NDArray[np.int64], heights: NDArray[np.float64]) -> NDArray[np.int64]:
    """The peaks that are beats: over the local threshold, not a T wave, and what a long pause hides."""
    level = _beat_level(peaks, heights)
    keep = heights > THRESHOLD * level
    chosen = _without_p_and_t(np.flatnonzero(keep), peaks, heights)
    for _ in range(2):
        chosen = _search_back(chosen, peaks, heights, level)
    return peaks[_without_intruders(chosen, peaks, heights, level)]


def _beat_level(peaks: NDArray[np.int64], heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Per peak the usual height of a QRS around it: median of the tall ones within LEVEL each way."""
    reach = round(LEVEL * WORK_HZ)
    low, high = np.searchsorted(peaks, peaks - reach), np.searchsorted(peaks, peaks + reach, side="right")
    level = np.empty(peaks.size)
    for index, (first, last) in enumerate(zip(low, high, strict=True)):
        near = heights[first:last]
        tall = near[near > 0.5 * np.partition(near, -min(3, near.size))[-min(3, near.size)]]
        level[index] = np.median(tall)
    return level


def _without_p_and_t(
    chosen: NDArray[np.int64], peaks: NDArray[np.int64], heights: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Drop what follows a beat within T_WAVE or precedes one within P_WAVE with far less slope, and the lower of two
    within REFRACTORY."""
    kept: list[int] = []
    for index in chosen:
        if kept:
            gap = (peaks[index] - peaks[kept[-1]]) / WORK_HZ
            if gap < REFRACTORY:
                if heights[index] > heights[kept[-1]]:
                    kept[-1] = int(index)
                continue
            if gap < P_WAVE and heights[kept[-1]] < P_SHARE * heights[index]:
                kept[-1] = int(index)
                continue
            if gap < T_WAVE and heights[index] < T_SHARE * heights[kept[-1]]:
                continue
        kept.append(int(index))
    return np.array(kept, dtype=np.int64)


def _search_back(
    chosen: NDArray[np.int64], peaks: NDArray[np.int64], heights: NDArray[np.float64], level: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Within pauses of LONG_PAUSE times the local RR, the tallest peak over SEARCH_BACK of the level is a beat."""
    if chosen.size < 4:
        return chosen
    intervals = np.diff(peaks[chosen])
    padded = np.pad(intervals, 4, mode="reflect" if intervals.size > 4 else "edge")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(padded, 9), axis=1)
    added: list[int] = []
    for where in np.flatnonzero(intervals > LONG_PAUSE * usual):
        first, last = chosen[where], chosen[where + 1]
        inside = np.arange(first + 1, last)
        gaps = np.minimum(peaks[inside] - peaks[first], peaks[last] - peaks[inside])
        inside = inside[(gaps > 0.36 * WORK_HZ) & (heights[inside] > SEARCH_BACK * level[inside])]
        if inside.size:
            added.append(int(inside[np.argmax(heights[inside])]))
    return np.sort(np.concatenate([chosen, np.array(added, dtype=np.int64)]))


def _without_intruders(
    chosen: NDArray[np.int64], peaks: NDArray[np.int64], heights: NDArray[np.float64], level: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Drop a weak peak between two beats that are one usual RR apart: an artefact, or a P or T taken for a beat."""
    if chosen.size < 5:
        return chosen
    around = np.full(chosen.size, np.inf)
    around[1:-1] = peaks[chosen[2:]] - peaks[chosen[:-2]]
    usual = float(np.median(np.diff(peaks[chosen])))
    weak = heights[chosen] < WEAK_SHARE * level[chosen]
    return chosen[~(weak & (np.abs(around - usual) < SAME_RR * usual))]


def _place(beats: NDArray[np.int64], deviation: NDArray[np.float64]) -> NDArray[np.int64]:
    """Each beat at the largest deviation within 80 ms of its energy's centre."""
    reach = round(0.08 * WORK_HZ)
    padded = np.pad(deviation, reach, mode="constant")
    around = padded[beats[:, None] + np.arange(2 * reach + 1)]
    return np.asarray(beats + around.argmax(axis=1) - reach, dtype=np.int64)
