"""What a parametric ECG is told to be, and what is usual where it is told nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from uniecg_device.errors import InputError
from uniecg_device.signals import LEADS

Rhythm = Literal["sinus", "atrial fibrillation", "atrial flutter", "paced"]
Conduction = Literal[
    "normal", "left bundle branch block", "right bundle branch block", "left anterior fascicular block"
]
_QRS_MS = {
    "normal": 92.0,
    "left bundle branch block": 148.0,
    "right bundle branch block": 136.0,
    "left anterior fascicular block": 100.0,
}
_AXIS = {
    "normal": 50.0,
    "left bundle branch block": 10.0,
    "right bundle branch block": 40.0,
    "left anterior fascicular block": -50.0,
}
_BOUNDS = (
    ("heart_rate", 20, 300),
    ("respiratory_arrhythmia", 0, 0.3),
    ("pr", 80, 400),
    ("qrs", 50, 240),
    ("qt", 150, 800),
    ("axis", -180, 180),
    ("gain", 0.05, 5),
    ("pvc", 0, 0.5),
    ("pac", 0, 0.5),
    ("baseline", 0, 5),
    ("mains", 0, 5),
    ("mains_hz", 40, 70),
    ("muscle", 0, 5),
    ("variation", 0, 1),
)


@dataclass(frozen=True)
class ParametricEcg:
    """What `simulate` draws; None takes the usual value for the rate, rhythm and conduction.

    heart_rate: 20 to 300 per minute, 60 / mean RR of all beats. pr, qrs, qt: ms, from onset to onset or end;
    pr has no meaning without P waves. axis: net QRS direction in degrees. respiratory_arrhythmia: RR swing with
    breathing as a fraction of RR. st: lead -> mV at the J point and on (limb leads are brought to the nearest
    pattern that Einthoven's law allows). t_inversion, q_waves: leads; Q waves
    win where the axis asked for would need R waves in the same limb leads. gain: factor on every wave (0.4 is low
    voltage, 1.8 left ventricular hypertrophy). pvc, pac: fraction of beats that are ventricular or atrial
    ectopics. baseline, mains, muscle: noise in mV (standard deviation; peak for mains). variation: how
    much wave shapes differ between seeds, 0 to 1; the numbers above hold whatever it is.
    """

    heart_rate: float = 70.0
    rhythm: Rhythm = "sinus"
    respiratory_arrhythmia: float = 0.03
    pr: float = 160.0
    qrs: float | None = None
    qt: float | None = None
    axis: float | None = None
    conduction: Conduction = "normal"
    st: Mapping[str, float] = field(default_factory=dict)
    t_inversion: tuple[str, ...] = ()
    q_waves: tuple[str, ...] = ()
    gain: float = 1.0
    pvc: float = 0.0
    pac: float = 0.0
    baseline: float = 0.02
    mains: float = 0.0
    mains_hz: float = 50.0
    muscle: float = 0.005
    variation: float = 1.0

    def __post_init__(self) -> None:
        """Raise InputError where a value makes no heart beat."""
        if self.rhythm not in get_args(Rhythm):
            raise InputError(f"Unknown rhythm {self.rhythm!r}; choose one of {', '.join(get_args(Rhythm))}.")
        if self.conduction not in get_args(Conduction):
            raise InputError(
                f"Unknown conduction {self.conduction!r}; choose one of {', '.join(get_args(Conduction))}."
            )
        for name, low, high in _BOUNDS:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f"{name} must lie between {low:g} and {high:g}, not {value:g}.")
        if self.pvc + self.pac > 0.5:
            raise InputError("pvc and pac together must not exceed 0.5 of the beats.")
        for lead in (*self.st, *self.t_inversion, *self.q_waves):
            if lead not in LEADS:
                raise InputError(f"Unknown lead {lead!r}; the leads are {', '.join(LEADS)}.")

    @property
    def qrs_ms(self) -> float:
        """QRS duration in use, ms."""
        if self.qrs is not None:
            return self.qrs
        return 156.0 if self.rhythm == "paced" else _QRS_MS[self.conduction]

    @property
    def qt_ms(self) -> float:
        """QT interval in use, ms: Fridericia's cube root of RR about 400 ms, plus what a wide QRS adds."""
        if self.qt is not None:
            return self.qt
        rr = min(max(60 / self.heart_rate, 0.3), 1.5)
        return 400 * math.pow(rr, 1 / 3) + 0.5 * max(self.qrs_ms - 100, 0)

    @property
    def axis_deg(self) -> float:
        """QRS axis in use, degrees."""
        if self.axis is not None:
            return self.axis
        return -70.0 if self.rhythm == "paced" else _AXIS[self.conduction]
