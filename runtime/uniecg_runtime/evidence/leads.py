"""Findings of leads: ST level, T polarity, Q waves, in the leads a statement names or anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Final

from uniecg_device.signals import LEADS
from uniecg_runtime.evidence import criteria
from uniecg_runtime.evidence.facts import Facts, LeadFacts
from uniecg_runtime.evidence.finding import Finding, Truth, all_of, any_of
from uniecg_runtime.evidence.statements import Statement

CONTIGUOUS: Final = (
    *pairwise(LEADS[6:]),
    ("aVL", "I"),
    ("I", "II"),
    ("II", "aVF"),
    ("aVF", "III"),
    ("II", "III"),
)


def _elevated(lead: str, held: LeadFacts, facts: Facts) -> Truth:
    surely, perhaps = criteria.st_elevation_mv(lead, facts.sex, facts.age)
    if min(held.st, held.j) >= surely:
        return True
    return False if max(held.st, held.j) < perhaps - _st_tolerance(held) else None


def _depressed(lead: str, held: LeadFacts, facts: Facts) -> Truth:
    surely, perhaps = criteria.ST_DEPRESSION_MV
    if held.st <= surely:
        return True
    return False if held.st > perhaps + _st_tolerance(held) else None


def _level(lead: str, held: LeadFacts, facts: Facts) -> Truth:
    elevated, depressed = _elevated(lead, held, facts), _depressed(lead, held, facts)
    return False if elevated or depressed else True if elevated is depressed is False else None


def _st_tolerance(held: LeadFacts) -> float:
    return max(criteria.ST_TOLERANCE_MV, 2 * held.error)


def _inverted(lead: str, held: LeadFacts, facts: Facts) -> Truth:
    if held.t_low is None or held.t_high is None:
        return None
    limit = criteria.T_INVERSION_MV * (1.0 if facts.millivolts else held.r + held.s)
    if held.t_low <= limit and -held.t_low > held.t_high:
        return True
    return False if held.t_low > 0.3 * limit or held.t_high > -2.5 * held.t_low else None


def _upright(lead: str, held: LeadFacts, facts: Facts) -> Truth:
    inverted = _inverted(lead, held, facts)
    return None if inverted is None else not inverted


def _q_wave(lead: str, held: LeadFacts, facts: Facts) -> Truth:
    """A first negative deflection of 30 ms and 0.1 mV or a quarter of R, or no R at all."""
    height = held.r + held.s
    deep = held.q >= (max(criteria.Q_MV, criteria.Q_SHARE * held.r) if facts.millivolts else criteria.Q_SHARE * held.r)
    if held.q > 0 and (held.r < 0.04 * height or (deep and held.q_ms >= criteria.Q_MS)):
        return True
    least = 20.0 if lead in ("V2", "V3") else 0.5 * criteria.Q_MS
    return False if held.q < 0.05 * height or held.q_ms < least else None


RULES: Final[dict[str, tuple[Callable[[str, LeadFacts, Facts], Truth], str, str]]] = {
    "ST elevation": (
        _elevated,
        "J point 0.1 mV or more; V2, V3: 0.15 (women), 0.2, 0.25 (men under 40)",
        criteria.ISCHAEMIA,
    ),
    "ST depression": (_depressed, "ST level -0.05 mV (surely -0.1) or less", f"{criteria.INFARCTION}; part VI"),
    "normal ST": (_level, "neither elevated nor depressed", criteria.ISCHAEMIA),
    "T inversion": (_inverted, "T -0.1 mV or less", criteria.REPOLARISATION),
    "upright T": (_upright, "T not -0.1 mV or less", criteria.REPOLARISATION),
    "Q wave": (_q_wave, "Q of 30 ms and 0.1 mV and a quarter of R, or QS", criteria.INFARCTION),
    "ST-T change": (_elevated, "ST elevation or depression, T inversion or Q waves", criteria.INFARCTION),
}


def in_leads(statement: Statement, facts: Facts) -> Finding:
    kind = statement.kind
    if kind == "ST-T change":
        return _st_t(statement, facts)
    if not facts.millivolts and "ST" in kind:
        return Finding(None, {}, reason="the leads' millivolts are not known")
    if statement.low is not None and statement.high is not None:
        return _st_size(statement, facts)
    if not statement.leads:
        return anywhere(kind, facts) if kind not in ("normal ST", "upright T") else _everywhere(kind, facts)
    truths = _truths(kind, statement.leads, facts)
    # "Not in V1-V3" denies it of any of them.
    every = statement.every and not statement.negated
    truth = all_of(truths.values()) if every or kind in ("normal ST", "upright T") else any_of(truths.values())
    return _shown(kind, truth, truths, facts)


_VARIANT: Final = ("III", "aVL", "aVF", "V2")  # where an inverted T behind a mainly negative QRS may be normal


def _truths(kind: str, leads: Iterable[str], facts: Facts) -> dict[str, Truth]:
    return {lead: _truth(kind, lead, facts) for lead in leads}


def _truth(kind: str, lead: str, facts: Facts) -> Truth:
    """By the rule; where the measurements' own found what the rule does not, it is undecided."""
    if lead in facts.bad_leads or lead not in facts.leads:
        return None
    truth = RULES[kind][0](lead, facts.leads[lead], facts)
    return None if truth is False and lead in facts.found.get(kind, ()) else truth


def anywhere(kind: str, facts: Facts) -> Finding:
    """In two neighbouring leads, where no lead is named; one alone leaves it open."""
    if not facts.millivolts and "ST" in kind:
        return Finding(None, {}, reason="the leads' millivolts are not known")
    leads = [lead for lead in LEADS if lead in facts.leads and lead not in ("aVR", "V1")]
    if kind == "T inversion":
        leads = [lead for lead in leads if lead not in _VARIANT or facts.leads[lead].r > facts.leads[lead].s]
    truths = _truths(kind, leads, facts)
    pair = any(truths.get(first) and truths.get(second) for first, second in CONTIGUOUS)
    near = any(truths.get(a, False) is not False and truths.get(b, False) is not False for a, b in CONTIGUOUS)
    truth: Truth = True if pair else None if near or not truths or True in truths.values() else False
    shown: dict[str, Truth] = {lead: held for lead, held in truths.items() if held} if truth is not False else {}
    found = _shown(kind, truth, shown, facts)
    return replace(found, reason="not in two neighbouring leads") if truth is None and shown else found


def _everywhere(kind: str, facts: Facts) -> Finding:
    other = {"normal ST": ("ST elevation", "ST depression"), "upright T": ("T inversion",)}[kind]
    found = [anywhere(name, facts) for name in other]
    truth: Truth = False if any(f.truth for f in found) else None if any(f.truth is None for f in found) else True
    shown = {lead: value for f in found for lead, value in f.measured.items()}
    return Finding(truth, shown, "mV", criteria.ST_TOLERANCE_MV, RULES[kind][1], RULES[kind][2])


def _st_t(statement: Statement, facts: Facts) -> Finding:
    """Any of the measured changes makes it true; flat T waves and the like would too, so that nothing makes it false,
    other than of "no significant change"."""
    parts = [
        Statement(k, 0, 0, leads=statement.leads, every=False) for k in ("ST elevation", "ST depression", "T inversion")
    ]
    found = [in_leads(part, facts) for part in parts]
    held = [part for part in found if part.truth]
    _, words, source = RULES["ST-T change"]
    truth: Truth = True if held else (False if statement.negated else None)
    if not held and any(part.reason for part in found):
        truth = None
    shown = {lead: value for part in held for lead, value in part.measured.items()}
    reason = "" if truth is not None else found[0].reason or "nothing measured, but flat T waves would not be"
    return Finding(truth, shown, "mV" if facts.millivolts else "", criteria.ST_TOLERANCE_MV, words, source, reason)


def _st_size(statement: Statement, facts: Facts) -> Finding:
    """A stated level against each lead's, or against the largest where none is named."""
    low, high = float(statement.low or 0.0), float(statement.high or 0.0)
    truths: dict[str, Truth] = {}
    for lead in statement.leads or tuple(facts.leads):
        held = facts.leads.get(lead)
        if held is None or lead in facts.bad_leads:
            truths[lead] = None
            continue
        off = min(max(low - level, level - high, 0.0) for level in (held.st, held.j))
        truths[lead] = off <= max(criteria.ST_STATED_MV, 2 * held.error)
    every = statement.every and bool(statement.leads)
    truth = all_of(truths.values()) if every else any_of(truths.values())
    found = _shown(statement.kind, truth, truths if statement.leads else {}, facts)
    return Finding(truth, found.measured, "mV", criteria.ST_STATED_MV, "", criteria.MEASURED, found.reason)


def _shown(kind: str, truth: Truth, truths: dict[str, Truth], facts: Facts) -> Finding:
    """With the leads' levels: those against it where it is false, else all that were asked about."""
    _, words, source = RULES[kind]
    asked = [lead for lead, held in truths.items() if truth is not False or held is False]
    usable = facts.leads.keys() - facts.bad_leads.keys()
    levels = {lead: _shown_level(kind, facts.leads[lead]) for lead in asked if lead in usable}
    missing = [_why_not(lead, facts) for lead in truths if lead not in usable]
    reason = f"not measured: {', '.join(missing)}" if truth is None and missing else ""
    tolerance = criteria.ST_TOLERANCE_MV if "ST" in kind else None
    unit = "mV" if facts.millivolts else ""
    return Finding(truth, levels, unit, tolerance, words, source, reason)


def _why_not(lead: str, facts: Facts) -> str:
    return f"{lead} ({', '.join(facts.bad_leads[lead])})" if lead in facts.bad_leads else lead


def _shown_level(kind: str, held: LeadFacts) -> float:
    if kind == "Q wave":
        return -held.q
    if kind in ("T inversion", "upright T"):
        high, low = held.t_high or 0.0, held.t_low or 0.0
        return low if -low > high else high
    return held.st
