"""The statements that nothing is wrong: of the intervals, of the whole ECG."""

from __future__ import annotations

from uniecg_runtime.evidence import criteria
from uniecg_runtime.evidence.criteria import RANGES, Range
from uniecg_runtime.evidence.facts import Facts
from uniecg_runtime.evidence.finding import Finding, Truth, both
from uniecg_runtime.evidence.leads import anywhere
from uniecg_runtime.evidence.quantities import in_range
from uniecg_runtime.evidence.rhythm import fibrillation

# What lies just beyond a limit is often called normal all the same: only what lies far beyond contradicts.
_RANGES = {
    "PR": Range("pr", (0, 200), (0, 220), "", ""),
    "QRS": Range("qrs", (0, 120), (0, 120), "", ""),
    "QTc": Range("qtc", (0, 460), (0, 480), "", ""),
    "axis": Range("axis", (-30, 90), (-45, 105), "", ""),
    "rate": Range("heart_rate", (50, 100), (40, 125), "", ""),
}


def normal_intervals(facts: Facts) -> Finding:
    """PR, QRS and QT."""
    normal = (RANGES["normal PR"], RANGES["normal QRS"], criteria.normal_qt(facts.sex))
    return both(*(in_range(limits, facts) for limits in normal))


def normal_ecg(facts: Facts) -> Finding:
    """Contradicted by what lies clearly beyond a limit; left open by what lies at one, or is not measured."""
    truths: dict[str, Truth] = {name: in_range(limits, facts).truth for name, limits in _RANGES.items()}
    if facts.values.get("pr") is None:
        truths["PR"] = True  # without P waves it is the rhythm that counts
    truths["rhythm"] = _not(fibrillation(facts).truth)
    truths |= {kind: not anywhere(kind, facts).truth for kind in ("ST depression", "T inversion", "Q wave")}
    if anywhere("ST elevation", facts).truth:
        truths["ST elevation"] = None  # it may be a variant of the normal
    if not facts.millivolts:
        truths["millivolts"] = None
    wrong = [name for name, truth in truths.items() if truth is False]
    open_ = [name for name, truth in truths.items() if truth is None]
    shown = {limits.quantity: facts.values.get(limits.quantity) for name, limits in _RANGES.items() if name in wrong}
    reason = f"not normal: {', '.join(wrong)}" if wrong else f"not sure: {', '.join(open_)}" if open_ else ""
    return Finding(
        truth=False if wrong else None if open_ else True,
        measured={name: value for name, value in shown.items() if value is not None},
        criterion="rate, intervals, axis, ST, T and Q within their limits",
        source=criteria.USAGE,
        reason=reason,
    )


def _not(truth: Truth) -> Truth:
    return None if truth is None else not truth
