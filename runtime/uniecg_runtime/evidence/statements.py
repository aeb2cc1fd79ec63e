"""What a text states about an ECG that a measurement can confirm or deny, with the place of each statement."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from uniecg_runtime.evidence.amounts import read_amount, read_leads
from uniecg_runtime.evidence.words import Word, clauses, plain, words

INFINITY: Final = float("inf")


@dataclass(frozen=True)
class Statement:
    """One statement, made by text[start:end].

    kind: a quantity of `Facts.values` where a number is stated, else the name of a statement as docs/evidence.md has
    them. low, high: the number or range stated, in ms, /min, degrees or mV; infinite at an open end; None without a
    number. leads: those named. every: whether all of them are meant ("in V1-V3") or any ("in the chest leads").
    negated: "no ST elevation". hedged: "possible".
    """

    kind: str
    start: int
    end: int
    low: float | None = None
    high: float | None = None
    leads: tuple[str, ...] = ()
    every: bool = True
    negated: bool = False
    hedged: bool = False


# What an adjective makes of a quantity: (quantity, adjective) -> kind.
JOINED: Final[dict[tuple[str, str], str]] = {
    ("heart_rate", "slow"): "bradycardia",
    ("heart_rate", "fast"): "tachycardia",
    ("heart_rate", "elevated"): "tachycardia",
    ("heart_rate", "normal"): "normal rate",
    ("heart_rate", "regular"): "regular rhythm",
    ("heart_rate", "irregular"): "irregular rhythm",
    ("rhythm", "regular"): "regular rhythm",
    ("rhythm", "irregular"): "irregular rhythm",
    ("rhythm", "sinus"): "sinus rhythm",
    ("rr", "regular"): "regular rhythm",
    ("rr", "irregular"): "irregular rhythm",
    ("pr", "long"): "long PR",
    ("pr", "short"): "short PR",
    ("pr", "normal"): "normal PR",
    ("qrs", "wide"): "wide QRS",
    ("qrs", "long"): "wide QRS",
    ("qrs", "narrow"): "narrow QRS",
    ("qrs", "normal"): "normal QRS",
    ("qt", "long"): "long QT",
    ("qt", "short"): "short QT",
    ("qt", "normal"): "normal QT",
    ("qtc", "long"): "long QT",
    ("qtc", "short"): "short QT",
    ("qtc", "normal"): "normal QT",
    ("qtcf", "long"): "long QT",
    ("qtcf", "short"): "short QT",
    ("qtcf", "normal"): "normal QT",
    ("axis", "normal"): "normal axis",
    ("axis", "left"): "left axis",
    ("axis", "right"): "right axis",
    ("axis", "extreme"): "extreme axis",
    ("st", "elevated"): "ST elevation",
    ("st", "depressed"): "ST depression",
    ("st", "normal"): "normal ST",
    ("t", "inverted"): "T inversion",
    ("t", "upright"): "upright T",
    ("t", "normal"): "upright T",
    ("p", "present"): "P waves",
    ("p", "upright"): "P waves",
    ("p", "normal"): "P waves",
    ("intervals", "normal"): "normal intervals",
}
_LEADED: Final = {"ST elevation", "ST depression", "normal ST", "T inversion", "upright T", "Q wave", "tall R"} | {
    "low voltage",
    "ST-T change",
}
_IF_DENIED: Final = {"abnormality": "normal ECG", "axis deviation": "normal axis"}  # said only by their absence
_OF_LEADS: Final = ("elevated", "depressed", "inverted", "upright")
_DIMENSION: Final = {"heart_rate": "/min", "axis": "deg"} | dict.fromkeys(
    ("pr", "qrs", "qt", "qtc", "qtcf", "rr"), "ms"
)
_PLAUSIBLE: Final = {"/min": (15.0, 400.0), "deg": (-360.0, 360.0), "ms": (20.0, 3000.0), "mV": (-5.0, 5.0)}
_FILLERS: Final = re.compile(
    r"(?:\s?\((?:ms|msec|s|sec|bpm|/min|beats/min|deg|degrees|°)\))?[\s:=(~,]*(?:(?:is|was|are|at|of|about|approximately|around|roughly|measures?|measured|measuring|estimated|calculated"
    r"|the|to be|interval|duration|value|deviation|approx\.?|a)[\s:=(~,]+){0,6}",
    re.IGNORECASE,
)
_NORM: Final = re.compile(
    r"(?:normal(?: is| being|:|)|range(?: of|:|)|ref(?:erence)?(?: range)?:?|limits?(?: of|:)|threshold(?: of|:)?"
    r"|cut-?off(?: of|:)?|expected|less than the normal)\s{0,2}$",
    re.IGNORECASE,
)
_ABOVE: Final = re.compile(
    r"(?:>=?|≥|(?:greater|more|longer|wider|higher|larger) than|over|above|exceed(?:s|ing)|at least)"
    r"(?: about)?\s{0,2}$",
    re.IGNORECASE,
)
_BELOW: Final = re.compile(
    r"(?:<=?|≤|(?:less|shorter|lower|narrower|smaller) than|under|below|up to|at most)(?: about)?\s{0,2}$",
    re.IGNORECASE,
)
_DENIED: Final = re.compile(
    r"[\s)]*(?:(?:is|are|was|were|has been|have been|appears?|to be|can be|seems?|clearly|:|-)\s+){0,3}"
    r"(?:not (?!only|entirely)(?:(?:clearly|definitely|been) )?(?:present|seen|visible|evident|noted|found|observed"
    r"|detected|identified|identifiable|discernible|demonstrated|shown|there)|not\s*[,.)]?$|absent|ruled out|excluded"
    r"|none\b|missing)",
    re.IGNORECASE,
)
_JOINT: Final = re.compile(r"[\s,/&()-]*(?:and|or|nor|with|as well as)?[\s,/&()-]*", re.IGNORECASE)
_ANEW: Final = re.compile(r"\band,? (?:a|an|the|there|normal|regular|sinus|with|is|are)\b|:", re.IGNORECASE)
_OR: Final = re.compile(r"\bn?or\b", re.IGNORECASE)
_NEAR: Final = 70  # characters between a quantity and what is said of it


def read_statements(text: str) -> Iterator[Statement]:
    """The statements of `text` in their order; time linear in its length, any text allowed."""
    clean = plain(text)
    for start, end in clauses(clean):
        yield from _Clause(clean, start, end).statements()


class _Clause:
    """One clause's words, and what they state together."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text, self.start, self.end = text, start, end
        self.words = words(text, start, end)

    def statements(self) -> list[Statement]:
        if _GENERAL.search(self.text, self.start, self.end):
            return []
        found = [self._closed(s) for s in (*self._numbers(), *self._qualities(), *self._findings())]
        once = {(statement.kind, statement.end): statement for statement in reversed(found)}
        return sorted(once.values(), key=lambda statement: (statement.start, statement.end))

    def _closed(self, statement: Statement) -> Statement:
        """With the bracket that ends "190 ms (normal)"."""
        said = self.text[statement.start : statement.end + 1]
        return replace(statement, end=statement.end + 1) if said.endswith(")") and said.count("(") == 1 else statement

    def _of(self, *types: str) -> list[Word]:
        return [word for word in self.words if word.type in types]

    def _between(self, first: Word, second: Word) -> str:
        return self.text[first.end : second.start]

    # Numbers

    def _numbers(self) -> Iterator[Statement]:
        names = [word for word in self._of("name") if word.what not in ("st", "t", "p", "rhythm", "intervals")]
        for number in self._of("number"):
            said = read_amount(self.text, number)
            if said is None or _NORM.search(self._before(number)):
                continue
            low, high, dimension = said
            name = self._named(names, number, dimension)
            if name is not None:
                yield from self._number(name, number, low, high, dimension)
            elif dimension == "/min" and not self._other_rate(names, number):
                yield from self._number(number, number, low, high, dimension, kind="heart_rate")

    def _number(
        self, name: Word, number: Word, low: float, high: float, dimension: str | None, kind: str | None = None
    ) -> Iterator[Statement]:
        kind = kind or name.what
        if dimension is None and _DIMENSION[kind] == "ms" and high < 3:
            low, high = low * 1000, high * 1000  # "PR 0.16"
        least, most = _PLAUSIBLE[_DIMENSION[kind]]
        if not least <= low <= high <= most or self._unasserted(number):
            return
        before = self._before(number)
        if _ABOVE.search(before):
            high = INFINITY
        elif _BELOW.search(before):
            low = -INFINITY
        start, end = min(name.start, number.start), max(name.end, number.end)
        yield Statement(kind, start, end, low, high, hedged=self._hedged(number))

    def _before(self, word: Word) -> str:
        return self.text[max(self.start, word.start - 30) : word.start]

    def _named(self, names: Sequence[Word], number: Word, dimension: str | None) -> Word | None:
        """The quantity whose value the number is: the last before it, of "PR/QRS 160/90" the one in the same place,
        or the first after it in "a 210 ms PR interval"."""
        before = [name for name in names if name.end <= number.start]
        chain = self._chain(before)
        row = self._row(number)
        name = before[-1] if before else None
        if len(chain) > 1 and len(row) == len(chain):
            name = chain[row.index(number)]
        if name is not None and (_DIMENSION.get(name.what) == dimension or dimension is None):
            near = self._between(name, number) if len(row) == 1 else self._between(chain[-1], row[0])
            taken = [other for other in self._of("number") if name.end <= other.start < number.start and len(row) == 1]
            if dimension is None:
                fits = _FILLERS.fullmatch(near) is not None and name.what in _DIMENSION
            else:
                fits = len(near) <= _NEAR and not self._taken(taken)
            if fits:
                return name
        after = next((name for name in names if name.start >= number.end), None)
        if after is not None and dimension is not None and _DIMENSION.get(after.what) == dimension:
            return after if re.fullmatch(r"[\s-]{0,3}", self._between(number, after)) else None
        return None

    def _taken(self, numbers: Sequence[Word]) -> bool:
        """Whether one of the numbers is a value with a unit, so that the next is another thing's."""
        said = [read_amount(self.text, word) for word in numbers if not _NORM.search(self._before(word))]
        return any(value is not None and value[2] is not None for value in said)

    def _chain(self, names: Sequence[Word]) -> list[Word]:
        """The last names that stand together: "PR, QRS and QT"."""
        chain = list(names[-1:])
        for name in reversed(names[:-1]):
            if not _JOINT.fullmatch(self._between(name, chain[0])):
                break
            chain.insert(0, name)
        return chain

    def _row(self, number: Word) -> list[Word]:
        """The numbers that stand together with one: "160/90/380"."""
        numbers = self._of("number")
        place = numbers.index(number)
        first = last = place
        while first > 0 and _JOINT.fullmatch(self._between(numbers[first - 1], numbers[first])):
            first -= 1
        while last + 1 < len(numbers) and _JOINT.fullmatch(self._between(numbers[last], numbers[last + 1])):
            last += 1
        return numbers[first : last + 1]

    def _other_rate(self, names: Sequence[Word], number: Word) -> bool:
        before = [name for name in names if name.end <= number.start]
        return bool(before) and before[-1].what in ("other rate", "other axis")

    # Adjectives

    def _qualities(self) -> Iterator[Statement]:
        names = self._of("name")
        spoken: set[tuple[int, str]] = set()
        for adjective in self._of("adjective"):
            for name in self._qualified(names, adjective):
                kind = JOINED.get((name.what, adjective.what))
                if kind is None or (name.start, kind) in spoken or self._is_size(adjective):
                    continue
                spoken.add((name.start, kind))
                if kind == "P waves" and adjective.what == "normal" and self._negated(adjective):
                    continue
                yield from self._statement(kind, name, adjective)

    def _is_size(self, adjective: Word) -> bool:
        """Of "88 ms wide" and "160 ms long"."""
        before = [number for number in self._of("number") if number.end <= adjective.start]
        return bool(before) and adjective.what in ("wide", "long") and not self._between(before[-1], adjective).strip()

    def _qualified(self, names: Sequence[Word], adjective: Word) -> list[Word]:
        """The quantities that the adjective is said of: those right behind it ("prolonged PR"), else those before."""
        after = [name for name in names if name.start >= adjective.end]
        if after and re.fullmatch(
            r"[\s-]{0,2}(?:of (?:the )?|in (?:the )?|frontal |mean |resting )?", self._between(adjective, after[0])
        ):
            chain = [after[0]]
            for name in after[1:]:
                if not _JOINT.fullmatch(self._between(chain[-1], name)):
                    break
                chain.append(name)
            return chain
        chain = self._chain([name for name in names if name.end <= adjective.start])
        if not chain or len(self._between(chain[-1], adjective)) > _NEAR:
            return []
        between = [word for word in self.words if chain[-1].end <= word.start and word.end <= adjective.start]
        if any(word.type in ("finding", "leads", "stop") for word in between) and adjective.what not in ("inverted",):
            return []
        # Several names share an adjective in the plural only: "PR and QT are normal", not "QT 380, QTc 420 (long)".
        return chain if not any(word.type == "number" for word in between) else chain[-1:]

    # Findings

    def _findings(self) -> Iterator[Statement]:
        for word in self._of("finding"):
            if word.what in _IF_DENIED:
                if self._negated(word) and not self._of("leads"):
                    kind = _IF_DENIED[word.what]
                    yield from (replace(s, kind=kind, negated=False) for s in self._statement(word.what, word))
                continue
            yield from self._statement(word.what, word)
            if word.what in ("sinus rhythm", "normal sinus rhythm"):
                yield from self._regular(word)
        for word in self._of("name"):
            if word.what == "p" and self._denied_p(word):
                yield from self._statement("P waves", word)

    def _regular(self, rhythm: Word) -> Iterator[Statement]:
        """ "Regular sinus rhythm" says two things."""
        for word in self._of("adjective"):
            if word.what in ("regular", "irregular") and word.end <= rhythm.start <= word.end + 2:
                kind = f"{word.what} rhythm"
                yield from self._statement(kind, Word("finding", kind, word.start, rhythm.end))

    def _denied_p(self, word: Word) -> bool:
        said = any(w.type == "adjective" and 0 <= w.start - word.end < 20 for w in self.words)
        return not said and (self._negated(word) or _DENIED.match(self.text, word.end, self.end) is not None)

    # What stands around a statement

    def _statement(self, kind: str, *parts: Word) -> Iterator[Statement]:
        """The statement that the parts make, with its leads, its size, and whether it is denied."""
        key = max(parts, key=lambda part: part.type == "adjective")
        first, last = min(part.start for part in parts), max(part.end for part in parts)
        if self._unasserted(key):
            return
        leads: tuple[str, ...] = ()
        every, low, high = True, None, None
        if kind in _LEADED:
            where = self._leads_of(key, last)
            if where is not None:
                leads, every = read_leads(self.text[where.start : where.end])
                first, last = min(first, where.start), max(last, where.end)
            size = self._size_of(kind, key, last) if kind.startswith("ST ") else None
            if size is not None:
                low, high = size[0], size[1]
                first, last = min(first, size[2].start), max(last, size[2].end)
        denied = _DENIED.match(self.text, last, self.end) or _DENIED.match(self.text, key.end, self.end)
        negated = self._negated(key) or denied is not None
        end = max(last, denied.end()) if denied is not None else last
        yield Statement(kind, first, end, low, high, leads, every, negated, self._hedged(key))

    def _leads_of(self, key: Word, end: int) -> Word | None:
        """The leads a finding is said of: those that follow before another finding, or those that stand before it."""
        keys = [
            word
            for word in self.words
            if word.start >= key.end and (word.type in ("finding", "name") or word.what in _OF_LEADS)
        ]
        following = [word for word in self._of("leads") if word.start >= end]
        if following:
            first = following[0]
            nested = next((w for w in following[1:2] if self._between(first, w).strip(" ") in ("(", "(leads")), None)
            others = [word for word in keys if word.end <= first.start]
            place = key.end
            for other in others:
                if not _JOINT.fullmatch(self.text[place : other.start]):
                    break
                place = other.end
            else:
                if first.start - place <= _NEAR:
                    return nested or first
        before = [word for word in self._of("leads") if word.end <= key.start]
        if before and key.start - before[-1].end <= _NEAR:
            between = [w for w in self.words if before[-1].end <= w.start and w.end <= key.start]
            # "In V1-V3, T is inverted" begins with its leads; those of "Q waves in V1, T inverted" are another's.
            others = [w for w in self.words if w.type in ("finding", "name") and w.end <= before[-1].start]
            parted = others and "," in self._between(before[-1], key)
            if not parted and not any(w.type in ("finding", "stop") for w in between):
                return before[-1]
        return None

    def _size_of(self, kind: str, key: Word, end: int) -> tuple[float, float, Word] | None:
        """Millivolts said of an ST shift, next to it."""
        for number in self._of("number"):
            said = read_amount(self.text, number)
            if said is None or said[2] != "mV":
                continue
            gap = self.text[key.end : number.start] if number.start >= key.end else self.text[number.end : key.start]
            others = [
                w for w in self._of("adjective", "finding") if min(key.start, number.start) < w.start < number.start
            ]
            if len(gap) > 40 or [w for w in others if w != key]:
                continue
            low, high = abs(said[0]), abs(said[1])
            if _ABOVE.search(self._before(number)):
                high = INFINITY
            elif _BELOW.search(self._before(number)):
                low = -INFINITY
            return (-high, -low, number) if kind == "ST depression" else (low, high, number)
        return None

    def _reached(self, type_: str, key: Word) -> bool:
        """Whether a trigger word before `key` has it in its scope.

        It ends at "but", "with" and the like and at "and a", and at a comma unless a list goes on to an "or".
        """
        for trigger in self._of(type_):
            if trigger.start >= key.start or key.start - trigger.end > 200:
                continue
            if any(w.type == "stop" and trigger.end <= w.start < key.start for w in self.words):
                continue
            scope = self.text[trigger.end : key.start]
            if _ANEW.search(scope):
                continue
            comma = scope.rfind(",")
            if comma < 0 or _OR.search(self._until_stop(trigger.end + comma)):
                return True
        return False

    def _until_stop(self, start: int) -> str:
        stops = [word.start for word in self._of("stop") if word.start >= start]
        return self.text[start : min(stops, default=self.end)]

    def _negated(self, key: Word) -> bool:
        return self._reached("not", key)

    def _hedged(self, key: Word) -> bool:
        return self._reached("hedge", key)

    def _unasserted(self, key: Word) -> bool:
        return self._reached("unasserted", key) or _OPEN.match(self.text, key.end, self.end) is not None


_GENERAL: Final = re.compile(  # a sentence about ECGs, not about this one
    r"\b(?:(?:is|are) (?:called|defined|known as|considered)|defined as|refers? to|characteri[sz]ed by)\b",
    re.IGNORECASE,
)
_OPEN: Final = re.compile(
    r"[^,;]{0,30}(?:cannot|can't|can not|could not) be (?:ruled out|excluded|assessed)", re.IGNORECASE
)
