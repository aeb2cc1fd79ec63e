"""The turns of both stages: what is asked of a record, what is asked of no record, what is to be drawn."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np

from uniecg_device.signals import Sex
from uniecg_export.families.uniecg_nano_prompt import PROMPT, QUESTION
from uniecg_export.training.asked_about_signal import BEYOND, MEASURE, REPORT, YES_NO
from uniecg_export.training.asked_in_general import ABOUT, FREE, SMALL_TALK, TOPICS
from uniecg_export.training.asked_to_draw import DRAW, DRAW_ATTACHED, TAIL
from uniecg_export.training.knowledge import KNOWLEDGE, NO_SIGNAL_ANSWER, OFF_TOPIC, OFF_TOPIC_ANSWER
from uniecg_export.training.labels import NAMES
from uniecg_export.training.phrases import (
    LABEL_TEXT,
    draw_request,
    explain_request,
    measurement_question,
    slip,
    yes_no_question,
)
from uniecg_export.training.records import Records
from uniecg_export.training.sequences import Turn
from uniecg_export.training.texts import choose_subset, drawing, interpretation, measurement_answer, yes_no_answer
from uniecg_export.training.utterances import (
    about_another,
    about_another_topic,
    drawings,
    questions,
    topics,
    with_context,
)
from uniecg_runtime.signal.measure import prompt_text

ASKABLE = ("heart_rate", "pr", "qrs", "qt", "qtc", "axis")
BEYOND_ANSWER = "I cannot tell that from this recording alone. I can name its rate, intervals, axis and findings."
GENERAL_ANSWER = "I know too little about that to answer. I can explain an attached ECG, or draw one."
WRITTEN = 0.75  # how often an utterance written out whole is taken where there is one
OTHER_TOPIC = 0.5  # how often another topic takes the place of the one that was written
GREETING = "I explain ECGs in words, and draw them. Attach a recording, or tell me what to draw."
GENERAL = {
    "knowledge": GENERAL_ANSWER,
    "nosignal": NO_SIGNAL_ANSWER,
    "chat": GREETING,
    "offtopic": OFF_TOPIC_ANSWER,
}
RHYTHM_RATES = {"STACH": (101, 180), "SBRAD": (35, 59), "SR": (60, 100), "AFIB": (45, 170), "AFLT": (60, 160)}


def about_record(rng: Random, records: Records, row: int, kind: str) -> Turn:
    """A turn with a record attached: kind is "interpret", "question", "measure", "beyond" or "general"."""
    measured = records.measurements[row]
    features = prompt_text(measured, PROMPT)
    labels = [NAMES[k] for k in np.flatnonzero(records.labels[row])]
    known = [NAMES[k] for k in np.flatnonzero(records.known[row])]
    if kind == "measure":
        name = rng.choice(ASKABLE)
        return Turn(_ask_to_measure(rng, name), measurement_answer(name, measured), row, features)
    if kind == "beyond":
        asked = _elsewhere(rng, rng.choice(questions("signal")["beyond"] if rng.random() < WRITTEN else BEYOND))
        return Turn(_casual(rng, asked), BEYOND_ANSWER, row, features)
    if kind == "general":
        asked, answer = _general(rng, rng.choices(("knowledge", "offtopic"), (5, 1))[0])
        return Turn(asked, answer, row, features)
    if kind == "question" and known:
        present = [name for name in labels if name in known]
        name = rng.choice(present) if present and rng.random() < 0.5 else rng.choice(known)
        return Turn(_ask_whether(rng, name), yes_no_answer(name, name in present), row, features)
    question = QUESTION if rng.random() < 0.5 else _ask_to_explain(rng)
    statements = {name: name in labels for name in known}
    return Turn(question, interpretation(measured, labels), row, features, statements=statements)


def opening(rng: Random, records: Records, row: int, tokens: int = 12) -> Turn:
    """A request to explain with only the answer's first tokens: teaches the choice of road at little cost."""
    turn = about_record(rng, records, row, "interpret")
    return replace(turn, question=_ask_to_explain(rng), statements={}, cut=tokens)


def without_record(rng: Random) -> Turn:
    """Knowledge, small talk, an interpretation asked for with nothing attached, or something else entirely."""
    draw = rng.random()
    if draw < WRITTEN:
        return Turn(*_general(rng, rng.choices(tuple(GENERAL), (62, 16, 9, 13))[0]))
    draw = rng.random()
    if draw < 0.4:
        known, answer = rng.choice(KNOWLEDGE)
        return Turn(_casual(rng, rng.choice(known)), answer)
    if draw < 0.7:
        question = rng.choice(ABOUT).replace("{topic}", _topic(rng)) if rng.random() < 0.6 else rng.choice(FREE)
        return Turn(_casual(rng, question), GENERAL_ANSWER)
    if draw < 0.78:
        return Turn(_casual(rng, rng.choice(SMALL_TALK)), GREETING)
    if draw < 0.92:
        asks = (
            _ask_to_explain,
            lambda r: _ask_to_measure(r, r.choice(ASKABLE)),
            lambda r: _ask_whether(r, r.choice(NAMES)),
        )
        return Turn(rng.choices(asks, (6, 2, 2))[0](rng), NO_SIGNAL_ANSWER)
    return Turn(_casual(rng, rng.choice(OFF_TOPIC)), OFF_TOPIC_ANSWER)


def _general(rng: Random, kind: str) -> tuple[str, str]:
    """A question that rests on no record, and its answer."""
    if kind == "nosignal" and rng.random() < 0.5:  # what is asked of a record, with none there
        asked = rng.choice(questions("signal")[rng.choice(("report", "beyond"))])
    else:
        asked = rng.choice(questions("general")[kind])
    return _casual(rng, _elsewhere(rng, asked)), GENERAL[kind]


def _elsewhere(rng: Random, text: str) -> str:
    return about_another_topic(rng, text) if rng.random() < OTHER_TOPIC else text


def to_draw(rng: Random, label_sets: list[list[str]], record: int | None, measurements: str) -> tuple[Turn, list[str]]:
    """A request to draw with its specification, and the labels it names."""
    if rng.random() < WRITTEN:
        said = rng.choice(drawings(attached=record is not None and rng.random() < 0.6))
        said = about_another(rng, said) if rng.random() < OTHER_TOPIC else said
        answer = drawing(said.labels, said.heart_rate, said.sex, said.age)
        return Turn(_casual(rng, said.text), answer, record, measurements, draws=True), list(said.labels)
    labels, described = _what_to_draw(rng, label_sets)
    low, high = RHYTHM_RATES.get(next((n for n in labels if n in RHYTHM_RATES), ""), (35, 190))
    rate, age = rng.randint(low, high), rng.randint(16, 95)
    sex: Sex = rng.choice(("male", "female"))
    if rng.random() < 0.5:
        told = (
            rate if rng.random() < 0.75 else None,
            sex if rng.random() < 0.6 else None,
            age if rng.random() < 0.6 else None,
        )
        question = draw_request(rng, described, *told)
        return Turn(question, drawing(labels, *told), record, measurements, draws=True), labels
    frame = rng.choice(DRAW if record is None or rng.random() < 0.3 else DRAW_ATTACHED)
    tail = rng.choice(TAIL) if rng.random() < 0.7 else ""
    described = described or rng.choice([text for named, text in topics() if not named])
    question = frame.replace("{d}", described).rstrip(".!? ") + tail if tail else frame.replace("{d}", described)
    question = question.replace("{rate}", str(rate)).replace("{sex}", sex).replace("{age}", str(age))
    answer = drawing(
        labels, rate if "{rate}" in tail else None, sex if "{sex}" in tail else None, age if "{age}" in tail else None
    )
    return Turn(_casual(rng, question), answer, record, measurements, draws=True), labels


def following(rng: Random, turn: Turn, records: Records, label_sets: list[list[str]]) -> Turn:
    """The turn as the second of a conversation, after a drawing or a short answer."""
    if rng.random() < 0.5:
        before = to_draw(rng, label_sets, turn.record, turn.measurements)[0]
    elif turn.record is None:
        before = without_record(rng)
    else:
        before = about_record(rng, records, turn.record, rng.choice(("measure", "question", "beyond")))
    return replace(turn, before=replace(before, statements={}))


def _ask_to_explain(rng: Random) -> str:
    if rng.random() < WRITTEN:
        return _casual(rng, _elsewhere(rng, rng.choice(questions("signal")["report"])))
    return explain_request(rng) if rng.random() < 0.4 else _casual(rng, rng.choice(REPORT))


def _ask_to_measure(rng: Random, name: str) -> str:
    written = questions("signal").get(f"measure:{name}", ())
    if written and rng.random() < WRITTEN:
        return _casual(rng, rng.choice(written))
    return measurement_question(rng, name) if rng.random() < 0.5 else _casual(rng, rng.choice(MEASURE[name]))


def _ask_whether(rng: Random, name: str) -> str:
    written = questions("signal").get(f"ask:{name}", ())
    if written and rng.random() < WRITTEN:
        return _casual(rng, rng.choice(written))
    finding = rng.choice(LABEL_TEXT[name])
    if rng.random() < 0.4:
        return yes_no_question(rng, finding)
    return _casual(rng, rng.choice(YES_NO).replace("{finding}", finding))


def _topic(rng: Random) -> str:
    draw = rng.random()
    if draw < 0.2:
        return rng.choice(LABEL_TEXT[rng.choice(NAMES)])
    return rng.choice(TOPICS) if draw < 0.5 else rng.choice(topics())[1]


def _what_to_draw(rng: Random, label_sets: list[list[str]]) -> tuple[list[str], str]:
    """Labels, and the words that ask for them. What no label names is drawn without one, and the line says so."""
    if rng.random() < 0.35:
        named, described = rng.choice(topics())
        return list(named), described
    labels = [rng.choice(NAMES)]
    if rng.random() < 0.5:
        labels = choose_subset(rng, rng.choice(label_sets), rng.choice((1, 1, 2, 3)))
    names = [rng.choice(LABEL_TEXT[name]) if rng.random() < 0.7 else LABEL_TEXT[name][0] for name in labels]
    return labels, _listed(rng, names)


def _listed(rng: Random, names: list[str]) -> str:
    *first, last = names or [""]
    return f"{', '.join(first)} {rng.choice(('and', 'with', 'plus'))} {last}" if first else last


def _casual(rng: Random, text: str) -> str:
    """As people type: in context, lower case, without the end mark, with a slip of the keyboard."""
    text = with_context(rng, text)
    if rng.random() < 0.25:
        text = text.lower()
    if rng.random() < 0.3:
        text = text.rstrip("?.!")
    return slip(rng, text) if rng.random() < 0.05 else text
