"""LUDB: what its readers marked on each lead, and how far from it found waves lie.

An edge counts as found where one of the same kind lies within 150 ms of the reader's in the same lead; mean and SD are
of those errors (found minus reader, ms). A found edge without a reader's within 150 ms is false where it lies between
the reader's first and last mark: LUDB leaves the first and last beats unmarked. Intervals are compared with the
readers' median over beats, then over all leads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.formats.read import read_recording
from uniecg_runtime.signal.edges import FindEdges
from uniecg_runtime.signal.matrix import measure_matrix
from uniecg_runtime.signal.waves import find_waves

WAVES = {"P": 0, "QRS": 3, "T": 6}  # first column of each wave: onset, peak, offset, -1 where there is none
PLACES = ("on", "peak", "off")
SYMBOLS = {"p": "P", "N": "QRS", "t": "T"}
INTERVALS = ("QRS", "PR", "QT")
WITHIN_MS = 150.0
FS = 500.0

Marks = NDArray[np.int64]  # (beats, 9), or of one wave (waves, 3)
Reader = dict[str, Marks]  # of one lead, by wave


@dataclass(frozen=True, eq=False)
class Read:
    """A record, and what was marked on each of its leads."""

    recording: Recording
    readers: dict[str, Reader]


@dataclass(frozen=True)
class Found:
    """What a method gives for a record: marks per lead, and the intervals in ms it would print, None if none."""

    marks: dict[str, Marks]
    intervals: dict[str, float | None]


@dataclass
class Edge:
    """Tally of one edge of one wave: errors of those found, in ms."""

    errors: list[float] = field(default_factory=list)
    missed: int = 0
    false: int = 0

    def add(self, other: Edge) -> None:
        """Take in another tally."""
        self.errors += other.errors
        self.missed += other.missed
        self.false += other.false

    def __str__(self) -> str:
        found = len(self.errors)
        mean, spread = (np.mean(self.errors), np.std(self.errors)) if found else (np.nan, np.nan)
        sensitivity, precision = found / max(1, found + self.missed), found / max(1, found + self.false)
        return f"{mean:7.1f} {spread:7.1f} {100 * sensitivity:7.2f} {100 * precision:7.2f} {found + self.missed:6}"


@dataclass(frozen=True)
class Score:
    """Of one record: (lead, wave, edge) -> tally; what was found and what is true of each interval; P waves found
    where no lead has one."""

    edges: dict[tuple[str, str, str], Edge]
    intervals: dict[str, tuple[float | None, float | None]]
    false_p: int | None


def paths(data: Path) -> list[Path]:
    """Headers of LUDB's records below `data`, by number."""
    return sorted((data / "ludb" / "data").glob("*.hea"), key=lambda path: int(path.stem))


def read(path: Path) -> Read:
    """One record; needs wfdb."""
    recording = read_recording(path)
    signal = recording.signal[[recording.leads.index(lead) for lead in LEADS]]
    marks = {lead: _reader(path, lead) for lead in LEADS}
    return Read(Recording(np.ascontiguousarray(signal), recording.fs, LEADS, name=path.stem), marks)


def measured(find_edges: FindEdges) -> Callable[[Recording], Found]:
    """`uniecg measure`, the waves found by `find_edges`."""

    def method(recording: Recording) -> Found:
        waves = find_waves(recording, find_edges)
        values = measure_matrix(recording, waves).values
        return Found(waves.leads, {name: values[name.lower()].value for name in INTERVALS})

    return method


def score(record: Read, method: Callable[[Recording], Found], leads: Sequence[str]) -> Score:
    """Run `method` on one record and hold it against the readers of `leads`."""
    found, readers = method(record.recording), record.readers
    edges = {}
    for lead in leads:
        truth = readers[lead]
        marked = np.concatenate([rows[rows >= 0] for rows in truth.values()])
        span = (int(marked.min()), int(marked.max()))
        for wave, column in WAVES.items():
            for place, edge in enumerate(PLACES):
                edges[lead, wave, edge] = _match(truth[wave][:, place], found.marks[lead][:, column + place], span)
    has_p = any(rows["P"].size for rows in readers.values())
    false_p = None if has_p else sum(edges[lead, "P", "peak"].false for lead in leads)
    truth_intervals = intervals(readers)
    return Score(edges, {name: (found.intervals[name], truth_intervals[name]) for name in truth_intervals}, false_p)


def tally(leads: Iterable[str], scores: Iterable[Score], wave: str, edge: str) -> Edge:
    """One edge over leads and records together."""
    total, leads = Edge(), tuple(leads)
    for result in scores:
        for lead in leads:
            total.add(result.edges[lead, wave, edge])
    return total


def interval_errors(scores: Iterable[Score], name: str) -> tuple[list[float], int]:
    """Found minus true of an interval, in ms, where it was found, and in how many records there is one."""
    pairs = [result.intervals[name] for result in scores if result.intervals[name][1] is not None]
    return [a - b for a, b in pairs if a is not None and b is not None], len(pairs)


def report(leads: tuple[str, ...], scores: Sequence[Score]) -> None:
    """Print one line per edge over the leads together and per lead, then intervals and false P waves."""
    print(f"{len(scores)} records, leads {' '.join(leads)}")
    print(f"{'':14} {'mean':>7} {'SD':>7} {'sens':>7} {'PPV':>7} {'n':>6}")
    for group in (leads, *((lead,) for lead in leads if len(leads) > 1)):
        for wave in WAVES:
            for edge in PLACES:
                print(f"{'' if len(group) > 1 else group[0]:4}{wave:4}{edge:6} {tally(group, scores, wave, edge)}")
    for name in INTERVALS:
        errors, count = interval_errors(scores, name)
        mae, mean = (np.mean(np.abs(errors)), np.mean(errors)) if errors else (np.nan, np.nan)
        print(f"{name} interval: MAE {mae:.1f} ms, mean {mean:.1f}, {len(errors)} of {count} measured")
    without = [result.false_p for result in scores if result.false_p is not None]
    print(f"P waves found in the {len(without)} records without one: {sum(without)}")


def intervals(leads: dict[str, Reader]) -> dict[str, float | None]:
    """QRS, PR and QT in ms: per lead the median over the beats that have both edges, then over the leads."""
    per_lead: dict[str, list[float]] = {name: [] for name in INTERVALS}
    for waves in leads.values():
        qrs = waves["QRS"][waves["QRS"][:, 0] >= 0]
        lengths = (qrs[:, 2] - qrs[:, 0])[qrs[:, 2] >= 0]
        before = _nearest(waves["P"][:, 0], qrs[:, 0], -0.4, 0.0)
        after = _nearest(waves["T"][:, 2], qrs[:, 0], 0.15, 0.75)
        for name, found in (("QRS", lengths), ("PR", -before), ("QT", after)):
            if found.size and found.size >= len(qrs) / 2:
                per_lead[name].append(float(np.median(found)) * 1000.0 / FS)
    return {name: float(np.median(found)) if len(found) >= 3 else None for name, found in per_lead.items()}


def _reader(path: Path, lead: str) -> Reader:
    """The reader's waves of one lead: (waves, 3), -1 where an edge is not marked."""
    import wfdb

    annotation = wfdb.rdann(str(path.with_suffix("")), lead.lower())
    samples, symbols = annotation.sample, annotation.symbol
    rows: dict[str, list[tuple[int, int, int]]] = {wave: [] for wave in WAVES}
    for place, symbol in enumerate(symbols):
        if symbol in SYMBOLS:
            onset = samples[place - 1] if place and symbols[place - 1] == "(" else -1
            offset = samples[place + 1] if place + 1 < len(symbols) and symbols[place + 1] == ")" else -1
            rows[SYMBOLS[symbol]].append((int(onset), int(samples[place]), int(offset)))
    return {wave: np.array(held, np.int64).reshape(-1, 3) for wave, held in rows.items()}


def _match(truth: NDArray[np.int64], found: NDArray[np.int64], span: tuple[int, int]) -> Edge:
    truth, found = truth[truth >= 0], np.sort(found[found >= 0])
    reach = WITHIN_MS * FS / 1000.0
    edge = Edge()
    used: set[int] = set()
    for mark in truth:
        near = int(np.argmin(np.abs(found - mark))) if found.size else -1
        if near < 0 or abs(found[near] - mark) > reach or near in used:
            edge.missed += 1
            continue
        used.add(near)
        edge.errors.append(float(found[near] - mark) * 1000.0 / FS)
    inside = found[(found >= span[0]) & (found <= span[1])]
    edge.false = int(sum(not truth.size or np.abs(truth - mark).min() > reach for mark in inside))
    return edge


def _nearest(marks: NDArray[np.int64], onsets: NDArray[np.int64], first: float, last: float) -> NDArray[np.int64]:
    """Distance from each onset to the mark nearest to it that lies `first` to `last` seconds from it."""
    marks = marks[marks >= 0]
    apart = marks[None] - onsets[:, None]
    inside = (apart > first * FS) & (apart < last * FS)
    closest = np.where(inside, np.abs(apart), np.iinfo(np.int64).max)
    if not marks.size or not onsets.size:
        return np.empty(0, np.int64)
    return np.asarray(apart[np.arange(onsets.size), closest.argmin(axis=1)][inside.any(axis=1)])
