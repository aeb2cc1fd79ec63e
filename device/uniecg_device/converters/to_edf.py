"""EDF+ (16-bit counts) and BDF+ (24-bit): https://www.edfplus.info/specs/edfplus.html.

Data records lie on a grid that begins with the first sample. Missing samples within a record hold the smallest
digital value; a record of which nothing was received is left out, and the file is then discontinuous (EDF+D). A note
says where every gap begins and how long it is, hence no count can be taken for a missing one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from uniecg_device.converters.notes import Note, annotated, new_files, plain, provenance, survey
from uniecg_device.errors import InputError
from uniecg_device.recording_store import Piece, Store

_LARGEST_RECORD = 61440  # bytes, what the standard recommends
_LONGEST_NOTES = 1 << 15  # bytes of one record
_DURATIONS = tuple(Fraction(d) for d in ("1", "0.5", "0.2", "0.1", "0.05", "0.02", "0.01", "0.005", "0.002", "0.001"))
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MARK = "SYNTHETIC:_not_a_patient"  # the header has room for no more; the first annotation says it in full


@dataclass(frozen=True)
class _Grid:
    """How samples fall into data records; width in bytes of a sample; notes: bytes for them in each record."""

    samples: int
    duration: str
    width: int
    notes: int = 0


@dataclass(frozen=True, eq=False)
class _Record:
    """number: on the grid, from 0. counts: (channels, samples). notes: those that begin in it."""

    number: int
    counts: NDArray[np.int32]
    notes: list[Note]


def write_edf(store: Store, path: Path) -> Path:
    """x.edf, or x.bdf where counts need 24 bits. Raises InputError, also where they need more."""
    looked, suffix = survey(store), path.suffix.lower()
    bits = next((b for b in (16, 24) if looked.low.min() >= -(1 << b - 1) and looked.high.max() < 1 << b - 1), 32)
    if suffix not in (".edf", ".bdf"):
        raise InputError(f"EDF is written to a .edf or .bdf file, not to {path.name}")
    if bits == 32:
        raise InputError(f"the counts of {store.path.name} need more than the 24 bits of BDF; convert to WFDB or CSV")
    if bits == 24 and suffix == ".edf":
        raise InputError(f"the counts of {store.path.name} need 24 bits, EDF has 16; name it {path.stem}.bdf")
    grid = _grid_of(store, 3 if suffix == ".bdf" else 2)
    records, longest = 0, 0
    for record in _records(store, grid):
        records += 1
        longest = max(longest, len(_told(store, grid, record)))
    if longest > _LONGEST_NOTES:
        raise InputError(f"{store.path.name} needs {longest} bytes of notes in one record of EDF; convert to CSV")
    whole = -(-longest // grid.width) * grid.width
    grid = _Grid(grid.samples, grid.duration, grid.width, whole)
    continuous = records == -(-store.span // grid.samples)
    with new_files(path) as (file,):
        file.write(_header(store, grid, records, continuous))
        for record in _records(store, grid):
            _write_record(file, store, grid, record)
    return path


def _grid_of(store: Store, width: int) -> _Grid:
    fs, channels = store.description.fs, len(store.description.channels)
    for duration in _DURATIONS:
        samples = fs * float(duration)
        if samples >= 1 and samples == round(samples) and samples * channels * width <= _LARGEST_RECORD:
            return _Grid(round(samples), f"{float(duration):g}", width)
    samples = max(1, min(round(fs), _LARGEST_RECORD // (channels * width)))
    return _Grid(samples, f"{samples / fs:.7g}"[:8], width)  # the note in the first record tells the exact rate


def _records(store: Store, grid: _Grid) -> Iterator[_Record]:
    """Records in which something was received, in order."""
    number, counts, notes = 0, _missing(store, grid), list[Note]()
    for piece, found in chain(annotated(store), [(None, [Note(store.end, 0, "recording ends")])]):
        waiting = deque(found)
        for part in _parts(store, grid, piece) if piece is not None else ():
            here = (part.position - store.first) // grid.samples
            if here != number:
                yield _Record(number, counts, notes)
                number, counts, notes = here, _missing(store, grid), []
            first = part.position - store.first - number * grid.samples
            counts[:, first : first + len(part.electrodes_off)] = part.counts
            while waiting and waiting[0].position < part.end:
                notes.append(waiting.popleft())
        notes += waiting
    yield _Record(number, counts, notes)


def _parts(store: Store, grid: _Grid, piece: Piece) -> Iterator[Piece]:
    """The piece, cut where records begin."""
    first = piece.position
    while first < piece.end:
        record = (first - store.first) // grid.samples
        last = min(piece.end, store.first + (record + 1) * grid.samples)
        yield piece.part(first - piece.position, last - piece.position)
        first = last


def _missing(store: Store, grid: _Grid) -> NDArray[np.int32]:
    shape = len(store.description.channels), grid.samples
    return np.full(shape, -(1 << (8 * grid.width - 1)), np.int32)


# Time-stamped annotation lists, 2.2 of the standard


def _told(store: Store, grid: _Grid, record: _Record) -> bytes:
    fs = store.description.fs
    start = _fraction(store)
    lists = [f"+{_seconds(start + record.number * grid.samples / fs)}\x14\x14\0"]
    if record.number == 0:
        lists += [f"+{_seconds(start)}\x14{line}\x14\0" for line in [*provenance(store), f"fs: {fs:.12g}"]]
    for note in record.notes:
        duration = f"\x15{_seconds(note.samples / fs)}" if note.samples else ""
        lists.append(f"+{_seconds(start + (note.position - store.first) / fs)}{duration}\x14{plain(note.text)}\x14\0")
    return "".join(lists).encode()


def _seconds(value: float) -> str:
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return text or "0"


def _fraction(store: Store) -> float:
    """The part of a second at which the first record begins; the header's time has whole ones."""
    return store.started.microsecond // 1000 / 1000


# Bytes


def _write_record(file: BinaryIO, store: Store, grid: _Grid, record: _Record) -> None:
    whole = np.ascontiguousarray(record.counts, "<i4").view(np.uint8).reshape(-1, 4)
    file.write(np.ascontiguousarray(whole[:, : grid.width]).tobytes())
    file.write(_told(store, grid, record).ljust(grid.notes, b"\0"))


def _header(store: Store, grid: _Grid, records: int, continuous: bool) -> bytes:
    about, bdf = store.description, grid.width == 3
    start = store.started - timedelta(microseconds=store.started.microsecond)
    day = f"{start.day:02}-{_MONTHS[start.month - 1]}-{start.year}"
    mark = f" {_MARK}" if about.synthetic else ""
    kind = ("BDF" if bdf else "EDF") + ("+C" if continuous else "+D")
    signals = [*about.channels, None]
    low, high = -(1 << (8 * grid.width - 1)), (1 << (8 * grid.width - 1)) - 1
    fields = [
        (b"\xffBIOSEMI" if bdf else b"0       "),
        _ascii("X X X X", 80),
        _ascii(f"Startdate {day} X X {'_'.join(about.device.split())[:28] or 'X'}{mark}", 80),
        _ascii(start.strftime("%d.%m.%y"), 8),
        _ascii(start.strftime("%H.%M.%S"), 8),
        _ascii(256 * (len(signals) + 1), 8),
        _ascii(kind, 44),
        _ascii(records, 8),
        _ascii(grid.duration, 8),
        _ascii(len(signals), 4),
    ]
    annotations = "BDF Annotations" if bdf else "EDF Annotations"
    fields += [_ascii(annotations if c is None else _label(c.lead), 16) for c in signals]
    fields += [_ascii("", 80) for _ in signals]
    fields += [_ascii("" if c is None else "mV", 8) for c in signals]
    fields += [_ascii(-1 if c is None else _number((low - c.offset) * c.mv_per_count), 8) for c in signals]
    fields += [_ascii(1 if c is None else _number((high - c.offset) * c.mv_per_count), 8) for c in signals]
    fields += [_ascii(low, 8) for _ in signals] + [_ascii(high, 8) for _ in signals]
    fields += [_ascii("", 80) for _ in signals]
    fields += [_ascii(grid.notes // grid.width if c is None else grid.samples, 8) for c in signals]
    return b"".join([*fields, b" " * (32 * len(signals))])


def _label(lead: str) -> str:
    return lead if lead.startswith("CH") else f"ECG {lead}"


def _number(value: float) -> str:
    """As exact as eight characters are."""
    for digits in range(7, 0, -1):
        text = f"{value:.{digits}g}"
        if "e" in text:
            text = np.format_float_positional(float(text), trim="-")
        if len(text) <= 8:
            return text
    raise InputError(f"a physical limit of {value:g} mV does not fit into EDF; convert to WFDB or CSV")


def _ascii(value: object, width: int) -> bytes:
    return plain(str(value)).encode()[:width].ljust(width)
