"""P, QRS and T of every beat on every lead: onset, peak and end, in samples of the recording.

Beats of one kind are laid over each other, and the waves are found on the shape that they share, where they stand out
of the noise: by rules (`edges`, `atria`), or as a network reads it (`delineator`). Each beat then takes its kind's
waves, its own P and T moved to where they fit best. No wave is marked where none stands out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import Recording
from uniecg_runtime.signal.bounds import AFTER, BEFORE, Rows
from uniecg_runtime.signal.edges import Edges, FindEdges, edges_of
from uniecg_runtime.signal.heartbeats import find_heartbeats
from uniecg_runtime.signal.kinds import Kind, Rhythm, kinds_of, rhythm_of
from uniecg_runtime.signal.spikes import find_spikes, without_spikes
from uniecg_runtime.signal.window import band_pass, bridge_gaps

WORK_HZ = 500.0
BAND_HZ = (0.5, 40.0)
STRETCH, OVERLAP = 60.0, 5.0  # s delineated at once, and how much of the neighbours is seen
MISSING_SHARE = 0.2  # of a stretch's samples, above which a lead has no waves there
P_SHIFT, T_SHIFT = 15, 20  # samples that a beat's P and T may lie off its kind's
P_DRIFT, T_DRIFT = 6.0, 8.0  # samples: how far they usually do (standard deviation)
COLUMNS = ("P onset", "P peak", "P end", "QRS onset", "QRS peak", "QRS end", "T onset", "T peak", "T end")

Marks = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Waves:
    """beats: samples of the QRS complexes, int64 (beats,), ascending. leads: per lead int64 (beats, 9) in the order of
    COLUMNS, -1 where there is no such wave or it lies outside the recording. kinds: per beat 0 where its QRS is of the
    most frequent shape around it, else 1, 2, ... All at the recording's own rate."""

    beats: NDArray[np.int64]
    leads: dict[str, Marks]
    kinds: NDArray[np.int64]

    @property
    def common(self) -> Marks:
        """(beats, 9): the median over the leads that have the wave, -1 where fewer than half of them do."""
        every = np.stack([held for held in self.leads.values() if (held[:, 3] >= 0).any()] or [*self.leads.values()])
        held = (every >= 0).sum(axis=0)
        ranked = np.sort(np.where(every >= 0, every, np.iinfo(np.int64).max), axis=0)
        low, high = (np.take_along_axis(ranked, (held - k)[None] // 2, axis=0)[0] for k in (1, 0))
        high = np.where(held % 2, low, high)
        return np.asarray(np.where(2 * held >= len(every), low + (high - low) // 2, -1))


def find_waves(recording: Recording, find_edges: FindEdges = edges_of) -> Waves:
    """Delineate 1 to 12 leads of any length at 50 Hz or more, in any units; memory beyond the result is bounded.

    The waves of a beat are looked for on the shape of all beats like it within a minute, by `find_edges`: the rules, or
    a `Delineator`. Empty where there is no beat, no signal or less than a second of it.
    """
    beats, placed = find_heartbeats(recording)
    marks = np.full((len(recording.leads), beats.size, 9), -1, dtype=np.int64)
    kinds = np.zeros(beats.size, dtype=np.int64)
    for part, first, chosen in stretches(recording, beats):
        rows, signal, spikes = usable(part)
        if rows:
            seen = np.flatnonzero((beats >= first) & (beats < first + part.signal.shape[1]))
            ratio = WORK_HZ / recording.fs
            places = np.rint((beats[seen] - first) * ratio).astype(np.int64)
            found, kind = delineate(signal, places, spikes, find_edges)
            found = np.where(found >= 0, np.rint(found / ratio).astype(np.int64) + first, -1)
            found[found >= recording.signal.shape[1]] = -1
            inside = (seen >= chosen.start) & (seen < chosen.stop)
            marks[rows, chosen] = found[:, inside]
            kinds[chosen] = kind[inside]
    return Waves(placed, dict(zip(recording.leads, marks, strict=True)), kinds)


def stretches(recording: Recording, beats: NDArray[np.int64]) -> Iterator[tuple[Recording, int, slice]]:
    """About STRETCH at a time with OVERLAP: the part, its first sample, and which of `beats` are its own."""
    count, margin = recording.signal.shape[1], round(OVERLAP * recording.fs)
    parts = max(1, round(count / (STRETCH * recording.fs)))
    bounds = np.linspace(0, count, parts + 1).astype(int)
    for low, high in itertools.pairwise(bounds):
        own = slice(*np.searchsorted(beats, (low, high)).tolist())
        if own.start < own.stop:
            first = max(0, int(low) - margin)
            signal = recording.signal[:, first : int(high) + margin]
            yield Recording(signal, recording.fs, recording.leads, units=recording.units), first, own


def delineate(
    signal: NDArray[np.float32], beats: NDArray[np.int64], spikes: NDArray[np.int64], find_edges: FindEdges = edges_of
) -> tuple[Marks, NDArray[np.int64]]:
    """Waves (leads, beats, 9) and kinds (beats,) of (leads, samples) at WORK_HZ, high-passed."""
    marks = np.full((len(signal), beats.size, 9), -1, dtype=np.int64)
    number = np.zeros(beats.size, dtype=np.int64)
    rhythm = rhythm_of(signal, beats, spikes)
    for order, kind in enumerate(kinds_of(signal, beats)):
        number[kind.members] = order
        edges = find_edges(kind, rhythm)
        if edges is not None:
            marks[:, kind.members] = _placed(kind, edges, rhythm)
    marks[(marks < 0) | (marks >= signal.shape[1])] = -1
    return marks, number


def usable(recording: Recording) -> tuple[list[int], NDArray[np.float32], NDArray[np.int64]]:
    """The rows that hold a signal, those at WORK_HZ, band-passed, gaps bridged, and where pacing spikes were."""
    rows, signal = [], []
    for index, row in enumerate(recording.signal):
        present = np.isfinite(row)
        if present.size and present.mean() >= 1 - MISSING_SHARE and float(np.ptp(row[present])) > 1e-3:
            rows.append(index)
            signal.append(bridge_gaps(row)[0])
    if not rows or recording.duration < 1.0:
        return [], np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.int64)
    raw = np.stack(signal)
    spikes = find_spikes(raw, recording.fs)
    clean = band_pass(without_spikes(raw, recording.fs, spikes), recording.fs, WORK_HZ, *BAND_HZ)
    return rows, clean, np.rint(spikes * (WORK_HZ / recording.fs)).astype(np.int64)


def _placed(kind: Kind, edges: Edges, rhythm: Rhythm) -> Marks:
    """(leads, members, 9): the kind's edges on each of its beats."""
    start = (kind.centres - BEFORE)[None, :, None]
    found = np.full((len(kind.shape), kind.centres.size, 9), -1, dtype=np.int64)
    found[:, :, 3:6] = edges.qrs[:, None] + start
    for column, wave, reach, drift in ((0, edges.p, P_SHIFT, P_DRIFT), (6, edges.t, T_SHIFT, T_DRIFT)):
        if wave is not None:
            shift = _fitting(rhythm.smooth, kind, wave, reach, drift)
            found[:, :, column : column + 3] = wave[:, None] + start + shift[None, :, None]
    return found


def _fitting(signal: Rows, kind: Kind, wave: NDArray[np.int64], reach: int, drift: float) -> NDArray[np.int64]:
    """By how many samples the wave of each beat lies off its kind's: the likeliest shift, the noise taken for one that
    is new every 20 ms and shifts for normally distributed."""
    low, high = max(0, int(wave[:, 0].min()) - 5), min(BEFORE + AFTER, int(wave[:, 2].max()) + 6)
    shape = kind.shape[:, low:high]
    shape = shape - shape.mean(axis=1, keepdims=True)
    weight = 1.0 / np.maximum(kind.noise, 0.02 * np.abs(kind.shape).max(axis=1) + 1e-9) ** 2
    places = kind.centres[:, None] - BEFORE + np.arange(low - reach, high + reach)
    cut = signal[:, np.clip(places, 0, signal.shape[1] - 1)]
    views = np.lib.stride_tricks.sliding_window_view(cut, high - low, axis=2)
    # -|x - s|^2 / 2 with both freed of their means, less what does not depend on the shift.
    product = np.einsum("lbsw,lw,l->bs", views, shape, weight, optimize=True)
    total = np.cumsum(np.pad(cut, ((0, 0), (0, 0), (1, 0))), axis=2)
    squares = np.cumsum(np.pad(cut**2, ((0, 0), (0, 0), (1, 0))), axis=2)
    width = high - low
    power = squares[:, :, width:] - squares[:, :, :-width] - (total[:, :, width:] - total[:, :, :-width]) ** 2 / width
    shifts = np.arange(-reach, reach + 1)
    score = (product - np.einsum("lbs,l->bs", power, weight) / 2) / 10.0 - shifts**2 / (2 * drift**2)
    return np.asarray(score.argmax(axis=1) - reach, dtype=np.int64)
