"""Thresholds from histograms, and calibration inputs that are not fit for that."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_graphs import TOKENS, WIDTH, draw_inputs, transformer
from uniecg_device.errors import InputError
from uniecg_export.calibration import (
    BINS,
    CALIBRATORS,
    Calibrator,
    Seen,
    check_calibration,
    observe,
    second_moments,
    threshold,
)
from uniecg_export.int8 import LARGEST
from uniecg_export.open_graph import OpenGraph, read_graph


@pytest.fixture
def graph(tmp_path: Path) -> OpenGraph:
    return read_graph(transformer(tmp_path / "g.onnx"))


def seen(values: np.ndarray) -> Seen:
    largest = float(np.abs(values).max())
    return Seen(largest, np.histogram(np.abs(values), BINS, (0, largest))[0])


def squared_error(values: np.ndarray, cut: float) -> float:
    step = cut / LARGEST
    return float(np.mean((values - np.clip(np.rint(values / step), -LARGEST, LARGEST) * step) ** 2))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(1.5, 30), st.sampled_from(CALIBRATORS))
def test_a_threshold_is_within_what_was_seen(seed: int, freedom: float, calibrator: Calibrator) -> None:
    values = np.random.default_rng(seed).standard_t(freedom, 2000)
    found = threshold(seen(values), calibrator)
    assert 0 < found <= np.abs(values).max() * (1 + 1e-9)


def test_what_a_rare_giant_does_to_each_calibrator() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(size=100_000), [60.0]])
    found = {calibrator: threshold(seen(values), calibrator) for calibrator in CALIBRATORS}
    assert found["minmax"] == 60
    assert 3 < found["percentile"] < 5 and 3 < found["entropy"] < 5, "one in 100,000 counts for nothing"
    assert 30 < found["mse"] < 50, "its own error counts for as much as that of the others"


@pytest.mark.parametrize("freedom", [2.5, 4, 100])
def test_no_calibrator_errs_less_than_the_one_that_minimises_error(freedom: float) -> None:
    values = np.random.default_rng(1).standard_t(freedom, 50_000)
    errors = {c: squared_error(values, threshold(seen(values), c)) for c in CALIBRATORS}
    tried = np.geomspace(0.06, 1, 200) * np.abs(values).max()
    assert errors["mse"] <= min(errors.values()) * 1.02
    assert errors["mse"] <= min(squared_error(values, cut) for cut in tried) * 1.05


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_a_tensor_of_zeros_or_of_one_value_has_a_threshold(calibrator: Calibrator) -> None:
    assert threshold(Seen(0.0, np.zeros(BINS, np.int64)), calibrator) == 0
    assert threshold(seen(np.full(10, 2.0)), calibrator) == pytest.approx(2.0, rel=0.01)


def test_what_is_observed_is_what_passes(graph: OpenGraph) -> None:
    calls = draw_inputs(3)
    found = observe(graph, ["x", "g0", "y"], calls)
    values = np.concatenate([call["x"].ravel() for call in calls])
    assert found["x"].largest == np.abs(values).max()
    assert found["x"].counts.sum() == values.size
    assert set(found) == {"x", "g0", "y"}


def test_second_moments_sum_over_rows_and_calls(graph: OpenGraph) -> None:
    calls = draw_inputs(3)
    rows = np.concatenate([call["x"].reshape(-1, WIDTH) for call in calls])
    np.testing.assert_allclose(second_moments(graph, ["x"], calls)["x"], rows.T @ rows, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        ([], "found none; give some"),
        ([{}], "at place 0"),
        ([{"x": np.zeros((1, TOKENS, WIDTH))}], "float64"),
        ([{"x": np.zeros((1, TOKENS, WIDTH + 1), np.float32)}], str(WIDTH + 1)),
        ([*draw_inputs(1), {"z": np.zeros((1, TOKENS, WIDTH), np.float32)}], "'z'.*at place 1"),
        ([{"x": np.full((1, TOKENS, WIDTH), math.nan, np.float32)}], "finite calibration inputs, found others in x"),
        ([{"x": np.full((1, TOKENS, WIDTH), math.inf, np.float32)}], "finite"),
    ],
)
def test_calibration_inputs_that_do_not_fit_are_refused(graph: OpenGraph, calibration: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_calibration(graph, calibration)
