"""Heart beats on MIT-BIH and in noise: this detector, as a stream, and with --peers the ones people run today.

usage: python benchmarks/signal_beats.py [--data FOLDER] [--records 101 102 ...] [--peers]

First channel, beats within 150 ms from 5 s on, ventricular flutter left out (EC57); one scorer for all. Noise: the
noisy two of every four minutes of 118e00 from the fifth on. Location: found less annotated position. CPU: per hour of
one lead, of this thread. Peers: pip install wfdb neurokit2.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniecg_device.beats import BeatDetector

BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")
TOLERANCE, START = 0.15, 5.0  # s
BLOCK = 3600  # samples pushed at once

Positions = NDArray[np.int64]
Detector = Callable[[NDArray[np.float64], float], Positions]


@dataclass(frozen=True, eq=False)
class Score:
    """found, false, missed: beats. errors: ms, of those found. cpu: s for an hour of the lead."""

    found: int
    false: int
    missed: int
    errors: NDArray[np.float64]
    cpu: float

    def row(self, name: str) -> str:
        sensitivity = 100 * self.found / max(self.found + self.missed, 1)
        precision = 100 * self.found / max(self.found + self.false, 1)
        f1 = 200 * self.found / max(2 * self.found + self.false + self.missed, 1)
        spread, bias = (self.errors.std(), self.errors.mean()) if self.errors.size else (np.nan, np.nan)
        return (
            f"{name:28} Se {sensitivity:6.2f}  PPV {precision:6.2f}  F1 {f1:6.2f}  "
            f"SD {spread:5.1f} ms  bias {bias:+5.1f} ms  CPU {self.cpu:7.3f} s/h"
        )


def ours(signal: NDArray[np.float64], fs: float) -> Positions:
    detector = BeatDetector(fs, 1)
    lead = signal[None].astype(np.float32)
    parts = [detector.push(lead[:, first : first + BLOCK]).positions for first in range(0, lead.shape[1], BLOCK)]
    return np.concatenate(parts)


def xqrs(signal: NDArray[np.float64], fs: float) -> Positions:
    from wfdb.processing import XQRS

    detector = XQRS(sig=signal, fs=fs)
    detector.detect(verbose=False)
    return np.asarray(detector.qrs_inds, dtype=np.int64)


def neurokit(method: str) -> Detector:
    def detect(signal: NDArray[np.float64], fs: float) -> Positions:
        import neurokit2

        clean = neurokit2.ecg_clean(signal, sampling_rate=fs, method=method)
        return np.asarray(neurokit2.ecg_findpeaks(clean, sampling_rate=fs, method=method)["ECG_R_Peaks"], np.int64)

    return detect


def match(truth: Positions, found: Positions, reach: float) -> Positions:
    """Differences of the pairs: each beat with one found within `reach`, in order, the nearer of two."""
    pairs: list[int] = []
    place = 0
    for beat in truth:
        while place < found.size and found[place] < beat - reach:
            place += 1
        while place + 1 < found.size and abs(found[place + 1] - beat) < abs(found[place] - beat):
            place += 1
        if place < found.size and abs(found[place] - beat) <= reach:
            pairs.append(int(found[place] - beat))
            place += 1
    return np.array(pairs, dtype=np.int64)


def score(record: Path, detect: Detector, noisy: bool = False) -> Score:
    import wfdb

    header = wfdb.rdrecord(str(record), channels=[0])
    notes = wfdb.rdann(str(record), "atr")
    signal, fs = header.p_signal[:, 0].astype(np.float64), float(header.fs)
    begun = time.thread_time()
    found = np.unique(detect(signal, fs))
    cpu = (time.thread_time() - begun) * 3600 * fs / signal.size
    truth = np.array([s for s, symbol in zip(notes.sample, notes.symbol, strict=True) if symbol in BEATS])
    flutter = [s for s, symbol in zip(notes.sample, notes.symbol, strict=True) if symbol in "[]"]
    reach = TOLERANCE * fs

    def counted(positions: Positions) -> Positions:
        keep = positions >= START * fs
        for first, last in zip(flutter[::2], flutter[1::2], strict=False):
            keep &= (positions < first - reach) | (positions > last + reach)
        minute = positions // int(60 * fs)
        return positions[keep & ((minute >= 5) & ((minute - 5) % 4 < 2))] if noisy else positions[keep]

    truth, found = counted(truth), counted(found)
    errors = match(truth, found, reach)
    return Score(errors.size, found.size - errors.size, truth.size - errors.size, errors * 1000 / fs, cpu)


def total(scores: list[Score]) -> Score:
    return Score(
        sum(one.found for one in scores),
        sum(one.false for one in scores),
        sum(one.missed for one in scores),
        np.concatenate([one.errors for one in scores]),
        float(np.mean([one.cpu for one in scores])),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNIECG_DATA", "~/.cache/uniecg/data")))
    parser.add_argument("--records", nargs="*")
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    data = options.data.expanduser()
    records = options.records or sorted(path.stem for path in (data / "mitdb").glob("*.hea"))
    detectors: dict[str, Detector] = {"uniecg": ours}
    if options.peers:
        detectors |= {"wfdb XQRS": xqrs, "NeuroKit2 Pan-Tompkins": neurokit("pantompkins1985")}
        detectors |= {"NeuroKit2 neurokit": neurokit("neurokit"), "NeuroKit2 Hamilton": neurokit("hamilton2002")}
    for name, detect in detectors.items():
        scores = []
        for record in records:
            scores.append(score(data / "mitdb" / record, detect))
            print(scores[-1].row(f"{name} {record}"), flush=True)
        print(total(scores).row(f"{name}, all {len(records)}"))
        print(score(data / "nstdb" / "118e00", detect, noisy=True).row(f"{name} 118e00, noisy"), flush=True)


if __name__ == "__main__":
    main()
