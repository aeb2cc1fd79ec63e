"""The encoder's figures and its augmentation: ROC area by definition, and facts that stay true."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from torch import Tensor  # noqa: E402

from uniecg_export.training.encoder import augment, auroc  # noqa: E402

PRESENT, SCALE_KNOWN, SCALE = 0, 1, 2


def defined(truth: list[bool], score: list[float]) -> float:
    """The share of (positive, negative) pairs in the right order, ties at half."""
    pairs = [(p, n) for t, p in zip(truth, score, strict=True) if t for u, n in zip(truth, score, strict=True) if not u]
    return sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs) if pairs else math.nan


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=40))
def test_auroc_is_the_share_of_pairs_in_the_right_order(cases: list[tuple[bool, int]]) -> None:
    truth, score = [t for t, _ in cases], [s / 8 for _, s in cases]
    found = auroc(np.array(truth, np.float32), np.array(score, np.float32))
    np.testing.assert_allclose(found, defined(truth, score), rtol=0, atol=1e-12, equal_nan=True)


def batch(seed: int, size: int = 16) -> tuple[Tensor, Tensor]:
    """Signals (size,12,1280) and lead facts with leads missing and scales unknown, as the window writes them."""
    rng = np.random.default_rng(seed)
    present = rng.random((size, 12)) < 0.8
    known = present & (rng.random((size, 1)) < 0.6)
    facts = np.stack([present, known, known * rng.normal(0, 0.5, (size, 12))], 2).astype(np.float32)
    signal = rng.normal(size=(size, 12, 1280)).astype(np.float32) * facts[:, :, :1]
    return torch.from_numpy(signal), torch.from_numpy(facts)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_augmenting_takes_leads_and_scales_away_but_never_adds_one(seed: int) -> None:
    signal, facts = batch(seed)
    changed, told = augment(signal, facts, np.random.default_rng(seed))
    assert changed.shape == signal.shape
    assert bool((told[:, :, :2] <= facts[:, :, :2]).all())
    assert bool(torch.isin(told[:, :, :2], torch.tensor([0.0, 1.0])).all())
    assert float(changed[told[:, :, PRESENT] == 0].abs().max()) == 0
    assert float(changed[told[:, :, PRESENT] == 1].abs().amax(1).min()) > 0
    assert float(told[:, :, SCALE][told[:, :, SCALE_KNOWN] == 0].abs().max()) == 0
    moved = (told - facts)[:, :, SCALE][told[:, :, SCALE_KNOWN] == 1].abs()
    assert moved.numel() == 0 or float(moved.max()) < 0.28  # ln: a jitter of 5 %


def test_augmenting_follows_from_its_seed_and_leaves_its_input_alone() -> None:
    signal, facts = batch(1)
    kept = signal.clone(), facts.clone()
    first, second = (augment(signal, facts, np.random.default_rng(3)) for _ in range(2))
    for a, b in zip((*first, *kept), (*second, signal, facts), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[0], augment(signal, facts, np.random.default_rng(4))[0])


def test_augmenting_forgets_the_scale_of_a_whole_record_at_once() -> None:
    signal = torch.ones(64, 12, 1280)
    facts = torch.ones(64, 12, 3)
    _, told = augment(signal, facts, np.random.default_rng(0))
    here = told[:, :, PRESENT] == 1
    forgotten = 0
    for row, present in zip(told, here, strict=True):
        values = row[present, SCALE_KNOWN].unique()
        assert len(values) == 1
        forgotten += int(values[0] == 0)
    assert 8 < forgotten < 32
