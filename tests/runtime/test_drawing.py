"""The drawing line and the numbers that go to the generator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniecg_device.errors import BundleError, InputError
from uniecg_runtime.drawing import AGES, RATES, Scalars, check_scalars, read_line, read_request

NAMES = ("sex", "sex_known", "age", "age_known", "heart_rate", "heart_rate_known")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Drawing: atrial fibrillation | rate 110 | sex male | age 70", Scalars("male", 70, 110)),
        ("Drawing: normal ECG | sex female", Scalars("female")),
        ("Drawing: normal ECG", Scalars()),
        ("Drawing: x | age 0 | rate 20", Scalars(age=0, heart_rate=20)),
        ("Drawing: rate 110", Scalars()),
        ("Drawing: x | rate 19 | age 121", Scalars()),
        ("Drawing: x | rate fast | sex unknown | age -5 | rate", Scalars()),
        ("Drawing: x | rate 110 bpm", Scalars()),
        ("Drawing: x | rate ²²", Scalars()),
        ("Drawing: x | rate 99999999999999999999", Scalars()),
        ("", Scalars()),
    ],
)
def test_the_line_is_read_and_nonsense_counts_as_not_said(line: str, said: Scalars) -> None:
    assert read_line(line) == said


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("sinus rhythm, heart rate 110, male, 70 years old", Scalars("male", 70, 110)),
        ("Draw AF at 95 bpm in a 60-year-old woman", Scalars("female", 60, 95)),
        ("LBBB; rate 70; age 3, girl", Scalars("female", 3, 70)),
        ("HR=48 f, aged 81", Scalars(age=81, heart_rate=48)),
        ("an ECG with ST elevation in V2 and V3", Scalars()),
        ("respiratory rate 25, atrial rate 300, QRS 90 ms", Scalars()),
        ("a man and a woman, heart rate 60, later heart rate 120", Scalars()),
        ("heart rate 1200, 60.5 years, age 130, HR 10", Scalars()),
        ("", Scalars()),
    ],
)
def test_a_request_is_read_for_a_model_that_writes_no_line(request_: str, said: Scalars) -> None:
    assert read_request(request_) == said


@given(st.integers(*RATES), st.sampled_from(["male", "female"]), st.integers(*AGES))
def test_a_request_says_what_options_put_into_it(rate: int, sex: str, age: int) -> None:
    given_ = check_scalars(sex, age, rate)
    assert read_request(f"atrial fibrillation, {given_.words()}") == given_


@given(
    st.lists(st.sampled_from(["Drawing:", " | ", "rate", "sex", "age", " ", "male", "110", "٣", "-", "x"])).map("".join)
)
def test_whatever_the_model_writes_gives_scalars_in_range(line: str) -> None:
    said = read_line(line)
    assert said.sex in (None, "male", "female")
    assert said.age is None or AGES[0] <= said.age <= AGES[1]
    assert said.heart_rate is None or RATES[0] <= said.heart_rate <= RATES[1]


@given(st.integers(*RATES), st.sampled_from(["male", "female"]), st.integers(*AGES))
def test_a_line_says_what_was_written_into_it(rate: int, sex: str, age: int) -> None:
    assert read_line(f"Drawing: sinus rhythm | rate {rate} | sex {sex} | age {age}") == Scalars(sex, age, rate)  # type: ignore[arg-type]


def test_what_a_person_gave_wins_over_what_the_model_wrote() -> None:
    assert Scalars(heart_rate=50, age=0).over(Scalars("male", 70, 110)) == Scalars("male", 0, 50)


@pytest.mark.parametrize(
    ("scalars", "row"),
    [
        (Scalars(), [0, 0, 0, 0, 0, 0]),
        (Scalars("male", 70, 110), [1, 1, 0.7, 1, 1.1, 1]),
        (Scalars("female"), [0, 1, 0, 0, 0, 0]),
        (Scalars(age=0), [0, 0, 0, 1, 0, 0]),
    ],
)
def test_unknown_is_told_apart_from_zero(scalars: Scalars, row: list[float]) -> None:
    got = scalars.row(NAMES)
    assert (got.shape, got.dtype) == ((1, 6), np.float32)
    np.testing.assert_allclose(got[0], row)


def test_scalars_follow_the_bundles_order() -> None:
    np.testing.assert_allclose(Scalars(age=50).row(("age_known", "age")), [[1, 0.5]])
    with pytest.raises(BundleError, match="height"):
        Scalars().row(("height",))


def test_numbers_become_words_of_the_request() -> None:
    assert Scalars("male", 70, 110).words() == "heart rate 110, male, 70 years old"
    assert Scalars(age=4.5).words() == "4.5 years old"
    assert Scalars().words() == ""


@pytest.mark.parametrize(
    ("sex", "age", "rate", "says"),
    [
        ("x", None, None, "male"),
        ("", None, None, "male"),
        (None, -1, None, "0 to 120"),
        (None, 121, None, "0 to 120"),
        (None, float("nan"), None, "0 to 120"),
        (None, None, 19, "20 to 300"),
        (None, None, 301, "20 to 300"),
        (None, None, float("inf"), "20 to 300"),
    ],
)
def test_arguments_out_of_range_are_input_errors(
    sex: str | None, age: float | None, rate: float | None, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        check_scalars(sex, age, rate)
