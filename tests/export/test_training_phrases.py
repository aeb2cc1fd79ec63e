"""What users are made to write: the numbers given and no other, and none of the held-out phrasings to draw."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the extra `export`")

from uniecg_export.training.dialogues import ASKABLE, to_draw, without_record
from uniecg_export.training.labels import NAMES
from uniecg_export.training.phrases import (
    LABEL_TEXT,
    Sex,
    draw_request,
    explain_request,
    measurement_question,
    yes_no_question,
)
from uniecg_export.training.texts import drawing
from uniecg_runtime.drawing import read_line

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sexes: st.SearchStrategy[Sex | None] = st.sampled_from((None, "male", "female"))
descriptions = st.sampled_from([text for texts in LABEL_TEXT.values() for text in texts] + ["", "an ECG"])


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+", re.sub(r"12[- ]lead", "", text, flags=re.IGNORECASE)))


def plain(text: str) -> str:
    """Without case and end mark, which the generator varies at will."""
    return " ".join(text.lower().split()).rstrip("?!. ")


@settings(deadline=None)
@given(st.integers(), descriptions, st.none() | st.integers(20, 300), sexes, st.none() | st.integers(0, 120))
def test_a_request_to_draw_holds_the_given_numbers_and_no_other(
    seed: int, description: str, rate: int | None, sex: Sex | None, age: int | None
) -> None:
    text = draw_request(Random(seed), description, rate, sex, age)
    given_numbers = [str(value) for value in (rate, age) if value is not None]
    assert numbers(text) == sorted([*given_numbers, *numbers(description)]), text
    assert text == text.strip()
    assert "{" not in text


MALE = re.compile(r"(?<!')\b(man|male|gentleman|boy|m)\b", re.IGNORECASE)
FEMALE = re.compile(r"\b(woman|female|lady|girl|f)\b", re.IGNORECASE)


@settings(deadline=None)
@given(st.integers(), st.none() | st.integers(20, 300), sexes, st.none() | st.integers(0, 120))
def test_a_request_to_draw_never_names_the_other_sex(
    seed: int, rate: int | None, sex: Sex | None, age: int | None
) -> None:
    text = draw_request(Random(seed), "atrial fibrillation", rate, sex, age)
    if sex != "male":
        assert not MALE.search(text), text
    if sex != "female":
        assert not FEMALE.search(text), text


@settings(deadline=None)
@given(st.integers())
def test_what_the_model_is_taught_to_draw_is_what_was_asked(seed: int) -> None:
    turn, labels = to_draw(Random(seed), [list(NAMES)], None, "")
    said = read_line(turn.answer)
    assert turn.draws
    asked = numbers(turn.question)
    for value in (said.heart_rate, said.age):
        assert value is None or f"{value:.0f}" in asked
    rate, age = (None if value is None else int(value) for value in (said.heart_rate, said.age))
    assert turn.answer == drawing(labels, rate, said.sex, age)


@settings(deadline=None)
@given(st.integers())
def test_the_same_seed_writes_the_same_corpus(seed: int) -> None:
    assert corpus(seed, 5) == corpus(seed, 5)


def corpus(seed: int, rounds: int) -> list[tuple[str, str]]:
    """(route, question) of five kinds a round."""
    rng, found = Random(seed), []
    for _ in range(rounds):
        found.append(("ecg", to_draw(rng, [list(NAMES)], None, "")[0].question))
        found.append(("text", explain_request(rng)))
        found.append(("text", yes_no_question(rng, rng.choice(LABEL_TEXT[rng.choice(NAMES)]))))
        found.append(("text", measurement_question(rng, rng.choice(ASKABLE))))
        found.append(("text", without_record(rng).question))
    return found


def phrasings(file: str, route: str) -> set[str]:
    items = json.loads((BENCHMARKS / file).read_text(encoding="utf-8"))["items"]
    return {plain(item["text"]) for item in items if item["route"] == route}


def test_no_phrasing_that_measures_is_trained_on() -> None:
    trained = {plain(text) for _, text in corpus(0, 4000)}
    assert len(trained) > 10_000
    for file in ("routing_phrasings.json", "routing_validation.json"):
        for route in ("ecg", "text"):
            assert len(phrasings(file, route)) >= 100
            assert not trained & phrasings(file, route)


def test_no_text_is_both_a_request_to_draw_and_a_question() -> None:
    written = corpus(1, 4000)
    drawn = {plain(text) for route, text in written if route == "ecg"}
    assert not drawn & {plain(text) for route, text in written if route == "text"}


def test_questions_for_an_unknown_measurement_are_refused() -> None:
    with pytest.raises(KeyError):
        for seed in range(50):
            measurement_question(Random(seed), "colour")
