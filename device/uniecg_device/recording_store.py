"""A recording as one SQLite file: counts as the device sent them, what went wrong on the way, and where they come from.

`recording_format` says what it holds, `recorder` writes it, this module reads it. The file may come from a stranger:
it is opened read-only, must have exactly this schema, and no value in it makes the reader crash, hang or take much
memory (https://sqlite.org/security.html).
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from uniecg_device import typed
from uniecg_device.counts import assemble, leads_off, output_leads, to_millivolts
from uniecg_device.errors import InputError
from uniecg_device.packing import MOST_BYTES, MOST_VALUES, inflate, unpack
from uniecg_device.recording_format import APPLICATION_ID, SCHEMA, VERSION, Closed, Description
from uniecg_device.signals import Block

_MAGIC: Final = b"SQLite format 3\0"
_LARGEST_VALUE: Final = 4 << 20  # bytes of a row; SQLite itself refuses larger ones
_MOST_STEPS: Final = 1_000_000  # of SQLite's virtual machine in one query; an honest one takes a few thousand
_LAST_POSITION: Final = 1 << 62
_SUPER_JOURNAL: Final = bytes.fromhex("d9d505f920a163d7")
_KIND: Final = re.compile(r"[a-z_]{1,32}")
_BUSY_SECONDS: Final = 5.0
_PATIENT: Final = {"timeout": _BUSY_SECONDS, "isolation_level": None}

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Piece:
    """Consecutive samples. counts: int32 (channels, samples); electrodes_off: uint32 (samples,), bit c of channel c.

    position: of the first on the device's clock. framed: its number in its connection, as the framer counts.
    """

    position: int
    connection: int
    framed: int
    counts: NDArray[np.int32]
    electrodes_off: NDArray[np.uint32]

    @property
    def end(self) -> int:
        """Position just after the last sample."""
        return self.position + len(self.electrodes_off)

    def part(self, first: int, last: int) -> Piece:
        """Its samples from `first` up to `last`, counted from its own first."""
        counts, off = self.counts[:, first:last], self.electrodes_off[first:last]
        return Piece(self.position + first, self.connection, self.framed + first, counts, off)


@dataclass(frozen=True)
class Event:
    """What happened at a position: kind is `connected` (again), `gap`, `counters`, ...; time is Unix time."""

    position: int
    time: float
    kind: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class WireBytes:
    """A stretch of what came over the line, in order. A new connection is a framer that begins."""

    connection: int
    data: bytes


def open_store(path: str | Path) -> Store:
    """The recording in that file, which may still be written. Raises InputError where it is none, or is damaged."""
    return Store(Path(path))


class Store:
    """A recording that is read; use it as a context manager. What is read is what was committed by then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_header(path)
        self._connection = _connect(path)
        try:
            about = dict(self._rows("SELECT key, value FROM about LIMIT 16"))
            self.description = self._decode(about, "description", Description)
            self.stats = self._decode(about, "stats", dict[str, int | float])
            self.closed = self._decode(about, "closed", Closed) if "closed" in about else None
            profile = about.get("profile")
            if not isinstance(profile, str):
                raise self._damaged("it holds no profile")
            self.profile = profile
            self._measure()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    @property
    def span(self) -> int:
        """Samples from the first to the last, the missing ones among them."""
        return self.end - self.first

    @property
    def started(self) -> datetime:
        """Local time of the first sample, to about 0.2 s: when it arrived; `opened` where none has."""
        return self._started

    def pieces(self, start: int = 0, stop: int = _LAST_POSITION) -> Iterator[Piece]:
        """Samples at positions start <= p < stop in order; a jump between two pieces is a gap. Raises InputError."""
        before = self._rows("SELECT position FROM samples WHERE position <= ? ORDER BY position DESC LIMIT 1", start)
        query = (
            "SELECT position, samples, connection, framed, counts, electrodes FROM samples"
            " WHERE position >= ? AND position < ? ORDER BY position LIMIT 8"
        )
        end = self._position(before[0][0]) if before else 0
        while rows := self._rows(query, end, stop):
            for row in rows:
                piece = self._piece(*row)
                if piece.position < end:
                    raise self._damaged(f"the samples at {piece.position} overlap those before")
                end = piece.end
                if piece.end > start:
                    yield piece.part(max(start - piece.position, 0), min(stop, piece.end) - piece.position)

    def blocks(self, start: int = 0, stop: int = _LAST_POSITION) -> Iterator[Block]:
        """The same as a live device yields it: millivolts of all leads, NaN where an electrode is off."""
        about, end = self.description, self.first
        for piece in self.pieces(start, stop):
            millivolts = to_millivolts(piece.counts, about.offset, about.mv_per_count)
            yield Block(
                signal=assemble(about.leads, about.wilson_leads, millivolts, piece.electrodes_off),
                fs=about.fs,
                leads=output_leads(about.leads),
                start=piece.position / about.fs,
                lost=max(piece.position - end, 0),
                electrodes_off=leads_off(about.leads, piece.electrodes_off),
            )
            end = piece.end

    def events(self) -> Iterator[Event]:
        """In the order in which they were written. Raises InputError."""
        for row in self._table("id, position, time, kind, detail", "events", 64):
            _, position, time, kind, text = row
            detail = self._parse(text, dict[str, Any], "an event") if isinstance(text, str) else None
            named = isinstance(kind, str) and _KIND.fullmatch(kind) is not None
            if not (isinstance(time, float) and abs(time) < 1e12 and named and detail is not None):
                raise self._damaged("an event is not as it should be")
            yield Event(self._position(position), time, kind, detail)

    def wire(self) -> Iterator[WireBytes]:
        """What came over the line, if it was kept. Raises InputError."""
        for _, connection, size, blob in self._table("id, connection, size, bytes", "wire", 4):
            if not (isinstance(size, int) and isinstance(blob, bytes)):
                raise self._damaged("its wire bytes are not as they should be")
            if not 0 < size <= MOST_BYTES:
                raise self._damaged(f"it announces {size} wire bytes in one piece")
            try:
                yield WireBytes(self._position(connection), inflate(blob, size))
            except ValueError as error:
                raise self._damaged(f"a piece of its wire bytes: {error}") from None

    # From rows to what they mean

    def _measure(self) -> None:
        first = self._rows("SELECT position, samples, arrived FROM samples ORDER BY position LIMIT 1")
        last = self._rows("SELECT position, samples FROM samples ORDER BY position DESC LIMIT 1")
        self._started = self.description.opened
        if not (first and last):
            self.first = self.end = 0
            return
        self.first = self._position(first[0][0])
        self.end = self._position(last[0][0]) + self._length(last[0][1])
        arrived, zone = first[0][2], self._started.tzinfo
        if not (isinstance(arrived, float) and 0 <= arrived < 2e11 and self.first < self.end):
            raise self._damaged("its first samples are not as they should be")
        self._started = datetime.fromtimestamp(arrived, zone) - timedelta(
            seconds=self._length(first[0][1]) / self.description.fs
        )

    def _piece(
        self, position: object, samples: object, connection: object, framed: object, counts: object, electrodes: object
    ) -> Piece:
        length = self._length(samples)
        if not isinstance(counts, bytes) or not isinstance(electrodes, bytes | None):
            raise self._damaged(f"the samples at {position} are not as they should be")
        flags = np.zeros(length, np.uint32)
        try:
            values = unpack(counts, len(self.description.channels), length)
            if electrodes is not None:
                flags = unpack(electrodes, 1, length)[0].view(np.uint32)
        except ValueError as error:
            raise self._damaged(f"the samples at {position}: {error}") from None
        place = self._position(position), self._position(connection), self._position(framed)
        return Piece(*place, values, flags)

    def _position(self, value: object) -> int:
        if not (isinstance(value, int) and 0 <= value < _LAST_POSITION):
            raise self._damaged("a position is out of range")
        return value

    def _length(self, value: object) -> int:
        if not (isinstance(value, int) and 0 < value <= MOST_VALUES):
            raise self._damaged("a stretch of samples is too long or too short")
        return value

    def _table(self, columns: str, table: str, at_once: int) -> Iterator[tuple[Any, ...]]:
        """Rows by their id, some at a time: between two steps the file is free for whoever writes it."""
        last = -1
        while rows := self._rows(f"SELECT {columns} FROM {table} WHERE id > ? ORDER BY id LIMIT {at_once}", last):
            for row in rows:
                if row[0] <= last:
                    raise self._damaged(f"the rows of {table} are out of order")
                last = row[0]
                yield row

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return _rows(self._connection, self.path, query, *values)

    def _decode(self, about: dict[str, Any], key: str, kind: type[_T]) -> _T:
        if not isinstance(about.get(key), str):
            raise self._damaged(f"it holds no {key}")
        return self._parse(about[key], kind, f"its {key}")

    def _parse(self, text: str, kind: type[_T], what: str) -> _T:
        try:
            return typed.decode(text, kind)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise self._damaged(f"{what}: {str(error)[:160]}") from None

    def _damaged(self, why: str) -> InputError:
        return _damaged(self.path, why)


# The file


def _check_header(path: Path) -> None:
    """Look at the file before SQLite does. https://sqlite.org/fileformat.html, 1.3."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    if len(head) < 100 or not head.startswith(_MAGIC) or int.from_bytes(head[68:72], "big") != APPLICATION_ID:
        raise InputError(f"{path.name} is no recording of `uniecg record`")
    version = int.from_bytes(head[60:64], "big")
    if version > VERSION:
        raise InputError(f"{path.name} has layout {version}, this program knows layout {VERSION}; use a newer one")
    if version != VERSION or head[18:20] != b"\1\1":  # a write-ahead log is never ours
        raise _damaged(path, "its header is not that of a recording")


def _connect(path: Path) -> sqlite3.Connection:
    connection = _open_guarded(path, "ro")
    try:
        try:
            _check_schema(connection, path)
        except sqlite3.OperationalError as error:
            if _name(error) != "SQLITE_READONLY_ROLLBACK":
                raise
            connection.close()
            _roll_back(path)
            connection = _open_guarded(path, "ro")
            _check_schema(connection, path)
    except (sqlite3.Error, UnicodeError) as error:
        connection.close()
        raise _unreadable(path, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _open_guarded(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, **_PATIENT)  # type: ignore[call-overload]
    assert isinstance(connection, sqlite3.Connection)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """No view, trigger, index or generated column of a stranger: the schema is to the letter the one above."""
    found = connection.execute("SELECT sql FROM sqlite_schema LIMIT 9").fetchall()
    if sorted(str(sql) for (sql,) in found) != sorted(SCHEMA):
        raise _damaged(path, "its tables are not those of a recording")


def _roll_back(path: Path) -> None:
    """Undo the transaction that a writer was killed in. That is a write, hence not for a read-only connection.

    A journal that names a second one is not ours (we write one file at a time), and would let SQLite delete that file.
    """
    journal = path.with_name(path.name + "-journal")
    try:
        with journal.open("rb") as file:
            file.seek(-len(_SUPER_JOURNAL), os.SEEK_END)
            if file.read() == _SUPER_JOURNAL:
                raise InputError(f"{journal.name} was not written by `uniecg record`; remove it")
    except OSError:
        pass  # another process rolled it back by now
    try:
        connection = _open_guarded(path, "rw")
        try:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        raise InputError(
            f"{path.name} was being written when its recorder was killed, and {journal.name} beside it must be applied "
            f"first, which failed ({error}); copy both files to a place where you may write"
        ) from None


def _rows(connection: sqlite3.Connection, path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """All rows of a short query. A damaged tree of pages can send SQLite in circles: a limit of steps ends that."""
    first = iter([0])  # steps are counted over all queries, so that an honest one may meet the limit once
    connection.set_progress_handler(lambda: next(first, 1), _MOST_STEPS)
    try:
        return connection.execute(query, values).fetchall()
    except (sqlite3.Error, UnicodeError, OverflowError, MemoryError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    if _name(error).startswith("SQLITE_BUSY"):
        return InputError(f"{path.name} is locked by another program for more than {_BUSY_SECONDS:g} s; close that one")
    return _damaged(path, str(error))


def _name(error: Exception) -> str:
    """SQLite's name of an error; Python's own, such as a text that is not UTF-8, have none."""
    return getattr(error, "sqlite_errorname", "")


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path.name} is damaged or no recording: {why}")
