"""What replacing an artifact costs: nothing for the same file, something for a worse one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the extra `export`")

from uniecg_export import role_metrics
from uniecg_export.role_metrics import frechet


@given(st.integers(0, 1000), st.floats(-3, 3), st.floats(0.2, 3))
@settings(max_examples=30)
def test_the_frechet_distance_is_that_of_normal_distributions_along_one_axis(
    seed: int, shift: float, scale: float
) -> None:
    a = np.random.default_rng(seed).standard_normal((40, 1))
    b = a * scale + shift
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet(a, b) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-6, abs=1e-9)


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_a_set_is_no_distance_from_itself_even_with_fewer_rows_than_columns(seed: int) -> None:
    a = np.random.default_rng(seed).standard_normal((8, 20))
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)


@given(st.integers(0, 200))
@settings(max_examples=20)
def test_turning_both_sets_leaves_the_frechet_distance_as_it_was(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((30, 4)), rng.standard_normal((30, 4)) * [1, 2, 0.5, 1]
    turn, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    assert frechet(a @ turn, b @ turn) == pytest.approx(frechet(a, b), rel=1e-6)


def test_distance_is_zero_for_the_same_rows_one_for_orthogonal_two_for_opposite() -> None:
    row = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    assert role_metrics._distance(row, row * 3) == pytest.approx(0, abs=1e-9)
    assert role_metrics._distance(row, row[:, ::-1].copy()) == pytest.approx(1)
    assert role_metrics._distance(row, -row) == pytest.approx(2)
