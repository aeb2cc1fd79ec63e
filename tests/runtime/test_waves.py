"""Where waves begin and end: as drawn, at any rate and length, and nowhere where there are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.backends.graphs import open_graph
from uniecg_runtime.bundle import BUILT_IN, Bundle
from uniecg_runtime.signal.delineator import Delineator
from uniecg_runtime.signal.edges import FindEdges, edges_of
from uniecg_runtime.signal.spikes import without_spikes
from uniecg_runtime.signal.waves import Waves, find_waves


@pytest.fixture(scope="module")
def learned() -> Delineator:
    """The built-in bundle's."""
    return Delineator(open_graph(Bundle.open(BUILT_IN, verify=False), "delineator"))


@pytest.fixture(params=["rules", "learned"])
def find_edges(request: pytest.FixtureRequest) -> FindEdges:
    found: FindEdges = edges_of if request.param == "rules" else request.getfixturevalue("learned")
    return found


class Saying:
    """A graph that says the same of every beat, and remembers what it was given."""

    def __init__(self, *edges: float) -> None:
        self.edges, self.given = np.array(edges, np.float32), list[dict[str, Any]]()

    def run(self, **inputs: Any) -> tuple[Any, ...]:
        self.given.append(inputs)
        return (np.tile(self.edges, (1, 12, 1)),)


def drawn(seconds: float = 10.0, fs: float = 500.0, **told: Any) -> Recording:
    return simulate(ParametricEcg(**told), seconds, fs, 11)


def interval(waves: Waves, first: int, last: int, fs: float) -> float:
    """Median in ms from one column of the common marks to another."""
    held = waves.common[(waves.common[:, [first, last]] >= 0).all(axis=1)]
    assert len(held) > len(waves.beats) / 2
    return float(np.median(held[:, last] - held[:, first]) * 1000 / fs)


@pytest.mark.parametrize("fs", [100.0, 360.0, 500.0, 2000.0])
def test_waves_lie_where_they_were_drawn_at_any_rate(fs: float, find_edges: FindEdges) -> None:
    waves = find_waves(drawn(fs=fs, heart_rate=66, pr=170, qrs=95, qt=400), find_edges)
    assert interval(waves, 0, 3, fs) == pytest.approx(170, abs=24)
    assert interval(waves, 3, 5, fs) == pytest.approx(95, abs=20)
    assert interval(waves, 3, 8, fs) == pytest.approx(400, abs=30)


@pytest.mark.parametrize("rate", [30, 45, 120, 180, 250])
def test_each_beat_has_its_waves_in_order_at_any_heart_rate(rate: int, find_edges: FindEdges) -> None:
    qt, pr = max(150.0, min(400.0, 0.6 * 60_000 / rate)), 140 if rate < 150 else 100
    waves = find_waves(drawn(heart_rate=rate, qt=qt, pr=pr), find_edges)
    assert abs(waves.beats.size - rate / 6) <= 2
    for marks in waves.leads.values():
        assert (marks[1:-1, 3:6] >= 0).all()
        for row in marks:
            held = row[row >= 0]
            assert (np.diff(held) >= 0).all()


def test_p_is_marked_on_every_beat_of_sinus_rhythm_and_on_none_in_fibrillation() -> None:
    sinus = find_waves(drawn(heart_rate=75))
    assert (sinus.common[1:, 1] >= 0).all()
    for seed in range(5):
        fibrillation = simulate(ParametricEcg(heart_rate=90, rhythm="atrial fibrillation"), 10.0, 500.0, seed)
        assert (find_waves(fibrillation).common[:, :3] < 0).all()


def test_ectopic_beats_are_of_another_kind_and_the_usual_ones_keep_their_width() -> None:
    waves = find_waves(simulate(ParametricEcg(heart_rate=75, pvc=0.2), 20.0, 500.0, 4))
    width = (waves.common[:, 5] - waves.common[:, 3]) * 2.0
    assert 0.05 < (waves.kinds > 0).mean() < 0.4
    assert np.median(width[waves.kinds > 0]) > np.median(width[waves.kinds == 0]) + 25


def test_a_long_recording_gives_in_the_middle_what_its_part_gives() -> None:
    whole = drawn(200.0, heart_rate=70)
    first, last = 45_000, 65_000
    part = Recording(whole.signal[:, first:last], 500.0, LEADS)
    far, near = find_waves(whole), find_waves(part)
    inside = (far.beats > first + 3000) & (far.beats < last - 3000)
    beats = near.beats + first
    shared = np.isin(beats, far.beats[inside])
    assert shared.sum() == inside.sum() > 10
    apart = near.leads["II"][shared] + first - far.leads["II"][inside]
    assert np.abs(apart).max() <= 8


def test_one_lead_is_enough_and_a_dead_one_beside_it_has_no_waves(find_edges: FindEdges) -> None:
    recording = drawn(heart_rate=80)
    signal = np.stack([recording.signal[1], np.zeros_like(recording.signal[1])])
    waves = find_waves(Recording(signal, 500.0, ("II", "V1")), find_edges)
    assert (waves.leads["II"][1:-1, 3:6] >= 0).all()
    assert (waves.leads["V1"] == -1).all()
    assert (waves.common[1:-1, 3] == waves.leads["II"][1:-1, 3]).all()


@pytest.mark.parametrize("fill", [0.0, np.nan, 4.0])
def test_without_a_signal_there_are_no_waves(fill: float) -> None:
    waves = find_waves(Recording(np.full((2, 5000), fill, np.float32), 500.0, ("I", "II")))
    assert waves.beats.size == 0 and waves.leads["I"].shape == (0, 9) and waves.common.shape == (0, 9)


@settings(max_examples=25, deadline=None)
@given(fs=st.floats(60, 2000), seconds=st.floats(0.2, 12), leads=st.integers(1, 12), seed=st.integers(0, 99))
def test_noise_gaps_and_clipping_never_raise(fs: float, seconds: float, leads: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    signal = np.clip(random.normal(size=(leads, round(fs * seconds))), -1.5, 1.5).astype(np.float32)
    signal[random.random(leads) < 0.3, : signal.shape[1] // 2] = np.nan
    waves = find_waves(Recording(signal, fs, LEADS[:leads]))
    for marks in (*waves.leads.values(), waves.common):
        assert marks.shape == (waves.beats.size, 9) and marks.dtype == np.int64
        assert marks.min(initial=-1) >= -1 and marks.max(initial=-1) < signal.shape[1]


@pytest.mark.parametrize("fs", [250.0, 500.0, 1000.0])
def test_pacing_spikes_do_not_move_the_qrs_onset_and_are_no_p_waves(fs: float) -> None:
    bare = drawn(fs=fs, heart_rate=70, pr=160)
    onsets = find_waves(bare).common[:, 3]
    paced = Recording(bare.signal.copy(), fs, LEADS)
    decay = 1.5 * np.exp(-np.arange(round(0.012 * fs)) / (0.003 * fs))
    for onset in onsets[onsets >= 0]:
        start = onset - round(0.03 * fs)
        paced.signal[:, start : start + decay.size] += decay[: max(0, paced.signal.shape[1] - start)]
    found = find_waves(paced).common
    apart = (found[1:-1, 3] - onsets[1:-1]) * 1000 / fs
    assert np.abs(apart).max() <= 12
    assert without_spikes(bare.signal, fs) is bare.signal
    assert without_spikes(paced.signal, fs) is not paced.signal


def test_a_paced_ventricle_has_no_p_waves_and_others_keep_theirs() -> None:
    bare = drawn(heart_rate=70, pr=160)
    common = find_waves(bare).common
    onsets = common[common[:, 0] >= 0, 3]
    decay = 1.5 * np.exp(-np.arange(6) / 1.5)
    for share, marked in ((1, 0), (3, len(onsets))):  # before every beat, before one in three
        paced = Recording(bare.signal.copy(), 500.0, LEADS)
        for onset in onsets[::share]:
            paced.signal[:, onset - 20 : onset - 14] += decay
        assert abs((find_waves(paced).common[:, 1] >= 0).sum() - marked) <= 1


def test_a_delineator_is_told_the_beat_and_its_marks_are_put_in_order_on_every_beat() -> None:
    recording = drawn(heart_rate=75)
    part = Recording(recording.signal[[1, 6, 7]], 500.0, ("II", "V1", "V2"))
    graph = Saying(110, 130.4, 150, 240, 185, 200.6, 330, 380, 230)
    waves = find_waves(part, Delineator(graph))
    inner = waves.leads["V1"][1:-1]
    assert (inner[:, 4] - inner[:, 3] == 16).all() and (inner[:, 5] - inner[:, 4] == 39).all()
    assert (inner[:, 1] - inner[:, 0] == 20).all()
    assert (inner[:, 6] == inner[:, 7] - 90).all() and (np.diff(inner, axis=1) >= 0).all()
    (given,) = graph.given
    assert given["shape"].shape == (1, 12, 550) and given["present"].tolist() == [[1.0] * 3 + [0.0] * 9]
    assert given["rr"][0, 0] == pytest.approx(0.8, abs=0.02)
    assert (given["shape"][0, 3:] == 0).all() and abs(int(np.abs(given["shape"][0, 0]).argmax()) - 200) < 20


def test_where_the_rules_see_no_p_wave_a_delineator_marks_none() -> None:
    fibrillation = simulate(ParametricEcg(heart_rate=90, rhythm="atrial fibrillation"), 10.0, 500.0, 1)
    waves = find_waves(fibrillation, Delineator(Saying(110, 130, 150, 185, 200, 240, 330, 380, 430)))
    assert (waves.common[:, :3] < 0).all() and (waves.common[1:-1, 3:] >= 0).all()


def test_two_seconds_are_enough_for_all_waves_and_one_for_the_qrs() -> None:
    assert (find_waves(drawn(2.0, heart_rate=75)).common >= 0).all(axis=1).any()
    assert (find_waves(drawn(1.0, heart_rate=75)).common[:, 3:6] >= 0).all(axis=1).any()


def test_where_p_and_t_cannot_be_told_apart_neither_is_marked() -> None:
    waves = find_waves(drawn(heart_rate=250, pr=100, qt=150))
    assert (waves.common[:, :3] < 0).all() and (waves.common[:, 6:] < 0).all()
    assert (waves.common[1:-1, 3:6] >= 0).all()
