"""kill -9 at random moments while `uniecg record` writes: does every file open, and how much signal is lost?

usage: python benchmarks/recorder_kill.py [--kills 100] [--seconds 4] [--at-once 2] [--folder DIR] [--json FILE]

A simulator of 8 channels at 500 Hz plays at true pace over a pty, in a process of its own; `uniecg record --wire`, in
another, is killed at a moment drawn evenly from the first `seconds` after its first commit; every fourth time it is
killed in the transaction that follows that moment, which is otherwise rarely hit. Then its file must open, hold no
other samples than those played, from the first on and without a gap, as many as it told to be committed or more, and
its wire bytes must give them all again. Lost is the time from the arrival of the newest sample that the file holds to
the kill. The folder should lie on the disk in question: a commit waits for it.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniecg_device.encoder import to_counts
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.profile import load_profile
from uniecg_device.recording_store import open_store
from uniecg_device.replay import replay
from uniecg_runtime.cli.simulate import SIMULATED_SECONDS

PROFILE = load_profile("e8_12lead")
_PROGRAM = (sys.executable, "-c", "from uniecg_runtime.cli import main; main()")


@dataclass(frozen=True)
class Kill:
    """after: seconds from the first commit. aimed: at the next transaction.

    told: samples told to be committed by then. kept: those in the file. lost: seconds of signal. journal: whether a
    transaction was cut off and had to be undone.
    """

    after: float
    aimed: bool
    told: int
    kept: int
    lost: float
    journal: bool


def played() -> NDArray[np.int64]:
    """What `uniecg simulate` plays over and over, counts (channels, samples)."""
    recording = simulate(ParametricEcg(heart_rate=72.0), SIMULATED_SECONDS, PROFILE.fs, 0)
    rows = dict(zip(recording.leads, recording.signal, strict=True))
    return to_counts(PROFILE, np.stack([rows[lead] for lead in PROFILE.leads]))[0]


@contextmanager
def simulator() -> Iterator[str]:
    """The port of a simulator in a process of its own."""
    command = [*_PROGRAM, "simulate", "--device", PROFILE.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def record_and_kill(port: str, file: Path, after: float, aimed: bool) -> tuple[int, float, bool]:
    """Samples that it told to be committed, when it was killed (Unix time), and whether a hot journal was left."""
    journal = file.with_name(file.name + "-journal")
    command = [*_PROGRAM, "record", "--device", PROFILE.name, "--port", port, "--out", str(file), "--wire", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(after)
        while aimed and not holds_something(journal):
            pass
        process.kill()
        killed = time.time()
        lines = (first + process.stdout.read()).split(b"\n")[:-1]  # the last one may be torn
    return json.loads(lines[-1])["samples"], killed, holds_something(journal)


def holds_something(journal: Path) -> bool:
    """Whether a transaction is under way, or was when its writer went."""
    return journal.exists() and journal.stat().st_size > 0


def examine(file: Path, expected: NDArray[np.int64], told: int) -> tuple[int, float]:
    """Samples in the file, and when the newest arrived. Raises AssertionError where it is not what it should be."""
    with open_store(file) as store:
        end = 0
        for piece in store.pieces():
            assert piece.position == end, f"a gap at {end}"
            end = piece.position + len(piece.electrodes_off)
            numbers = np.arange(piece.position, end) % expected.shape[1]
            assert np.array_equal(piece.counts, expected[:, numbers]), f"other counts after {piece.position}"
        assert end >= told, f"{told} samples were told to be committed, {end} are there"
        assert replay(store).identical == end and store.closed is None
    with sqlite3.connect(file) as connection:
        arrived = connection.execute("SELECT arrived FROM samples ORDER BY position DESC LIMIT 1").fetchone()[0]
    connection.close()
    return end, float(arrived)


def kill_often(moments: list[float], folder: Path, expected: NDArray[np.int64]) -> list[Kill]:
    """One after the other, with one simulator."""
    kills = []
    with simulator() as port:
        for number, after in enumerate(moments):
            aimed = number % 4 == 3
            file = Path(tempfile.mkdtemp(dir=folder)) / "x.uniecg"
            told, killed, journal = record_and_kill(port, file, after, aimed)
            kept, arrived = examine(file, expected, told)
            kills.append(Kill(after, aimed, told, kept, killed - arrived, journal))
    return kills


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    expected = played()
    moments = np.random.default_rng().uniform(0, given.seconds, given.kills).tolist()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, ThreadPoolExecutor(given.at_once) as pool:
        shares = [moments[first :: given.at_once] for first in range(given.at_once)]
        runs = pool.map(lambda share: kill_often(share, Path(folder), expected), shares)
        kills = [kill for run in runs for kill in run]
    lost = np.array([kill.lost for kill in kills])
    print(f"{len(kills)} kills: every file opened, none had lost what was told to be committed")
    print(f"transactions cut off and undone: {sum(kill.journal for kill in kills)}")
    print(f"signal lost: median {np.median(lost):.2f} s, 95 % {np.percentile(lost, 95):.2f} s, most {lost.max():.2f} s")
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(kill) for kill in kills], indent=1) + "\n")


if __name__ == "__main__":
    main()
