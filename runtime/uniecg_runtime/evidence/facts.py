"""What is known of a recording that statements can be held against: plain numbers, and why some are missing.

`judge` reads nothing else, so that whoever measures more or better only has to fill these in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import Recording, Sex
from uniecg_runtime.signal.beats import rr_intervals
from uniecg_runtime.signal.delineate import WORK_HZ, Landmarks, delineate, median_beat
from uniecg_runtime.signal.edges import FindEdges, edges_of
from uniecg_runtime.signal.matrix import measure_matrix
from uniecg_runtime.signal.measure import BAND_HZ, Measurements, forgive_missed
from uniecg_runtime.signal.quality import Quality
from uniecg_runtime.signal.waves import find_waves
from uniecg_runtime.signal.window import band_pass, bridge_gaps

ST_SAFE_HZ = (0.05, 40.0)  # for levels: a high-pass of 0.5 Hz shifts the ST segment
AFTER_J = 0.06  # s behind the J point at which the ST level is read
MISSING_SHARE = 0.2  # of a lead's samples, from which on the lead is left out
LEAST_MV = 1e-3  # a lead that moves less is not connected
FINER = ("pr", "qrs", "qt", "qtc", "qtcf")  # taken from the waves of each beat instead of the usual beat's


@dataclass(frozen=True)
class LeadFacts:
    """One lead's usual beat, in mV or in the lead's own unit, against the level before the QRS.

    st: 60 ms behind the J point. j: at the J point. error: of these, one standard error. r, s: the largest positive and
    negative (as a positive number) deflection of the QRS. q, q_ms: depth and width of a first negative deflection, 0
    without one. t_high, t_low: highest and lowest value of the T wave, None where there is none.
    """

    st: float
    j: float
    error: float
    r: float
    s: float
    q: float
    q_ms: float
    t_high: float | None
    t_low: float | None


@dataclass(frozen=True)
class Facts:
    """Of one recording.

    values: heart_rate (/min), rr, pr, qrs, qt, qtc (Bazett), qtcf (Fridericia) in ms, axis in degrees; None or left out
    where not measured. rr: RR intervals in ms. p_waves: True where one stands before the usual QRS, False where none
    was found, None where nothing can be said. leads: by name. millivolts: whether the leads' numbers are mV. bad_leads:
    lead -> what is wrong with it. found: finding -> leads, as the measurements' own rules have them. unusable: why
    nothing here can be relied on; empty where it can.
    """

    values: Mapping[str, float | None]
    rr: tuple[float, ...] = ()
    p_waves: bool | None = None
    leads: Mapping[str, LeadFacts] = field(default_factory=dict)
    millivolts: bool = True
    bad_leads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    found: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unusable: str = ""
    sex: Sex | None = None
    age: float | None = None


def gather(recording: Recording, measured: Measurements, quality: Quality, find_edges: FindEdges = edges_of) -> Facts:
    """The facts of about 10 s of 1 to 12 leads: rate, axis and findings as measured, quality as assessed, intervals by
    the finer delineation of `measure_matrix`, which errs less than `measure`, and the leads' levels.

    find_edges: as for `find_waves`.
    """
    intervals = rr_intervals(recording, measured.beats)
    values = {name: value.value for name, value in measured.values.items()}
    matrix = measure_matrix(recording, find_waves(recording, find_edges))
    values |= {name: matrix.values[name].value for name in FINER}
    leads = _leads(recording, measured, forgive_missed(intervals))
    reasons = "; ".join(f"{lead}: {', '.join(why)}" for lead, why in quality.leads.items() if why)
    return Facts(
        values=values,
        rr=tuple(intervals.tolist()),
        p_waves=None if values.get("qrs") is None else values.get("pr") is not None,
        leads=leads,
        millivolts=recording.units == "mV",
        bad_leads={lead: why for lead, why in quality.leads.items() if why},
        found=measured.findings,
        unusable="" if quality.acceptable else f"signal quality is not acceptable ({reasons or 'no beat stands out'})",
        sex=recording.sex,
        age=recording.age,
    )


def _leads(recording: Recording, measured: Measurements, intervals: NDArray[np.float64]) -> dict[str, LeadFacts]:
    """Levels are read off the slow signal's median beat where the measuring signal's waves begin and end."""
    names, rows = [], []
    for lead, row in zip(recording.leads, recording.signal, strict=True):
        present = np.isfinite(row)
        if present.size and present.mean() >= 1 - MISSING_SHARE and float(np.ptp(row[present])) > LEAST_MV:
            names.append(lead)
            rows.append(bridge_gaps(row)[0])
    if not rows or rows[0].size < recording.fs:
        return {}
    raw = np.stack(rows)
    both = [band_pass(raw, recording.fs, WORK_HZ, *band) for band in (BAND_HZ, ST_SAFE_HZ)]
    beat = median_beat(np.concatenate(both), measured.beats * (WORK_HZ / recording.fs))
    if beat is None:
        return {}
    count = len(names)
    quick = type(beat)(beat.shape[:count], beat.noise[:count], beat.used)
    marks = delineate(quick, intervals)
    if marks is None:
        return {}
    return {
        lead: _lead(row, noise, marks)
        for lead, row, noise in zip(names, beat.shape[count:], beat.noise[count:], strict=True)
    }


def _lead(shape: NDArray[np.float64], noise: NDArray[np.float64], marks: Landmarks) -> LeadFacts:
    row = shape - shape[marks.level].mean()
    place = min(marks.qrs_offset + round(AFTER_J * WORK_HZ), row.size - 3)
    qrs = row[marks.qrs_onset : marks.qrs_offset + 1]
    q, q_ms = _q_wave(qrs)
    t_high, t_low = None, None
    if marks.t_peak is not None and marks.t_end is not None:
        wave = row[max(marks.qrs_offset + 30, marks.t_peak - 50) : min(row.size, marks.t_end + 1)]
        if wave.size >= 10:
            t_high, t_low = float(wave.max()), float(wave.min())
    return LeadFacts(
        st=float(row[place - 2 : place + 3].mean()),
        j=float(row[marks.qrs_offset : marks.qrs_offset + 5].mean()),
        error=float(noise[place] + noise[marks.level].mean()),
        r=max(0.0, float(qrs.max())),
        s=max(0.0, -float(qrs.min())),
        q=q,
        q_ms=q_ms,
        t_high=t_high,
        t_low=t_low,
    )


def _q_wave(qrs: NDArray[np.float64]) -> tuple[float, float]:
    """Depth and width in ms of a first deflection that is negative; of a QS the whole QRS."""
    height = float(np.ptp(qrs))
    if height <= 0 or qrs.size < 10:
        return 0.0, 0.0
    start = int(np.argmax(np.abs(qrs) > 0.05 * height))
    if qrs[start] > 0:
        return 0.0, 0.0
    ahead = np.flatnonzero(qrs[start:] >= -0.03 * height)
    stop = start + (int(ahead[0]) if ahead.size else qrs.size - start)
    depth = float(-qrs[start:stop].min()) if stop > start else 0.0
    return depth, (stop - start) * 1000.0 / WORK_HZ
