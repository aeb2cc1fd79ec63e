"""What can be measured on a resting ECG: rate, intervals, axis, and findings per lead, from the median beat.

Everything is taken from the signal band-passed 0.5-40 Hz without phase shift at 500 Hz, whatever the recording's own
rate. That filter keeps the ST level close to, but not the same as, that of a 0.05 Hz high-pass: limits on ST are
for screening. Timing uses leads scaled to one size, so it is the same with and without millivolts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import Recording
from uniecg_runtime.manifest import Prompt
from uniecg_runtime.signal import findings as find
from uniecg_runtime.signal.beats import detect_beats, rr_intervals
from uniecg_runtime.signal.delineate import WORK_HZ, Landmarks, MedianBeat, delineate, median_beat
from uniecg_runtime.signal.window import band_pass, bridge_gaps

BAND_HZ = (0.5, 40.0)
MISSING_SHARE = 0.2
IRREGULAR = 0.08  # median deviation of RR over RR above which a doubled RR is no missed beat
MAX_EINTHOVEN = 0.12  # residual of III = II - I over the size of the leads, above which scales cannot be recovered
MIN_INDEPENDENT = 0.08  # second-smallest singular value: below it I, II and III are one shape and any scales fit


@dataclass(frozen=True)
class Value:
    """A measured value in its unit; None where it cannot be measured."""

    value: float | None
    unit: str


@dataclass(frozen=True, eq=False)
class Measurements:
    """Of one recording.

    values: heart_rate (bpm), rr, rr_sd, pr, qrs, qt, qtc (Bazett), qtcf (Fridericia) in ms, axis in degrees.
    findings: finding -> leads, in the order of `findings.NAMES`. beats: sample indices of the QRS, int64.
    """

    values: dict[str, Value]
    findings: dict[str, tuple[str, ...]]
    beats: NDArray[np.int64]


def measure(recording: Recording) -> Measurements:
    """Measure about 10 s of 1 to 12 leads; what cannot be measured is None, never an exception.

    Rate: 60 / mean RR, gaps left out, one missed beat in a regular rhythm forgiven. PR is None where no P wave stands
    out of the beats' own variation. Findings that need millivolts are left out where `units` is "standardised".
    """
    beats = detect_beats(recording)
    intervals = forgive_missed(rr_intervals(recording, beats))
    values = _rhythm(intervals)
    found: dict[str, tuple[str, ...]] = {}
    leads, signal = _filtered(recording)
    beat = median_beat(signal, beats * (WORK_HZ / recording.fs)) if leads else None
    marks = delineate(beat, intervals) if beat is not None else None
    values |= _intervals(marks, intervals)
    axis = None
    if beat is not None and marks is not None:
        axis = _axis(beat, marks, signal, leads, recording.units == "standardised")
        found = find.findings(beat.shape, leads, marks, millivolts=recording.units == "mV")
    values["axis"] = Value(axis, "deg")
    return Measurements(values, found, beats)


def prompt_text(measurements: Measurements, prompt: Prompt) -> str:
    """The measurements as the prompt carries them: "HR 72 PR - QRS 92; T inversion V5 V6"."""
    parts = []
    for feature in prompt.features:
        held = measurements.values.get(feature.name)
        text = "-" if held is None or held.value is None else f"{held.value:.{feature.decimals}f}"
        parts.append(f"{feature.label} {'0' if text == '-0' else text}")
    pieces = [" ".join(parts)]
    for name in prompt.findings:
        if leads := measurements.findings.get(name):
            pieces.append(f"{name} {' '.join(leads)}")
    return "; ".join(pieces)


def forgive_missed(intervals: NDArray[np.float64]) -> NDArray[np.float64]:
    """RR intervals in which, where the rhythm is regular, one of about twice the usual length counts as two."""
    if intervals.size < 4:
        return intervals
    usual = float(np.median(intervals))
    if float(np.median(np.abs(intervals - usual))) > IRREGULAR * usual:
        return intervals
    double = np.abs(intervals / usual - 2.0) < 0.15
    if double.sum() != 1:
        return intervals
    return np.concatenate([intervals[~double], np.repeat(intervals[double] / 2, 2)])


def _rhythm(intervals: NDArray[np.float64]) -> dict[str, Value]:
    if not intervals.size:
        return {"heart_rate": Value(None, "bpm"), "rr": Value(None, "ms"), "rr_sd": Value(None, "ms")}
    mean = float(intervals.mean())
    spread = float(intervals.std(ddof=1)) if intervals.size > 1 else None
    return {"heart_rate": Value(60_000.0 / mean, "bpm"), "rr": Value(mean, "ms"), "rr_sd": Value(spread, "ms")}


def _filtered(recording: Recording) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Leads with a signal, band-passed, at WORK_HZ."""
    leads: list[str] = []
    rows: list[NDArray[np.float32]] = []
    for lead, row in zip(recording.leads, recording.signal, strict=True):
        present = np.isfinite(row)
        if present.size and present.mean() >= 1 - MISSING_SHARE and float(np.ptp(row[present])) > 1e-3:
            leads.append(lead)
            rows.append(bridge_gaps(row)[0])
    if not rows or rows[0].size < recording.fs:
        return (), np.empty((0, 0), dtype=np.float32)
    return tuple(leads), band_pass(np.stack(rows), recording.fs, WORK_HZ, *BAND_HZ)


def _intervals(marks: Landmarks | None, intervals: NDArray[np.float64]) -> dict[str, Value]:
    if marks is None:
        return {name: Value(None, "ms") for name in ("pr", "qrs", "qt", "qtc", "qtcf")}
    to_ms = 1000.0 / WORK_HZ
    pr = None if marks.p_onset is None else (marks.qrs_onset - marks.p_onset) * to_ms
    qt = None if marks.t_end is None else (marks.t_end - marks.qrs_onset) * to_ms
    seconds = float(intervals.mean()) / 1000.0 if intervals.size else None
    corrected = (None, None) if qt is None or seconds is None else (qt / seconds**0.5, qt / seconds ** (1 / 3))
    return {
        "pr": Value(pr, "ms"),
        "qrs": Value((marks.qrs_offset - marks.qrs_onset) * to_ms, "ms"),
        "qt": Value(qt, "ms"),
        "qtc": Value(corrected[0], "ms"),
        "qtcf": Value(corrected[1], "ms"),
    }


def _axis(
    beat: MedianBeat, marks: Landmarks, signal: NDArray[np.float32], leads: tuple[str, ...], standardised: bool
) -> float | None:
    """Frontal QRS axis in degrees, -180..180, from the net QRS areas of I and aVF."""
    scales = limb_scales(signal, leads) if standardised else np.ones(3)
    if scales is None:
        return None
    area = beat.shape[:, marks.qrs_onset : marks.qrs_offset + 1]
    area = (area - beat.shape[:, marks.level].mean(axis=1)[:, None]).sum(axis=1)
    net = {lead: float(area[leads.index(lead)]) for lead in ("I", "II", "III", "aVF") if lead in leads}
    if standardised:
        i, avf = scales[0] * net["I"], (scales[1] * net["II"] + scales[2] * net["III"]) / 2
    else:
        if "I" not in net and {"II", "III"} <= net.keys():
            net["I"] = net["II"] - net["III"]
        if "aVF" not in net and "II" in net and ("III" in net or "I" in net):
            net["aVF"] = (net["II"] + net["III"]) / 2 if "III" in net else net["II"] - net["I"] / 2
        if not {"I", "aVF"} <= net.keys():
            return None
        i, avf = net["I"], net["aVF"]
    # A unit of aVF spans less of the frontal plane than one of I (Goldberger): 2 / sqrt(3) makes them equal.
    return float(np.degrees(np.arctan2(avf * 2 / np.sqrt(3), i))) if i or avf else None


def limb_scales(signal: NDArray[np.float32], leads: tuple[str, ...]) -> NDArray[np.float64] | None:
    """Scales of standardised I, II, III up to a common factor, from III = II - I: the smallest singular vector of
    (I, -II, III). None where a lead is missing, the law does not hold, or the leads have one shape."""
    if not {"I", "II", "III"} <= set(leads):
        return None
    rows = np.stack([signal[leads.index(lead)] for lead in ("I", "II", "III")]).astype(np.float64)
    rows /= np.maximum(rows.std(axis=1, keepdims=True), 1e-12)
    rows[1] *= -1
    powers, vectors = np.linalg.eigh(rows @ rows.T / rows.shape[1])
    sizes = np.sqrt(np.maximum(powers, 0.0))
    scales = vectors[:, 0] * np.sign(vectors[:, 0].sum())
    if sizes[0] > MAX_EINTHOVEN or sizes[1] < max(MIN_INDEPENDENT, 3 * sizes[0]) or (scales <= 0).any():
        return None
    deviations = np.stack([signal[leads.index(lead)] for lead in ("I", "II", "III")]).std(axis=1)
    return np.asarray(scales / np.maximum(deviations, 1e-12), dtype=np.float64)
