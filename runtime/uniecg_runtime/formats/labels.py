"""What people write beside a signal: lead names, units, age and sex, in all their spellings."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from uniecg_device.errors import InputError
from uniecg_device.signals import LEADS, Recording, Sex, Units
from uniecg_device.signals import SYNTHETIC as SYNTHETIC

_LEADS = {lead.lower(): lead for lead in LEADS}
_LEADS |= {f"ml{lead.lower()}": lead for lead in ("I", "II", "III")}  # "modified", as in MIT-BIH's MLII
_LEADS |= {f"mcl{n}": f"V{n}" for n in range(1, 7)}
_LEADS |= {f"c{n}": f"V{n}" for n in range(1, 7)}
_LEADS |= {f"d{n}": lead for n, lead in enumerate(("I", "II", "III"), 1)}  # derivação, dérivation
_LEADS |= {f"d{lead.lower()}": lead for lead in ("I", "II", "III")}
# The patterns never take a run of blanks twice, for a file may hold a million of them.
_PREFIX = re.compile(r"^(?:(?:ecg|ekg|lead)[\s_:.-]*)+(?=.)", re.IGNORECASE)
_SUFFIX = re.compile(r"(?<![\s_-])[\s_-]*+(?:ref|av|\(?lead\)?)$", re.IGNORECASE)
_BRACKETS = re.compile(r"(?<![\s_])[\s_]*+[\[(]([^\[\]()]*+)[\])]$")

_TO_MV = {"mv": 1.0, "millivolt": 1.0, "millivolts": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3}
_TO_MV |= {"microvolt": 1e-3, "microvolts": 1e-3, "v": 1e3, "volt": 1e3, "volts": 1e3, "nv": 1e-6}
_STANDARDISED = {"standardised", "standardized", "z", "zscore", "z-score", "nu", "nd"}
_PER_MV = re.compile(r"^([0-9.]+(?:e[+-]?\d+)?)\s*(?:adu\s*)?/\s*mv$", re.IGNORECASE)

_AGE = re.compile(r"^\s*<?age>?\s*[:=]\s*([\d.]+)|<age>\s*+:?\s*+([\d.]+)", re.IGNORECASE)
_SEX = re.compile(r"^\s*<?(?:sex|gender)>?\s*[:=]\s*(\w+)|<sex>\s*+:?\s*+(\w+)", re.IGNORECASE)
_MIT = re.compile(r"^\s*(\d{1,3}|-1)\s+([MF])\s+-?\d+\s+-?\d+\s")
_PERSON_ONLY = re.compile(r"^\s*<?(?:age|sex|gender)>?\s*[:=]\s*+<?[\w.]*+>?\s*$", re.IGNORECASE)


class Scale(NamedTuple):
    """What to multiply a file's numbers by, and what they then are."""

    factor: float
    units: Units


def lead_name(text: str) -> str | None:
    """The name out of `LEADS` that a label means ("AVR", "MLII", "ECG Lead I", "V2-ref"), or None."""
    plain = _PREFIX.sub("", text.strip().strip("'\"").strip())
    for candidate in (plain, _SUFFIX.sub("", plain)):
        found = _LEADS.get(candidate.lower().replace(" ", ""))
        if found:
            return found
    return None


def lead_names(texts: Iterable[str]) -> tuple[str, ...]:
    """`lead_name` of each. Raises InputError for a name that is no lead, and for a lead named twice."""
    names = []
    for text in texts:
        name = lead_name(text)
        if name is None:
            raise InputError(
                f"Unknown lead name {text.strip()[:40]!r}; the leads are {', '.join(LEADS)}. "
                "Name the signals in file order with the leads option."
            )
        if name in names:
            raise InputError(f"Lead {name} is named twice; each lead may be given once.")
        names.append(name)
    return tuple(names)


def split_units(label: str) -> tuple[str, str | None]:
    """ "II (uV)" or "II [uV]" -> ("II", "uV"); no unit -> None."""
    label = label.strip().strip("'\"").strip()
    match = _BRACKETS.search(label)
    return (label[: match.start()], match[1].strip()) if match else (label, None)


def scale_of(units: str) -> Scale:
    """mV, uV, V, counts per millivolt as in "200/mV", or "standardised". Raises InputError for anything else."""
    plain = units.strip()
    if plain.lower() in _TO_MV:
        return Scale(_TO_MV[plain.lower()], "mV")
    if plain.lower() in _STANDARDISED:
        return Scale(1.0, "standardised")
    match = _PER_MV.match(plain)
    if match:
        try:
            per_mv = float(match[1])
        except ValueError:
            per_mv = 0.0
        if 1e-3 <= per_mv <= 1e9:
            return Scale(1 / per_mv, "mV")
    raise InputError(
        f"Unknown units {plain[:40]!r}; use mV, uV, V, counts per millivolt such as 200/mV, or standardised."
    )


def person(comments: Sequence[str]) -> tuple[float | None, Sex | None]:
    """Age in years and sex from header comments in PhysioNet's various ways; None where absent or absurd."""
    age: float | None = None
    sex: str | None = None
    for line in comments:
        mit = _MIT.match(line)
        if mit:
            age, sex = (age if age is not None else _years(mit[1])), sex or mit[2]
        match = _AGE.search(line)
        if match and age is None:
            age = _years(match[1] or match[2])
        match = _SEX.search(line)
        if match and sex is None:
            sex = match[1] or match[2]
    return age, sex_of(sex)


def _years(text: str) -> float | None:
    try:
        age = float(text)
    except ValueError:
        return None
    return age if math.isfinite(age) and 0 <= age <= 120 else None


def sex_of(text: str | None) -> Sex | None:
    """Male or female from "M", "Female" and the like; None for anything else."""
    return cast(
        "Sex | None", {"m": "male", "male": "male", "f": "female", "female": "female"}.get((text or "").lower())
    )


def header_comments(recording: Recording) -> list[str]:
    """Comment lines for a written file: the synthetic mark first, then age and sex, then the recording's own."""
    lines = [SYNTHETIC] if recording.synthetic else []
    if recording.age is not None:
        lines.append(f"Age: {recording.age:g}")
    if recording.sex is not None:
        lines.append(f"Sex: {recording.sex.capitalize()}")
    lines += [" ".join(comment.split()) for comment in recording.comments]
    return [line for line in lines if line]


def is_synthetic(comments: Sequence[str]) -> bool:
    """Whether a header carries the synthetic mark."""
    return any(line.strip().upper().startswith("SYNTHETIC") for line in comments)


def other_comments(comments: Sequence[str]) -> tuple[str, ...]:
    """Comments without the lines that age, sex and the synthetic mark were read from."""
    lines = (line.strip() for line in comments)
    return tuple(line for line in lines if line and line != SYNTHETIC and not _PERSON_ONLY.match(line))
