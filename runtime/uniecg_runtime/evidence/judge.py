"""Each statement held against the facts: supported, contradicted, or not checkable and why.

Three-valued throughout: True where the facts surely bear a statement out, False where they surely do not, None where
they are too near a limit, or missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from uniecg_runtime.evidence import criteria
from uniecg_runtime.evidence.criteria import RANGES
from uniecg_runtime.evidence.facts import Facts
from uniecg_runtime.evidence.finding import Finding, both
from uniecg_runtime.evidence.leads import RULES, in_leads
from uniecg_runtime.evidence.normal import normal_ecg, normal_intervals
from uniecg_runtime.evidence.quantities import in_range, number
from uniecg_runtime.evidence.rhythm import (
    fibrillation,
    first_degree,
    irregular,
    p_waves,
    regular,
    sinus,
    sinus_arrhythmia,
)
from uniecg_runtime.evidence.statements import Statement
from uniecg_runtime.evidence.voltages import low_voltage, lvh_voltage, tall_r

Verdict = Literal["supported", "contradicted", "not checkable"]


@dataclass(frozen=True)
class Claim:
    """A statement of a text, at text[start:end], and what the measurements say to it. Plain data.

    kind: a quantity where a number is stated, else a statement's name. stated: the number or range, None at an open
    end. measured: what was measured, by quantity or by lead, in `unit`. tolerance: how far it may be off. criterion,
    source: what makes the statement true, and who says so. reason: why it is not checkable, or what was left unchecked.
    """

    text: str
    start: int
    end: int
    kind: str
    verdict: Verdict
    negated: bool
    hedged: bool
    leads: tuple[str, ...]
    stated: tuple[float | None, float | None] | None
    measured: dict[str, float]
    unit: str
    tolerance: float | None
    criterion: str
    source: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """A dict that json.dumps takes."""
        stated = None if self.stated is None else list(self.stated)
        return {**vars(self), "leads": list(self.leads), "stated": stated}


BORDERLINE: Final = "too near the limit to tell"
UNMEASURED: Final[dict[str, str]] = {
    "other rhythm": "the atria's own rhythm is not measured",
    "pacing": "pacing is not measured",
    "higher AV block": "P waves that are not conducted are not looked for",
    "fascicular block": "the shape of the QRS is not measured",
    "unmeasured": "no criterion that these measurements could meet or miss",
}


def judge(statement: Statement, text: str, facts: Facts) -> Claim:
    """`statement`, made by `text`, held against `facts`."""
    found = Finding(None, {}, reason=facts.unusable) if facts.unusable else _finding(statement, facts)
    truth = found.truth
    if statement.negated and truth is not None:
        truth = not truth
    verdict: Verdict = "not checkable" if truth is None else "supported" if truth else "contradicted"
    return Claim(
        text=text[statement.start : statement.end],
        start=statement.start,
        end=statement.end,
        kind=statement.kind,
        verdict=verdict,
        negated=statement.negated,
        hedged=statement.hedged,
        leads=statement.leads,
        stated=_stated(statement),
        measured={name: round(value, 3) for name, value in found.measured.items()},
        unit=found.unit,
        tolerance=None if found.tolerance is None else round(found.tolerance, 3),
        criterion=found.criterion,
        source=found.source,
        reason=found.reason or (BORDERLINE if truth is None else ""),
    )


def _stated(statement: Statement) -> tuple[float | None, float | None] | None:
    if statement.low is None or statement.high is None:
        return None
    low, high = statement.low, statement.high
    return (None if low == -criteria.INFINITY else low, None if high == criteria.INFINITY else high)


def _finding(statement: Statement, facts: Facts) -> Finding:
    kind = statement.kind
    if kind in UNMEASURED:
        return Finding(None, {}, reason=UNMEASURED[kind])
    if statement.low is not None and statement.high is not None and not kind.startswith("ST "):
        return number(kind, statement.low, statement.high, facts)
    if kind in RANGES:
        return in_range(RANGES[kind], facts)
    if kind in RULES:
        return in_leads(statement, facts)
    return _OTHERS[kind](facts) if kind in _OTHERS else _voltages(statement, facts)


_OTHERS: Final[dict[str, Callable[[Facts], Finding]]] = {
    "irregular rhythm": irregular,
    "regular rhythm": regular,
    "P waves": p_waves,
    "atrial fibrillation": fibrillation,
    "sinus rhythm": sinus,
    "normal sinus rhythm": lambda facts: both(in_range(RANGES["normal rate"], facts), sinus(facts)),
    "sinus bradycardia": lambda facts: both(in_range(RANGES["bradycardia"], facts), sinus(facts)),
    "sinus tachycardia": lambda facts: both(in_range(RANGES["tachycardia"], facts), sinus(facts)),
    "sinus arrhythmia": sinus_arrhythmia,
    "first-degree AV block": first_degree,
    "long QT": lambda facts: in_range(criteria.long_qt(facts.sex), facts),
    "normal QT": lambda facts: in_range(criteria.normal_qt(facts.sex), facts),
    "normal intervals": normal_intervals,
    "normal ECG": normal_ecg,
}


# Voltages


def _voltages(statement: Statement, facts: Facts) -> Finding:
    kind = statement.kind
    source = criteria.USAGE if kind == "low voltage" else criteria.SOKOLOW
    if not facts.millivolts:
        return Finding(None, {}, source=source, reason="the leads' millivolts are not known")
    if kind == "low voltage":
        truth, measured = low_voltage(facts, statement.leads)
        return Finding(truth, measured, "mV", None, "QRS under 0.5 mV in all limb or 1 mV in all chest leads", source)
    truth, measured = tall_r(facts, statement.leads) if kind == "tall R" else lvh_voltage(facts)
    words = "SV1 + RV5 or RV6 3.5 mV, R in aVL 1.1 mV, SV3 + RaVL 2.8 mV (women 2.0)"
    reason = ""
    if kind == "LVH":  # hypertrophy may show otherwise, and large voltages alone do not prove it
        truth = True if truth and not statement.negated else None
        reason = "by its voltages alone" if truth else "voltages alone do not decide it"
    return Finding(truth, measured, "mV", None, words, source, reason)
