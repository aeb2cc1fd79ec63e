"""What a converter says beside the counts: where samples are missing, which electrodes are off, where it comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_device.recording_store import Event, Piece, Store
from uniecg_device.signals import SYNTHETIC

_FROM_SAMPLES = frozenset({"gap", "counters"})  # events that the samples themselves tell, or that are but totals


@dataclass(frozen=True)
class Note:
    """Something to say about a position and the samples after it; none where it marks a moment."""

    position: int
    samples: int
    text: str


@dataclass(frozen=True, eq=False)
class Survey:
    """A first look: samples that were received, and per channel the smallest and largest count."""

    samples: int
    low: NDArray[np.int64]
    high: NDArray[np.int64]


def survey(store: Store) -> Survey:
    """Reads the recording once, without keeping it. Raises InputError where it is damaged."""
    channels = len(store.description.channels)
    low, high, samples = np.full(channels, 1 << 32), np.full(channels, -(1 << 32)), 0
    for piece in store.pieces():
        low, high = np.minimum(low, piece.counts.min(axis=1)), np.maximum(high, piece.counts.max(axis=1))
        samples += len(piece.electrodes_off)
    return Survey(samples, low, high)


def annotated(store: Store) -> Iterator[tuple[Piece, list[Note]]]:
    """The pieces in order, each with its notes in order: the gap before it, electrodes, reconnects.

    "gap: 12 samples missing"; "electrodes off: V1 V2" until the next such note, "electrodes on" when none is off.
    """
    end, flags = store.first, 0
    events = (event for event in store.events() if event.kind not in _FROM_SAMPLES)
    event = next(events, None)
    for piece in store.pieces():
        notes = []
        if piece.position > end:
            missing = piece.position - end
            notes.append(Note(end, missing, f"gap: {missing} samples missing"))
        notes += _electrodes(store.description.leads, piece, flags)
        while event is not None and event.position < piece.end:
            notes.append(Note(max(event.position, end), 0, _told(event)))
            event = next(events, None)
        yield piece, sorted(notes, key=lambda note: note.position)
        end, flags = piece.end, int(piece.electrodes_off[-1])


def _electrodes(leads: tuple[str, ...], piece: Piece, before: int) -> Iterator[Note]:
    changes = np.flatnonzero(np.diff(piece.electrodes_off, prepend=np.uint32(before)))
    for k in changes.tolist():
        flags = int(piece.electrodes_off[k])
        off = [lead for bit, lead in enumerate(leads) if flags >> bit & 1]
        yield Note(piece.position + k, 0, f"electrodes off: {' '.join(off)}" if off else "electrodes on")


def _told(event: Event) -> str:
    detail = " ".join(f"{name} {value}" for name, value in event.detail.items())
    return plain(f"{event.kind}: {detail}" if detail else event.kind)[:200]


def provenance(store: Store) -> list[str]:
    """Lines about the recording, the synthetic mark first."""
    about = store.description
    channels = ", ".join(f"{c.lead} (count - {c.offset:.12g}) x {c.mv_per_count:.12g}" for c in about.channels)
    started = store.started.isoformat(timespec="milliseconds")
    lines = [
        f"Device: {about.device}, {about.title}",
        f"Recorded: {started} {about.zone}, by {about.library} on {about.port}",
        f"Millivolts: {channels}",
        f"Scale: confidence {about.scale_confidence}; {about.scale_provenance}",
        "Ended: " + (store.closed.reason if store.closed else "cut off; the last second may be missing"),
    ]
    return [SYNTHETIC] * about.synthetic + [plain(line) for line in lines]


def plain(text: str) -> str:
    """On one line, in printable ASCII, whatever a file from elsewhere holds."""
    return "".join(c if " " <= c <= "~" else "?" for c in " ".join(text.split()))


@contextmanager
def new_files(*paths: Path) -> Iterator[list[BinaryIO]]:
    """Files to write; they appear under their names when all is written, and not at all where something fails.

    Raises InputError where one cannot be written.
    """
    parts = [path.with_name(path.name + ".part") for path in paths]
    files: list[BinaryIO] = []
    try:
        for part in parts:
            files.append(part.open("w+b"))
        yield files
        for file in files:
            file.close()
        for part, path in zip(parts, paths, strict=True):
            os.replace(part, path)
    except OSError as error:
        raise InputError(f"cannot write {paths[0]}: {error.strerror or error}") from error
    finally:
        for file, part in zip(files, parts, strict=False):
            with suppress(OSError):
                file.close()
            with suppress(OSError):
                part.unlink(missing_ok=True)
