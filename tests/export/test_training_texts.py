"""What the language model is taught to write follows from the measurements and the labels, and reads back."""

from __future__ import annotations

import re
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the extra `export`")

from uniecg_device.signals import LEADS
from uniecg_export.families.uniecg_nano_prompt import DRAW_PREFIX, FINDINGS, LABELS, SUPERCLASSES
from uniecg_export.training.texts import (
    FINDING_WORDS,
    MEMBERS,
    RHYTHMS,
    choose_subset,
    conclusion,
    drawing,
    interpretation,
    measurement_answer,
    yes_no_answer,
)
from uniecg_runtime.drawing import Scalars, read_line
from uniecg_runtime.signal.measure import Measurements, Value

RANGES = {"heart_rate": (20, 300), "rr_sd": (0, 500), "pr": (60, 400), "qrs": (40, 250), "qt": (150, 800)}
RANGES |= {"qtc": (200, 800), "axis": (-180, 180)}
SPOKEN = ("heart_rate", "pr", "qrs", "qt", "qtc", "axis")


@st.composite
def measured(draw: st.DrawFn) -> Measurements:
    """Any measurements, some of them missing."""
    values = {name: Value(draw(st.none() | st.floats(low, high)), "") for name, (low, high) in RANGES.items()}
    leads = st.lists(st.sampled_from(LEADS), min_size=1, max_size=12, unique=True).map(tuple)
    findings = draw(st.dictionaries(st.sampled_from(FINDINGS), leads))
    return Measurements(values, findings, np.empty(0, np.int64))


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", text)]


labels = st.lists(st.sampled_from(tuple(LABELS)), unique=True)


@settings(deadline=None)
@given(measured(), labels)
def test_every_number_of_an_interpretation_is_a_measured_one(
    measurements: Measurements, given_labels: list[str]
) -> None:
    text = re.sub(r"\bV[1-6]\b", "", interpretation(measurements, given_labels))
    known = {name: value.value for name, value in measurements.values.items() if name in SPOKEN}
    if known["qt"] is None or known["qtc"] is None:
        known |= {"qt": None, "qtc": None}  # the two are told together
    expected = [round(value) for value in known.values() if value is not None]
    assert numbers(text) == expected


@settings(deadline=None)
@given(measured(), labels)
def test_every_finding_is_told_with_its_leads_and_no_other_lead_is_named(
    measurements: Measurements, given_labels: list[str]
) -> None:
    evidence, _, _ = interpretation(measurements, given_labels).partition("Conclusion:")
    told = [re.fullmatch(r"(.+) in (.+)", sentence) for sentence in re.split(r"\. ?", evidence)]
    found = {m[1]: tuple(re.split(r", | and ", m[2])) for m in told if m and "any lead" not in m[2]}
    assert found == {FINDING_WORDS[name]: leads for name, leads in measurements.findings.items()}


@settings(deadline=None)
@given(measured(), labels, labels)
def test_labels_do_not_leak_into_the_measured_part(measurements: Measurements, a: list[str], b: list[str]) -> None:
    first, second = (interpretation(measurements, names).partition("Conclusion:")[0] for names in (a, b))
    assert first == second


@settings(deadline=None)
@given(labels)
def test_a_conclusion_names_every_label_or_a_member_of_it_and_nothing_else(given_labels: list[str]) -> None:
    said = conclusion(given_labels).split("; ")
    for name in given_labels:
        members = set(MEMBERS.get(name, ())).intersection(given_labels)
        assert LABELS[name] in said or any(LABELS[member] in said for member in members)
    expected = {LABELS[name] for name in given_labels} or {"no specific abnormality"}
    assert set(said) <= expected
    assert len(set(said)) == len(said)


def test_a_conclusion_begins_with_the_rhythm_and_keeps_superclasses_for_want_of_better() -> None:
    assert conclusion(["MI", "AMI", "SR"]) == "sinus rhythm; anterior myocardial infarction"
    assert conclusion(["MI", "STTC", "AFIB"]) == "atrial fibrillation; myocardial infarction; ST-T change"
    assert conclusion(["NORM", "SR"]) == "sinus rhythm; normal ECG"
    assert conclusion([]) == "no specific abnormality"


def test_every_finer_label_belongs_to_a_superclass_a_rhythm_or_stands_alone() -> None:
    members = [name for group in MEMBERS.values() for name in group]
    assert len(set(members)) == len(members)
    assert set(members) | set(RHYTHMS) <= set(LABELS)
    assert set(MEMBERS) | {"NORM"} == set(SUPERCLASSES)


@settings(deadline=None)
@given(
    labels,
    st.none() | st.integers(20, 300),
    st.sampled_from((None, "male", "female")),
    st.none() | st.integers(0, 120),
)
def test_the_runtime_reads_the_same_scalars_out_of_a_drawing_line(
    given_labels: list[str], rate: int | None, sex: str | None, age: int | None
) -> None:
    line = drawing(given_labels, rate, sex, age)
    assert line.startswith(DRAW_PREFIX)
    assert read_line(line) == Scalars(sex, age, rate)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.integers(), labels)
def test_a_chosen_subset_is_short_of_the_labels_and_never_names_a_superclass_beside_its_member(
    seed: int, given_labels: list[str]
) -> None:
    chosen = choose_subset(Random(seed), given_labels)
    assert len(chosen) <= 3
    assert set(chosen) <= set(given_labels)
    assert bool(chosen) == bool(given_labels)
    for superclass, members in MEMBERS.items():
        assert superclass not in chosen or not set(members).intersection(given_labels)


@settings(deadline=None)
@given(measured(), st.sampled_from(SPOKEN))
def test_a_measurement_is_told_or_said_to_be_unmeasurable(measurements: Measurements, name: str) -> None:
    answer, value = measurement_answer(name, measurements), measurements.values[name].value
    assert numbers(answer) == ([] if value is None else [round(value)])
    assert ("cannot be measured" in answer) == (value is None)


@pytest.mark.parametrize("label", LABELS)
def test_yes_and_no_repeat_the_label(label: str) -> None:
    assert yes_no_answer(label, True) == f"Yes, {LABELS[label]} is present."
    assert yes_no_answer(label, False) == f"No, {LABELS[label]} is not seen."
