"""A profile run backwards: millivolts to counts, counts to the exact bytes that the device would send."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uniecg_device.profile import Match, Number, Profile, parse_pattern


def to_counts(profile: Profile, millivolts: NDArray[np.float32]) -> tuple[NDArray[np.int64], int]:
    """What the device's converter would read, shape (channels, samples), and how many values hit its range.

    NaN reads as the converter's zero.
    """
    scale = profile.scale
    ideal = np.rint(np.nan_to_num(millivolts.astype(np.float64)) * scale.counts_per_mv + scale.offset)
    limits = np.array([channel.range for channel in profile.channel], np.float64)
    counts = np.clip(ideal, limits[:, :1], limits[:, 1:])
    return counts.astype(np.int64), int(np.count_nonzero(counts != ideal))


def encode_frames(
    profile: Profile,
    counts: NDArray[np.integer],
    electrodes_off: NDArray[np.bool_] | None = None,
    first: int = 0,
) -> NDArray[np.uint8]:
    """Data frames, shape (frames, bytes).

    counts: (channels, samples), samples a multiple of the frame's; electrodes_off: the same shape, of
    which a frame shows the first sample. first: number of the first frame, which sets its counter.
    """
    frame = profile.frame
    total = counts.shape[1] // frame.samples
    frames = np.zeros((total, frame.data_length), np.uint8)
    sync = [byte or 0 for byte in parse_pattern(frame.sync)]
    frames[:, : len(sync)] = sync
    for match in frame.header + frame.footer:
        _write_match(frames, match)
    if not isinstance(frame.length, int):
        _write(frames, frame.length, np.full(total, frame.data_length - frame.length.adds))
    if frame.kind is not None:
        _write(frames, frame.kind, np.full(total, frame.kind.data))
    if frame.counter is not None:
        _write(frames, frame.counter, (first + np.arange(total)) % frame.counter.modulus)
    for row, channel in enumerate(profile.channel):
        for k in range(frame.samples):
            _write(frames, channel, counts[row, k :: frame.samples][:total], k * frame.stride)
        if channel.electrode is not None:
            off = np.zeros(total, bool) if electrodes_off is None else electrodes_off[row, :: frame.samples][:total]
            bit = np.where(off, 1 - channel.electrode.on, channel.electrode.on)
            frames[:, channel.electrode.byte] |= (bit << channel.electrode.bit).astype(np.uint8)
    if frame.checksum is not None:
        _write_checksum(profile, frames)
    return frames


def encode_pattern(text: str) -> bytes:
    """A command or answer as it is sent, `??` as 00."""
    return bytes(byte or 0 for byte in parse_pattern(text))


def _write(frames: NDArray[np.uint8], number: Number, values: NDArray[np.integer], shift: int = 0) -> None:
    rest = np.asarray(values, np.int64) & ((1 << number.width) - 1)
    for byte, high, low in reversed(number.runs):
        width = high - low + 1
        frames[:, byte + shift] |= ((rest & ((1 << width) - 1)) << low).astype(np.uint8)
        rest = rest >> width


def _write_match(frames: NDArray[np.uint8], match: Match) -> None:
    frames[:, match.byte] |= np.uint8(match.value)


def _write_checksum(profile: Profile, frames: NDArray[np.uint8]) -> None:
    checksum = profile.frame.checksum
    assert checksum is not None
    size = frames.shape[1]
    covered = frames[:, checksum.first % size : checksum.last % size + 1]
    add = np.add if checksum.kind == "sum8" else np.bitwise_xor
    total = add.reduce(covered, axis=1, dtype=np.uint8)
    frames[:, checksum.byte] = ~total if checksum.invert else total
