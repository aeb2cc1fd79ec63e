"""WFDB records: a lean reader of headers and of formats 16, 24, 32 and 212; the rest goes to the wfdb package.

Layout: https://physionet.org/physiotools/wag/header-5.htm and signal-5.htm. Every number of a header is checked
before memory is taken: here against the size of the signal file, for the wfdb package against what fits in memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError

_LARGEST_HEADER = 1 << 20
_LARGEST_SKEW = 1 << 16  # of tape recorders: the heads stood samples apart
_PLAIN_NAME = re.compile(r"^[^/\\:\0]+$")
_FORMAT = re.compile(r"^(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?$")
_GAIN = re.compile(r"^([-+0-9.eE]+)?(?:\((-?\d+)\))?(?:/(\S+))?$")
_INVALID = {16: -(1 << 15), 24: -(1 << 23), 32: -(1 << 31), 212: -(1 << 11)}


@dataclass(frozen=True)
class SignalLine:
    """One signal as its header states it: millivolts (or other units) = (count - baseline) / gain."""

    file: str
    format: int
    offset: int
    gain: float
    baseline: int
    units: str
    checksum: int | None
    label: str
    frame: int  # samples per frame
    skew: int  # frames by which it lags


@dataclass(frozen=True)
class Header:
    """A WFDB header. samples is None where the header leaves it to the file's size.

    count: signals of the record. signals: as many, or none where segments describe them in headers of their own.
    """

    fs: float
    samples: int | None
    count: int
    signals: tuple[SignalLine, ...]
    comments: tuple[str, ...]
    segments: bool

    @property
    def lean(self) -> bool:
        """Whether this module can read the signals."""
        layouts = {(s.file, s.format, s.offset) for s in self.signals}
        one_each = len(layouts) == len({s.file for s in self.signals})
        simple = all(s.frame == 1 and s.skew == 0 and s.format in _INVALID for s in self.signals)
        return not self.segments and one_each and simple


def read_header(path: Path) -> Header:
    """Parse a `.hea` file. Raises InputError where it is not one."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_HEADER + 1)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None
    if len(text) > _LARGEST_HEADER:
        raise InputError(f"{path.name} is larger than 1 MB; a WFDB header is a few lines of text.")
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines()]
    comments = tuple(line[1:].strip() for line in lines if line.startswith("#"))
    rows = [line for line in lines if line and not line.startswith("#")]
    if not rows:
        raise InputError(f"{path.name} has no record line; it should begin with name, signal count and rate.")
    try:
        name, count, fs, samples = _record_line(rows[0])
        _, segments, announced = name.partition("/")
        if segments and _integer(announced, "number of segments") > len(rows) - 1:
            raise ValueError(f"it announces {announced} segments but lists {len(rows) - 1}")
        signals = () if segments else tuple(_signal_line(row) for row in rows[1 : 1 + count])
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path.name} is not a usable WFDB header: {error}.") from None
    if not segments and len(signals) != count:
        raise InputError(f"{path.name} announces {count} signals but describes {len(signals)}.")
    return Header(fs, samples, count, signals, comments, bool(segments))


def _record_line(line: str) -> tuple[str, int, float, int | None]:
    fields = line.split()
    if len(fields) < 2:
        raise ValueError("its first line lacks the number of signals")
    count = _integer(fields[1], "number of signals")
    fs = _number(re.split(r"[/(]", fields[2])[0], "sampling rate") if len(fields) > 2 else 250.0
    samples = _integer(fields[3], "number of samples") if len(fields) > 3 and fields[3].isdigit() else None
    if not 1 <= count <= 256:
        raise ValueError(f"it announces {count} signals, not 1 to 256")
    if not 0.1 <= fs <= 1e6:
        raise ValueError(f"its sampling rate is {fs:g} Hz")
    return fields[0], count, fs, samples or None


def _signal_line(line: str) -> SignalLine:
    fields = line.split(maxsplit=8)
    if len(fields) < 2:
        raise ValueError(f"signal line {line[:40]!r} lacks a format")
    if not _PLAIN_NAME.match(fields[0]) or fields[0] in ("..", "."):
        raise ValueError(f"signal file {fields[0][:60]!r} lies outside the record's folder")
    form = _FORMAT.match(fields[1])
    if not form:
        raise ValueError(f"unknown signal format {fields[1][:20]!r}")
    skew = _integer(form[3] or "0", "skew")
    if skew > _LARGEST_SKEW:
        raise ValueError(f"a signal lags {skew} samples behind the others")
    gain = _GAIN.match(fields[2]) if len(fields) > 2 else None
    if len(fields) > 2 and not gain:
        raise ValueError(f"unreadable gain {fields[2][:20]!r}")
    zero = _integer(fields[4], "ADC zero") if len(fields) > 4 else 0
    per_unit = _number(gain[1], "gain") if gain and gain[1] else 0.0
    return SignalLine(
        file=fields[0],
        format=_integer(form[1], "format"),
        offset=_integer(form[4] or "0", "byte offset"),
        gain=per_unit or 200.0,  # WFDB: a gain of zero or none means 200 per mV
        baseline=_integer(gain[2], "baseline") if gain and gain[2] else zero,
        units=(gain[3] if gain and gain[3] else "mV"),
        checksum=_integer(fields[6], "checksum") & 0xFFFF if len(fields) > 6 else None,
        label=fields[8].strip() if len(fields) > 8 else "",
        frame=_integer(form[2] or "1", "samples per frame"),
        skew=skew,
    )


def _integer(text: str, what: str) -> int:
    if len(text) > 18:
        raise ValueError(f"its {what} has {len(text)} digits")
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"its {what} is {text!r}") from None


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e12:
        raise ValueError(f"its {what} is {text[:20]!r}")
    return value


def available_samples(path: Path, header: Header) -> int:
    """Samples per signal that the header promises and the files hold.

    Raises InputError for a missing signal file and for one shorter than promised.
    """
    held = []
    for name, signals in _by_file(header).items():
        try:
            size = (path.parent / name).stat().st_size - signals[0].offset
        except OSError:
            raise InputError(f"{path.name} names the signal file {name}, which is not beside it.") from None
        bits = 12 if signals[0].format == 212 else signals[0].format
        held.append(8 * size // bits // len(signals))
    shortest = max(min(held), 0)
    promised = shortest if header.samples is None else header.samples
    if promised > shortest:
        raise InputError(
            f"{path.name} promises {promised} samples per signal but the signal file holds {shortest}; it is truncated."
        )
    return promised


def read_signals(path: Path, header: Header, start: int, stop: int) -> NDArray[np.float32]:
    """Physical values of all signals, float32 (signals, stop - start), NaN where the format marks a sample invalid.

    Raises InputError for a signal file that cannot be read, and where a checksum shows it damaged (whole records only).
    """
    whole = start == 0 and stop == available_samples(path, header)
    result = np.empty((len(header.signals), stop - start), np.float32)
    order = {id(signal): row for row, signal in enumerate(header.signals)}
    for name, signals in _by_file(header).items():
        counts = _counts(path.parent / name, signals[0], len(signals), start, stop)
        for column, signal in enumerate(signals):
            samples = counts[:, column]
            if whole and signal.checksum:  # some writers put 0 instead of counting
                found = int(samples.sum(dtype=np.int64)) & 0xFFFF
                if found != signal.checksum:
                    raise InputError(
                        f"{name} is damaged: signal {signal.label or column} has checksum {found}, "
                        f"its header says {signal.checksum}."
                    )
            row = result[order[id(signal)]]
            exact = np.float32 if samples.dtype == np.int16 else np.float64
            difference = np.subtract(samples, signal.baseline, dtype=exact, casting="unsafe")
            np.divide(difference, exact(signal.gain), out=row, casting="same_kind")
            row[samples == _INVALID[signal.format]] = np.nan
    return result


def _by_file(header: Header) -> dict[str, list[SignalLine]]:
    files: dict[str, list[SignalLine]] = {}
    for signal in header.signals:
        files.setdefault(signal.file, []).append(signal)
    return files


def _counts(
    path: Path, first: SignalLine, signals: int, start: int, stop: int
) -> NDArray[np.int16] | NDArray[np.int32]:
    """Stored integers, shape (stop - start, signals)."""
    low, high = start * signals, stop * signals
    flat: NDArray[np.int16] | NDArray[np.int32]
    if first.format == 212:
        pair = low // 2
        packed = _bytes(path, first.offset + 3 * pair, 3 * ((high + 1) // 2 - pair))
        flat = _unpack_212(packed)[low - 2 * pair :][: high - low]
    else:
        width = first.format // 8
        packed = _bytes(path, first.offset + width * low, width * (high - low))
        if first.format == 16:
            flat = np.frombuffer(packed, "<i2").astype(np.int16)
        elif first.format == 32:
            flat = np.frombuffer(packed, "<i4").astype(np.int32)
        else:
            wide = np.zeros((high - low, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(packed, np.uint8).reshape(-1, 3)
            flat = (wide.view("<i4")[:, 0] >> 8).astype(np.int32)
    return flat.reshape(stop - start, signals)


def _bytes(path: Path, start: int, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(count)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None


def _unpack_212(packed: bytes) -> NDArray[np.int16]:
    """Twelve-bit pairs: low byte, both high nibbles, low byte."""
    padded = packed + b"\0" * (-len(packed) % 3)  # an odd last sample is stored in two bytes
    triples = np.frombuffer(padded, np.uint8).reshape(-1, 3).astype(np.int16)
    values = np.empty((len(triples), 2), np.int16)
    values[:, 0] = triples[:, 0] | (triples[:, 1] & 0x0F) << 8
    values[:, 1] = triples[:, 2] | (triples[:, 1] & 0xF0) << 4
    values[values > 2047] -= 4096
    return values.reshape(-1)
