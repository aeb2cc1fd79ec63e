"""From the drawing line that the model writes, and its hidden states, to a 12-lead recording."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import BundleError, InputError
from uniecg_device.signals import INDEPENDENT_LEADS, LEADS, Sex, twelve_leads
from uniecg_runtime.manifest import Generation, Role
from uniecg_runtime.sampler import Denoiser, sample

RATES: Final = (20, 300)  # beats per minute
AGES: Final = (0, 120)  # years
_SEXES: Final[dict[str, Sex]] = {"male": "male", "female": "female"}
_NUMBER: Final = r"(?P<number>[0-9]{1,3})(?![0-9.,]*[0-9])"
# How people say what a generator is told in numbers; whoever says it otherwise gives it by name.
_SAID: Final = {
    "sex": (r"\b(?P<male>male|man|boy)\b|\b(?P<female>female|woman|girl)\b",),
    "age": (rf"\bage[d:]?\s*{_NUMBER}", rf"\b{_NUMBER}[\s-]*(?:years?|y/?o)\b"),
    "heart_rate": (
        rf"(?:\b(?:heart|ventricular)\s+|(?:^|[,;|])\s*)rate\s*(?:of|is|=|:)?\s*{_NUMBER}",
        rf"\bHR\s*(?:of|is|=|:)?\s*{_NUMBER}",
        rf"\b{_NUMBER}\s*(?:bpm|beats\s+per\s+minute|/\s?min)\b",
    ),
}


@dataclass(frozen=True)
class Scalars:
    """What the generator is told in numbers; None where it is not said. heart_rate in /min, age in years."""

    sex: Sex | None = None
    age: float | None = None
    heart_rate: float | None = None

    def over(self, other: Scalars) -> Scalars:
        """These, and the other's where these say nothing."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        return replace(other, **said)

    def row(self, names: tuple[str, ...]) -> NDArray[np.float32]:
        """float32 (1, len(names)) as `manifest.Generation` says; 0 where unknown.

        Raises BundleError for a name that this runtime does not know, InputError where a model that cannot be told
        that a value is unknown is not told the value.
        """
        needed = {"sex": "sex", "age_years": "age", "heart_rate_bpm": "heart_rate"}
        silent = [given for name, given in needed.items() if name in names and f"{name}_known" not in names]
        missing = [name for name in silent if getattr(self, name) is None]
        if missing:
            raise InputError(
                f"expected {', '.join(silent)}, which this generator must be told, found no {', '.join(missing)}; "
                'say it, as in "heart rate 75, male, 60 years old".'
            )
        values = {
            "sex": float(self.sex == "male"),
            "age": (self.age or 0) / 100,
            "heart_rate": (self.heart_rate or 0) / 100,
        }
        values |= {f"{name}_known": float(value is not None) for name, value in vars(self).items()}
        values |= {"age_years": self.age or 0.0, "heart_rate_bpm": self.heart_rate or 0.0}
        if unknown := [name for name in names if name not in values]:
            raise BundleError(f"expected scalars out of {sorted(values)}, found {unknown}; update uniecg-edge.")
        return np.array([[values[name] for name in names]], np.float32)

    def words(self) -> str:
        """What a person would add to a request: "heart rate 110, male, 70 years old"."""
        said = [f"heart rate {self.heart_rate:g}"] if self.heart_rate is not None else []
        said += [self.sex] if self.sex is not None else []
        said += [f"{self.age:g} years old"] if self.age is not None else []
        return ", ".join(said)


def check_scalars(sex: str | None, age: float | None, heart_rate: float | None) -> Scalars:
    """Scalars that a person gave. Raises InputError where one is out of range."""
    if sex is not None and sex not in _SEXES:
        raise InputError(f'expected sex "male" or "female", found {sex!r}; leave it out where it is unknown.')
    if age is not None and not AGES[0] <= age <= AGES[1]:
        raise InputError(f"expected an age of {AGES[0]} to {AGES[1]} years, found {age:g}; leave it out if unknown.")
    if heart_rate is not None and not RATES[0] <= heart_rate <= RATES[1]:
        raise InputError(f"expected a heart rate of {RATES[0]} to {RATES[1]} /min, found {heart_rate:g}; correct it.")
    return Scalars(None if sex is None else _SEXES[sex], age, heart_rate)


def read_line(line: str) -> Scalars:
    """Scalars out of "Drawing: atrial fibrillation | rate 110 | sex male | age 70".

    The model wrote it, so what does not read, or is out of range, counts as not said.
    """
    said = Scalars()
    for segment in line.split(" | ")[1:]:
        key, _, value = segment.strip().partition(" ")
        value = value.strip()
        if key == "sex" and value in _SEXES:
            said = replace(said, sex=_SEXES[value])
        elif key in ("rate", "age") and value.isascii() and value.isdigit() and len(value) <= 3:
            low, high = RATES if key == "rate" else AGES
            if low <= int(value) <= high:
                number = float(value)
                said = replace(said, heart_rate=number) if key == "rate" else replace(said, age=number)
    return said


def read_request(text: str) -> Scalars:
    """Scalars that a request states in words: "a sinus rhythm, heart rate 110, male, 70 years old".

    For a model that writes no drawing line. What is out of range, or said twice and differently, counts as not said.
    """
    found: dict[str, set[str]] = {
        name: {match["number"] if name != "sex" else str(match.lastgroup) for match in _matches(text, patterns)}
        for name, patterns in _SAID.items()
    }
    once = {name: values.pop() for name, values in found.items() if len(values) == 1}
    age, rate = (float(once[name]) if name in once else -1.0 for name in ("age", "heart_rate"))
    return Scalars(
        sex=_SEXES[once["sex"]] if "sex" in once else None,
        age=age if AGES[0] <= age <= AGES[1] else None,
        heart_rate=rate if RATES[0] <= rate <= RATES[1] else None,
    )


def _matches(text: str, patterns: tuple[str, ...]) -> Iterator[re.Match[str]]:
    for pattern in patterns:
        yield from re.finditer(pattern, text, re.ASCII | re.IGNORECASE)


def draw(
    graph: Callable[[Role], Denoiser],
    generation: Generation,
    given: dict[str, NDArray[np.float32]],
    scalars: Scalars,
    *,
    steps: int,
    seed: int,
    guidance: float,
) -> NDArray[np.float32]:
    """Twelve leads in mV, float32 (12, samples), in the standard order.

    graph: gives the graph of a role. given: the condition's other input, `states` (1, token_count, width) or `text`
    (1, 1, width). Where the decoder writes eight leads, III, aVR, aVL and aVF follow from I and II, so that Einthoven's
    law holds; where it writes all twelve, they are its own.
    """
    condition = graph("condition").run(**given, scalars=scalars.row(generation.scalars))[0]
    latent = sample(graph("denoiser"), condition, generation, steps=steps, seed=seed, guidance=guidance)
    leads = graph("decoder").run(latent=latent)[0][0]
    if len(generation.leads) == len(LEADS):
        return np.ascontiguousarray(leads[[generation.leads.index(lead) for lead in LEADS]])
    return twelve_leads(leads[[generation.leads.index(lead) for lead in INDEPENDENT_LEADS]])
