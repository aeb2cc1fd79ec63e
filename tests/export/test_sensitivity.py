"""The search for what can be quantized: never below its target, and no more left out than that takes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniecg_export.sensitivity import search, sqnr, worst_sqnr

NOISES = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3), st.tuples(st.floats(0, 1), st.integers(1, 1000)), max_size=12
)


def adding(noises: dict[str, float]) -> Callable[[frozenset[str]], float]:
    """Products whose noise powers add up, over a signal of power 1."""

    def measure(names: frozenset[str]) -> float:
        noise = math.fsum(noises[name] for name in names)
        return -10 * math.log10(noise) if noise else math.inf

    return measure


@given(NOISES, st.floats(-5, 60))
def test_what_is_found_was_measured_at_the_target_and_nothing_can_be_added(
    items: dict[str, tuple[float, int]], target: float
) -> None:
    measure = adding({name: noise for name, (noise, _) in items.items()})
    found = search({name: size for name, (_, size) in items.items()}, measure, target)
    assert found.sqnr == measure(found.quantized) >= target
    for name in items.keys() - found.quantized:
        assert measure(found.quantized | {name}) < target


@given(NOISES, st.floats(-5, 60), st.integers(0, 2**32 - 1))
def test_not_even_where_noises_do_anything_but_add_up(
    items: dict[str, tuple[float, int]], target: float, seed: int
) -> None:
    """measure is any function of the set; only nothing at all is sure to be exact."""

    def measure(names: frozenset[str]) -> float:
        key = sorted(names)
        return float(np.random.default_rng([seed, *map(ord, "".join(key))]).uniform(-10, 70)) if names else math.inf

    found = search({name: size for name, (_, size) in items.items()}, measure, target)
    assert found.sqnr == measure(found.quantized) >= target


def test_a_planted_outlier_is_the_one_that_is_left_and_its_damage_is_told() -> None:
    noises = {f"layer{i}": 1e-5 for i in range(10)} | {"outlier": 0.02}
    found = search(dict.fromkeys(noises, 1000), adding(noises), 28)
    assert found.quantized == noises.keys() - {"outlier"}
    assert next(iter(found.damage)) == "outlier" and found.damage["outlier"] == pytest.approx(17, abs=0.1)


def test_a_large_weight_is_worth_more_noise_than_a_small_one() -> None:
    noises = {"large": 1e-3, "small": 1e-3}
    found = search({"large": 10_000, "small": 10}, adding(noises), 29.9)
    assert found.quantized == {"large"}


def test_no_search_where_all_together_are_good_enough() -> None:
    calls: list[frozenset[str]] = []

    def measure(names: frozenset[str]) -> float:
        calls.append(names)
        return 40.0

    found = search({"a": 1, "b": 1}, measure, 30)
    assert (found.quantized, found.sqnr, found.damage, len(calls)) == ({"a", "b"}, 40.0, {}, 1)


def test_single_products_may_be_measured_on_less() -> None:
    noises = {f"layer{i}": 1e-5 for i in range(10)} | {"outlier": 0.02}
    whole: list[frozenset[str]] = []

    def measure(names: frozenset[str]) -> float:
        whole.append(names)
        return adding(noises)(names)

    found = search(dict.fromkeys(noises, 1000), measure, 28, lambda names: adding(noises)(names) + 1)
    assert found.quantized == noises.keys() - {"outlier"} and found.sqnr == adding(noises)(found.quantized)
    assert len(whole) < 6 and found.damage["outlier"] == pytest.approx(18, abs=0.1)


def test_an_unreachable_target_leaves_all_in_float32() -> None:
    found = search({"a": 1, "b": 1}, lambda names: 3.0 if names else math.inf, 30)
    assert (found.quantized, found.sqnr) == (frozenset(), math.inf)
    assert search({}, lambda names: 0.0, 30).quantized == frozenset()


@given(st.floats(-60, 60), st.floats(1e-3, 1e3))
def test_sqnr_is_a_ratio_of_powers_whatever_the_unit(decibels: float, unit: float) -> None:
    reference = unit * np.random.default_rng(0).normal(size=1000)
    noise = np.random.default_rng(1).normal(size=1000)
    noise *= np.sqrt((reference**2).sum() / (noise**2).sum()) * 10 ** (-decibels / 20)
    assert sqnr(reference, reference + noise) == pytest.approx(decibels, abs=1e-6)


def test_sqnr_of_equal_broken_and_silent_signals() -> None:
    ones = np.ones(4, np.float32)
    assert sqnr(ones, ones) == sqnr(0 * ones, 0 * ones) == math.inf
    assert sqnr(0 * ones, ones) == sqnr(ones, ones[:2]) == -math.inf
    for bad in (math.nan, math.inf):
        assert sqnr(ones, np.array([1, 1, 1, bad], np.float32)) == -math.inf


def test_the_worst_output_counts_over_all_calls() -> None:
    good, bad = np.ones(10), np.ones(10)
    reference = [(good, bad), (good, bad)]
    found = [(good, bad), (good + 0.1, bad + 1)]
    assert worst_sqnr(reference, found) == pytest.approx(10 * math.log10(2))
