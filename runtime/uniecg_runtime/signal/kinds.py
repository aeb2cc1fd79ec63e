"""Beats of one kind and the shape they have in common: what makes a wave stand out of the noise of a single beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_runtime.signal.bounds import AFTER, BEFORE, Rows, running_mean

CORE = slice(-50, 70)  # samples about the QRS by which beats are told apart
SAME = 0.85  # correlation of the QRS from which two beats are of one kind
REACH = 15  # samples a beat may be shifted to fit its kind's shape
IRREGULAR = 0.12  # standard deviation of RR over RR
SPIKE_REACH = 60  # samples before a QRS within which the spike that set it off lies
FEW = 5  # beats under which the mean is a better guess than the median


@dataclass(frozen=True, eq=False)
class Kind:
    """members: indices of its beats. centres: where each one's QRS lies, aligned, in samples.

    whole: (members,), of which beats the shape is made: where two lie within the signal, those alone.
    beats: (leads, those, BEFORE + AFTER), on one level before the QRS.
    shape: (leads, BEFORE + AFTER), the usual beat with the QRS at BEFORE. error: (leads, BEFORE + AFTER), its
    standard error. noise: (leads,), the standard deviation of single beats about it before the QRS.
    """

    members: NDArray[np.int64]
    centres: NDArray[np.int64]
    whole: NDArray[np.bool_]
    beats: Rows
    shape: Rows
    error: Rows
    noise: Rows


@dataclass(frozen=True, eq=False)
class Rhythm:
    """beats: of all kinds. rr: their median interval in samples. smooth: (leads, samples), the signal averaged over
    14 ms. spikes: a pacemaker's."""

    beats: NDArray[np.int64]
    rr: float
    irregular: bool
    smooth: Rows
    spikes: NDArray[np.int64]


def rhythm_of(signal: NDArray[np.float32], beats: NDArray[np.int64], spikes: NDArray[np.int64]) -> Rhythm:
    """How `beats` follow each other, and `spikes` come before them, in (leads, samples) at 500 Hz."""
    intervals = np.diff(beats).astype(np.float64)
    rr = float(np.median(intervals)) if intervals.size else float(AFTER)
    irregular = intervals.size > 0 and float(intervals.std()) > IRREGULAR * float(intervals.mean())
    return Rhythm(beats, rr, irregular, running_mean(signal.astype(np.float64), 7), spikes)


def is_paced(kind: Kind, rhythm: Rhythm) -> bool:
    """Whether a spike comes shortly before the QRS of half the kind's beats or more: a ventricle that is paced."""
    after = np.searchsorted(rhythm.spikes, kind.centres - SPIKE_REACH)
    held = np.append(rhythm.spikes, np.iinfo(np.int64).max)[after] <= kind.centres
    return bool(2 * held.sum() >= held.size)


def kinds_of(signal: NDArray[np.float32], beats: NDArray[np.int64]) -> list[Kind]:
    """The kinds of `beats` in (leads, samples) at 500 Hz, the most frequent first. Every beat is of one kind.

    Beats alike in all leads (correlation SAME about the QRS) are of one kind, however early they come.
    """
    if not beats.size:
        return []
    padded = np.pad(signal, ((0, 0), (BEFORE + REACH, AFTER + REACH)), mode="edge")
    return [_kind(padded, beats, members, signal.shape[1]) for members in _groups(padded, beats)]


def _groups(padded: NDArray[np.float32], beats: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    offsets = BEFORE + REACH + np.arange(CORE.start, CORE.stop, 2)
    cut = padded[:, beats[:, None] + offsets]
    scale = np.median(cut.std(axis=2), axis=1)[:, None, None]
    flat = (cut / np.maximum(scale, 1e-9)).transpose(1, 0, 2).reshape(beats.size, -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    alike = flat @ flat.T > SAME
    groups = []
    left = np.ones(beats.size, dtype=bool)
    while left.any():
        counts = (alike & left).sum(axis=1) * left
        members = alike[int(counts.argmax())] & left
        members[int(counts.argmax())] = True
        groups.append(np.flatnonzero(members))
        left &= ~members
    return groups


def _kind(padded: NDArray[np.float32], beats: NDArray[np.int64], members: NDArray[np.int64], count: int) -> Kind:
    centres = beats[members] + _shifts(padded, beats[members])
    whole = (centres >= BEFORE) & (centres + AFTER <= count)
    whole |= whole.sum() < 2
    usable = centres[whole]
    rows = padded[:, usable[:, None] + REACH + np.arange(BEFORE + AFTER)].astype(np.float64)
    rows -= np.median(rows[:, :, BEFORE - 60 : BEFORE - 30], axis=2, keepdims=True)
    shape = usual_shape(rows)
    spread = np.sqrt(((rows - shape[:, None]) ** 2).mean(axis=1))
    if usable.size >= FEW:
        spread = 1.4826 * np.median(np.abs(rows - shape[:, None]), axis=1)
    noise = np.sqrt((spread[:, BEFORE - 150 : BEFORE - 20] ** 2).mean(axis=1))
    return Kind(members, centres, whole, rows, shape, 1.25 * spread / np.sqrt(usable.size), noise)


def usual_shape(beats: Rows) -> Rows:
    """(leads, samples) of (leads, beats, samples)."""
    return np.asarray(np.median(beats, axis=1) if beats.shape[1] >= FEW else beats.mean(axis=1))


def _shifts(padded: NDArray[np.float32], beats: NDArray[np.int64]) -> NDArray[np.int64]:
    """By how many samples each beat is moved to fit the shape that they have in common."""
    shift = np.zeros(beats.size, dtype=np.int64)
    if beats.size < 2:
        return shift
    offsets = np.arange(-40, 50)
    wide = padded[:, beats[:, None] + BEFORE + REACH + np.arange(-40 - REACH, 50 + REACH)]
    wide = wide / np.maximum(wide.std(axis=(1, 2)), 1e-9)[:, None, None]
    views = np.lib.stride_tricks.sliding_window_view(wide, offsets.size, axis=2)
    for _ in range(2):
        placed = np.take_along_axis(wide, (REACH + shift[:, None] + np.arange(offsets.size))[None], axis=2)
        template = np.median(placed, axis=1)
        template -= template.mean(axis=1, keepdims=True)
        shift = np.einsum("lbso,lo->bs", views, template).argmax(axis=1) - REACH
    return shift
