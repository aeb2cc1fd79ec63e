"""WFDB: header, signal file of format 16, 24 or 32, and the annotations `NAME.events`.

https://physionet.org/physiotools/wag/header-5.htm, signal-5.htm, annot-5.htm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from uniecg_device.converters.notes import Note, Survey, annotated, new_files, plain, provenance, survey
from uniecg_device.errors import InputError
from uniecg_device.recording_store import Store

ANNOTATOR = "events"
_FORMATS = (16, 24, 32)
_QUALITY, _SKIP, _AUX = 14, 59, 63
_CHUNK = 1 << 16  # samples of all channels that stand for missing ones, written at once
_MOST_FILLED = 1 << 30  # bytes that stand for missing samples


def write_wfdb(store: Store, path: Path) -> Path:
    """NAME.hea, NAME.dat and NAME.events; a missing sample is WFDB's invalid sample. Raises InputError.

    The format is the smallest that holds the counts beside its invalid sample. Annotations are changes of signal
    quality (`~`, code 14) with their text in the aux field; a plain note at sample 0 would be lost on some readers.
    """
    if path.suffix.lower() != ".hea":
        raise InputError(f"a WFDB record is written to a .hea file, not to {path.name}")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", path.stem):
        raise InputError(f"the WFDB record name {path.stem!r} may hold letters, digits, - and _ only")
    looked = survey(store)
    bits = _format_of(looked)
    missing = (store.span - looked.samples) * len(store.description.channels) * (bits // 8)
    if missing > _MOST_FILLED:
        raise InputError(
            f"{store.path.name} lacks {(store.span - looked.samples) / store.description.fs / 3600:.0f} h between its "
            "first and last sample, which WFDB would fill with invalid samples; convert it to EDF or CSV"
        )
    with new_files(path.with_suffix(".dat"), path.with_suffix(f".{ANNOTATOR}"), path) as (signal, notes, header):
        sums, firsts = _write_signal(store, bits, signal, notes)
        header.write(("\n".join(_header(store, path.stem, bits, sums, firsts)) + "\n").encode())
    return path


def _format_of(looked: Survey) -> int:
    for bits in _FORMATS:
        if looked.low.min() > -(1 << (bits - 1)) and looked.high.max() < 1 << (bits - 1):
            return bits
    return _FORMATS[-1]  # the lowest of all counts then looks invalid, and no note says that it is missing


def _write_signal(store: Store, bits: int, signal: BinaryIO, notes: BinaryIO) -> tuple[list[int], list[int]]:
    """Checksum and first count of each channel."""
    channels, end, said = len(store.description.channels), store.first, 0
    sums, firsts = np.zeros(channels, np.int64), None
    for piece, found in annotated(store):
        for missing in _portions(piece.position - end):
            invalid = np.full((channels, missing), -(1 << (bits - 1)), np.int64)
            signal.write(_encode(invalid, bits))
            sums += invalid.sum(axis=1)
        signal.write(_encode(piece.counts, bits))
        sums += piece.counts.sum(axis=1, dtype=np.int64)
        firsts = piece.counts[:, 0] if firsts is None else firsts
        for note in found:
            said = _write_note(notes, note, note.position - store.first, said)
        end = piece.end
    notes.write(b"\0\0")
    return [int(s) & 0xFFFF for s in sums], [] if firsts is None else firsts.tolist()


def _portions(samples: int) -> Iterator[int]:
    while samples > 0:
        yield min(samples, _CHUNK)
        samples -= _CHUNK


def _encode(counts: NDArray[np.integer], bits: int) -> bytes:
    """Samples of all channels in turn, least significant byte first."""
    whole = np.ascontiguousarray(counts.T, "<i4").view(np.uint8).reshape(-1, 4)
    return np.ascontiguousarray(whole[:, : bits // 8]).tobytes()


def _write_note(file: BinaryIO, note: Note, sample: int, before: int) -> int:
    """One annotation, told from the one before by the samples between; returns its sample."""
    step, words = sample - before, b""
    while step > 1023:  # a skip of four bytes, the high half first; it adds to the next word's own interval
        skipped = min(step, (1 << 31) - 1)
        words += (_SKIP << 10).to_bytes(2, "little")
        words += (skipped >> 16).to_bytes(2, "little") + (skipped & 0xFFFF).to_bytes(2, "little")
        step -= skipped
    words += (_QUALITY << 10 | step).to_bytes(2, "little")
    text = plain(note.text).encode()[:255]
    words += (_AUX << 10 | len(text)).to_bytes(2, "little") + text + b"\0" * (len(text) % 2)
    file.write(words)
    return sample


def _header(store: Store, name: str, bits: int, sums: list[int], firsts: list[int]) -> Iterator[str]:
    about = store.description
    when = store.started.strftime("%H:%M:%S.%f")[:-3] + store.started.strftime(" %d/%m/%Y")
    yield f"{name} {len(about.channels)} {about.fs:.12g} {store.span} {when}"
    for channel, checksum, first in zip(about.channels, sums, firsts, strict=True):
        gain = f"{1 / channel.mv_per_count:.12g}({round(channel.offset)})/mV"
        signed = checksum - (checksum >> 15 << 16)
        yield f"{name}.dat {bits} {gain} {bits} 0 {first} {signed} 0 {channel.lead}"
    for line in provenance(store):
        yield f"# {line}"
    yield f"# Annotations: {name}.{ANNOTATOR}"
