"""Where waves begin and end, against LUDB's readers: ours, or NeuroKit2's beside it, by one scorer.

`python benchmarks/signal_waves.py [--who ours|neurokit2] [--leads II,V2,V5] [--part all|even|odd]`, with the LUDB
records in $UNIECG_DATA. An edge counts as found where one of the same kind lies within 150 ms of the reader's in the
same lead; mean and SD are of those errors (found minus reader, ms). A found edge without a reader's within 150 ms is
false where it lies between the reader's first and last mark: LUDB leaves the first and last beats unmarked. Intervals
are compared with the readers' median over beats, then over all leads. Peers: pip install neurokit2 wfdb.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import LEADS, Recording

WAVES = {"P": 0, "QRS": 3, "T": 6}  # first column of each wave: onset, peak, offset, -1 where there is none
SYMBOLS = {"p": "P", "N": "QRS", "t": "T"}
WITHIN_MS = 150.0
FS = 500.0

Marks = NDArray[np.int64]  # (beats, 9)


@dataclass
class Edge:
    """Tally of one edge of one wave: errors of those found, in ms."""

    errors: list[float] = field(default_factory=list)
    missed: int = 0
    false: int = 0

    def __str__(self) -> str:
        found = len(self.errors)
        mean, spread = (np.mean(self.errors), np.std(self.errors)) if found else (np.nan, np.nan)
        sensitivity, precision = found / max(1, found + self.missed), found / max(1, found + self.false)
        return f"{mean:7.1f} {spread:7.1f} {100 * sensitivity:7.2f} {100 * precision:7.2f} {found + self.missed:6}"


def main() -> None:
    """Score one method and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--who", choices=("ours", "neurokit2"), default="ours")
    parser.add_argument("--leads", default="II,V2,V5")
    parser.add_argument("--part", choices=("all", "even", "odd"), default="all", help="by record number")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNIECG_DATA", "~/.cache/uniecg/data")))
    options = parser.parse_args()
    leads = tuple(options.leads.split(","))
    method: Callable[[Recording], Found] = {"ours": ours, "neurokit2": neurokit2}[options.who]
    records = sorted((options.data.expanduser() / "ludb" / "data").glob("*.hea"), key=lambda path: int(path.stem))
    if options.part != "all":
        records = [path for path in records if int(path.stem) % 2 == (options.part == "odd")]
    report(leads, [score(path, method, leads) for path in records])


@dataclass(frozen=True)
class Found:
    """What a method gives for a record: marks per lead, and the intervals in ms it would print, None if none."""

    marks: dict[str, Marks]
    intervals: dict[str, float | None]


@dataclass(frozen=True)
class Score:
    """Of one record: (lead, wave, edge) -> tally; errors of intervals; P waves found where no lead has one."""

    edges: dict[tuple[str, str, str], Edge]
    intervals: dict[str, tuple[float | None, float | None]]
    false_p: int | None


def score(path: Path, method: Callable[[Recording], Found], leads: tuple[str, ...]) -> Score:
    """Run `method` on one record and hold it against the readers of `leads`."""
    import wfdb

    signal = np.ascontiguousarray(wfdb.rdrecord(str(path.with_suffix(""))).p_signal.T, dtype=np.float32)
    readers = {lead: _reader(path, lead) for lead in LEADS}
    found = method(Recording(signal, FS, LEADS, name=path.stem))
    edges = {}
    for lead in leads:
        truth = readers[lead]
        marked = np.concatenate([rows[rows >= 0] for rows in truth.values()])
        span = (int(marked.min()), int(marked.max()))
        for wave, column in WAVES.items():
            for place, edge in enumerate(("on", "peak", "off")):
                edges[lead, wave, edge] = _match(truth[wave][:, place], found.marks[lead][:, column + place], span)
    has_p = any(rows["P"].size for rows in readers.values())
    false_p = None if has_p else sum(edges[lead, "P", "peak"].false for lead in leads)
    truth_intervals = _intervals_of_readers(readers)
    return Score(edges, {name: (found.intervals[name], truth_intervals[name]) for name in truth_intervals}, false_p)


def report(leads: tuple[str, ...], scores: list[Score]) -> None:
    """Print one line per edge over the leads together and per lead, then intervals and false P waves."""
    print(f"{len(scores)} records, leads {' '.join(leads)}")
    print(f"{'':14} {'mean':>7} {'SD':>7} {'sens':>7} {'PPV':>7} {'n':>6}")
    for group in (leads, *((lead,) for lead in leads if len(leads) > 1)):
        for wave in WAVES:
            for edge in ("on", "peak", "off"):
                total = Edge()
                for result in scores:
                    for lead in group:
                        part = result.edges[lead, wave, edge]
                        total.errors += part.errors
                        total.missed += part.missed
                        total.false += part.false
                print(f"{'' if len(group) > 1 else group[0]:4}{wave:4}{edge:6} {total}")
    for name in ("QRS", "PR", "QT"):
        pairs = [result.intervals[name] for result in scores if result.intervals[name][1] is not None]
        errors = [ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None]
        mae = np.mean(np.abs(errors)) if errors else np.nan
        print(f"{name} interval: MAE {mae:.1f} ms, mean {np.mean(errors):.1f}, {len(errors)} of {len(pairs)} measured")
    without = [result.false_p for result in scores if result.false_p is not None]
    print(f"P waves found in the {len(without)} records without one: {sum(without)}")


def ours(recording: Recording) -> Found:
    """`uniecg measure`."""
    from uniecg_runtime.signal.matrix import measure_matrix
    from uniecg_runtime.signal.waves import find_waves

    waves = find_waves(recording)
    values = measure_matrix(recording, waves).values
    return Found(waves.leads, {name: values[name.lower()].value for name in ("QRS", "PR", "QT")})


def neurokit2(recording: Recording) -> Found:
    """NeuroKit2: its own cleaning and peaks per lead, `ecg_delineate(method="prominence")`; intervals: as for ours, the
    median over beats, then over the leads."""
    import warnings

    import neurokit2

    warnings.simplefilter("ignore")
    marks = {}
    names = [f"ECG_{wave}_{edge}" for wave in "PRT" for edge in ("Onsets", "Peaks", "Offsets")]
    for lead, row in zip(recording.leads, recording.signal, strict=True):
        marks[lead] = np.empty((0, 9), np.int64)
        try:
            clean = neurokit2.ecg_clean(row.astype(float), sampling_rate=int(recording.fs))
            _, peaks = neurokit2.ecg_peaks(clean, sampling_rate=int(recording.fs))
            _, found = neurokit2.ecg_delineate(clean, peaks, sampling_rate=int(recording.fs), method="prominence")
        except Exception as error:
            print(f"neurokit2 fails on {recording.name} {lead}: {type(error).__name__}")
            continue
        columns: list[Any] = [found.get(name, peaks["ECG_R_Peaks"]) for name in names]
        most = max(len(column) for column in columns)  # it gives columns of different lengths
        held = np.array([np.pad(np.asarray(c, float), (0, most - len(c)), constant_values=np.nan) for c in columns]).T
        marks[lead] = np.where(np.isfinite(held), held, -1).astype(np.int64)
    rows = {lead: {wave: held[:, first : first + 3] for wave, first in WAVES.items()} for lead, held in marks.items()}
    return Found(marks, _intervals(rows))


def _reader(path: Path, lead: str) -> dict[str, Marks]:
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


def _intervals_of_readers(readers: dict[str, dict[str, Marks]]) -> dict[str, float | None]:
    return _intervals(readers)


def _intervals(leads: dict[str, dict[str, Marks]]) -> dict[str, float | None]:
    """QRS, PR and QT in ms: per lead the median over the beats that have both edges, then over the leads."""
    per_lead: dict[str, list[float]] = {"QRS": [], "PR": [], "QT": []}
    for waves in leads.values():
        qrs = waves["QRS"][waves["QRS"][:, 0] >= 0]
        lengths = (qrs[:, 2] - qrs[:, 0])[qrs[:, 2] >= 0]
        before = _nearest(waves["P"][:, 0], qrs[:, 0], -0.4, 0.0)
        after = _nearest(waves["T"][:, 2], qrs[:, 0], 0.15, 0.75)
        for name, found in (("QRS", lengths), ("PR", -before), ("QT", after)):
            if found.size and found.size >= len(qrs) / 2:
                per_lead[name].append(float(np.median(found)) * 1000.0 / FS)
    return {name: float(np.median(found)) if len(found) >= 3 else None for name, found in per_lead.items()}


def _nearest(marks: NDArray[np.int64], onsets: NDArray[np.int64], first: float, last: float) -> NDArray[np.int64]:
    """Distance from each onset to the mark nearest to it that lies `first` to `last` seconds from it."""
    marks = marks[marks >= 0]
    apart = marks[None] - onsets[:, None]
    inside = (apart > first * FS) & (apart < last * FS)
    closest = np.where(inside, np.abs(apart), np.iinfo(np.int64).max)
    if not marks.size or not onsets.size:
        return np.empty(0, np.int64)
    return np.asarray(apart[np.arange(onsets.size), closest.argmin(axis=1)][inside.any(axis=1)])


if __name__ == "__main__":
    main()
