"""Findings per lead on the median beat: ST level, T polarity, Q waves, voltages.

Limits: ST elevation at J + 60 ms of 0.1 mV (0.2 mV in V2, V3) and depression of 0.1 mV; Q of 30 ms and a quarter of
the R; low voltage under 0.5 mV in the limb or 1.0 mV in the chest leads; tall R by Sokolow and Lyon, 3.5 mV.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uniecg_runtime.signal.delineate import WORK_HZ, Landmarks

NAMES = ("ST elevation", "ST depression", "T inversion", "Q wave", "low voltage", "tall R")
LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")
ST_ELEVATION_MV, ST_ELEVATION_V2_V3_MV, ST_DEPRESSION_MV = 0.1, 0.2, 0.1
ST_J_SHARE = 0.8  # of the limit that the J point itself must reach: a steep T upstroke alone does not
Q_SECONDS, Q_SHARE = 0.03, 0.25
LOW_LIMB_MV, LOW_CHEST_MV, SOKOLOW_MV = 0.5, 1.0, 3.5
T_SHARE, T_MV = 0.1, 0.1  # of the QRS' height, and in mV: a T must be this deep to count as inverted


def findings(
    shape: NDArray[np.float64], leads: tuple[str, ...], marks: Landmarks, *, millivolts: bool
) -> dict[str, tuple[str, ...]]:
    """Finding -> leads that show it, of the median beat (leads, samples) at WORK_HZ, in the order of NAMES.

    Without millivolts only what rests on proportions within a lead is looked for: T inversion and Q waves.
    """
    rows = {lead: row - row[marks.level].mean() for lead, row in zip(leads, shape, strict=True)}
    qrs = {lead: row[marks.qrs_onset : marks.qrs_offset + 1] for lead, row in rows.items()}
    found: dict[str, list[str]] = {name: [] for name in NAMES}
    for lead, row in rows.items():
        height = float(np.ptp(qrs[lead]))
        if millivolts:
            _st(found, lead, row, marks)
        if lead not in ("aVR", "V1") and _t_inverted(row, marks, height, lead, qrs, millivolts):
            found["T inversion"].append(lead)
        if lead not in ("aVR", "V1") and _q_wave(qrs[lead], height):
            found["Q wave"].append(lead)
    if "III" in found["T inversion"] and not {"II", "aVF"} & set(found["T inversion"]):
        found["T inversion"].remove("III")  # alone in III it is a variant of the normal
    if "III" in found["Q wave"] and not {"II", "aVF"} & set(found["Q wave"]):
        found["Q wave"].remove("III")
    if millivolts:
        found["low voltage"] = _low_voltage(qrs)
        found["tall R"] = _tall_r(qrs)
    return {name: tuple(lead for lead in leads if lead in found[name]) for name in NAMES if found[name]}


def _st(found: dict[str, list[str]], lead: str, row: NDArray[np.float64], marks: Landmarks) -> None:
    place = marks.qrs_offset + round(0.06 * WORK_HZ)
    level = float(row[place - 2 : place + 3].mean())
    j_point = float(row[marks.qrs_offset : marks.qrs_offset + 5].mean())
    limit = ST_ELEVATION_V2_V3_MV if lead in ("V2", "V3") else ST_ELEVATION_MV
    if lead != "aVR" and level >= limit and j_point >= ST_J_SHARE * limit:
        found["ST elevation"].append(lead)
    elif lead != "aVR" and level <= -ST_DEPRESSION_MV:
        found["ST depression"].append(lead)


def _t_inverted(
    row: NDArray[np.float64],
    marks: Landmarks,
    height: float,
    lead: str,
    qrs: dict[str, NDArray[np.float64]],
    millivolts: bool,
) -> bool:
    if marks.t_peak is None or marks.t_end is None or height <= 0:
        return False
    first = max(marks.qrs_offset + 30, marks.t_peak - 50)
    wave = row[first : min(row.size, marks.t_end + 1)]
    if wave.size < 10:
        return False
    lowest, highest = float(wave.min()), float(wave.max())
    deep = T_MV if millivolts else T_SHARE * height
    if lead in ("III", "aVL", "aVF") and abs(float(qrs[lead].max())) < abs(float(qrs[lead].min())):
        return False  # a T that follows a mainly negative QRS in these leads is concordant
    return lowest <= -deep and abs(lowest) > 1.5 * max(0.0, highest)


def _q_wave(qrs: NDArray[np.float64], height: float) -> bool:
    """A first deflection that is negative, lasts Q_SECONDS and reaches a quarter of the R, or no R at all (QS)."""
    if height <= 0 or qrs.size < 10:
        return False
    r_height = float(qrs.max())
    below = qrs < -0.03 * height
    start = int(np.argmax(np.abs(qrs) > 0.05 * height))
    if qrs[start] > 0:
        return False
    if r_height < 0.08 * height:
        return True
    ahead = np.flatnonzero(~below[start:])
    stop = start + (int(ahead[0]) if ahead.size else qrs.size - start)
    depth = float(-qrs[start:stop].min()) if stop > start else 0.0
    return (stop - start) / WORK_HZ >= Q_SECONDS and depth >= Q_SHARE * max(r_height, 1e-9)


def _low_voltage(qrs: dict[str, NDArray[np.float64]]) -> list[str]:
    low: list[str] = []
    for group, limit in ((LIMB, LOW_LIMB_MV), (CHEST, LOW_CHEST_MV)):
        present = [lead for lead in group if lead in qrs]
        if len(present) == len(group) and all(float(np.ptp(qrs[lead])) < limit for lead in present):
            low += present
    return low


def _tall_r(qrs: dict[str, NDArray[np.float64]]) -> list[str]:
    """Leads V5, V6 whose R with the S of V1 reaches Sokolow and Lyon's limit, and aVL with an R over 1.1 mV."""
    tall: list[str] = []
    if "V1" in qrs:
        s_wave = float(-qrs["V1"].min())
        tall += [lead for lead in ("V5", "V6") if lead in qrs and s_wave + float(qrs[lead].max()) >= SOKOLOW_MV]
    if "aVL" in qrs and float(qrs["aVL"].max()) > 1.1:
        tall.append("aVL")
    return tall
