"""Whether a recording can be read: per lead what is wrong with it and an index, one score, and swapped electrodes.

Five faults are measured on each lead, and a logistic model over them gives the lead's index. The record's score is the
geometric mean of the indices, squared: one lead that is lost costs a record more than a little noise on all. The
weights were fitted to the records' own labels of CinC 2011 (each lead's part learnt from the record's label alone),
see `uniecg_export.training.signal_quality`. The faults are those of Clifford et al. (Physiol Meas 2012).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import Recording
from uniecg_runtime.signal.reversal import Reversal, find_reversal
from uniecg_runtime.signal.window import band_pass, bridge_gaps
from uniecg_runtime.signal.work_signal import WORK_HZ, WorkSignal, work_signal

REASONS = ("off", "flat", "railed", "noise", "wander", "mains")
FAULTS = ("dead", "unlike", "noise", "wander", "mains")  # what the model weighs, each larger where the lead is worse
INTERCEPT = -0.72
WEIGHTS = np.array([2.93, 2.87, 9.58, 2.35, 0.90])
TYPICAL = np.array([0.0, 0.02, 0.03, -0.87, -2.5])  # median lead of the acceptable records
POWER = 2.0  # of the geometric mean of the lead indices
ACCEPTABLE = 0.8
REASON = 1.5  # log odds that a fault must cost a lead, against a typical one, to be named
BAD_LEAD = 0.5  # index under which the worst fault is named whatever it costs
OFF_SHARE = 0.2  # of the samples missing
FLAT_MV, DEAD_SHARE = 0.01, 0.5  # a second that moves less is flat; a lead is dead by half its length
RAIL_MV, RAIL_WIDTH_MV, RAIL_SHARE = 2.0, 0.002, 0.04  # samples at an extreme value this far from 0; so many are dead
QUIET_PERCENT = 20.0  # of the blocks of 80 ms lie between the QRS even at 250/min
MOST_NOISE = 0.5  # of what lies there over the peaks, 15-40 Hz
LEAST_WANDER_MV, LEAST_MAINS_MV = 0.05, 0.003  # under these all is the same
MAINS_HZ, MAINS_BESIDE = (50.0, 60.0), 6.0
BEFORE, AFTER = 31, 50  # samples of a beat that must resemble the others
LARGEST = 1e6  # any unit; keeps squares finite


@dataclass(frozen=True)
class Quality:
    """score: 0 (nothing readable) to 1. acceptable: `ACCEPTABLE` or more, good enough to be interpreted.

    leads: bad lead -> what is wrong with it, out of `REASONS`. index: lead -> 0..1, how likely it can be read.
    reversal: electrodes that seem swapped or a sign that seems turned, None where nothing speaks for it.
    """

    score: float
    acceptable: bool
    leads: dict[str, tuple[str, ...]]
    index: dict[str, float] = field(default_factory=dict)
    reversal: Reversal | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before anything that rests on the recording; empty for a good one."""
        found = []
        if not self.acceptable:
            wrong = "; ".join(f"{lead}: {', '.join(reasons)}" for lead, reasons in self.leads.items())
            found.append(f"signal quality is not acceptable ({wrong or f'score {self.score:.2f}'})")
        if self.reversal is not None:
            found.append(self.reversal.warning)
        return tuple(found)


@dataclass(frozen=True, eq=False)
class Examined:
    """shares: (leads, 3) of the samples missing, of the seconds flat, of the samples railed over `RAIL_SHARE`.

    faults: (leads, 5) in the order of `FAULTS`. work: what they were measured on.
    """

    shares: NDArray[np.float64]
    faults: NDArray[np.float64]
    work: WorkSignal


def assess(recording: Recording) -> Quality:
    """Judge 1 s or more of 1 to 12 leads, any units.

    Reasons: off (samples missing), flat, railed (at the end of the converter's range), noise (beats do not stand out,
    or do not resemble each other), wander (slow movement), mains (50 or 60 Hz). Without millivolts each lead is first
    brought to beats of 1 mV.
    """
    if not recording.leads or recording.duration < 1.0:
        return Quality(0.0, False, dict.fromkeys(recording.leads, ("off",)), dict.fromkeys(recording.leads, 0.0))
    seen = examine(recording)
    odds = INTERCEPT + seen.faults @ WEIGHTS
    values = 1.0 / (1.0 + np.exp(np.clip(odds, -30.0, 30.0)))
    index = {lead: float(value) for lead, value in zip(recording.leads, values, strict=True)}
    score = record_score(odds)
    named = (_reasons(*facts) for facts in zip(seen.shares, seen.faults, values, strict=True))
    return Quality(
        score=score,
        acceptable=score >= ACCEPTABLE,
        leads={lead: reasons for lead, reasons in zip(recording.leads, named, strict=True) if reasons},
        index=index,
        reversal=find_reversal(seen.work, [lead for lead, value in index.items() if value >= BAD_LEAD]),
    )


def record_score(odds: NDArray[np.float64]) -> float:
    """From each lead's log odds of being bad to the record's score."""
    return float(np.exp(-POWER * np.logaddexp(0.0, odds).mean()))


def examine(recording: Recording) -> Examined:
    """Measure the faults of each lead of 1 s or more."""
    whole, missing = _bridged(recording)
    fs = recording.fs
    work = work_signal(replace(recording, signal=whole))
    around = work.around_beats(BEFORE, AFTER)
    if recording.units != "mV":
        whole = whole * _to_millivolts(work.signal, around)
    shares = np.stack([missing, _flat(whole, fs), _railed(whole)], axis=1)
    shares[missing > OFF_SHARE, 0] = 1.0
    steep = band_pass(work.signal, WORK_HZ, WORK_HZ, 15.0, 40.0)
    noise = np.minimum(_noise(steep), MOST_NOISE)
    wander = np.clip(np.log10(_wander(whole, fs) + LEAST_WANDER_MV), -1.0, 1.5)
    mains = np.clip(np.log10(_mains(whole, fs) + LEAST_MAINS_MV), -3.0, 0.0)
    dead = shares.max(axis=1)
    faults = np.stack([dead, _unlike(around, recording.duration), noise, wander, mains], axis=1)
    faults[dead >= DEAD_SHARE, 1:] = (1.0, 0.0, 0.0, TYPICAL[4])  # nothing else can be told of a dead lead
    return Examined(shares, faults, work)


def _reasons(shares: NDArray[np.float64], faults: NDArray[np.float64], index: float) -> tuple[str, ...]:
    """What a lead suffers from: each fault that costs enough, or the worst one of a bad lead."""
    cost = WEIGHTS * (faults - TYPICAL)
    lost = REASONS[int(np.argmax(shares))]
    if shares.max() >= DEAD_SHARE:
        return (lost,)
    costs = {lost: cost[0], "noise": cost[1] + cost[2], "wander": cost[3], "mains": cost[4]}
    found = tuple(reason for reason in REASONS if costs.get(reason, 0.0) >= REASON)
    return found or ((max(costs, key=costs.__getitem__),) if index < BAD_LEAD else ())


def _bridged(recording: Recording) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The leads without gaps, zeros for one that is all gap; and the share of each that is missing."""
    present = np.isfinite(recording.signal)
    rows = np.zeros(recording.signal.shape, dtype=np.float32)
    for row, given, there in zip(rows, recording.signal, present, strict=True):
        if there.any():
            row[:] = bridge_gaps(given)[0]
    return np.clip(rows, -LARGEST, LARGEST), 1.0 - present.mean(axis=1)


def _to_millivolts(signal: NDArray[np.float32], around: NDArray[np.float32]) -> NDArray[np.float32]:
    """Per lead, shape (leads, 1): what brings its usual beat to 1 mV; without beats, its deviation to 0.25 mV."""
    size = np.ptp(np.median(around, axis=1), axis=1) if around.shape[1] else 4 * signal.std(axis=1)
    return np.where(size > 1e-6, 1.0 / np.maximum(size, 1e-6), 1.0).astype(np.float32)[:, None]


def _parts(rows: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """(leads, parts, length): the leads cut into whole parts."""
    return rows[:, : rows.shape[1] - rows.shape[1] % length].reshape(rows.shape[0], -1, length)


def _flat(rows: NDArray[np.float32], fs: float) -> NDArray[np.float64]:
    seconds = _parts(rows, int(fs))
    return np.asarray((np.ptp(seconds, axis=2) < FLAT_MV).mean(axis=1), dtype=np.float64)


def _railed(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    share = np.zeros(rows.shape[0])
    for extreme in (rows.max(axis=1, keepdims=True), rows.min(axis=1, keepdims=True)):
        held = (np.abs(rows - extreme) < RAIL_WIDTH_MV).mean(axis=1)
        share = np.maximum(share, np.where(np.abs(extreme[:, 0]) >= RAIL_MV, held, 0.0))
    return np.asarray(np.minimum(share / RAIL_SHARE, 1.0))


def _noise(steep: NDArray[np.float32]) -> NDArray[np.float64]:
    """Size of a quiet block of 80 ms over that of a second's largest block (median over the seconds)."""
    blocks = _parts(steep, 10).std(axis=2)
    seconds = np.array_split(blocks, max(1, blocks.shape[1] // 12), axis=1)
    peaks = np.median(np.stack([part.max(axis=1) for part in seconds]), axis=0)
    return np.asarray(np.percentile(blocks, QUIET_PERCENT, axis=1) / np.maximum(peaks, 1e-9), dtype=np.float64)


def _wander(rows: NDArray[np.float32], fs: float) -> NDArray[np.float64]:
    """How far half-second medians move: a lead without its beats."""
    return np.asarray(np.ptp(np.median(_parts(rows, int(fs / 2)), axis=2), axis=1), dtype=np.float64)


def _unlike(around: NDArray[np.float32], duration: float) -> NDArray[np.float64]:
    """1 - the median correlation of the beats with their median; 1 where fewer than two beats stand in 4 s or more."""
    if around.shape[1] < 2:
        return np.full(around.shape[0], 1.0 if duration >= 4.0 else TYPICAL[1])
    beats = around - around.mean(axis=2, keepdims=True)
    usual = np.median(beats, axis=1, keepdims=True)
    power = (beats**2).sum(axis=2) * (usual**2).sum(axis=2)
    alike = np.median((beats * usual).sum(axis=2) / np.sqrt(power + 1e-9), axis=1)
    return np.asarray(1.0 - np.clip(alike, 0.0, 1.0), dtype=np.float64)


def _mains(rows: NDArray[np.float32], fs: float) -> NDArray[np.float64]:
    """Root mean square of the larger of 50 and 60 Hz over what is beside it: median over the seconds, in mV."""
    length = int(fs)
    window = np.hanning(length + 1)[:-1].astype(np.float32)
    time = np.arange(length) / fs
    largest = np.zeros(rows.shape[0])
    for line in MAINS_HZ:
        if line + MAINS_BESIDE >= fs / 2:
            continue
        turns = np.outer([line, line - MAINS_BESIDE, line + MAINS_BESIDE], 2 * np.pi * time)
        waves = np.concatenate([np.cos(turns), np.sin(turns)]).astype(np.float32) * window
        parts = _parts(rows, length)
        seen = (parts - parts.mean(axis=2, keepdims=True)) @ waves.T
        size = np.hypot(seen[:, :, :3], seen[:, :, 3:]) * (np.sqrt(2) / window.sum())
        over = np.median(size[:, :, 0], axis=1) - np.median(size[:, :, 1:].mean(axis=2), axis=1)
        largest = np.maximum(largest, over)
    return largest
