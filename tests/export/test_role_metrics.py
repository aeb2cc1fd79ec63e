"""What replacing an artifact costs: nothing for the same file, something for a worse one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the extra `export`")

from uniecg_export import role_metrics
from uniecg_export.role_metrics import frechet
from uniecg_export.trial_set import TrialSet
from uniecg_runtime.manifest import Classification


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


DECIDED = [0.1, 0.2, 0.8, 0.9, 0.3, 0.7]
ALIKE = [0.1, 0.2, 0.3, 0.2, 0.1, 0.2]


@pytest.mark.parametrize(
    ("before", "truth", "gate", "cost"),
    [
        (DECIDED, [0, 0, 1, 1, 0, 1], "encoder.auroc", 2 / 9),
        (DECIDED, [0, 0, 0, 0, 0, 1], "encoder.agreement", 2 / 9),
        (DECIDED, None, "encoder.agreement", 2 / 9),
        (ALIKE, [0, 0, 0, 0, 0, 1], "encoder.probability", 0.75 / 6),
        (ALIKE, None, "encoder.probability", 0.75 / 6),
    ],
)
def test_a_task_is_measured_whatever_is_known(
    before: list[float], truth: list[int] | None, gate: str, cost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = [before[0] + 0.75, *before[1:]]  # one recording now looks ill
    monkeypatch.setattr(role_metrics, "_probabilities", lambda _, __: [{"AF": p} for p in after])
    recordings: Any = (None,) * len(before)
    told = None if truth is None else np.array(truth, np.float32)[:, None]
    tried = TrialSet((), recordings, "made here", () if truth is None else ("AF",), told)
    manifest = SimpleNamespace(classification=Classification(("AF",), (0.5,)), statements=None)
    reference: Any = SimpleNamespace(tried=tried, probabilities=[{"AF": p} for p in before])
    trial: Any = SimpleNamespace(bundle=SimpleNamespace(manifest=manifest))
    (found,) = role_metrics.task_costs("encoder", reference, trial)
    assert (found.name, pytest.approx(found.value, abs=1e-6)) == (gate, cost)
