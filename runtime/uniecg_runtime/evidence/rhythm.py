"""Regular, irregular, sinus rhythm and atrial fibrillation: from the RR intervals and whether a P wave was found."""

from __future__ import annotations

from collections.abc import Sequence

from uniecg_runtime.evidence import criteria
from uniecg_runtime.evidence.criteria import RANGES
from uniecg_runtime.evidence.facts import Facts
from uniecg_runtime.evidence.finding import Finding, Truth, both
from uniecg_runtime.evidence.quantities import in_range


def rr_spread(facts: Facts) -> tuple[float, float] | None:
    """Median deviation of RR over their median, and standard deviation over mean; None for fewer than four."""
    if len(facts.rr) < 4:
        return None
    usual, mean = _median(facts.rr), sum(facts.rr) / len(facts.rr)
    deviation = _median([abs(interval - usual) for interval in facts.rr])
    variance = sum((interval - mean) ** 2 for interval in facts.rr) / len(facts.rr)
    return deviation / usual, variance**0.5 / mean


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _chaotic(facts: Facts) -> bool:
    """Irregular beyond single early beats; where no P waves were found a little less will do."""
    mad, cv = rr_spread(facts) or (0.0, 0.0)
    without_p = facts.p_waves is False and mad >= criteria.CHAOTIC_MAD and cv >= criteria.CHAOTIC_CV
    return mad >= criteria.IRREGULAR_MAD or without_p


def irregular(facts: Facts) -> Finding:
    """Premature beats make it so too; a rhythm with few of them is neither surely regular nor surely irregular."""
    spread = rr_spread(facts)
    if spread is None:
        return Finding(None, {}, reason="too few beats")
    mad, cv = spread
    truth = True if mad >= criteria.IRREGULAR_MAD or cv >= criteria.IRREGULAR_CV else None
    if mad < criteria.REGULAR_MAD and cv < criteria.REGULAR_CV:
        truth = False
    return _rhythm(truth, {"RR sd": 100 * cv, "RR median deviation": 100 * mad}, "RR intervals vary")


def regular(facts: Facts) -> Finding:
    """Single premature beats do not make a rhythm irregular."""
    spread = rr_spread(facts)
    if spread is None:
        return Finding(None, {}, reason="too few beats")
    mad, cv = spread
    truth = False if _chaotic(facts) else None
    if mad < criteria.REGULAR_MAD and (facts.p_waves or cv < criteria.IRREGULAR_CV):
        truth = True
    return _rhythm(truth, {"RR sd": 100 * cv, "RR median deviation": 100 * mad}, "RR intervals alike")


def _rhythm(truth: Truth, measured: dict[str, float], words: str, source: str = criteria.USAGE) -> Finding:
    return Finding(truth, measured, "%", None, words, source)


def p_waves(facts: Facts) -> Finding:
    """Where none is found in a regular rhythm they may just be too small."""
    truth: Truth = True if facts.p_waves else False if facts.p_waves is False and _chaotic(facts) else None
    reason = "" if truth else "no P wave stands out"
    return Finding(truth, {}, criterion="a P wave before the QRS", source=criteria.FIBRILLATION, reason=reason)


def fibrillation(facts: Facts) -> Finding:
    """RR intervals without order and no P waves."""
    spread = rr_spread(facts)
    if spread is None:
        return Finding(None, {}, reason="too few beats")
    mad, cv = spread
    truth: Truth = None
    if mad < criteria.IRREGULAR_MAD if facts.p_waves else mad < criteria.REGULAR_MAD and cv < criteria.IRREGULAR_CV:
        truth = False
    elif facts.p_waves is False and _chaotic(facts):
        truth = True
    words = "RR irregular and no P waves"
    reason = "" if truth is not None else "RR intervals and P waves do not decide it"
    measured = {"RR sd": 100 * cv, "RR median deviation": 100 * mad}
    return Finding(truth, measured, "%", None, words, criteria.FIBRILLATION, reason)


def sinus(facts: Facts) -> Finding:
    """P waves before the QRS. Flutter waves may be taken for them: their own rate is not measured."""
    mad = (rr_spread(facts) or (0.0, 0.0))[0]
    truth: Truth = None
    if facts.p_waves and mad < 1.5 * criteria.IRREGULAR_MAD:
        truth = True
    elif facts.p_waves is False and _chaotic(facts):
        truth = False
    reason = "" if truth is not None else "no P wave stands out" if not facts.p_waves else "P waves, but RR irregular"
    measured = {"RR median deviation": 100 * mad}
    return Finding(truth, measured, "%", None, "P waves before the QRS, RR not without order", criteria.USAGE, reason)


def sinus_arrhythmia(facts: Facts) -> Finding:
    """Sinus rhythm whose longest and shortest RR lie apart."""
    if len(facts.rr) < 4:
        return Finding(None, {}, reason="too few beats")
    spread, (surely, perhaps) = max(facts.rr) - min(facts.rr), criteria.SINUS_ARRHYTHMIA_MS
    truth = True if spread >= surely else False if spread < 0.8 * perhaps else None
    words = f"longest less shortest RR over {perhaps:.0f} ms"
    return both(Finding(truth, {"RR range": spread}, "ms", None, words, criteria.USAGE), sinus(facts))


def first_degree(facts: Facts) -> Finding:
    """A long PR; without P waves in an irregular rhythm there is none."""
    long = in_range(RANGES["long PR"], facts)
    if long.truth is None and facts.p_waves is False and fibrillation(facts).truth:
        return Finding(False, {}, criterion=long.criterion, source=long.source, reason="no P waves, RR irregular")
    return long
