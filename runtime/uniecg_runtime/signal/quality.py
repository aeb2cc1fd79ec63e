"""Whether a recording can be read: per lead what is wrong with it, and one score.

Simple rules on each lead, in the spirit of Clifford et al. (Physiol Meas 2012): is there a signal, does it move, does
it hit the rails, and do beats stand out of noise and wander.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import Recording
from uniecg_runtime.signal.window import band_pass, bridge_gaps

REASONS = ("off", "flat", "railed", "noise", "wander")
WEIGHT = {"off": 1.0, "flat": 1.0, "railed": 1.0, "noise": 0.6, "wander": 0.4}  # what each takes from a lead's score
ACCEPTABLE = 0.8
OFF_SHARE = 0.2  # of the samples missing
FLAT_MV, FLAT_SHARE = 0.005, 0.5  # a second that moves less is flat; a lead of which half the seconds are, too
RAIL_SHARE, RAIL_MV = 0.02, 4.0  # samples at one extreme value, which is this far from the median
NOISE_SHARE = 0.25  # typical 15-40 Hz activity over its peaks, which are the QRS: high when no beat stands out
WANDER_SHARE, WANDER_MV = 1.5, 1.0  # slow movement over the size of the beats, and in mV
WORK_HZ = 125.0


@dataclass(frozen=True)
class Quality:
    """score: 0 (nothing readable) to 1. acceptable: 0.8 or more. leads: bad lead -> what is wrong with it."""

    score: float
    acceptable: bool
    leads: dict[str, tuple[str, ...]]


def assess(recording: Recording) -> Quality:
    """Judge each lead of 1 s or more, any units; the score is the mean over the leads, less for every lead that is bad.

    Reasons: off (samples missing), flat, railed (at the end of the converter's range), noise (no beat stands out),
    wander (baseline moves more than the beats). Without millivolts flat and wander go by proportion alone.
    """
    if not recording.leads or recording.duration < 1.0:
        return Quality(0.0, False, dict.fromkeys(recording.leads, ("off",)))
    found: dict[str, tuple[str, ...]] = {}
    scores = []
    for lead, row in zip(recording.leads, recording.signal, strict=True):
        reasons = _lead(row, recording.fs, recording.units == "mV")
        if reasons:
            found[lead] = reasons
        scores.append(max(0.0, 1.0 - sum(WEIGHT[reason] for reason in reasons)))
    score = float(np.mean(scores))
    return Quality(score, score >= ACCEPTABLE, found)


def _lead(row: NDArray[np.float32], fs: float, millivolts: bool) -> tuple[str, ...]:
    present = np.isfinite(row)
    if present.mean() < 1 - OFF_SHARE:
        return ("off",)
    whole = bridge_gaps(row)[0]
    if _is_flat(whole, fs, millivolts):
        return ("flat",)
    if millivolts and _is_railed(whole):
        return ("railed",)
    steep = band_pass(whole[None], fs, WORK_HZ, 15.0, 40.0)[0]
    beats = band_pass(whole[None], fs, WORK_HZ, 0.7, 40.0)[0]
    size = _spread(beats, 1.0)
    reasons = []
    if _activity(steep) > NOISE_SHARE:
        reasons.append("noise")
    drift = _spread(_slow(whole, fs), 2.0)
    if drift > WANDER_SHARE * size and (drift > WANDER_MV or not millivolts):
        reasons.append("wander")
    return tuple(reasons)


def _is_flat(row: NDArray[np.float32], fs: float, millivolts: bool) -> bool:
    seconds = row[: row.size - row.size % round(fs)].reshape(-1, round(fs))
    moves = np.ptp(seconds, axis=1)
    limit = FLAT_MV if millivolts else 0.02 * float(np.median(np.abs(row - np.median(row)))) + 1e-9
    return float((moves < limit).mean()) >= FLAT_SHARE


def _is_railed(row: NDArray[np.float32]) -> bool:
    middle = float(np.median(row))
    for extreme in (float(row.max()), float(row.min())):
        at_rail = np.abs(row - extreme) < 1e-3
        if at_rail.mean() > RAIL_SHARE and (abs(extreme - middle) > RAIL_MV or at_rail.mean() > 0.5):
            return True
    return False


def _activity(steep: NDArray[np.float32]) -> float:
    """Usual size of a block of 80 ms over that of a second's largest block (median over the seconds)."""
    blocks = steep[: steep.size - steep.size % 10].reshape(-1, 10).std(axis=1)
    count = max(1, blocks.size // 12)
    peaks = [part.max() for part in np.array_split(blocks, count)]
    return float(np.median(blocks) / max(float(np.median(peaks)), 1e-12))


def _slow(row: NDArray[np.float32], fs: float) -> NDArray[np.float64]:
    """Half-second medians: what is left of a lead without its beats."""
    step = round(fs / 2)
    return np.median(row[: row.size - row.size % step].reshape(-1, step).astype(np.float64), axis=1)


def _spread(values: NDArray[np.floating], tail: float) -> float:
    low, high = np.percentile(values, (tail, 100 - tail))
    return float(high - low)
