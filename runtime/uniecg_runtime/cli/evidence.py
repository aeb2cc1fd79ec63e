"""How checked claims look: a summary, then each statement with its mark and what was measured."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from uniecg_runtime.cli.output import clean, say

if TYPE_CHECKING:
    from rich.console import Console

    from uniecg_runtime.evidence import Claim

MARKS: Final = {"supported": "+", "contradicted": "X", "not checkable": "?"}
SPELT: Final = {"supported": "supported", "contradicted": "CONTRADICTED", "not checkable": "unchecked"}
STYLES: Final = {"supported": "green", "contradicted": "bold red", "not checkable": "dim"}
UNITS: Final = {"heart_rate": "/min", "axis": "degrees"} | dict.fromkeys(("rr", "pr", "qrs", "qt", "qtc", "qtcf"), "ms")
DECIMALS: Final = {"mV": 2}


def show_claims(claims: Sequence[Claim], console: Console | None = None) -> None:
    """Print what `claim_lines` gives: in colour on a terminal, plain elsewhere."""
    if console is None and claims and sys.stdout.isatty():
        from rich.console import Console as Terminal

        console = Terminal(highlight=False, markup=False)
    for style, line in claim_lines(claims):
        if console is None:
            say(line)
        else:
            console.print(clean(line), style=style, soft_wrap=True)


def claim_lines(claims: Sequence[Claim]) -> Iterator[tuple[str, str]]:
    """Style and line, the summary first; nothing where nothing was stated."""
    if not claims:
        return
    counts = {verdict: sum(claim.verdict == verdict for claim in claims) for verdict in MARKS}
    told = ", ".join(f"{count} {SPELT[verdict]}" for verdict, count in counts.items() if count)
    yield "bold red" if counts["contradicted"] else "", f"  checked against the signal: {told}"
    for claim in claims:
        stated = " ".join(claim.text.split())
        what = f"{'not: ' if claim.negated and not _denies(stated) else ''}{stated}"
        line = f"    {MARKS[claim.verdict]} {SPELT[claim.verdict]:12}  {what}"
        yield STYLES[claim.verdict], f"{line}  [{evidence(claim)}]"


def _denies(stated: str) -> bool:
    """Whether the words themselves hold the denial, which may stand before the place that was marked."""
    words = stated.lower().split()
    return any(word in ("no", "not", "without", "absent", "none") for word in words)


def evidence(claim: Claim) -> str:
    """`PR 142 ms; needs PR over 200 ms (ACC/AHA/HRS 2018, bradycardia)`, or why it was not checked."""
    parts = [measured(claim)] if claim.measured else []
    if claim.criterion:
        parts.append(f"criterion: {claim.criterion} ({claim.source})")
    if claim.reason:
        parts.append(claim.reason)
    return "; ".join(parts) or "not found in any lead"


def measured(claim: Claim) -> str:
    """`measured PR 142 ms (+-24)`; leads with their levels."""
    from uniecg_runtime.evidence.quantities import NAMES

    shown = []
    for name, value in claim.measured.items():
        unit = UNITS.get(name, claim.unit)
        shown.append(f"{NAMES.get(name, name)} {value:.{DECIMALS.get(unit, 0)}f}{f' {unit}' if unit else ''}")
    error = f" (+-{claim.tolerance:.{DECIMALS.get(claim.unit, 0)}f})" if claim.tolerance is not None else ""
    return f"measured {', '.join(shown)}{error}"
