"""The measurement matrix as carts print it: intervals, axes and voltages of the whole, and a row per lead.

Every value says how far to trust it and which leads it came from; what cannot be measured says why. Intervals run
between the medians over the leads of the waves' edges, on each beat of the usual kind, and are medians over these.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import Recording
from uniecg_runtime.signal.amplitudes import AREAS, DURATIONS, NAMES, Amplitudes, amplitudes
from uniecg_runtime.signal.beats import rr_intervals
from uniecg_runtime.signal.measure import forgive_missed
from uniecg_runtime.signal.waves import Waves, stretches

ENOUGH = 4  # beats, under which less is trusted: their scatter tells little
P_SHARE = 0.5  # of the usual beats that must have a P wave for a PR interval
TOLERANCE_MS = {"pr": 12.0, "p_duration": 15.0, "qrs": 10.0, "qt": 20.0}  # spread over beats that halves the quality
ERROR_MV, ERROR_SHARE = 0.025, 0.02  # standard error that halves a height's quality; a share of 1 SD without millivolts
FRONTAL = ("I", "II", "III", "aVF")
CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")
NO_BEAT = "no beat found"


@dataclass(frozen=True)
class Measured:
    """A value in its unit, with how far to trust it (0..1) and the leads it came from; None says the reason why."""

    value: float | None
    unit: str
    quality: float
    leads: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Matrix:
    """values: heart_rate (bpm); rr, rr_sd, pr, p_duration, qrs, qt, qtc (Bazett), qtcf (Fridericia), qtc_framingham,
    qtc_hodges (ms); p_axis, axis, t_axis (degrees); sokolow_lyon, cornell (mV); r_transition (the chest lead, with
    decimals between two, from which R exceeds S); p_share (of the usual beats, 0..1).

    leads: per lead p, q, r, s, r2, t, st_j, st_60 (mV, or SD of a standardised recording) and q_duration, r_duration,
    s_duration (ms).
    """

    values: dict[str, Measured]
    leads: dict[str, dict[str, Measured]]


@dataclass(frozen=True, eq=False)
class Survey:
    """What a piece of a recording adds to the matrix. rr: in ms. intervals: name -> one value in ms per usual beat,
    NaN where it has none. heights: one per stretch."""

    rr: NDArray[np.float64]
    intervals: dict[str, NDArray[np.float64]]
    heights: tuple[Amplitudes, ...]


def measure_matrix(recording: Recording, waves: Waves) -> Matrix:
    """The matrix of a recording in memory, from its waves."""
    return tabulate([survey(recording, waves)], recording.leads, recording.units == "mV")


def survey(recording: Recording, waves: Waves) -> Survey:
    """Measure a recording, or a piece of a longer one."""
    common, usual = waves.common, waves.kinds == 0
    marks = np.stack([waves.leads[lead] for lead in recording.leads])
    heights = []
    for part, first, own in stretches(recording, waves.beats):
        chosen = np.arange(own.start, own.stop)[usual[own]]
        inside, each = (np.where(held >= 0, held - first, -1) for held in (common[chosen], marks[:, chosen]))
        found = amplitudes(part, inside, each)
        if found is not None:
            heights.append(found)
    beats = common[usual].astype(np.float64)
    beats[beats < 0] = np.nan
    ends = {"pr": (0, 3), "p_duration": (0, 2), "qrs": (3, 5), "qt": (3, 8)}
    to_ms = 1000.0 / recording.fs
    intervals = {name: (beats[:, last] - beats[:, first]) * to_ms for name, (first, last) in ends.items()}
    return Survey(forgive_missed(rr_intervals(recording, waves.beats)), intervals, tuple(heights))


def tabulate(pieces: Sequence[Survey], leads: tuple[str, ...], millivolts: bool) -> Matrix:
    """One matrix from the pieces of a recording, which follow each other."""
    rr = np.concatenate([piece.rr for piece in pieces])
    heights = [found for piece in pieces for found in piece.heights]
    shown = _alive(heights, leads)
    values = _rhythm(rr, shown)
    for name in TOLERANCE_MS:
        values[name] = _interval(name, np.concatenate([piece.intervals[name] for piece in pieces]), shown)
    values |= _corrected(values)
    table, quality = _table(heights, len(leads), millivolts)
    unit = "mV" if millivolts else "SD"
    per_lead = {
        lead: {
            name: _cell(float(value), "ms" if name in DURATIONS else unit, float(trust), lead, lead in shown)
            for name, value in zip(NAMES, row, strict=False)
        }
        for lead, row, trust in zip(leads, table, quality, strict=True)
    }
    areas = {name: dict(zip(leads, table[:, len(NAMES) + k], strict=True)) for k, name in enumerate(AREAS)}
    for name, area in (("p_axis", "p_area"), ("axis", "qrs_area"), ("t_axis", "t_area")):
        values[name] = _axis(areas[area], dict(zip(leads, quality.tolist(), strict=True)), millivolts, bool(shown))
    values["sokolow_lyon"] = _sokolow(per_lead, millivolts)
    values["cornell"] = _sum_of(per_lead, (("aVL", "r"), ("V3", "s")), millivolts)
    values["r_transition"] = _transition(per_lead)
    values["p_share"] = _p_share(pieces, shown)
    return Matrix(values, per_lead)


def _rhythm(rr: NDArray[np.float64], leads: tuple[str, ...]) -> dict[str, Measured]:
    if not rr.size:
        units = {"heart_rate": "bpm", "rr": "ms", "rr_sd": "ms"}
        return {name: Measured(None, unit, 0.0, (), "fewer than two beats") for name, unit in units.items()}
    mean, trust = float(rr.mean()), min(1.0, rr.size / ENOUGH)
    spread = Measured(float(rr.std(ddof=1)), "ms", trust, leads) if rr.size > 1 else None
    return {
        "heart_rate": Measured(60_000.0 / mean, "bpm", trust, leads),
        "rr": Measured(mean, "ms", trust, leads),
        "rr_sd": spread or Measured(None, "ms", 0.0, (), "fewer than three beats"),
    }


def _alive(heights: list[Amplitudes], leads: tuple[str, ...]) -> tuple[str, ...]:
    """Leads that hold a signal somewhere."""
    if not heights:
        return leads
    qrs = np.stack([found.values[:, len(NAMES) + 1] for found in heights])
    return tuple(lead for lead, column in zip(leads, qrs.T, strict=True) if np.isfinite(column).any())


def _interval(name: str, found: NDArray[np.float64], leads: tuple[str, ...]) -> Measured:
    held = found[np.isfinite(found)]
    if not found.size:
        return Measured(None, "ms", 0.0, (), NO_BEAT)
    share = held.size / found.size
    if share < P_SHARE:
        return Measured(None, "ms", 0.0, (), _why_not(name, found.size))
    middle = float(np.median(held))
    spread = 1.4826 * float(np.median(np.abs(held - middle)))
    trust = share * min(1.0, held.size / ENOUGH) / (1 + (spread / TOLERANCE_MS[name]) ** 2)
    return Measured(middle, "ms", trust, leads)


def _why_not(name: str, beats: int) -> str:
    if name == "qrs":
        return "no QRS edges stand out"
    if name == "qt":
        return "no T wave stands out"
    return "too few beats to tell a P wave" if beats < 3 else "no P wave before most beats"


def _corrected(values: dict[str, Measured]) -> dict[str, Measured]:
    """QT at 60 per minute: Bazett 1920, Fridericia 1920, Sagie (Framingham) 1992, Hodges 1983."""
    qt, rr = values["qt"], values["rr"]
    names = ("qtc", "qtcf", "qtc_framingham", "qtc_hodges")
    if qt.value is None or rr.value is None:
        reason = qt.reason or rr.reason
        return {name: Measured(None, "ms", 0.0, (), reason) for name in names}
    seconds = rr.value / 1000.0
    corrected = (
        qt.value / seconds**0.5,
        qt.value / seconds ** (1 / 3),
        qt.value + 154.0 * (1.0 - seconds),
        qt.value + 1.75 * (60.0 / seconds - 60.0),
    )
    trust = min(qt.quality, rr.quality)
    return {name: Measured(value, "ms", trust, qt.leads) for name, value in zip(names, corrected, strict=True)}


def _table(heights: list[Amplitudes], leads: int, millivolts: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Medians over the stretches (leads, NAMES and AREAS), NaN where fewer than half have it, and quality per lead."""
    if not heights:
        return np.full((leads, len(NAMES) + len(AREAS)), np.nan), np.zeros(leads)
    every = np.sort(np.stack([found.values for found in heights]), axis=0)  # NaN last
    held = np.isfinite(every).sum(axis=0)
    low, high = (np.take_along_axis(every, np.maximum(held - k, 0)[None] // 2, axis=0)[0] for k in (1, 0))
    middle = np.where(held % 2, low, (low + high) / 2)
    errors = np.stack([found.error for found in heights]).T
    usual = [float(np.median(row[np.isfinite(row)])) if np.isfinite(row).any() else np.inf for row in errors]
    error = np.array(usual)
    beats = min(1.0, sum(found.beats for found in heights) / ENOUGH)
    quality = beats / (1.0 + (error / (ERROR_MV if millivolts else ERROR_SHARE)) ** 2)
    return np.where(2 * held >= len(heights), middle, np.nan), quality


def _cell(value: float, unit: str, quality: float, lead: str, alive: bool) -> Measured:
    if np.isfinite(value):
        return Measured(value, unit, quality, (lead,))
    return Measured(None, unit, 0.0, (lead,), "no such wave" if alive else "no signal")


def _axis(areas: dict[str, float], quality: dict[str, float], millivolts: bool, beats: bool) -> Measured:
    """Frontal axis from the net areas of I and aVF, or of what gives them (Einthoven, Goldberger), -180..180."""
    net = {lead: float(areas[lead]) for lead in FRONTAL if np.isfinite(areas.get(lead, np.nan))}
    used = tuple(net)
    if "I" not in net and {"II", "III"} <= net.keys():
        net["I"] = net["II"] - net["III"]
    if "II" not in net and {"I", "III"} <= net.keys():
        net["II"] = net["I"] + net["III"]
    if "aVF" not in net and "II" in net and ("III" in net or "I" in net):
        net["aVF"] = (net["II"] + net["III"]) / 2 if "III" in net else net["II"] - net["I"] / 2
    if not millivolts:
        return Measured(None, "deg", 0.0, (), "needs millivolts")
    if not {"I", "aVF"} <= net.keys():
        needs = "needs two of I, II, III" if len({"I", "II", "III"} & areas.keys()) < 2 else "no such wave"
        return Measured(None, "deg", 0.0, (), needs if beats else NO_BEAT)
    i, avf = net["I"], net["aVF"] * 2 / np.sqrt(3)  # aVF's unit spans less of the plane than I's
    trust = min(quality[lead] for lead in used)
    return Measured(float(np.degrees(np.arctan2(avf, i))), "deg", trust, used)


def _sum_of(leads: dict[str, dict[str, Measured]], terms: tuple[tuple[str, str], ...], millivolts: bool) -> Measured:
    """Sum of heights without their signs; a lead without that wave adds nothing (a QS counts as S)."""
    needed = tuple(lead for lead, _ in terms)
    missing = [lead for lead in needed if lead not in leads or leads[lead]["st_j"].value is None]
    if not millivolts or missing:
        return Measured(None, "mV", 0.0, (), f"needs {' and '.join(needed)}" if millivolts else "needs millivolts")
    total = sum(_height(leads[lead], wave) for lead, wave in terms)
    return Measured(total, "mV", min(leads[lead]["st_j"].quality for lead in needed), needed)


def _height(row: dict[str, Measured], wave: str) -> float:
    if wave == "s" and row["r"].value is None:
        wave = "q"
    if wave == "r":
        return max(row["r"].value or 0.0, row["r2"].value or 0.0)
    return abs(row[wave].value or 0.0)


def _sokolow(leads: dict[str, dict[str, Measured]], millivolts: bool) -> Measured:
    """S of V1 with the taller R of V5 and V6 (Sokolow and Lyon, Am Heart J 1949)."""
    sums = [_sum_of(leads, (("V1", "s"), (lead, "r")), millivolts) for lead in ("V5", "V6")]
    held = [found for found in sums if found.value is not None]
    return max(held, key=lambda found: found.value or 0.0) if held else sums[0]


def _transition(leads: dict[str, dict[str, Measured]]) -> Measured:
    """Where along V1..V6 R comes to exceed S: 3.5 is between V3 and V4."""
    present = [lead for lead in CHEST if lead in leads and leads[lead]["st_j"].value is not None]
    if len(present) < len(CHEST):
        return Measured(None, "V", 0.0, (), "needs V1 to V6")
    excess = [_height(leads[lead], "r") - _height(leads[lead], "s") for lead in CHEST]
    trust = min(leads[lead]["st_j"].quality for lead in CHEST)
    for place, (before, behind) in enumerate(itertools.pairwise(excess), 1):
        if before < 0 <= behind:
            return Measured(place + before / (before - behind), "V", trust, CHEST)
    return Measured(None, "V", 0.0, CHEST, "R exceeds S from V1 on" if excess[0] >= 0 else "R below S up to V6")


def _p_share(pieces: Sequence[Survey], leads: tuple[str, ...]) -> Measured:
    found = np.concatenate([piece.intervals["p_duration"] for piece in pieces])
    if not found.size:
        return Measured(None, "", 0.0, (), NO_BEAT)
    return Measured(float(np.isfinite(found).mean()), "", min(1.0, found.size / ENOUGH), leads)
