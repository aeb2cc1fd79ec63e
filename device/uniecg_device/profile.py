"""Device profiles: one TOML file says everything about a device, and the native framer executes it.

Bytes of a frame count from 0; negative ones count from its end. A number inside a frame is given
either as `bits`, runs of [byte, high bit, low bit] joined most significant first, or as `byte` and
`type`, such as "i24be".
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from uniecg_device import _native
from uniecg_device.errors import ProfileError
from uniecg_device.signals import LEADS

FOLDER = Path(__file__).parent / "profiles"
_MAX_FILE = 1 << 18

Byte = Annotated[int, Meta(ge=0, le=255)]
Bit = Annotated[int, Meta(ge=0, le=7)]
Offset = Annotated[int, Meta(ge=-4096, le=4096)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1, le=4096)]
Run = tuple[Offset, Bit, Bit]
NumberType = Literal[
    "u8", "i8", "u16le", "u16be", "i16le", "i16be", "u24le", "u24be", "i24le", "i24be", "i32le", "i32be"
]  # fmt: skip


class Plain(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every struct here: immutable, unknown keys refused."""


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
    """A byte of every valid frame: (byte & mask) == value."""

    byte: Offset
    value: Byte
    mask: Byte = 255

    def __post_init__(self) -> None:
        if self.value & ~self.mask:
            raise ValueError(f"value {self.value:#04x} has bits outside the mask {self.mask:#04x}")


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
    """Tells data frames, whose kind is `data`, from messages such as acknowledgements."""

    data: int


class Counter(Number, frozen=True, kw_only=True):
    """Counts data frames 0 .. modulus - 1, so that lost ones are seen."""

    modulus: Annotated[int, Meta(ge=2)]


class Checksum(Plain, frozen=True):
    """Over the bytes `first` to `last` inclusive; `invert` where the complement is sent."""

    kind: Literal["sum8", "xor8"]
    byte: Offset
    first: Offset
    last: Offset
    invert: bool = False


class Frame(Plain, frozen=True, kw_only=True):
    """What a frame looks like. `length` is fixed, or counted in the frame."""

    sync: str
    length: Count | Length
    header: tuple[Match, ...] = ()
    kind: Kind | None = None
    counter: Counter | None = None
    checksum: Checksum | None = None
    footer: tuple[Match, ...] = ()
    samples: Count = 1
    stride: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if any(byte is None for byte in parse_pattern(self.sync)):
            raise ValueError("sync bytes are all known, `??` has no place there")

    @property
    def data_length(self) -> int:
        """Bytes of a frame that carries samples."""
        return self.length if isinstance(self.length, int) else self.length.data


class Port(Plain, frozen=True):
    """The serial line."""

    baud: Annotated[int, Meta(ge=50, le=12_000_000)]


class Usb(Plain, frozen=True):
    """A USB port that this device shows up as; `product` and `serial` are parts of what it says of itself."""

    vid: Annotated[int, Meta(ge=0, le=0xFFFF)]
    pid: Annotated[int, Meta(ge=0, le=0xFFFF)]
    product: str = ""
    serial: str = ""


class Scale(Plain, frozen=True):
    """millivolts = (count - offset) / counts_per_mv, and how well that is known."""

    counts_per_mv: Positive
    offset: float
    confidence: Literal["low", "medium", "high"]
    provenance: str


class Electrode(Plain, frozen=True):
    """The bit that tells whether a channel's electrode is on, and its value while it is."""

    byte: Offset
    bit: Bit
    on: Annotated[int, Meta(ge=0, le=1)] = 1


class Channel(Number, frozen=True, kw_only=True):
    """A lead as it lies in the frame."""

    lead: str
    electrode: Electrode | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lead not in LEADS:
            raise ValueError(f"lead {self.lead!r} is none of {' '.join(LEADS)}")


class Command(Plain, frozen=True):
    """Bytes to the device and what it answers, as hex; `??` is any byte, and 00 when sent.

    wait: seconds to wait for the answer, or, where none is declared, for the line to fall quiet.
    """

    name: str
    send: str
    reply: str | None = None
    wait: Annotated[float, Meta(ge=0, le=10)] = 0.5

    def __post_init__(self) -> None:
        parse_pattern(self.send)
        if self.reply is not None:
            parse_pattern(self.reply)


class Profile(Plain, frozen=True, kw_only=True):
    """Everything about one device. `open` and `close` name the commands sent then, in order.

    wilson_leads: leads whose electrodes form Wilson's central terminal; chest leads are unusable
    while one of them is off. usb: the USB ports it shows up as; a bare USB-serial chip names no device.
    """

    name: str
    title: str
    fs: Annotated[float, Meta(gt=0, le=100_000)]
    port: Port
    frame: Frame
    scale: Scale
    channel: Annotated[tuple[Channel, ...], Meta(min_length=1, max_length=32)]
    command: tuple[Command, ...] = ()
    open: tuple[str, ...] = ()
    close: tuple[str, ...] = ()
    wilson_leads: tuple[str, ...] = ()
    usb: tuple[Usb, ...] = ()
    sources: tuple[str, ...] = ()
    notes: str = ""

    def __post_init__(self) -> None:
        if len(set(self.leads)) != len(self.leads):
            raise ValueError("two channels have the same lead")
        known = {command.name for command in self.command}
        unknown = [name for name in self.open + self.close if name not in known]
        if unknown:
            raise ValueError(f"no [[command]] is named {unknown[0]!r}")
        absent = [lead for lead in self.wilson_leads if lead not in self.leads]
        if absent:
            raise ValueError(f"wilson_leads names {absent[0]!r}, which no channel carries")

    @property
    def leads(self) -> tuple[str, ...]:
        """Leads that the device sends, in its channel order."""
        return tuple(channel.lead for channel in self.channel)

    def find_command(self, name: str) -> Command | None:
        return next((command for command in self.command if command.name == name), None)

    def make_framer(self, ring_samples: int) -> _native.Framer:
        """A native framer for this grammar. Raises ValueError where the grammar contradicts itself."""
        frame, length = self.frame, self.frame.length
        counted = {} if isinstance(length, int) else {
            "length": length.runs, "length_adds": length.adds, "min_length": length.min, "max_length": length.max,
        }  # fmt: skip
        return _native.Framer(
            sync=bytes(byte or 0 for byte in parse_pattern(frame.sync)),
            ring_samples=ring_samples,
            channels=[_native_channel(channel, self.scale) for channel in self.channel],
            fixed_length=length if isinstance(length, int) else 0,
            header=[(match.byte, match.mask, match.value) for match in frame.header],
            footer=[(match.byte, match.mask, match.value) for match in frame.footer],
            checksum=_native_checksum(frame.checksum),
            kind=frame.kind.runs if frame.kind else [],
            data_kind=frame.kind.data if frame.kind else 0,
            counter=frame.counter.runs if frame.counter else [],
            counter_modulus=frame.counter.modulus if frame.counter else 0,
            samples_per_frame=frame.samples,
            sample_stride=frame.stride,
            **counted,  # type: ignore[arg-type]
        )


def _native_channel(
    channel: Channel, scale: Scale
) -> tuple[list[tuple[int, int, int]], bool, float, float, tuple[int, int, int] | None]:
    flag = channel.electrode
    electrode = (flag.byte, flag.bit, flag.on) if flag else None
    return channel.runs, channel.is_signed, scale.offset, 1 / scale.counts_per_mv, electrode


def _native_checksum(checksum: Checksum | None) -> tuple[int, int, int, int, bool]:
    if checksum is None:
        return _native.CHECKSUM_NONE, 0, 0, 0, False
    kind = {"sum8": _native.CHECKSUM_SUM8, "xor8": _native.CHECKSUM_XOR8}[checksum.kind]
    return kind, checksum.byte, checksum.first, checksum.last, checksum.invert


def parse_pattern(text: str) -> list[int | None]:
    """Bytes written as hex pairs apart, None for `??`. Raises ValueError."""
    words = text.split()
    if not words or not all(re.fullmatch(r"[0-9A-Fa-f]{2}|\?\?", word) for word in words):
        raise ValueError(f"bytes are written as hex pairs such as 'E8 ?? 8E', found {text[:40]!r}")
    return [None if word == "??" else int(word, 16) for word in words]


def profile_names() -> list[str]:
    """Profiles that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_profile(name_or_path: str | Path) -> Profile:
    """The built-in profile of that name, or the profile in that TOML file.

    Raises ProfileError, naming the file and where possible the line.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml" and len(path.parts) == 1:
        if str(name_or_path) not in profile_names():
            known = ", ".join(profile_names())
            raise ProfileError(f"no device profile is named {name_or_path!s}: expected one of {known}, or a .toml file")
        path = FOLDER / f"{name_or_path}.toml"
    try:
        text = _read_text(path)
        return parse_profile(text)
    except OSError as error:
        raise ProfileError(f"cannot read the device profile {path}: {error.strerror or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{path} is not valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `")
        where = where.rstrip("`")
        raise ProfileError(f"{_place(path, text, where)}: {message}") from error
    except ValueError as error:
        channel = re.match(r"channel (\d+)", str(error))
        where = f"$.channel[{channel[1]}]" if channel else "$.frame"
        raise ProfileError(f"{_place(path, text, where)}: {error}") from error


def parse_profile(text: str) -> Profile:
    """Raises TOMLDecodeError, msgspec.ValidationError, or ValueError where the grammar contradicts itself."""
    profile = msgspec.convert(tomllib.loads(text), Profile)
    profile.make_framer(ring_samples=1)
    return profile


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_MAX_FILE + 1)
    if len(content) > _MAX_FILE:
        raise ProfileError(f"{path} is larger than {_MAX_FILE} bytes, which no device profile needs")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ProfileError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _place(path: Path, text: str, where: str) -> str:
    """File, line and key, as far as the key's line can be found."""
    line = _line_of(text, where)
    key = where.removeprefix("$").removeprefix(".")
    return f"{path}" + (f", line {line}" if line else "") + (f", {key}" if key else "")


def _line_of(text: str, where: str) -> int | None:
    """The line of the innermost part of `$.table[2].key` that stands at the start of a line."""
    lines = text.splitlines()
    start, end, found = 0, len(lines), None
    for name, index in re.findall(r"\.(\w+)(?:\[(\d+)\])?", where):
        tables = [n for n in range(start, end) if re.match(rf"\[+\s*{name}\s*\]+", lines[n])]
        keys = [n for n in range(start, end) if re.match(rf"\s*{name}\s*=", lines[n])]
        hits = tables or keys
        if not hits:
            break
        found = hits[min(int(index or 0), len(hits) - 1)]
        start = found + 1
        end = next((n for n in range(start, len(lines)) if lines[n].startswith("[")), len(lines))
    return None if found is None else found + 1
