"""What the language model is taught to write: evidence first, conclusion last.

Every sentence is built from something known about the record: measured values, per-lead findings,
and the annotators' labels. Reading is one way: labels never leak into the measured part.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from uniecg_export.families.uniecg_nano_prompt import DRAW_PREFIX, LABELS, SUPERCLASSES
from uniecg_runtime.signal.measure import Measurements

RHYTHMS = ("SR", "AFIB", "AFLT", "STACH", "SBRAD", "SARRH", "PACE")
# A superclass is named in the conclusion only where none of its members is.
MEMBERS: Mapping[str, tuple[str, ...]] = {
    "MI": ("AMI", "IMI", "LMI"),
    "STTC": ("ISC", "STD", "INVT", "LNGQT"),
    "CD": ("CLBBB", "CRBBB", "IRBBB", "LAFB", "AVB", "IVCD", "WPW"),
    "HYP": ("LVH", "LAE"),
}
FINDING_WORDS = {
    "ST elevation": "ST elevation",
    "ST depression": "ST depression",
    "T inversion": "T-wave inversion",
    "Q wave": "Q waves",
    "low voltage": "low voltage",
    "tall R": "tall R waves",
}


def interpretation(measured: Measurements, labels: Sequence[str]) -> str:
    """Rate, intervals, axis and per-lead findings, then the conclusion."""
    sentences = [*_rhythm_sentences(measured), *_interval_sentences(measured), _axis_sentence(measured)]
    sentences += [
        f"{FINDING_WORDS[name]} in {_join(leads)}."
        for name, leads in measured.findings.items()
        if name in FINDING_WORDS
    ]
    if not any(name in FINDING_WORDS for name in measured.findings):
        sentences.append("No significant ST, T or Q wave finding in any lead.")
    return " ".join([*sentences, f"Conclusion: {conclusion(labels)}."])


def conclusion(labels: Sequence[str]) -> str:
    """The labels as one clinical phrase, rhythm first."""
    given = set(labels)
    names = [name for name in RHYTHMS if name in given]
    details = [n for n in LABELS if n in given and n not in RHYTHMS and n not in SUPERCLASSES]
    for superclass, members in MEMBERS.items():
        if superclass in given and not given.intersection(members):
            details.append(superclass)
    if "NORM" in given:
        names.append("NORM")
    return "; ".join(LABELS[name] for name in names + details) or "no specific abnormality"


def measurement_answer(name: str, measured: Measurements) -> str:
    """One measured value as a sentence."""
    words = {
        "heart_rate": ("heart rate", "bpm"),
        "pr": ("PR interval", "ms"),
        "qrs": ("QRS duration", "ms"),
        "qt": ("QT interval", "ms"),
        "qtc": ("QTc", "ms"),
        "axis": ("electrical axis", "degrees"),
    }
    words_name, unit = words[name]
    value = _rounded(measured, name)
    if value is None:
        return f"The {words_name} cannot be measured in this ECG."
    return f"The {words_name} is {value} {unit}."


def yes_no_answer(label: str, present: bool) -> str:
    """A finding confirmed or denied."""
    return f"{'Yes' if present else 'No'}, {LABELS[label]} is {'present' if present else 'not seen'}."


def drawing(labels: Sequence[str], rate: int | None, sex: str | None, age: int | None) -> str:
    """The specification that the model writes before its `[ECG]` tokens; the runtime reads it back."""
    parts = [conclusion(labels) if labels else "12-lead ECG"]
    parts += [f"rate {rate}"] if rate is not None else []
    parts += [f"sex {sex}"] if sex is not None else []
    parts += [f"age {age}"] if age is not None else []
    return f"{DRAW_PREFIX} {' | '.join(parts)}"


def choose_subset(rng: random.Random, labels: Sequence[str], most: int = 3) -> list[str]:
    """Up to `most` labels a user might name, superclasses only where nothing finer is there."""
    finer = [name for name in labels if name not in SUPERCLASSES or name == "NORM"]
    for superclass, members in MEMBERS.items():
        if superclass in labels and not set(labels).intersection(members):
            finer.append(superclass)
    rng.shuffle(finer)
    return sorted(finer[:most], key=list(LABELS).index)


def _rhythm_sentences(measured: Measurements) -> list[str]:
    rate = _rounded(measured, "heart_rate")
    if rate is None:
        return ["The heart rate cannot be measured."]
    speed = "slow" if rate < 60 else "fast" if rate > 100 else "normal"
    spread = _rounded(measured, "rr_sd")
    beat = "" if spread is None else f", RR intervals {'irregular' if spread > 80 else 'regular'}"
    return [f"Heart rate {rate} bpm ({speed}){beat}."]


def _interval_sentences(measured: Measurements) -> list[str]:
    pr, qrs, qt, qtc = (_rounded(measured, name) for name in ("pr", "qrs", "qt", "qtc"))
    sentences = ["PR interval not measurable."]
    if pr is not None:
        sentences = [f"PR interval {pr} ms ({'prolonged' if pr > 200 else 'short' if pr < 120 else 'normal'})."]
    if qrs is not None:
        sentences.append(f"QRS {qrs} ms ({'wide' if qrs >= 120 else 'borderline' if qrs > 110 else 'normal'}).")
    if qt is not None and qtc is not None:
        sentences.append(f"QT {qt} ms, QTc {qtc} ms ({'prolonged' if qtc > 460 else 'normal'}).")
    return sentences


def _axis_sentence(measured: Measurements) -> str:
    axis = _rounded(measured, "axis")
    if axis is None:
        return "Axis not measurable."
    side = (
        "normal" if -30 <= axis <= 90 else "left" if -90 <= axis < -30 else "right" if 90 < axis <= 180 else "extreme"
    )
    return f"Axis {axis} degrees ({side})."


def _rounded(measured: Measurements, name: str) -> int | None:
    """The value as the prompt shows it, so that words about it agree with the number beside them."""
    value = measured.values[name].value
    return None if value is None else round(value)


def _join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
