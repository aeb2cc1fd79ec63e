"""What the facts say to a statement, three-valued: True, False, or None where they do not decide it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Truth = bool | None


@dataclass(frozen=True)
class Finding:
    """What the facts say to a statement as such, its negation left out."""

    truth: Truth
    measured: dict[str, float]
    unit: str = ""
    tolerance: float | None = None
    criterion: str = ""
    source: str = ""
    reason: str = ""


def all_of(truths: Iterable[Truth]) -> Truth:
    """False where one is, else None where one is."""
    held = list(truths)
    return False if False in held else None if None in held else True


def any_of(truths: Iterable[Truth]) -> Truth:
    """True where one is, else None where one is."""
    held = list(truths)
    return True if True in held else None if None in held else False


def both(*findings: Finding) -> Finding:
    """A statement that says several things: true where all are, false where one is not."""
    wrong = [found for found in findings if found.truth is False]
    unknown = [found for found in findings if found.truth is None]
    shown = (wrong or unknown or list(findings))[0]
    measured = {name: value for found in findings if found.unit == shown.unit for name, value in found.measured.items()}
    words = "; ".join(found.criterion for found in findings if found.criterion)
    sources = "; ".join(dict.fromkeys(found.source for found in findings if found.source))
    truth: Truth = False if wrong else None if unknown else True
    return Finding(truth, measured, shown.unit, shown.tolerance, words, sources, shown.reason)
