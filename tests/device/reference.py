"""The framer's rules once more, in the plainest Python, to hold the native one against."""

from __future__ import annotations

from dataclasses import dataclass, field

from uniecg_device.profile import Match, Number, Profile, parse_pattern


@dataclass
class Parsed:
    """What a byte stream holds; `tail` bytes at its end are undecided."""

    samples: list[list[int]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    frames: int = 0
    skipped_bytes: int = 0
    resyncs: int = 0
    bad_headers: int = 0
    bad_footers: int = 0
    bad_checksums: int = 0
    counter_gaps: int = 0
    lost_samples: int = 0
    tail: int = 0


def read_number(frame: bytes, number: Number, shift: int = 0) -> int:
    bits = "".join(f"{frame[byte + shift]:08b}"[7 - high : 8 - low] for byte, high, low in number.runs)
    value = int(bits, 2)
    return value - (1 << len(bits)) if number.is_signed and bits[0] == "1" else value


def parse(profile: Profile, data: bytes) -> Parsed:
    found, at, skipped, counter = Parsed(), 0, False, None
    while at < len(data):
        verdict, frame = examine(profile, data[at:])
        if verdict == "undecided":
            break
        if verdict != "frame":
            at, skipped = at + 1, True
            found.skipped_bytes += 1
            if verdict != "no header":
                setattr(found, verdict, getattr(found, verdict) + 1)
            continue
        at += len(frame)
        found.resyncs += skipped and found.frames + len(found.messages) > 0
        skipped = False
        if profile.frame.kind is not None and read_number(frame, profile.frame.kind) != profile.frame.kind.data:
            found.messages.append(frame)
            continue
        counter = accept(profile, frame, counter, found)
    found.tail = len(data) - at
    return found


def accept(profile: Profile, frame: bytes, previous: int | None, found: Parsed) -> int | None:
    layout, counter = profile.frame, None
    position = found.positions[-1] + 1 if found.positions else 0
    if layout.counter is not None:
        counter = read_number(frame, layout.counter)
        missing = 0 if previous is None else (counter - previous - 1) % layout.counter.modulus
        found.counter_gaps += missing > 0
        found.lost_samples += missing * layout.samples
        position += missing * layout.samples
    found.frames += 1
    for k in range(layout.samples):
        found.samples.append([read_number(frame, channel, k * layout.stride) for channel in profile.channel])
        found.positions.append(position + k)
    return counter


def examine(profile: Profile, data: bytes) -> tuple[str, bytes]:
    layout = profile.frame
    sync = bytes(byte or 0 for byte in parse_pattern(layout.sync))
    if not data.startswith(sync[: len(data)]):
        return "no header", b""
    if len(data) < len(sync):
        return "undecided", b""
    if not all(holds(match, data) for match in layout.header if 0 <= match.byte < len(data)):
        return "bad_headers", b""
    if isinstance(layout.length, int):
        length = layout.length
    else:
        if len(data) <= max(byte for byte, _, _ in layout.length.runs):
            return "undecided", b""
        length = read_number(data, layout.length) + layout.length.adds
        if not layout.length.min <= length <= layout.length.max:
            return "bad_headers", b""
    if len(data) < length:
        return "undecided", b""
    return examine_whole(profile, data[:length])


def examine_whole(profile: Profile, frame: bytes) -> tuple[str, bytes]:
    layout = profile.frame
    if not all(holds(match, frame) for match in layout.footer):
        return "bad_footers", b""
    if layout.checksum is not None and not checksum_holds(profile, frame):
        return "bad_checksums", b""
    is_data = layout.kind is None or read_number(frame, layout.kind) == layout.kind.data
    if layout.counter is not None and is_data and read_number(frame, layout.counter) >= layout.counter.modulus:
        return "bad_headers", b""
    return "frame", frame


def checksum_holds(profile: Profile, frame: bytes) -> bool:
    checksum = profile.frame.checksum
    assert checksum is not None
    total = 0
    for byte in frame[checksum.first % len(frame) : checksum.last % len(frame) + 1]:
        total = total + byte if checksum.kind == "sum8" else total ^ byte
    return frame[checksum.byte] == ((~total if checksum.invert else total) & 0xFF)


def holds(match: Match, frame: bytes) -> bool:
    return frame[match.byte] & match.mask == match.value
