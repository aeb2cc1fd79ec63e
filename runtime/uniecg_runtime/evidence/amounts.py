"""What a number with its unit, and a list of leads, amount to."""

from __future__ import annotations

import re
from typing import Final

from uniecg_device.signals import LEADS
from uniecg_runtime.evidence.words import GROUPS, NUMBER, Word

_UNITS: Final[dict[str, tuple[str, float]]] = {
    "ms": ("ms", 1.0),
    "mi": ("ms", 1.0),
    "s": ("ms", 1000.0),
    "bp": ("/min", 1.0),
    "be": ("/min", 1.0),
    "/": ("/min", 1.0),
    "pe": ("/min", 1.0),
    "ti": ("/min", 1.0),
    "°": ("deg", 1.0),
    "de": ("deg", 1.0),
    "mv": ("mV", 1.0),
    "mm": ("mV", 0.1),
}
_ROMAN: Final = {"i": "I", "ii": "II", "iii": "III", "avr": "aVR", "avl": "aVL", "avf": "aVF"}


def read_amount(text: str, word: Word) -> tuple[float, float, str | None] | None:
    """Low and high of a number or range, and its dimension where a unit is given; None for a percentage."""
    match = NUMBER.match(text, word.start, word.end)
    if match is None:
        return None
    unit = (match["unit"] or "").lower().strip()
    if unit == "%":
        return None
    low = float(match["low"].replace(",", "."))
    high = float(match["high"]) if match["high"] else low
    dimension: str | None = None
    if unit:
        prefix = next(prefix for prefix in (unit[:2], unit[:1]) if prefix in _UNITS)
        if unit.startswith(("millim", "millivolt")):
            prefix = "mm" if unit.startswith("millim") else "mv"
        dimension, scale = _UNITS[prefix]
        low, high = low * scale, high * scale
    return (low, high, dimension) if low <= high else (high, low, dimension)


def read_leads(text: str) -> tuple[tuple[str, ...], bool]:
    """The leads that "V1-V3, aVL" or "inferior leads" names, and whether each is meant. Leads this house does not know
    (V7, V4R) are kept as they are."""
    found: dict[str, None] = {}
    every = True
    parts = re.findall(r"[A-Za-z]+-?[a-z]*\d?R?|-|,|/", text)
    pending: str | None = None
    previous: str | None = None
    for index, part in enumerate(parts):
        word = part.lower().rstrip("-")
        joined = " ".join((parts[index - 1].lower(), word)) if index else word
        group = GROUPS.get(joined) or GROUPS.get(word.replace("-", "")) or GROUPS.get(word.removesuffix("ly"))
        if part == "-" or word in ("to", "through"):
            pending = previous
        elif group:
            found.update(dict.fromkeys(group))
            every, previous = False, None
        elif (lead := _lead(part)) is not None:
            found.update(dict.fromkeys(_run(pending, lead)))
            previous, pending = lead, None
    return tuple(found), every


def _lead(word: str) -> str | None:
    low = word.lower()
    if low in _ROMAN:
        return _ROMAN[low]
    return word.upper() if re.fullmatch(r"v[1-9]r?", low) else None


def _run(first: str | None, last: str) -> tuple[str, ...]:
    """ "V1 to V3" with what lies between; of limb leads only I, II, III stand in a row."""
    if first is None or first not in LEADS or last not in LEADS:
        return (last,)
    low, high = LEADS.index(first), LEADS.index(last)
    return LEADS[low : high + 1] if low < high else (last,)
