"""The scorer of beats, and what is done to recordings before they are scored."""

from __future__ import annotations

import numpy as np
import pytest

import signal_beats
from signal_beats import Recording


def recording(leads: int = 2, seconds: float = 40.0, fs: float = 360.0) -> Recording:
    time = np.arange(round(seconds * fs)) / fs
    beat = np.exp(-(((time % 0.8) - 0.4) ** 2) / 2 / 0.012**2).astype(np.float32)
    beats = np.round((np.arange(0, seconds - 0.4, 0.8) + 0.4) * fs).astype(np.int64)
    counted = np.array([[round(5 * fs), time.size]])
    return Recording("made", np.stack([beat] * leads), fs, beats, counted, paced=False)


def test_each_beat_is_matched_once_with_the_nearer_of_two() -> None:
    found = signal_beats.match(np.array([100, 200]), np.array([80, 99, 140, 230, 300]), 50)
    assert found.tolist() == [-1, 30]


@pytest.mark.parametrize("fs", [128.0, 500.0])
def test_a_resampled_recording_scores_as_the_first_one(fs: float) -> None:
    whole = signal_beats.score(recording(), signal_beats.ours)
    other = signal_beats.score(signal_beats.resampled(recording(), fs), signal_beats.ours)
    assert (whole.found, whole.false, whole.missed) == (other.found, other.false, other.missed) == (44, 0, 0)
    assert np.abs(other.errors).max() < 12


def test_leads_go_off_in_turn_and_never_together() -> None:
    off = np.isnan(signal_beats.with_leads_off(recording()).signal)
    assert off.mean(axis=1) == pytest.approx([0.25, 0.25], abs=0.01) and not off.all(axis=0).any()
    scored = signal_beats.score(signal_beats.with_leads_off(recording()), signal_beats.ours)
    assert scored.missed == scored.false == 0
