"""The turns of both stages: what is asked of a record, what is asked of no record, what is to be drawn."""

from __future__ import annotations

from random import Random

import numpy as np

from uniecg_device.signals import Sex
from uniecg_export.families.uniecg_nano_prompt import PROMPT, QUESTION
from uniecg_export.training.knowledge import KNOWLEDGE, NO_SIGNAL_ANSWER, OFF_TOPIC, OFF_TOPIC_ANSWER
from uniecg_export.training.labels import NAMES
from uniecg_export.training.phrases import (
    LABEL_TEXT,
    draw_request,
    explain_request,
    measurement_question,
    yes_no_question,
)
from uniecg_export.training.records import Records
from uniecg_export.training.sequences import Turn
from uniecg_export.training.texts import choose_subset, drawing, interpretation, measurement_answer, yes_no_answer
from uniecg_runtime.signal.measure import prompt_text

ASKABLE = ("heart_rate", "pr", "qrs", "qt", "qtc", "axis")
RHYTHM_RATES = {"STACH": (101, 180), "SBRAD": (35, 59), "SR": (60, 100), "AFIB": (45, 170), "AFLT": (60, 160)}


def about_record(rng: Random, records: Records, row: int, kind: str) -> Turn:
    """A turn about one record: kind is "interpret", "question" or "measure"."""
    measured = records.measurements[row]
    features = prompt_text(measured, PROMPT)
    labels = [NAMES[k] for k in np.flatnonzero(records.labels[row])]
    known = [NAMES[k] for k in np.flatnonzero(records.known[row])]
    if kind == "measure":
        name = rng.choice(ASKABLE)
        return Turn(measurement_question(rng, name), measurement_answer(name, measured), row, features)
    if kind == "question" and known:
        present = [name for name in labels if name in known]
        name = rng.choice(present) if present and rng.random() < 0.5 else rng.choice(known)
        question = yes_no_question(rng, rng.choice(LABEL_TEXT[name]))
        return Turn(question, yes_no_answer(name, name in present), row, features)
    question = QUESTION if rng.random() < 0.6 else explain_request(rng)
    statements = {name: name in labels for name in known}
    return Turn(question, interpretation(measured, labels), row, features, statements=statements)


def without_record(rng: Random) -> Turn:
    """Knowledge, an interpretation asked for with nothing attached, or something else entirely."""
    draw = rng.random()
    if draw < 0.72:
        questions, answer = rng.choice(KNOWLEDGE)
        return Turn(_casual(rng, rng.choice(questions)), answer)
    if draw < 0.9:
        asks = (
            explain_request,
            lambda r: measurement_question(r, r.choice(ASKABLE)),
            lambda r: yes_no_question(r, r.choice(LABEL_TEXT[r.choice(NAMES)])),
        )
        return Turn(rng.choices(asks, (6, 2, 2))[0](rng), NO_SIGNAL_ANSWER)
    return Turn(_casual(rng, rng.choice(OFF_TOPIC)), OFF_TOPIC_ANSWER)


def to_draw(rng: Random, label_sets: list[list[str]], record: int | None, measurements: str) -> tuple[Turn, list[str]]:
    """A request to draw with its specification, and the labels it names."""
    labels = _labels_to_draw(rng, label_sets)
    low, high = RHYTHM_RATES.get(next((n for n in labels if n in RHYTHM_RATES), ""), (35, 190))
    rate = rng.randint(low, high) if rng.random() < 0.75 else None
    sex: Sex | None = rng.choice(("male", "female")) if rng.random() < 0.6 else None
    age = rng.randint(16, 95) if rng.random() < 0.6 else None
    names = [rng.choice(LABEL_TEXT[name]) if rng.random() < 0.7 else LABEL_TEXT[name][0] for name in labels]
    described = _listed(rng, names) or rng.choice(("", "12-lead ECG", "an ECG"))
    question = draw_request(rng, described, rate, sex, age)
    return Turn(question, drawing(labels, rate, sex, age), record, measurements, draws=True), labels


def _labels_to_draw(rng: Random, label_sets: list[list[str]]) -> list[str]:
    if rng.random() < 0.06:
        return []
    if rng.random() < 0.5:
        return choose_subset(rng, rng.choice(label_sets), rng.choice((1, 1, 2, 3)))
    return [rng.choice(NAMES)]


def _listed(rng: Random, names: list[str]) -> str:
    *first, last = names or [""]
    return f"{', '.join(first)} {rng.choice(('and', 'with', 'plus'))} {last}" if first else last


def _casual(rng: Random, text: str) -> str:
    draw = rng.random()
    if draw < 0.25:
        text = text.lower()
    if rng.random() < 0.3:
        text = text.rstrip("?.!")
    return text
