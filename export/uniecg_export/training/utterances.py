"""What people say, written out whole: some thirty thousand utterances with what each of them wants.

Beside the slotted frames of `asked_*` and `wording`, these lines in said/ are each of their own making. Tab-separated:

    draw.tsv, draw_attached.tsv   labels, heart rate, sex, age, utterance; "-" where it says none
    signal.tsv                    report, ask:LABEL, measure:NAME or beyond; utterance about an attached ECG
    general.tsv                   knowledge, nosignal, chat or offtopic; utterance with no ECG attached
    topics.tsv                    labels, noun phrase that fits after "an ECG with"
    before.txt, after.txt         sentences that could come before or after any of them
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random

from uniecg_device.signals import Sex
from uniecg_export.training.labels import NAMES

LONGEST_TOPIC = 6  # words
SAID = Path(__file__).parent / "said"


@dataclass(frozen=True)
class Drawn:
    """A request to draw: the labels it names, heart rate in beats per minute and age in years where it says them."""

    labels: tuple[str, ...]
    heart_rate: int | None
    sex: Sex | None
    age: int | None
    text: str


@cache
def drawings(attached: bool) -> tuple[Drawn, ...]:
    """Requests to draw, made while an ECG is attached or while none is."""
    return tuple(_drawn(*row) for row in _rows("draw_attached" if attached else "draw", 5))


@cache
def questions(file: str) -> dict[str, tuple[str, ...]]:
    """Kind -> utterances that want words, of said/`file`.tsv: "signal" or "general"."""
    found: dict[str, list[str]] = {}
    for kind, text in _rows(file, 2):
        found.setdefault(kind, []).append(text)
    return {kind: tuple(texts) for kind, texts in found.items()}


@cache
def topics() -> tuple[tuple[tuple[str, ...], str], ...]:
    """(labels, noun phrase) of things that an ECG can show."""
    return tuple((_labels(labels), text) for labels, text in _rows("topics", 2))


def about_another(rng: Random, said: Drawn) -> Drawn:
    """The request with another topic in the place of its own, so that no topic by itself means a drawing.

    As it is where its topic is not found, or does not account for all the labels it names.
    """
    place = _place(said.text)
    if place is None or _labels_by_topic()[place[1]] != said.labels:
        return said
    labels, topic = rng.choice(topics())
    return replace(said, labels=labels, text=place[0].replace("{}", topic, 1))


def about_another_topic(rng: Random, text: str) -> str:
    """The same for a question whose answer does not depend on the topic."""
    place = _place(text)
    return text if place is None else place[0].replace("{}", rng.choice(topics())[1], 1)


@cache
def _place(text: str) -> tuple[str, str] | None:
    """The text with {} for its longest topic, and that topic's key; None where it has none."""
    words = [match.span() for match in re.finditer(r"[\w+'-]+", text)]
    known = _labels_by_topic()
    for length in range(min(LONGEST_TOPIC, len(words)), 0, -1):
        for first in range(len(words) - length + 1):
            start, end = words[first][0], words[first + length - 1][1]
            topic = _key(text[start:end])
            if topic in known:
                return f"{text[:start]}{{}}{text[end:]}", topic
    return None


def _key(topic: str) -> str:
    """Abbreviations as they are, so that "AS" is not "as"; all else in lower case."""
    return topic if topic.isupper() or len(topic) < 5 else topic.lower()


@cache
def _labels_by_topic() -> dict[str, tuple[str, ...]]:
    return {_key(text): labels for labels, text in topics() if len(text) > 1}


@cache
def _lines(name: str) -> tuple[str, ...]:
    return tuple((SAID / name).read_text(encoding="utf-8").splitlines())


def with_context(rng: Random, text: str) -> str:
    """Now and then a sentence before or after that leaves open what is wanted."""
    if rng.random() < 0.12:
        text = f"{rng.choice(_lines('before.txt'))} {text}"
    if rng.random() < 0.06:
        end = "" if text[-1] in ".?!" else "."
        text = f"{text}{end} {rng.choice(_lines('after.txt'))}"
    return text


def _rows(name: str, columns: int) -> list[list[str]]:
    rows = [line.split("\t") for line in _lines(f"{name}.tsv")]
    wrong = next((row for row in rows if len(row) != columns), None)
    if wrong is not None:
        raise ValueError(f"expected {columns} columns in every line of {name}.tsv, found {wrong}")
    return rows


def _labels(field: str) -> tuple[str, ...]:
    names = () if field == "-" else tuple(field.split(","))
    unknown = set(names) - set(NAMES)
    if unknown:
        raise ValueError(f"expected labels of the model, found {sorted(unknown)}")
    return tuple(name for name in NAMES if name in names)


def _drawn(labels: str, rate: str, sex: str, age: str, text: str) -> Drawn:
    known: dict[str, Sex | None] = {"-": None, "male": "male", "female": "female"}
    numbers = [None if value == "-" else int(value) for value in (rate, age)]
    return Drawn(_labels(labels), numbers[0], known[sex], numbers[1], text)
