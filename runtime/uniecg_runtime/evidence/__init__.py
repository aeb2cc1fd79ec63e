"""Evidence: what a text states about an ECG, held against what was measured on it.

`check(text, facts)` reads the statements out of free text and judges each; nothing of the text is changed.
"""

from __future__ import annotations

from itertools import islice

from uniecg_runtime.evidence.facts import Facts, LeadFacts, gather
from uniecg_runtime.evidence.judge import Claim, Verdict, judge
from uniecg_runtime.evidence.statements import Statement, read_statements

__all__ = ["Claim", "Facts", "LeadFacts", "Statement", "Verdict", "check", "gather", "judge", "read_statements"]

MOST = 500  # claims of one text; a model that repeats itself for ever states nothing new


def check(text: str, facts: Facts) -> tuple[Claim, ...]:
    """The claims of `text`, in their order, at most 500."""
    return tuple(judge(statement, text, facts) for statement in islice(read_statements(text), MOST))
