"""A profile run backwards: millivolts to counts, counts to the exact bytes that the device would send."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uniecg_device.grammar import Checksum, Frame, Match, Number, Text
from uniecg_device.json_lines import to_json_lines
from uniecg_device.profile import Profile, parse_pattern


def to_counts(profile: Profile, millivolts: NDArray[np.float32]) -> tuple[NDArray[np.int64], int]:
    """What the device's converter would read, shape (channels, samples), and how many values hit its range.

    NaN reads as the converter's zero.
    """
    scale = np.array([profile.scale_of(channel) for channel in profile.channel])
    ideal = np.rint(np.nan_to_num(millivolts.astype(np.float64)) * scale[:, :1] + scale[:, 1:])
    limits = np.array([channel.range for channel in profile.channel], np.float64)
    counts = np.clip(ideal, limits[:, :1], limits[:, 1:])
    return counts.astype(np.int64), int(np.count_nonzero(counts != ideal))


def encode_wire(
    profile: Profile,
    counts: NDArray[np.integer],
    electrodes_off: NDArray[np.bool_] | None = None,
    first: int = 0,
) -> list[bytes]:
    """What the device sends for these counts: frames, or lines of text with their ends.

    counts: (channels, samples), samples a multiple of the frame's; electrodes_off: the same shape, of
    which a frame shows the first sample. first: number of the first frame, or group of frames that
    make a sample, which sets the counter.
    """
    if profile.text is not None:
        return _encode_lines(profile, profile.text, counts, electrodes_off, first)
    frames = encode_frames(profile, counts, electrodes_off, first)
    return [frame.tobytes() for frame in frames] if profile.decoder is None else to_json_lines(frames)


def encode_frames(
    profile: Profile,
    counts: NDArray[np.integer],
    electrodes_off: NDArray[np.bool_] | None = None,
    first: int = 0,
) -> NDArray[np.uint8]:
    """Data frames, shape (frames, bytes); arguments as of `encode_wire`, for a profile with [frame]."""
    frame = profile.frame
    assert frame is not None, "a profile of text lines has no frames"
    groups = counts.shape[1] // frame.samples
    whole = np.zeros((groups, len(frame.packets), frame.data_length), np.uint8)
    _write_frame(frame, whole.reshape(-1, frame.data_length), first * len(frame.packets))
    for row, channel in enumerate(profile.channel):
        frames = whole[:, profile.packet_of(channel)]
        for k in range(frame.samples):
            _write(frames, channel, counts[row, k :: frame.samples][:groups], k * frame.stride)
        for match in channel.electrode:
            frames[:, match.byte] |= np.uint8(match.value)
    if electrodes_off is not None:
        for row, channel in enumerate(profile.channel):  # last, as channels may share a flag: off wins
            off = electrodes_off[row, :: frame.samples][:groups]
            _take_off(whole[:, profile.packet_of(channel)], channel.electrode, off)
    frames = whole.reshape(-1, frame.data_length)
    if frame.checksum is not None:
        _write_checksum(frame.checksum, frames)
    return frames


def encode_pattern(text: str) -> bytes:
    """A command or answer as it is sent, `??` as 00."""
    return bytes(byte or 0 for byte in parse_pattern(text))


def _write_frame(frame: Frame, frames: NDArray[np.uint8], first: int) -> None:
    """Everything but samples and checksum. first: number of the first frame."""
    total = len(frames)
    frames[:, : len(frame.sync_bytes)] = np.frombuffer(frame.sync_bytes, np.uint8)
    for match in frame.header + frame.footer:
        frames[:, match.byte] |= np.uint8(match.value)
    if not isinstance(frame.length, int):
        _write(frames, frame.length, np.full(total, frame.data_length - frame.length.adds))
    if frame.kind is not None:
        _write(frames, frame.kind, np.resize(frame.packets, total))
    if frame.counter is not None:
        # A kind that is the counter's lowest bits says where the count begins.
        begin = frame.packets[0] if frame.kind_is_counted else 0
        _write(frames, frame.counter, (begin + first + np.arange(total)) * frame.counter.step % frame.counter.modulus)


def _write(frames: NDArray[np.uint8], number: Number, values: NDArray[np.integer], shift: int = 0) -> None:
    rest = np.asarray(values, np.int64) & ((1 << number.width) - 1)
    for byte, high, low in reversed(number.runs):
        width = high - low + 1
        frames[:, byte + shift] |= ((rest & ((1 << width) - 1)) << low).astype(np.uint8)
        rest = rest >> width


def _take_off(frames: NDArray[np.uint8], flags: tuple[Match, ...], off: NDArray[np.bool_]) -> None:
    for flag in flags:
        frames[off, flag.byte] &= np.uint8(~flag.mask & 0xFF)
        frames[off, flag.byte] |= np.uint8(flag.mask & ~flag.value)


def _write_checksum(checksum: Checksum, frames: NDArray[np.uint8]) -> None:
    if checksum.kind == "crc4":
        frames[:, checksum.byte] |= _crc4(frames)
        return
    assert checksum.first is not None and checksum.last is not None
    size = frames.shape[1]
    covered = frames[:, checksum.first % size : checksum.last % size + 1]
    add = np.add if checksum.kind == "sum8" else np.bitwise_xor
    total = add.reduce(covered, axis=1, dtype=np.uint8)
    frames[:, checksum.byte] = ~total if checksum.invert else total


def _crc4(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Remainder of x^4 + x + 1 over each frame, most significant bit first; the CRC's own place holds 0.

    The four zero bits at a frame's end are those that a CRC appends to its message.
    """
    remainder = np.zeros(len(frames), np.uint8)
    for bit in np.unpackbits(frames, axis=1).T:
        remainder = (remainder << 1) | bit
        remainder ^= np.where(remainder & 0x10, np.uint8(0x13), np.uint8(0))
    return remainder


def _encode_lines(
    profile: Profile,
    text: Text,
    counts: NDArray[np.integer],
    electrodes_off: NDArray[np.bool_] | None,
    first: int,
) -> list[bytes]:
    """One line a sample, ended as Arduino's println does. A line can only tell that some electrode is off."""
    table = np.zeros((counts.shape[1], text.columns), np.int64)
    for row, channel in enumerate(profile.channel):
        table[:, channel.column] = counts[row]
    if text.counter is not None:
        numbers = (first + np.arange(len(table))) * text.counter.step % text.counter.modulus
        table[:, text.counter.column] = numbers
    lines = [text.separator.join(map(str, values)) for values in table.tolist()]
    if text.off is not None and electrodes_off is not None:
        for k in np.flatnonzero(electrodes_off.any(axis=0)):
            lines[k] = text.off
    return [line.encode() + b"\r\n" for line in lines]
