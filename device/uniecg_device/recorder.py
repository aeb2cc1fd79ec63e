"""Writes what a device sends while it streams: one committed transaction a second, into one SQLite file.

The file keeps a rollback journal (journal_mode TRUNCATE, synchronous FULL) rather than a write-ahead log: with a log
the recording would be three files, the newest minutes of it not in the one that people copy. In this mode a commit
returns after the samples, and then the journal's end, have been synced to the disk, hence a power cut cannot take
them back (https://sqlite.org/atomiccommit.html; pager.c, pager_end_transaction). docs/recording.md: what is lost when.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np

from uniecg_device import typed
from uniecg_device.counts import Samples
from uniecg_device.errors import InputError
from uniecg_device.packing import MOST_BYTES, MOST_VALUES, deflate, pack
from uniecg_device.recording_format import APPLICATION_ID, SCHEMA, SUFFIX, VERSION, Closed, Description, Stats

COMMIT_SECONDS = 1.0
_MOST_PENDING_SECONDS = 60.0
_MOST_PENDING_WIRE = 64 << 20  # bytes
_BUSY_SECONDS = 0.2  # what a commit waits for a reader; after that it is tried again a second later
_ORDINARY = frozenset({"bytes", "frames", "messages", "samples", "reconnects", "disconnected_samples"})


@dataclass(frozen=True)
class Committed:
    """What is safe on the disk: seconds by the device's clock, samples per lead, gaps, samples missing in them."""

    seconds: float
    samples: int
    gaps: int
    missing: int


class Recorder:
    """A device's tap (`counts.Tap`) that writes a new store; `commit` it as long as it is `due`.

    Raises InputError where the file exists already or cannot be written.
    """

    def __init__(self, path: str | Path, description: Description, profile: str, *, wire: bool = False) -> None:
        self.path = Path(path)
        self.description = description
        self.committed = Committed(0.0, 0, 0, 0)
        self._keep_wire = wire
        self._arrived: list[_Arrived] = []
        self._wire: list[_WireChunk] = []
        self._events: list[tuple[int | None, float, str, str]] = []
        self._lock = threading.Lock()  # over _wire and _events, which the reading thread fills
        self._connection = -1
        self._stats: Stats = {}
        self._end = 0
        self._last, self._delayed = time.monotonic(), False
        _create(self.path, description, profile)
        self._writer = ThreadPoolExecutor(1, "uniecg-recorder")
        self._store = _open(self.path)

    # The tap

    def connected(self) -> int:
        with self._lock:
            self._connection += 1
            return self._connection

    def wire(self, data: bytes) -> None:
        if not (self._keep_wire and data):
            return
        with self._lock:
            connection = self._connection
            last = self._wire[-1] if self._wire else None
            if last is None or last.connection != connection or len(last.data) + len(data) > MOST_BYTES:
                if sum(len(chunk.data) for chunk in self._wire) > _MOST_PENDING_WIRE:
                    raise InputError(f"{self.path.name}: nothing could be written for too long")
                last = _WireChunk(connection, bytearray())
                self._wire.append(last)
            last.data.extend(data)

    def samples(self, connection: int, samples: Samples) -> None:
        self._arrived.append(_Arrived(connection, samples, time.time()))

    def waiting(self) -> None:
        if self.due:  # the device may be away for a minute
            self.commit(self._stats)

    def event(self, kind: str, detail: Mapping[str, object], position: int | None = None) -> None:
        """Note what happened, at the newest sample unless a position is given. Any thread may."""
        with self._lock:
            self._events.append((position, time.time(), kind, json.dumps(dict(detail))))

    # The file

    @property
    def due(self) -> bool:
        """Whether a second of signal, or a second in time, waits for being committed."""
        pending = _total(self._arrived)
        waited = time.monotonic() - self._last
        if self._delayed:
            return waited >= COMMIT_SECONDS
        return pending >= COMMIT_SECONDS * self.description.fs or (pending > 0 and waited >= COMMIT_SECONDS)

    def commit(self, stats: Stats) -> bool:
        """Write all that arrived, in one transaction; the device's counters go beside it.

        False where another program locks the file just now: then it is kept and tried again. Raises InputError
        where the disk is full or fails; all that was committed before stays readable. A thread of its own writes, so
        that Ctrl-C, which Python raises anywhere in the main thread, cannot tear a transaction.
        """
        return self._writer.submit(self._commit, stats).result()

    def _commit(self, stats: Stats) -> bool:
        arrived, self._arrived = self._arrived, []
        with self._lock:
            wire, self._wire = self._wire, []  # after the samples: every sample's bytes are among these or before
            events, self._events = self._events, []
        rows, gaps, end = _rows(arrived, self._end)
        troubles = _risen(self._stats, stats)
        noted = [(end if at is None else at, noticed, kind, detail) for at, noticed, kind, detail in events]
        noted += [(start, time.time(), "gap", json.dumps({"samples": missing})) for start, missing in gaps]
        noted += [(end, time.time(), "counters", json.dumps(troubles))] if troubles else []
        self._last = time.monotonic()
        try:
            self._write(rows, [chunk.row for chunk in wire], sorted(noted, key=lambda event: event[0]), stats)
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._store.execute("ROLLBACK")
            if not _is_busy(error):
                raise self._not_written(error) from error
            self._delayed = True
            self._arrived[:0] = arrived
            with self._lock:
                self._wire[:0], self._events[:0] = wire, events
            if _total(arrived) > _MOST_PENDING_SECONDS * self.description.fs:
                raise self._not_written(error) from error
            return False
        received = self.committed.samples + _total(arrived)
        missing = self.committed.missing + sum(missing for _, missing in gaps)
        self.committed = Committed(end / self.description.fs, received, self.committed.gaps + len(gaps), missing)
        self._end, self._delayed = end, False
        self._stats = dict(stats)
        return True

    def close(self, reason: str, stats: Stats) -> None:
        """Commit the rest and mark the recording as ended."""
        deadline = time.monotonic() + _MOST_PENDING_SECONDS
        while not self.commit(stats):
            if time.monotonic() > deadline:
                raise InputError(f"{self.path.name} is locked by another program; its last seconds are lost")
        closed = msgspec.json.encode(Closed(datetime.now().astimezone(), reason[:4096])).decode()
        try:
            self._store.execute("INSERT INTO about VALUES ('closed', ?)", (closed,))
            self._store.execute("PRAGMA journal_mode = DELETE")  # leaves one file
        except sqlite3.Error as error:
            if not _is_busy(error):
                raise self._not_written(error) from error

    @property
    def empty(self) -> bool:
        """Whether no sample was committed, in a file that keeps no bytes of the line, which could tell why."""
        return not (self.committed.samples or self._keep_wire)

    def release(self) -> None:
        """Close the file as it is."""
        self._writer.shutdown()
        self._store.close()

    def discard(self) -> None:
        """Remove the file, which nothing was recorded to."""
        self.release()
        self.path.unlink(missing_ok=True)
        self.path.with_name(self.path.name + "-journal").unlink(missing_ok=True)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.release()

    def _write(
        self,
        rows: list[tuple[object, ...]],
        wire: list[tuple[object, ...]],
        events: list[tuple[int, float, str, str]],
        stats: Stats,
    ) -> None:
        store = self._store
        store.execute("BEGIN IMMEDIATE")
        store.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        store.executemany("INSERT INTO wire (connection, size, bytes) VALUES (?, ?, ?)", wire)
        store.executemany("INSERT INTO events (position, time, kind, detail) VALUES (?, ?, ?, ?)", events)
        store.execute("UPDATE about SET value = ? WHERE key = 'stats'", (json.dumps(dict(stats)),))
        store.execute("COMMIT")

    def _not_written(self, error: sqlite3.Error) -> InputError:
        seconds = f"{self.committed.seconds:.1f} s"
        return InputError(
            f"cannot write {self.path} any more: {_reason(error)}; the {seconds} committed before are intact and "
            "readable. Make room or choose another disk, and start a new recording"
        )


@dataclass(frozen=True, eq=False)
class _Arrived:
    connection: int
    samples: Samples
    time: float


@dataclass(frozen=True, eq=False)
class _WireChunk:
    connection: int
    data: bytearray

    @property
    def row(self) -> tuple[object, ...]:
        return self.connection, len(self.data), deflate(bytes(self.data))


def _risen(before: Stats, now: Stats) -> dict[str, int]:
    """By how much those counters rose that count what went wrong."""
    counters = {name: value for name, value in now.items() if isinstance(value, int) and name not in _ORDINARY}
    steps = {name: value - int(before.get(name, 0)) for name, value in counters.items()}
    return {name: step for name, step in steps.items() if step}


def _total(arrived: list[_Arrived]) -> int:
    return sum(len(piece.samples.numbers) for piece in arrived)


def _rows(arrived: list[_Arrived], end: int) -> tuple[list[tuple[object, ...]], list[tuple[int, int]], int]:
    """Rows of contiguous samples, gaps (position, samples missing), and the position after the last sample."""
    if not arrived:
        return [], [], end
    counts = np.concatenate([piece.samples.counts for piece in arrived], axis=1)
    flags = np.concatenate([piece.samples.electrodes_off for piece in arrived])
    framed = np.concatenate([piece.samples.positions for piece in arrived])
    positions = np.concatenate([piece.samples.numbers for piece in arrived])
    lengths = [len(piece.samples.numbers) for piece in arrived]
    connections = np.repeat([piece.connection for piece in arrived], lengths)
    times = np.repeat([piece.time for piece in arrived], lengths)
    steps = np.diff(positions, prepend=end - 1)
    if (steps < 1).any():
        raise InputError("the device's clock went back; its samples have no place in one recording")
    gaps = [(int(positions[k] - steps[k] + 1), int(steps[k] - 1)) for k in np.flatnonzero(steps > 1)]
    breaks = np.flatnonzero((np.diff(positions) != 1) | (np.diff(framed) != 1) | (np.diff(connections) != 0)) + 1
    most = MOST_VALUES // len(counts)
    rows: list[tuple[object, ...]] = []
    for first, last in pairwise(sorted({0, *breaks.tolist(), *range(0, len(positions), most), len(positions)})):
        off = flags[first:last]
        packed = pack(off.view(np.int32)[None]) if off.any() else None
        place = int(positions[first]), last - first, int(connections[first]), int(framed[first])
        rows.append((*place, float(times[last - 1]), pack(counts[:, first:last]), packed))
    return rows, gaps, int(positions[-1]) + 1


# Creating and opening


def _create(path: Path, description: Description, profile: str) -> None:
    """The empty store appears under its name only when it is whole."""
    if path.suffix != SUFFIX:
        raise InputError(f"a recording is written to a {SUFFIX} file, not to {path.name}; call it {path.stem}{SUFFIX}")
    if path.exists():
        raise InputError(f"{path} exists already and is not overwritten; choose another name")
    part = path.with_name(path.name + ".part")
    about = {"description": msgspec.json.encode(description).decode(), "profile": profile, "stats": "{}"}
    try:
        typed.decode(about["description"], Description)
    except msgspec.ValidationError as error:
        raise InputError(f"a recording of {description.device} could not be read again: {error}") from None
    try:
        part.unlink(missing_ok=True)
        store = _open(part)
        try:
            store.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            store.execute(f"PRAGMA user_version = {VERSION}")
            store.execute("BEGIN")
            for table in SCHEMA:
                store.execute(table)
            store.executemany("INSERT INTO about VALUES (?, ?)", about.items())
            store.execute("COMMIT")
            store.execute("PRAGMA journal_mode = DELETE")
        finally:
            store.close()
        os.rename(part, path)
        _sync_folder(path)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {_reason(error)}") from error


def _open(path: Path) -> sqlite3.Connection:
    store = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    store.execute("PRAGMA journal_mode = TRUNCATE")
    store.execute("PRAGMA synchronous = FULL")
    return store


def _sync_folder(path: Path) -> None:
    folder = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _reason(error: OSError | sqlite3.Error) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
