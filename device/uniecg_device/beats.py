"""Heart beats as they come, and what their intervals say about the rhythm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_device import _native
from uniecg_device.errors import InputError

MIN_RR, MAX_RR = 0.2, 3.0  # s; what lies outside is a missed beat, a gap or noise, not an interval
STEADY = 0.1  # of the RR: successive ones that differ by more are irregular


@dataclass(frozen=True, eq=False)
class Beats:
    """QRS complexes in order.

    positions: int64 sample numbers, where the leads together are farthest from their baselines. lags: int64, samples
    that had come behind each when it was found. certainties: float32, 0.5..1.
    """

    positions: NDArray[np.int64]
    lags: NDArray[np.int64]
    certainties: NDArray[np.float32]


class BeatDetector:
    """Finds QRS complexes in one or more leads as samples come; libuniecg does the work, see docs/signal.md.

    A beat is found at most 300 ms behind the signal, save that those of the first 2.3 s after a start, or after a gap
    on all leads, come at the end of them. What is found depends on the samples alone, not on how they were divided.

    Peaks of the slope energy (Pan and Tompkins, IEEE Trans Biomed Eng 1985) in two bands, each band of each lead
    weighed by how far beats stand out of it, judged by a small fitted network from height, shape, rhythm and
    neighbours. Raises InputError for a rate outside 50..10000 Hz and more than 32 leads.
    """

    def __init__(self, fs: float, leads: int) -> None:
        try:
            self._native = _native.Beats(fs, leads)
        except (ValueError, TypeError) as error:
            raise InputError(f"{error}.") from error
        self.leads = leads

    def push(self, signal: NDArray[np.float32]) -> Beats:
        """The beats that the next samples show: float32 mV, shape (leads, samples), NaN while a lead is off.

        Raises InputError for another number of leads."""
        if signal.ndim != 2 or len(signal) != self.leads:
            raise InputError(f"expected a signal of shape ({self.leads}, samples), found {signal.shape}.")
        positions, lags, certainties = self._native.push(np.ascontiguousarray(signal, dtype=np.float32))
        return Beats(positions.astype(np.int64), lags.astype(np.int64), certainties)

    def skip(self, samples: int) -> None:
        """So many samples are missing on all leads."""
        self._native.skip(samples)


def find_beats(signal: NDArray[np.float32], fs: float) -> Beats:
    """Those of a finished stretch, found as in a stream: float32 mV, shape (leads, samples).

    Some seconds of what would come next are made up by standing still, so that the last beats are found too.
    Raises InputError as `BeatDetector` does.
    """
    if signal.ndim != 2:
        raise InputError(f"expected a signal of shape (leads, samples), found {signal.shape}.")
    detector = BeatDetector(fs, len(signal))
    parts = [detector.push(signal)]
    if signal.shape[1]:
        parts.append(detector.push(np.repeat(signal[:, -1:], round(2.5 * fs), axis=1)))
    positions, lags, certainties = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("positions", "lags", "certainties")
    )
    inside = positions < signal.shape[1]
    return Beats(positions[inside], lags[inside], certainties[inside])


@dataclass(frozen=True)
class RhythmStatistics:
    """Over the intervals between successive beats, those outside 0.2..3 s left out.

    intervals: their number. mean, median, shortest, longest, sdnn (standard deviation), rmssd (root mean square of
    successive differences, Task Force of ESC and NASPE 1996): s. heart_rate: 60 / mean, per minute.
    irregularity: 0..1, the share of successive differences above a tenth of the median interval. On
    150 single leads each of CinC 2017, nine in ten sinus rhythms lie below 0.18 and atrial fibrillations above 0.35
    (AUROC 0.98); frequent ectopic beats lie between.
    """

    intervals: int
    mean: float
    median: float
    shortest: float
    longest: float
    sdnn: float
    rmssd: float
    heart_rate: float
    irregularity: float


def rhythm_statistics(positions: NDArray[np.int64], fs: float) -> RhythmStatistics | None:
    """Of beats at these sample numbers, ascending; None with fewer than three usable intervals."""
    intervals = np.diff(positions) / fs
    usable = (intervals >= MIN_RR) & (intervals <= MAX_RR)
    if np.count_nonzero(usable) < 3:
        return None
    kept = intervals[usable]
    changes = np.diff(intervals)[usable[1:] & usable[:-1]]  # a difference needs two neighbours
    if not changes.size:
        return None
    median = float(np.median(kept))
    return RhythmStatistics(
        intervals=int(kept.size),
        mean=float(kept.mean()),
        median=median,
        shortest=float(kept.min()),
        longest=float(kept.max()),
        sdnn=float(kept.std(ddof=1)),
        rmssd=float(np.sqrt(np.mean(changes**2))),
        heart_rate=60.0 / float(kept.mean()),
        irregularity=float(np.mean(np.abs(changes) > STEADY * median)),
    )
