"""What makes a statement true: limits, where they come from, and how far a measurement may be off.

Sources by short name, in full in docs/evidence.md. Where authorities draw a line at two places both are kept: between
them a statement is borderline, neither supported nor contradicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from uniecg_device.signals import Sex

INFINITY: Final = float("inf")

CONDUCTION: Final = "AHA/ACCF/HRS 2009, part III"
REPOLARISATION: Final = "AHA/ACCF/HRS 2009, part IV"
HYPERTROPHY: Final = "AHA/ACCF/HRS 2009, part V"
ISCHAEMIA: Final = "AHA/ACCF/HRS 2009, part VI"
INFARCTION: Final = "Fourth Universal Definition of MI, ESC/ACC/AHA/WHF 2018"
BRADYCARDIA: Final = "ACC/AHA/HRS 2018, bradycardia"
TACHYCARDIA: Final = "ACC/AHA/HRS 2015, supraventricular tachycardia"
FIBRILLATION: Final = "ESC 2020, atrial fibrillation"
SHORT_QT: Final = "AHA/ACCF/HRS 2009, part IV; ESC 2022, ventricular arrhythmias"
USAGE: Final = "common usage"
SOKOLOW: Final = "Sokolow and Lyon 1949; Cornell; AHA/ACCF/HRS 2009, part V"
MEASURED: Final = "measurement"


@dataclass(frozen=True)
class Range:
    """A statement on one quantity: it holds from holds[0] to holds[1]; outside `may` no authority lets it hold.

    words: the criterion for people. part: what the criterion leaves out, where it is only a part of the diagnosis.
    """

    quantity: str
    holds: tuple[float, float]
    may: tuple[float, float]
    words: str
    source: str
    part: str = ""


_SHAPE: Final = "only the QRS duration was checked, not its shape"
_AXIS_ONLY: Final = "only axis and QRS duration were checked, not the shape"

RANGES: Final[dict[str, Range]] = {
    "bradycardia": Range("heart_rate", (0, 60), (0, 60), "rate under 60 /min (under 50: the guideline)", BRADYCARDIA),
    "tachycardia": Range("heart_rate", (100, INFINITY), (100, INFINITY), "rate over 100 /min", TACHYCARDIA),
    "normal rate": Range("heart_rate", (60, 100), (50, 100), "rate 60 to 100 /min", USAGE),
    "long PR": Range("pr", (200, INFINITY), (200, INFINITY), "PR over 200 ms", BRADYCARDIA),
    "short PR": Range("pr", (0, 120), (0, 120), "PR under 120 ms", CONDUCTION),
    "normal PR": Range("pr", (120, 200), (120, 200), "PR 120 to 200 ms", BRADYCARDIA),
    "wide QRS": Range("qrs", (120, INFINITY), (120, INFINITY), "QRS 120 ms or more", CONDUCTION),
    "narrow QRS": Range("qrs", (0, 120), (0, 120), "QRS under 120 ms", CONDUCTION),
    "normal QRS": Range("qrs", (0, 110), (0, 120), "QRS up to 110 ms", CONDUCTION),
    "right bundle branch block": Range(
        "qrs", (120, INFINITY), (120, INFINITY), "QRS 120 ms or more", CONDUCTION, _SHAPE
    ),
    "left bundle branch block": Range(
        "qrs", (120, INFINITY), (120, INFINITY), "QRS 120 ms or more", CONDUCTION, _SHAPE
    ),
    "bundle branch block": Range("qrs", (120, INFINITY), (110, INFINITY), "QRS 120 ms or more", CONDUCTION, _SHAPE),
    "incomplete bundle branch block": Range("qrs", (110, 120), (80, 120), "QRS 110 to 120 ms", CONDUCTION, _SHAPE),
    "intraventricular conduction delay": Range(
        "qrs", (110, INFINITY), (110, INFINITY), "QRS over 110 ms", CONDUCTION, _SHAPE
    ),
    "normal axis": Range("axis", (-30, 90), (-30, 90), "axis -30 to 90 degrees", CONDUCTION),
    "left axis": Range("axis", (-90, -30), (-90, -30), "axis -30 to -90 degrees", CONDUCTION),
    "right axis": Range("axis", (90, 180), (90, 180), "axis 90 to 180 degrees", CONDUCTION),
    "extreme axis": Range("axis", (-180, -90), (-180, -90), "axis -90 to -180 degrees", CONDUCTION),
    "left anterior fascicular block": Range(
        "axis", (-90, -45), (-90, -30), "axis -45 to -90 degrees", CONDUCTION, _AXIS_ONLY
    ),
    "left posterior fascicular block": Range(
        "axis", (90, 180), (90, 180), "axis 90 to 180 degrees", CONDUCTION, _AXIS_ONLY
    ),
    "short QT": Range("qtc", (0, 360), (0, 390), "QTc up to 360 ms (390: AHA)", SHORT_QT),
}


def long_qt(sex: Sex | None) -> Range:
    """QTc from 460 ms in women, 450 ms in men; between them where the sex is not known."""
    holds, may = {"female": (460.0, 460.0), "male": (450.0, 450.0), None: (460.0, 450.0)}[sex]
    words = f"QTc {holds:.0f} ms or more" if sex else "QTc 460 ms or more (women), 450 (men)"
    return Range("qtc", (holds, INFINITY), (may, INFINITY), words, REPOLARISATION)


def normal_qt(sex: Sex | None) -> Range:
    """QTc neither long nor short."""
    long = long_qt(sex)
    words = f"QTc 360 to {long.may[0]:.0f} ms"
    return Range("qtc", (360, long.may[0]), (350, long.holds[0]), words, REPOLARISATION)


def st_elevation_mv(lead: str, sex: Sex | None, age: float | None) -> tuple[float, float]:
    """The least J-point level that surely counts as elevated, and the least that may: in V2 and V3 0.25 mV in men under
    40 years, 0.2 in other men, 0.15 in women; 0.1 elsewhere."""
    if lead not in ("V2", "V3"):
        return 0.1, 0.1
    if sex == "female":
        return 0.15, 0.15
    if sex == "male":
        return (0.2, 0.2) if age is not None and age >= 40 else (0.25, 0.25 if age is not None else 0.2)
    return 0.2, 0.15


ST_DEPRESSION_MV: Final = (-0.1, -0.05)  # ISCHAEMIA: -0.1 (-0.05 in V2, V3); INFARCTION: -0.05
T_INVERSION_MV: Final = -0.1  # REPOLARISATION: a T of -0.1 mV or less is inverted
Q_MS, Q_MV, Q_SHARE = 30.0, 0.1, 0.25  # INFARCTION: 30 ms and 0.1 mV; a quarter of R by common usage
LOW_LIMB_MV, LOW_CHEST_MV = 0.5, 1.0  # USAGE: peak to peak in all limb, or in all chest leads
SOKOLOW_MV, AVL_MV = 3.5, 1.1  # SV1 + RV5 or RV6; R in aVL
CORNELL_MV: Final[dict[Sex | None, tuple[float, float]]] = {  # SV3 + R in aVL; where it surely, and may, count
    "female": (2.0, 2.0),
    "male": (2.8, 2.8),
    None: (2.8, 2.0),
}
VOLTAGE_ERROR: Final = 0.15  # of a voltage
IRREGULAR_MAD, REGULAR_MAD = 0.08, 0.05  # median deviation of RR over their median; see docs/evidence.md
CHAOTIC_MAD, CHAOTIC_CV = 0.03, 0.15  # both, and no P waves: as irregular as fibrillation
IRREGULAR_CV, REGULAR_CV = 0.12, 0.05  # standard deviation over mean, which premature beats raise too
SINUS_ARRHYTHMIA_MS: Final = (160.0, 120.0)  # longest less shortest RR: surely, and perhaps


@dataclass(frozen=True)
class Error:
    """How far a measured value may be off: the larger of `least` and a share of the value.

    stated: against a stated number. limit: against a limit; a value as near to one is called borderline.
    """

    unit: str
    stated: tuple[float, float]
    limit: tuple[float, float]


ERRORS: Final[dict[str, Error]] = {
    "heart_rate": Error("/min", (3.0, 0.05), (2.0, 0.03)),
    "rr": Error("ms", (20.0, 0.05), (20.0, 0.03)),
    "pr": Error("ms", (28.0, 0.0), (12.0, 0.0)),
    "qrs": Error("ms", (25.0, 0.2), (10.0, 0.1)),
    "qt": Error("ms", (25.0, 0.12), (20.0, 0.05)),
    "qtc": Error("ms", (25.0, 0.12), (20.0, 0.05)),
    "qtcf": Error("ms", (25.0, 0.12), (20.0, 0.05)),
    "axis": Error("deg", (25.0, 0.0), (12.0, 0.0)),
}
ST_TOLERANCE_MV: Final = 0.03
ST_STATED_MV: Final = 0.1  # a level that was stated in mV or mm


def stated_tolerance(quantity: str, value: float) -> float:
    """How far a stated number may lie from the measured `value`."""
    least, share = ERRORS[quantity].stated
    return max(least, share * abs(value)) if share else least


def limit_tolerance(quantity: str, value: float) -> float:
    """How far beyond a limit the measured `value` must lie to contradict."""
    least, share = ERRORS[quantity].limit
    return max(least, share * abs(value)) if share else least
