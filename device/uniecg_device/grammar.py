"""What a device puts on the wire: binary frames with fields down to single bits, or lines of text.

Bytes of a frame count from 0; negative ones count from its end. A number inside a frame is given
either as `bits`, runs of [byte, high bit, low bit] joined most significant first, or as `byte` and
`type`, such as "i24be".
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Byte = Annotated[int, Meta(ge=0, le=255)]
Bit = Annotated[int, Meta(ge=0, le=7)]
Offset = Annotated[int, Meta(ge=-4096, le=4096)]
Count = Annotated[int, Meta(ge=1, le=4096)]
Column = Annotated[int, Meta(ge=0, le=31)]
Modulus = Annotated[int, Meta(ge=2, le=1 << 32)]
Step = Annotated[int, Meta(ge=1, le=1 << 31)]
Run = tuple[Offset, Bit, Bit]
NumberType = Literal[
    "u8", "i8", "u16le", "u16be", "i16le", "i16be", "u24le", "u24be", "i24le", "i24be",
    "u32le", "u32be", "i32le", "i32be",
]  # fmt: skip

_PATTERN_WORD = re.compile(r"\s*(?:([0-9A-Fa-f]{2})|(\?\?)|'([\x20-\x26\x28-\x7e]+)')(?=\s|$)")


def parse_pattern(text: str) -> list[int | None]:
    """Bytes as hex pairs, `??` for any byte (None here) and ASCII text in single quotes, apart. Raises ValueError."""
    pattern: list[int | None] = []
    rest = text.rstrip()
    while rest:
        word = _PATTERN_WORD.match(rest)
        if word is None:
            break
        pair, _, quoted = word.groups()
        if quoted is not None:
            pattern += quoted.encode("ascii")
        else:
            pattern.append(int(pair, 16) if pair else None)
        rest = rest[word.end() :]
    if rest or not pattern:
        raise ValueError(f"bytes are written as hex pairs and quoted text such as 'E8 ?? 8E', found {text[:40]!r}")
    return pattern


class Plain(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every struct of a profile: immutable, unknown keys refused."""


class Number(Plain, frozen=True, kw_only=True):
    """Where a number lies inside a frame."""

    bits: tuple[Run, ...] = ()
    signed: bool = False
    byte: Offset | None = None
    type: NumberType | None = None

    def __post_init__(self) -> None:
        if bool(self.bits) == (self.type is not None) or (self.type is None) != (self.byte is None):
            raise ValueError("a number is given either as `bits` or as `byte` and `type`")
        if any(low > high for _, high, low in self.bits):
            raise ValueError("a run of bits is [byte, high bit, low bit] with high >= low")
        if self.width > 32:
            raise ValueError(f"a number has at most 32 bits, this one has {self.width}")

    @property
    def runs(self) -> list[tuple[int, int, int]]:
        """Bit runs, most significant first."""
        if self.type is None or self.byte is None:
            return list(self.bits)
        size = int(self.type[1:].rstrip("lbe")) // 8
        order = range(size - 1, -1, -1) if self.type.endswith("le") else range(size)
        return [(self.byte + k, 7, 0) for k in order]

    @property
    def is_signed(self) -> bool:
        return self.signed if self.type is None else self.type.startswith("i")

    @property
    def width(self) -> int:
        """Bits."""
        return sum(high - low + 1 for _, high, low in self.runs)

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value."""
        if self.is_signed:
            return -(1 << (self.width - 1)), (1 << (self.width - 1)) - 1
        return 0, (1 << self.width) - 1


class Match(Plain, frozen=True):
    """A byte that satisfies (byte & mask) == value."""

    byte: Offset
    value: Byte
    mask: Byte = 255

    def __post_init__(self) -> None:
        if self.value & ~self.mask:
            raise ValueError(f"value {self.value:#04x} has bits outside the mask {self.mask:#04x}")

    def to_json(self) -> list[int]:
        return [self.byte, self.mask, self.value]


class Length(Number, frozen=True, kw_only=True):
    """A length counted in the frame: whole frame = number + adds bytes, `data` of them in data frames."""

    adds: int
    min: Count
    max: Count
    data: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.min <= self.data <= self.max:
            raise ValueError("a data frame's length lies between `min` and `max`")


class Kind(Number, frozen=True, kw_only=True):
    """Tells data frames from messages such as acknowledgements: `packets` are the kinds that carry samples.

    Where there are several, a sample is made of one frame of each, consecutive and in this order.
    """

    packets: Annotated[tuple[Annotated[int, Meta(ge=0, lt=1 << 32)], ...], Meta(min_length=1, max_length=8)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.packets)) != len(self.packets) or max(self.packets) > self.range[1]:
            raise ValueError(f"packets are different numbers up to {self.range[1]}")


class Counter(Number, frozen=True, kw_only=True):
    """Grows by `step` with every data frame, 0 .. modulus - 1, so that lost ones are seen."""

    modulus: Modulus
    step: Step = 1


class Checksum(Plain, frozen=True, kw_only=True):
    """Over the bytes `first` to `last` inclusive; `invert` where the complement is sent.

    crc4 (x^4 + x + 1, initially 0) covers the whole frame and lies in the low half of `byte`.
    """

    kind: Literal["sum8", "xor8", "crc4"]
    byte: Offset
    first: Offset | None = None
    last: Offset | None = None
    invert: bool = False

    def __post_init__(self) -> None:
        covered = self.first is not None and self.last is not None
        if self.kind != "crc4" and not covered:
            raise ValueError(f"{self.kind} needs `first` and `last`, the bytes that it covers")
        if self.kind == "crc4" and (self.first is not None or self.last is not None or self.invert):
            raise ValueError("crc4 covers the whole frame: leave out `first`, `last` and `invert`")

    def to_json(self) -> dict[str, Any]:
        if self.kind == "crc4":
            return {"kind": self.kind, "byte": self.byte}
        return {"kind": self.kind, "byte": self.byte, "first": self.first, "last": self.last, "invert": self.invert}


class Frame(Plain, frozen=True, kw_only=True):
    """What a frame looks like. `length` is fixed, or counted in the frame.

    sync: the bytes it begins with; left out only where checksum and counter find the frame.
    samples, stride: samples in a frame and the bytes from one to the next.
    confirm: further valid frames, counters in step, that must follow before one is believed while
    out of step; for frames whose sync bytes are weak.
    """

    length: Count | Length
    sync: str = ""
    header: tuple[Match, ...] = ()
    kind: Kind | None = None
    counter: Counter | None = None
    checksum: Checksum | None = None
    footer: tuple[Match, ...] = ()
    samples: Count = 1
    stride: Annotated[int, Meta(ge=0, le=4096)] = 0
    confirm: Annotated[int, Meta(ge=0, le=8)] = 0

    def __post_init__(self) -> None:
        if self.sync and None in parse_pattern(self.sync):
            raise ValueError("sync bytes are all known, `??` has no place there")
        if not self.sync and (self.checksum is None or self.counter is None):
            raise ValueError("a frame without sync bytes needs a checksum and a counter to be found by")
        if len(self.packets) > 1 and self.samples > 1:
            raise ValueError("a sample made of several packets cannot stand beside others in a frame")
        self._check_shared_bits()

    def _check_shared_bits(self) -> None:
        """Where the kind is a part of the counter, each sample's packets must follow each other as it counts."""
        if self.kind is None or self.counter is None or not self.kind_is_counted:
            return
        kinds = 1 << self.kind.width
        begin = self.kind.packets[0]
        in_order = self.kind.packets == tuple((begin + k) % kinds for k in range(kinds))
        is_tail = _cells_in_order(self.counter)[-self.kind.width :] == _cells_in_order(self.kind)
        if not (in_order and is_tail and self.counter.modulus % kinds == 0 and self.counter.step == 1):
            raise ValueError("a kind that shares bits with the counter is its lowest bits, all packets in order")

    @property
    def sync_bytes(self) -> bytes:
        return bytes(byte or 0 for byte in parse_pattern(self.sync)) if self.sync else b""

    @property
    def packets(self) -> tuple[int, ...]:
        """Kinds of frames that make a sample; (0,) where there is no kind."""
        return self.kind.packets if self.kind else (0,)

    @property
    def kind_is_counted(self) -> bool:
        """Whether the kind is a part of the counter, as with even and odd sample numbers."""
        return self.kind is not None and self.counter is not None and bool(_cells(self.kind) & _cells(self.counter))

    @property
    def data_length(self) -> int:
        """Bytes of a frame that carries samples."""
        return self.length if isinstance(self.length, int) else self.length.data

    def to_json(self) -> dict[str, Any]:
        """The form that the native framer reads: every number as bit runs."""
        length = self.length
        result: dict[str, Any] = {
            "sync": self.sync_bytes.hex(),
            "length": length
            if isinstance(length, int)
            else {"bits": length.runs, "adds": length.adds, "min": length.min, "max": length.max},
            "header": [match.to_json() for match in self.header],
            "footer": [match.to_json() for match in self.footer],
            "samples": self.samples,
            "stride": self.stride,
            "confirm": self.confirm,
        }
        if self.kind is not None:
            result |= {"kind": self.kind.runs, "packets": self.kind.packets}
        if self.counter is not None:
            result["counter"] = {
                "bits": self.counter.runs, "modulus": self.counter.modulus, "step": self.counter.step,
            }  # fmt: skip
        if self.checksum is not None:
            result["checksum"] = self.checksum.to_json()
        return result


class TextCounter(Plain, frozen=True):
    """The column that grows by `step` with every line, 0 .. modulus - 1."""

    column: Column
    modulus: Modulus
    step: Step = 1


class Text(Plain, frozen=True, kw_only=True):
    """Lines of decimal integers, one sample each, in the place of frames.

    off: the line that stands for a sample with every electrode off. max: the longest line in bytes.
    """

    columns: Annotated[int, Meta(ge=1, le=32)]
    separator: Literal[",", ";", "\t", " ", "|"] = ","
    off: Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[\x20-\x7e]+$")] | None = None
    max: Annotated[int, Meta(ge=2, le=4096)] = 64
    counter: TextCounter | None = None

    def to_json(self) -> dict[str, Any]:
        result: dict[str, Any] = {"separator": self.separator, "columns": self.columns, "max": self.max}
        if self.off is not None:
            result["off"] = self.off
        if self.counter is not None:
            counter = self.counter
            result["counter"] = {"column": counter.column, "modulus": counter.modulus, "step": counter.step}
        return result


def _cells_in_order(number: Number) -> list[tuple[int, int]]:
    """(byte, bit) from the most significant to the least."""
    return [(byte, bit) for byte, high, low in number.runs for bit in range(high, low - 1, -1)]


def _cells(number: Number) -> set[tuple[int, int]]:
    return set(_cells_in_order(number))
