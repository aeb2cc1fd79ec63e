"""Stated numbers and limits on one quantity, held against the measured value."""

from __future__ import annotations

from typing import Final

from uniecg_runtime.evidence import criteria
from uniecg_runtime.evidence.criteria import Range
from uniecg_runtime.evidence.facts import Facts
from uniecg_runtime.evidence.finding import Finding, Truth


def number(quantity: str, low: float, high: float, facts: Facts) -> Finding:
    """A stated number or range against the measured value; a QTc may be meant by Bazett or by Fridericia."""
    value = facts.values.get(quantity)
    if value is None:
        return missing(quantity)
    tolerance = _tolerance(quantity, value, facts)
    truth = _distance(quantity, value, low, high) <= tolerance
    fridericia = facts.values.get("qtcf")
    measured = {quantity: value}
    if quantity == "qtc" and fridericia is not None and not truth:
        measured["qtcf"] = fridericia
        truth = _distance("qtcf", fridericia, low, high) <= tolerance
    return Finding(truth, measured, criteria.ERRORS[quantity].unit, tolerance, "", criteria.MEASURED)


def _tolerance(quantity: str, value: float, facts: Facts) -> float:
    """With that of a mean over few beats where the rhythm is irregular: two standard errors."""
    least = criteria.stated_tolerance(quantity, value)
    spread, rr = facts.values.get("rr_sd"), facts.values.get("rr")
    if quantity not in ("heart_rate", "rr") or not spread or not rr or not facts.rr:
        return least
    return max(least, 2 * value * spread / rr / float(len(facts.rr) ** 0.5))


def _distance(quantity: str, value: float, low: float, high: float) -> float:
    """From `value` to the range; of an axis the shorter way round."""
    if quantity != "axis":
        return max(low - value, value - high, 0.0)
    if (value - low) % 360 <= high - low:
        return 0.0
    return min((low - value) % 360, (value - high) % 360)


def in_range(limits: Range, facts: Facts) -> Finding:
    """A limit against the measured value. Of QTc both formulas must agree."""
    value = facts.values.get(limits.quantity)
    if value is None:
        return missing(limits.quantity, limits)
    truth, tolerance = _held(limits, value), criteria.limit_tolerance(limits.quantity, value)
    measured, apart = {limits.quantity: value}, ""
    fridericia = facts.values.get("qtcf")
    if limits.quantity == "qtc" and fridericia is not None and _held(limits, fridericia) != truth:
        truth, measured, apart = None, {**measured, "qtcf": fridericia}, "Bazett's and Fridericia's QTc disagree"
    unit = criteria.ERRORS[limits.quantity].unit
    return Finding(truth, measured, unit, tolerance, limits.words, limits.source, limits.part if truth else apart)


def _held(limits: Range, value: float) -> Truth:
    """True within `holds`, False outside `may` by more than the tolerance."""
    tolerance = criteria.limit_tolerance(limits.quantity, value)
    if _distance(limits.quantity, value, *limits.holds) == 0:
        return True
    return False if _distance(limits.quantity, value, *limits.may) > tolerance else None


def missing(quantity: str, limits: Range | None = None) -> Finding:
    """A quantity that could not be measured."""
    words, source = (limits.words, limits.source) if limits else ("", "")
    return Finding(None, {}, criterion=words, source=source, reason=f"{NAMES[quantity]} could not be measured")


NAMES: Final = {
    "heart_rate": "heart rate",
    "rr": "RR",
    "pr": "PR",
    "qrs": "QRS",
    "qt": "QT",
    "qtc": "QTc",
    "qtcf": "QTc (Fridericia)",
    "axis": "axis",
}
