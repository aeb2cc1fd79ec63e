"""How many counts a known signal makes, and the profile that says so.

The scale that follows is written into a copy of the device's profile; all else of its text stays.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from uniecg_device.counts import Samples
from uniecg_device.device import open_device
from uniecg_device.errors import InputError, ProfileError
from uniecg_device.known_signal import Fit, fit_sine, fit_square
from uniecg_device.profile import FOLDER, Channel, Profile, load_profile, parse_profile
from uniecg_device.recording_store import open_store
from uniecg_device.signals import LEADS

_SETTLE_SECONDS = 1.0  # left out at a device's start
_AGREE = 0.02  # by which channels of one scale may differ
_CLIPPED = 0.001  # of the samples may touch the converter's ends


@dataclass(frozen=True)
class Applied:
    """What was put on the electrodes: a square wave, or with `hz` a sine, of so many millivolts from peak to peak.

    source: the generator, in words, for the profile's provenance. Raises InputError.
    """

    millivolts: float
    hz: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        for value, what in ((self.millivolts, "millivolts"), (self.hz, "Hz")):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"expected a signal of more than 0 {what}, found {value:g}")

    def __str__(self) -> str:
        kind = "square wave" if self.hz is None else f"sine of {self.hz:g} Hz"
        return f"{kind}, {self.millivolts:g} mV peak to peak" + (f" ({self.source})" if self.source else "")


@dataclass(frozen=True)
class Measured:
    """A channel's scale as measured, and as the profile has it (`expected`)."""

    lead: str
    counts_per_mv: float
    expected: float
    fit: Fit


# What a device sends


def capture(profile: Profile, port: str, seconds: float) -> Samples:
    """The longest stretch without a gap in `seconds` of a device at this port, after a second to settle.

    Raises DeviceError where the device does not open or goes away.
    """
    tap = _Tap()
    wanted = round(profile.fs * (seconds + _SETTLE_SECONDS))
    with open_device(profile, port, reconnect=0, tap=tap) as device:
        for _ in device:
            if sum(len(samples.numbers) for samples in tap.arrived) >= wanted:
                break
    return _longest(tap.arrived, round(profile.fs * _SETTLE_SECONDS))


def recorded(path: str | Path, profile: Profile, seconds: float) -> Samples:
    """The same from the beginning of a recording of that device. Raises InputError."""
    with open_store(path) as store:
        about = store.description
        if about.leads != profile.leads or about.fs != profile.fs:
            raise InputError(
                f"expected a recording of {profile.name}, {' '.join(profile.leads)} at {profile.fs:g} Hz; found one of "
                f"{about.device}, {' '.join(about.leads)} at {about.fs:g} Hz. Name its profile with --device"
            )
        last = store.first + round(profile.fs * (seconds + _SETTLE_SECONDS))
        pieces = [
            Samples(piece.counts, piece.electrodes_off, numbers, numbers)
            for piece in store.pieces(store.first, last)
            for numbers in [np.arange(piece.position, piece.end)]
        ]
    return _longest(pieces, round(profile.fs * _SETTLE_SECONDS))


@dataclass
class _Tap:
    """Keeps what a device sends."""

    arrived: list[Samples] = field(default_factory=list)

    def connected(self) -> int:
        return 0

    def wire(self, data: bytes) -> None:
        pass

    def samples(self, connection: int, samples: Samples) -> None:
        self.arrived.append(samples)

    def waiting(self) -> None:
        pass


def _longest(arrived: Sequence[Samples], skip: int) -> Samples:
    """The longest stretch without a gap behind the first `skip` samples."""
    numbers = np.concatenate([np.empty(0, np.int64), *(samples.numbers for samples in arrived)])[skip:]
    if not len(numbers):
        raise InputError(
            f"expected more than {_SETTLE_SECONDS:g} s of samples, found less; measure longer with --seconds"
        )
    edges = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), len(numbers)]
    first, last = max(pairwise(edges), key=lambda edge: edge[1] - edge[0])
    part = slice(skip + first, skip + last)
    counts = np.concatenate([samples.counts for samples in arrived], axis=1)[:, part]
    off = np.concatenate([samples.electrodes_off for samples in arrived])[part]
    return Samples(counts, off, numbers[first:last], numbers[first:last])


# Measuring


def measure(profile: Profile, samples: Samples, applied: Applied, leads: Sequence[str] = ()) -> list[Measured]:
    """The scale of these leads, of all that are none of CH1 .. where none is named.

    Raises InputError, naming the lead, where it does not carry the signal, is clipped, too noisy, or its electrode off.
    """
    unknown = [lead for lead in leads if lead not in profile.leads]
    if unknown:
        raise InputError(f"expected --lead out of {' '.join(profile.leads)}, found {unknown[0]}")
    leads = leads or [lead for lead in profile.leads if lead in LEADS] or profile.leads
    return [
        _measure_channel(profile, samples, applied, number, channel)
        for number, channel in enumerate(profile.channel)
        if channel.lead in leads
    ]


def _measure_channel(profile: Profile, samples: Samples, applied: Applied, number: int, channel: Channel) -> Measured:
    counts, (low, high) = samples.counts[number], channel.range
    try:
        off = np.count_nonzero(samples.electrodes_off >> np.uint32(number) & 1)
        if off:
            raise InputError(f"the electrode is off in {off} of {len(counts)} samples; connect it and measure again")
        clipped = np.count_nonzero((counts <= low) | (counts >= high))
        if clipped > _CLIPPED * len(counts):
            raise InputError(
                f"clipped: {clipped} of {len(counts)} samples lie at an end of the converter's range, {low} .. {high}; "
                "apply a smaller signal and say so"
            )
        fit = fit_square(counts, profile.fs) if applied.hz is None else fit_sine(counts, profile.fs, applied.hz)
    except InputError as error:
        raise InputError(f"lead {channel.lead}: {error}") from None
    return Measured(channel.lead, fit.counts / applied.millivolts, profile.scale_of(channel)[0], fit)


# The profile


def calibrated(
    text: str, measured: Sequence[Measured], applied: Applied, day: date, *, per_channel: bool = False
) -> str:
    """A profile's text with the measured scale, comments and all else kept; what is replaced becomes a comment.

    The channels that use [scale] get one number, their median; those with a `counts_per_mv` of their own, and with
    `per_channel` all that were measured, get theirs. Zero millivolts (`offset`) stays as it was: neither signal tells
    it. Raises InputError where channels of one scale disagree, ProfileError where the text's layout is not understood.
    """
    profile = parse_profile(text)
    found = {one.lead: one for one in measured}
    own = {channel.lead for channel in profile.channel if channel.counts_per_mv is not None}
    sharing = [one for one in measured if one.lead not in own]
    if not per_channel:
        _check_agreement(sharing)
    channels = [
        {"counts_per_mv": _number(found[lead].counts_per_mv)} if lead in found and (per_channel or lead in own) else {}
        for lead in profile.leads
    ]
    edited = _edit(text, _new_scale(profile, measured, sharing, applied, day), channels)
    parse_profile(edited)
    return edited


def write_calibrated(path: str | Path, text: str) -> Profile:
    """Write a new profile, and read it again as any program will. Raises InputError, also where the file exists."""
    path = check_out(path)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        if not isinstance(error, FileExistsError):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another name") from error
    return load_profile(path)


def check_out(path: str | Path) -> Path:
    """A path that a profile can be written to. Raises InputError where something is there, or it is no .toml."""
    path = Path(path)
    if path.suffix != ".toml":
        raise InputError(f"a profile is written to a .toml file, not to {path.name}; call it {path.stem}.toml")
    if path.resolve().parent == FOLDER.resolve():
        raise InputError(f"{path.name} would lie among the built-in profiles, which stay as they are; write elsewhere")
    if path.exists() or path.is_symlink():
        raise InputError(f"{path} exists already and is not overwritten; choose another name")
    if not path.absolute().parent.is_dir():
        raise InputError(f"expected a folder at {path.absolute().parent}, found none; make it, or write elsewhere")
    return path


def _check_agreement(sharing: Sequence[Measured]) -> None:
    values = [one.counts_per_mv for one in sharing]
    if values and max(values) > (1 + _AGREE) * min(values):
        listed = ", ".join(f"{one.lead} {one.counts_per_mv:.5g}" for one in sharing)
        raise InputError(
            f"expected counts per mV within {100 * _AGREE:g} % of each other on channels of one scale, found {listed}. "
            "Where leads see different parts of the generator's signal, name with --lead those that see all of it; "
            "where the channels themselves differ, say --per-channel"
        )


def _new_scale(
    profile: Profile, measured: Sequence[Measured], sharing: Sequence[Measured], applied: Applied, day: date
) -> dict[str, Any]:
    """The keys of [scale] that change; where no channel that uses it was measured, only its provenance."""
    old = profile.scale
    each = "; ".join(f"{m.lead} {m.counts_per_mv:.6g}, {100 * m.fit.residual:.2f} %" for m in measured)
    told = (
        f"Measured on {day.isoformat()} with a {applied}, {measured[0].fit.cycles:g} cycles. Counts per mV, and rms "
        f"residual as a part of the peak-to-peak signal: {each}."
    )
    if not sharing:
        return {"provenance": _clean(f"{old.provenance.strip()} {told}")}
    names = {one.lead for one in sharing}
    others = [c.lead for c in profile.channel if c.counts_per_mv is None and c.lead not in names]
    if others:
        told += f" Not measured, and taken to be the same: {', '.join(others)}."
    value = float(_number(float(np.median([one.counts_per_mv for one in sharing]))))
    new: dict[str, Any] = {
        "counts_per_mv": value,
        "basis": "measured",
        "confidence": "medium" if others else "high",
        "provenance": _clean(told),
    }
    if abs(value / old.counts_per_mv - 1) > _AGREE:
        before = f"Before, this profile said {old.counts_per_mv:.6g} counts per mV ({old.basis})."
        new["disagreement"] = _clean(before)
    return new


def _number(value: float) -> float:
    """Six digits, which is more than any generator is worth."""
    return float(f"{value:.6g}")


def _clean(text: str) -> str:
    """One line that TOML takes as it is."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))


def _edit(text: str, scale: dict[str, Any], channels: Sequence[dict[str, Any]]) -> str:
    """The text with these keys of [scale] and of the channels, in order, replaced or added."""
    replaced = scale.keys() | ({"disagreement"} if "basis" in scale else set())  # a measurement settles it
    statements: list[str] = []
    table, number = "", -1
    for statement, parsed in _statements(text):
        key = next(iter(parsed), "")
        if statement.lstrip().startswith("["):
            table = "scale" if parsed == {"scale": {}} else "channel" if parsed == {"channel": [{}]} else ""
            number += table == "channel"
            statements += [statement, *(_assignments(scale) if table == "scale" else [])]
        else:
            new = channels[number] if table == "channel" and number < len(channels) else {}
            old = key in replaced if table == "scale" else key in new
            statements.append("\n".join(f"# {line}" for line in statement.split("\n")) if old else statement)
            statements += _assignments(new) if table == "channel" and key == "lead" else []
    edited = "\n".join(statements)
    _check_edit(text, edited, scale, replaced, channels)
    return edited


def _statements(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each header, assignment, comment and empty line, with what it means alone.

    A statement ends with the first line at which it can be read as TOML, as none may go on behind a complete one.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        lines.append(line)
        with suppress(tomllib.TOMLDecodeError):
            statement = "\n".join(lines)
            yield statement, tomllib.loads(statement)
            lines = []


def _assignments(values: dict[str, Any]) -> list[str]:
    """Lines of TOML: a JSON string or number is one of TOML too."""
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]


def _check_edit(
    text: str, edited: str, scale: dict[str, Any], replaced: set[str], channels: Sequence[dict[str, Any]]
) -> None:
    """Raises ProfileError unless the edited text says what the old one did, but for the scale."""
    wanted = tomllib.loads(text)
    wanted["scale"] = {key: value for key, value in wanted["scale"].items() if key not in replaced} | scale
    wanted["channel"] = [old | new for old, new in zip(wanted["channel"], channels, strict=True)]
    try:
        same = tomllib.loads(edited) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise ProfileError(
            "expected a profile whose scale stands below [scale] and its channels below [[channel]], each key on a "
            "line of its own, found another layout; write it so and calibrate again"
        )
