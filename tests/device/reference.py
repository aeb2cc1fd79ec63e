"""The framer's rules once more, in the plainest Python, to hold the native one against.

It takes the whole stream at once, so nothing that it decides can depend on how the bytes arrived.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from uniecg_device.grammar import Counter, Frame, Match, Number, Text, TextCounter
from uniecg_device.profile import Profile

MESSAGE = -1


@dataclass
class Parsed:
    """What a byte stream holds; `tail` bytes at its end are undecided."""

    samples: list[list[int]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    electrodes_off: list[int] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    frames: int = 0
    duplicates: int = 0
    skipped_bytes: int = 0
    resyncs: int = 0
    bad_headers: int = 0
    bad_footers: int = 0
    bad_checksums: int = 0
    counter_gaps: int = 0
    lost_samples: int = 0
    tail: int = 0

    def add(self, rows: list[list[int]], position: int, off: int) -> None:
        expected = self.positions[-1] + 1 if self.positions else 0
        self.counter_gaps += position > expected
        self.lost_samples += position - expected
        for k, row in enumerate(rows):
            self.samples.append(row)
            self.positions.append(position + k)
            self.electrodes_off.append(off)


@dataclass
class Position:
    """Where the last valid frame stood, and what it counted."""

    frame: bytes | None = None  # the last data frame
    found: bool = False
    skipped: int = 0  # bytes since the last valid frame
    number: int = 0  # of the last data frame, among all that were sent
    first_group: int = 0
    group: dict[int, bytes] = field(default_factory=dict)
    group_number: int = 0


def parse(profile: Profile, data: bytes) -> Parsed:
    """Everything that a framer of this profile finds in `data`."""
    if profile.text is not None:
        return parse_lines(profile, profile.text, data)
    layout = profile.frame
    assert layout is not None
    found, at, last = Parsed(), 0, Position()
    while at < len(data):
        verdict, frame = examine(profile, data[at:])
        if verdict == "frame" and not is_expected(layout, last, frame):
            verdict = confirm(profile, data[at:], frame, last)
        if verdict == "undecided":
            break
        if verdict == "frame":
            at += len(frame)
            found.resyncs += last.found and last.skipped > 0
            accept(profile, frame, last, found)
            last.found, last.skipped = True, 0
        else:
            # Without sync bytes every byte could begin a frame: only where one is due is its absence an error.
            if verdict != "no header" and (layout.sync or grid(layout, last)):
                setattr(found, verdict, getattr(found, verdict) + 1)
            at, last.skipped = at + 1, last.skipped + 1
            found.skipped_bytes += 1
    found.tail = len(data) - at
    return found


def examine(profile: Profile, data: bytes) -> tuple[str, bytes]:
    layout = profile.frame
    assert layout is not None
    sync = layout.sync_bytes
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
    assert layout is not None
    if not all(holds(match, frame) for match in layout.header):
        return "bad_headers", b""
    if not all(holds(match, frame) for match in layout.footer):
        return "bad_footers", b""
    if not checksum_holds(layout, frame):
        return "bad_checksums", b""
    packet = packet_of(layout, frame)
    if packet == MESSAGE:
        return "frame", frame
    if len(frame) < bytes_needed(profile, packet):
        return "bad_headers", b""
    if layout.counter is not None and read_number(frame, layout.counter) >= layout.counter.modulus:
        return "bad_headers", b""
    return "frame", frame


def packet_of(layout: Frame, frame: bytes) -> int:
    """Which of a sample's frames this is, or MESSAGE."""
    if layout.kind is None:
        return 0
    kind = read_number(frame, layout.kind)
    return layout.packets.index(kind) if kind in layout.packets else MESSAGE


def bytes_needed(profile: Profile, packet: int) -> int:
    """Bytes that the fields of a data frame reach to."""
    layout = profile.frame
    assert layout is not None
    shift = (layout.samples - 1) * layout.stride
    ends = [] if layout.counter is None else [reach(byte) for byte, _, _ in layout.counter.runs]
    for channel in profile.channel:
        if profile.packet_of(channel) == packet:
            ends += [reach(byte, shift) for byte, _, _ in channel.runs]
            ends += [reach(match.byte) for match in channel.electrode]
    return max(ends, default=0)


def reach(byte: int, shift: int = 0) -> int:
    return byte + shift + 1 if byte >= 0 else -byte


def grid(layout: Frame, last: Position) -> int:
    """How many frames after the last valid one a frame here is, if none in between changed its length; 0: unknown."""
    if not last.found:
        return 0
    if last.skipped == 0:
        return 1
    if not isinstance(layout.length, int) or last.skipped % layout.length:
        return 0
    return last.skipped // layout.length + 1


def is_expected(layout: Frame, last: Position, frame: bytes) -> bool:
    """Whether a frame is believed without looking at those that follow."""
    if layout.confirm == 0:
        return True
    steps = grid(layout, last)
    if packet_of(layout, frame) == MESSAGE or layout.counter is None or last.frame is None:
        return steps == 1
    before, now = read_number(last.frame, layout.counter), read_number(frame, layout.counter)
    return frame == last.frame or (steps > 0 and in_step(layout.counter, before, now, steps))


def confirm(profile: Profile, data: bytes, frame: bytes, valid: Position) -> str:
    """Looks at the frames behind one: valid, next to each other, and their counters in step.

    Next to the last valid frame they may also go on by less than half a turn all together.
    """
    layout = profile.frame
    assert layout is not None
    at, last = len(frame), frame if packet_of(layout, frame) != MESSAGE else None
    gone_on = None
    if layout.counter is not None and last is not None and valid.frame is not None and valid.skipped == 0:
        gone_on = counted(layout.counter, read_number(valid.frame, layout.counter), read_number(frame, layout.counter))
    for _ in range(layout.confirm):
        verdict, following = examine(profile, data[at:]) if at < len(data) else ("undecided", b"")
        if verdict != "frame":
            return verdict if verdict == "undecided" else "bad_headers"
        at += len(following)
        if packet_of(layout, following) == MESSAGE:
            continue
        if last is not None and layout.counter is not None:
            before, now = read_number(last, layout.counter), read_number(following, layout.counter)
            if gone_on is not None:
                gone_on += counted(layout.counter, before, now)
            onward = gone_on is not None and gone_on < layout.counter.modulus // layout.counter.step // 2
            if not onward and not in_step(layout.counter, before, now, 1):
                return "bad_headers"
        last = following
    return "frame"


def accept(profile: Profile, frame: bytes, last: Position, found: Parsed) -> None:
    layout = profile.frame
    assert layout is not None
    packet = packet_of(layout, frame)
    if packet == MESSAGE:
        found.messages.append(frame)
        return
    if layout.counter is not None and frame == last.frame:
        found.duplicates += 1
        return
    found.frames += 1
    packets = len(layout.packets)
    if last.frame is None:
        last.number, last.first_group = packet, int(packet > 0)
    else:
        last.number += advance(layout, last, frame)
        last.number += (packet - last.number) % packets
    if last.number // packets != last.group_number:
        last.group = {}
    last.group_number = last.number // packets
    last.group[packet] = frame
    if len(last.group) == packets and last.group_number >= last.first_group:
        rows, off = decode(profile, last.group)
        found.add(rows, (last.group_number - last.first_group) * layout.samples, off)
    last.frame = frame


def decode(profile: Profile, group: dict[int, bytes]) -> tuple[list[list[int]], int]:
    layout = profile.frame
    assert layout is not None
    places = [(channel, group[profile.packet_of(channel)]) for channel in profile.channel]
    rows = [
        [read_number(frame, channel, k * layout.stride) for channel, frame in places] for k in range(layout.samples)
    ]
    off = sum(
        1 << bit
        for bit, (channel, frame) in enumerate(places)
        if not all(holds(match, frame) for match in channel.electrode)
    )
    return rows, off


def advance(layout: Frame, last: Position, frame: bytes) -> int:
    """Frames from the last data frame to this one."""
    if layout.counter is None or last.frame is None:
        return 1
    before, now = read_number(last.frame, layout.counter), read_number(frame, layout.counter)
    steps = grid(layout, last)
    if steps > 0 and in_step(layout.counter, before, now, steps):
        return steps
    return counted(layout.counter, before, now)


def in_step(counter: Counter, before: int, now: int, frames: int) -> bool:
    """Whether `now` is what stands `frames` after `before`, to within half a step."""
    late = (now - before - frames * counter.step) % counter.modulus
    return 2 * late < counter.step or 2 * (counter.modulus - late) <= counter.step


def counted(counter: Counter | TextCounter, before: int, now: int) -> int:
    """Frames from one counter to another, at least 1."""
    ticks = (now - before) % counter.modulus
    return (ticks + counter.step // 2) // counter.step or (counter.modulus + counter.step // 2) // counter.step


def read_number(frame: bytes, number: Number, shift: int = 0) -> int:
    bits = "".join(f"{frame[byte + shift]:08b}"[7 - high : 8 - low] for byte, high, low in number.runs)
    value = int(bits, 2)
    return value - (1 << len(bits)) if number.is_signed and bits[0] == "1" else value


def holds(match: Match, frame: bytes) -> bool:
    return frame[match.byte] & match.mask == match.value


def checksum_holds(layout: Frame, frame: bytes) -> bool:
    checksum = layout.checksum
    if checksum is None:
        return True
    if checksum.kind == "crc4":
        return frame[checksum.byte] & 0xF == crc4(frame, checksum.byte)
    assert checksum.first is not None and checksum.last is not None
    total = 0
    for byte in frame[checksum.first % len(frame) : checksum.last % len(frame) + 1]:
        total = total + byte if checksum.kind == "sum8" else total ^ byte
    return frame[checksum.byte] == ((~total if checksum.invert else total) & 0xFF)


def crc4(frame: bytes, place: int) -> int:
    """Long division by x^4 + x + 1 of the frame, the CRC's own nibble taken for 0."""
    cleared = bytearray(frame)
    cleared[place] &= 0xF0
    rest = int.from_bytes(cleared, "big")
    for bit in range(8 * len(frame) - 1, 3, -1):
        if rest >> bit & 1:
            rest ^= 0b10011 << (bit - 4)
    return rest


def parse_lines(profile: Profile, text: Text, data: bytes) -> Parsed:
    found = Parsed()
    joining, skipping, seen = True, False, False
    position, before, before_line = 0, None, b""
    *lines, tail = data.split(b"\n")
    for whole in lines:
        line = whole.removesuffix(b"\r")
        off = text.off is not None and line == text.off.encode()
        columns = [] if off else read_columns(text, line)
        fits = len(whole) <= text.max and columns is not None
        now = columns[text.counter.column] if fits and columns and text.counter else None
        if not fits or (now is not None and text.counter and not 0 <= now < text.counter.modulus):
            found.skipped_bytes += len(whole) + 1
            found.bad_headers += not joining
            joining, skipping = False, True
            continue
        found.resyncs += seen and skipping
        joining = skipping = False
        if now is not None and now == before and line == before_line:
            found.duplicates += 1
            continue
        found.frames += 1
        if seen:
            assert text.counter is not None or now is None
            position += counted(text.counter, before, now) if text.counter and None not in (now, before) else 1  # type: ignore[arg-type]
        seen = True
        assert columns is not None
        row = [0 if off else columns[channel.column or 0] for channel in profile.channel]
        found.add([row], position, (1 << len(row)) - 1 if off else 0)
        if now is not None:
            before, before_line = now, line
        elif text.counter is not None and before is not None:
            before = (before + text.counter.step) % text.counter.modulus  # a line that says only "off" counts too
    if len(tail) > text.max:
        found.skipped_bytes += len(tail)
        found.bad_headers += not joining
    else:
        found.tail = len(tail)
    return found


def read_columns(text: Text, line: bytes) -> list[int] | None:
    """The line's numbers, or None."""
    words: Iterable[bytes] = line.split() if text.separator == " " else line.split(text.separator.encode())
    numbers = []
    for word in words:
        digits = word.strip(b" ")
        sign = digits[:1] if digits[:1] in (b"+", b"-") else b""
        digits = digits.removeprefix(sign)
        if not digits or any(byte not in b"0123456789" for byte in digits):
            return None
        numbers.append(-int(digits) if sign == b"-" else int(digits))
        if not -(1 << 31) <= numbers[-1] < 1 << 31:
            return None
    return numbers if len(numbers) == text.columns else None


COMPARED = ("frames", "duplicates", "skipped_bytes", "resyncs", "bad_headers", "bad_footers", "bad_checksums",
            "counter_gaps", "lost_samples")  # fmt: skip


def assert_as_reference(profile: Profile, data: bytes, splits: list[int]) -> None:
    """The native framer, fed in the pieces that these splits make, finds and counts what `parse` does."""
    framer = profile.make_framer(10_000)
    messages = []
    edges = sorted({0, len(data), *(split % (len(data) + 1) for split in splits)})
    for first, last in pairwise(edges):
        framer.push(data[first:last])
        while (message := framer.pull_message()) is not None:
            messages.append(message)
    expected = parse(profile, data)
    counts, electrodes_off, positions = framer.pull_counts(10_000)
    assert counts.T.tolist() == expected.samples
    assert positions.tolist() == expected.positions
    assert electrodes_off.tolist() == expected.electrodes_off
    counters = framer.counters()
    assert {name: counters[name] for name in COMPARED} == {name: getattr(expected, name) for name in COMPARED}
    assert (counters["bytes"], counters["messages"]) == (len(data), len(expected.messages))
    assert counters["samples"] == len(expected.samples)
    if not counters["dropped_messages"]:
        assert messages == [message[:256] for message in expected.messages]
