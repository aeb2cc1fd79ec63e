"""How far waves lie from a reader's, and how the delineator learns from what readers marked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from uniecg_device.parametric import ParametricEcg, simulate  # noqa: E402
from uniecg_device.signals import LEADS  # noqa: E402
from uniecg_export.families.delineator import Delineator  # noqa: E402
from uniecg_export.training import ludb  # noqa: E402
from uniecg_export.training.ludb import Found, Marks, Read  # noqa: E402
from uniecg_export.training.signal_delineator import SAMPLES, Example, InTorch, examples, fit, loss, vary  # noqa: E402
from uniecg_runtime.signal import delineator  # noqa: E402
from uniecg_runtime.signal.bounds import AFTER, BEFORE  # noqa: E402
from uniecg_runtime.signal.waves import find_waves  # noqa: E402


def read_by_rules(seed: int, late: int = 0) -> Read:
    """A simulated record whose readers mark what the rules find, `late` samples behind it, but for the outer beats."""
    recording = simulate(ParametricEcg(heart_rate=60 + 10 * seed), 10.0, 500.0, seed)
    found = find_waves(recording).leads
    readers = {
        lead: {wave: marks[1:-1, first : first + 3] + late for wave, first in ludb.WAVES.items()}
        for lead, marks in found.items()
    }
    return Read(recording, readers)


def found_in(record: Read, late: int = 0) -> Found:
    marks: dict[str, Marks] = {
        lead: np.concatenate([reader[wave] for wave in ludb.WAVES], axis=1) + late
        for lead, reader in record.readers.items()
    }
    return Found(marks, ludb.intervals(record.readers))


@given(late=st.integers(-70, 70))
@settings(max_examples=20)
def test_what_is_late_everywhere_has_that_error_and_no_spread(late: int) -> None:
    record = read_by_rules(1)
    score = ludb.score(record, lambda _: found_in(record, late), ("II", "V5"))
    tally = ludb.tally(("II", "V5"), [score], "QRS", "on")
    assert tally.errors and set(tally.errors) == {2.0 * late}
    assert tally.missed == tally.false == 0 and score.false_p is None
    assert ludb.interval_errors([score], "QT") == ([0.0], 1)


def test_what_lies_far_off_is_missed_and_false() -> None:
    record = read_by_rules(1)
    for reader in record.readers.values():
        reader["P"] = reader["P"][:0]
    nothing = ludb.score(
        record,
        lambda _: Found({lead: np.full((3, 9), -1) for lead in LEADS}, {"QRS": None, "PR": None, "QT": None}),
        ("II",),
    )
    qrs = ludb.tally(["II"], [nothing], "QRS", "off")
    assert not qrs.errors and qrs.missed == len(record.readers["II"]["QRS"]) and nothing.false_p == 0
    everywhere = Found(
        {lead: np.tile(np.arange(0, 5000, 100)[:, None], 9) for lead in LEADS}, {"QRS": 90.0, "PR": None, "QT": None}
    )
    score = ludb.score(record, lambda _: everywhere, ("II",))
    assert score.false_p is not None and score.false_p > 10
    assert ludb.tally(["II"], [score], "QRS", "on").missed == 0


def test_a_kind_carries_what_was_marked_on_the_beats_that_its_shape_is_made_of() -> None:
    record = read_by_rules(2)
    (example,) = examples(record)
    assert example.beats.shape == (12, example.marks.shape[1], BEFORE + AFTER)
    assert example.rr == pytest.approx(60 / 80, abs=0.02)
    known = np.isfinite(example.marks)
    assert known.mean() > 0.7 and np.nanmax(np.abs(example.marks[:, :, 4] - BEFORE)) < 60
    assert (np.nanmedian(example.marks, axis=1)[:, :8] < np.nanmedian(example.marks, axis=1)[:, 1:]).all()


@given(seed=st.integers(0, 300))
@settings(max_examples=40)
def test_marks_move_with_the_wave_that_they_are_on(seed: int) -> None:
    beats = np.tile(np.maximum(0, 1 - np.abs(SAMPLES - 250) / 8), (12, 3, 1))
    marks = np.full((12, 3, 9), 250.0)
    shape, present, moved, rr = vary(Example("made", beats, marks, 0.8), np.random.default_rng(seed))
    assert shape.shape == (12, 550) and moved.shape == (12, 9) and 0.5 < rr < 1.3 and present.any()
    near = shape[present > 0]
    tops = np.abs(near - np.median(near, axis=1, keepdims=True)).argmax(axis=1)
    assert np.median(np.abs(tops - moved[present > 0][:, 0])) <= 4
    assert (shape[present == 0] == 0).all()


def test_it_learns_to_mark_what_readers_mark() -> None:
    taught = [example for seed in range(3) for example in examples(read_by_rules(seed, late=10))]
    model = fit(taught, steps=40)
    reader = delineator.Delineator(InTorch(model))
    apart = []
    for seed in range(3):
        record = read_by_rules(seed, late=10)
        found = find_waves(record.recording, reader).leads["II"][1:-1, 3:6]
        apart.append(np.abs(found - record.readers["II"]["QRS"]))
    assert np.median(np.concatenate(apart)) < 8


def test_the_same_seed_gives_the_same_network_and_marks_alone_move_it() -> None:
    taught = examples(read_by_rules(1))
    first, second = (fit(taught, seed=3, steps=2) for _ in range(2))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    example = vary(taught[0], np.random.default_rng(0))
    unmarked = (*example[:2], np.full_like(example[2], np.nan), example[3])
    one = loss(Delineator().eval(), [example, example], np.ones(2))
    torch.manual_seed(5)
    model = Delineator().eval()
    assert loss(model, [example, unmarked], np.ones(2)).item() == pytest.approx(
        loss(model, [example], np.ones(1)).item(), rel=1e-4
    )
    assert torch.isfinite(one)
