"""The utterances written out whole: every line says what it wants, once, and none of them is held out for the test."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("torch", reason="needs the extra `export`")

from uniecg_export.training import utterances
from uniecg_export.training.dialogues import ASKABLE, GENERAL
from uniecg_export.training.labels import NAMES
from uniecg_export.training.utterances import drawings, questions, topics, with_context

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", text.lower()).split())


def to_draw() -> set[str]:
    return {plain(said.text) for attached in (False, True) for said in drawings(attached)}


def to_tell() -> set[str]:
    return {plain(text) for file in ("signal", "general") for texts in questions(file).values() for text in texts}


def test_there_are_thousands_of_each_and_no_line_is_on_both_roads() -> None:
    assert len(to_draw()) > 4000
    assert len(to_tell()) > 4000
    assert not to_draw() & to_tell()


def test_a_request_holds_the_numbers_that_its_drawing_line_will_state() -> None:
    for attached in (False, True):
        for said in drawings(attached):
            for value in (said.heart_rate, said.age):
                assert value is None or re.search(rf"(?<!\d){value}(?!\d)", said.text), said


def test_every_question_has_a_kind_that_training_answers() -> None:
    asked = {f"ask:{name}" for name in NAMES} | {f"measure:{name}" for name in ASKABLE} | {"report", "beyond"}
    assert questions("signal").keys() <= asked
    assert questions("general").keys() == GENERAL.keys()


def test_topics_are_phrases_without_end_marks() -> None:
    assert len(topics()) > 2000
    assert all(text == text.strip() and not text.endswith(".") for _, text in topics())


@pytest.mark.parametrize("phrasings", ["routing_phrasings.json", "routing_validation.json"])
def test_none_of_the_phrasings_that_measure_is_among_them(phrasings: str) -> None:
    items = json.loads((BENCHMARKS / phrasings).read_text(encoding="utf-8"))["items"]
    assert not {plain(item["text"]) for item in items} & (to_draw() | to_tell())


def test_context_keeps_the_words_and_follows_the_seed() -> None:
    said = [with_context(Random(seed), "draw me an ECG") for seed in range(200)]
    assert all("draw me an ECG" in text for text in said)
    assert 20 < sum(text != "draw me an ECG" for text in said) < 60
    assert said == [with_context(Random(seed), "draw me an ECG") for seed in range(200)]


def test_a_line_of_the_wrong_shape_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "signal.tsv").write_text("report\tRead this.\nRead that.\n")
    monkeypatch.setattr(utterances, "SAID", tmp_path)
    utterances._lines.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"expected 2 columns .* found \['Read that.'\]"):
            utterances._rows("signal", 2)
    finally:
        utterances._lines.cache_clear()
