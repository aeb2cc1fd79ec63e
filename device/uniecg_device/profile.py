"""Device profiles: one TOML file says everything about a device, and the native framer executes it.

What lies on the wire is in `grammar`; here stand the rest of a profile and how a file of it is read.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal, cast

import msgspec
from msgspec import Meta

from uniecg_device import _native, typed
from uniecg_device.errors import ProfileError
from uniecg_device.grammar import Column, Frame, Match, Number, Plain, Text
from uniecg_device.grammar import parse_pattern as parse_pattern
from uniecg_device.json_lines import JsonLinesFramer
from uniecg_device.signals import LEADS

FOLDER = Path(__file__).parent / "profiles"
_MAX_FILE = 1 << 18
_INT32 = (-(1 << 31), (1 << 31) - 1)

Positive = Annotated[float, Meta(gt=0)]


class Port(Plain, frozen=True):
    """The serial line. dtr: the level of that line while the port is open; some boards send nothing without it."""

    baud: Annotated[int, Meta(ge=50, le=12_000_000)]
    dtr: bool = True


class Usb(Plain, frozen=True):
    """A USB port that this device shows up as; `product` and `serial` are parts of what it says of itself."""

    vid: Annotated[int, Meta(ge=0, le=0xFFFF)]
    pid: Annotated[int, Meta(ge=0, le=0xFFFF)]
    product: str = ""
    serial: str = ""


class Scale(Plain, frozen=True, kw_only=True):
    """millivolts = (count - offset) / counts_per_mv, and how well that is known.

    basis: where the number comes from: registers that the firmware sets, the data sheet of a part,
    or a measurement. disagreement: what other public sources say instead, where they do.
    """

    counts_per_mv: Positive
    offset: float
    basis: Literal["register setting", "datasheet", "measured"]
    confidence: Literal["low", "medium", "high"]
    provenance: str
    disagreement: str = ""


class Channel(Number, frozen=True, kw_only=True):
    """A lead as it lies in the frame, or in a `column` of a text line.

    lead: out of `LEADS`, or CH and a number for a channel that is no lead: it is received, and
    enters no block. packet: the kind of frame that carries it, where a sample is made of several.
    electrode: on while all of these hold. limits: smallest and largest count of its converter,
    where that is less than what its bits hold. counts_per_mv, offset: where they differ from [scale].
    """

    lead: str
    column: Column | None = None
    packet: int | None = None
    electrode: tuple[Match, ...] = ()
    limits: tuple[int, int] | None = None
    counts_per_mv: Positive | None = None
    offset: float | None = None

    def __post_init__(self) -> None:
        if self.lead not in LEADS and not re.fullmatch(r"CH[1-9]\d?", self.lead):
            known = " ".join(LEADS)
            raise ValueError(f"lead {self.lead!r} is none of {known}, nor CH1 .. CH99 for a channel that is no lead")
        if self.column is None:
            super().__post_init__()
        elif self.bits or self.byte is not None or self.type is not None or self.electrode or self.signed:
            raise ValueError("a column of a text line has neither bits, bytes nor electrode flags")
        low, high = self.range
        possible = super().range if self.column is None else _INT32
        if not possible[0] <= low < high <= possible[1]:
            raise ValueError(f"limits lie in order within {possible[0]} .. {possible[1]}")

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest count."""
        if self.limits is not None:
            return self.limits
        return super().range if self.column is None else _INT32


class Command(Plain, frozen=True):
    """Bytes to the device and what it answers, as patterns; `??` is any byte, and 00 when sent.

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
    """Everything about one device. It sends either frames or lines of text.

    decoder: a stage in Python that turns what the wire carries into the frames described here.
    open, close: the commands sent then, in order. autostart: it streams from power-on, start or not.
    wilson_leads: leads whose electrodes form Wilson's central terminal; chest leads are unusable
    while one of them is off. usb: the USB ports it shows up as; a bare USB-serial chip names no device.
    """

    name: str
    title: str
    fs: Annotated[float, Meta(gt=0, le=100_000)]
    port: Port
    scale: Scale
    channel: Annotated[tuple[Channel, ...], Meta(min_length=1, max_length=32)]
    frame: Frame | None = None
    text: Text | None = None
    decoder: Literal["json_lines"] | None = None
    command: tuple[Command, ...] = ()
    open: tuple[str, ...] = ()
    close: tuple[str, ...] = ()
    autostart: bool = False
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
        if (self.frame is None) == (self.text is None):
            raise ValueError("a device sends either frames or lines: one of [frame] and [text] is needed")
        if any((channel.column is None) != (self.text is None) for channel in self.channel):
            raise ValueError("with [text] every channel has a `column`, with [frame] none has")
        if self.decoder is not None and not (self.frame and JsonLinesFramer.takes(self.frame)):
            raise ValueError(
                "the decoder json_lines makes frames of fixed length that begin 82 A1 43 CC C8 A1 44 C4, "
                "with neither kind, checksum nor confirm"
            )
        for number, channel in enumerate(self.channel):
            self._check_packet(number, channel)

    def _check_packet(self, number: int, channel: Channel) -> None:
        packets = self.frame.packets if self.frame else (0,)
        if len(packets) == 1 and channel.packet is not None:
            raise ValueError(f"channels[{number}]: only one kind of frame carries samples, so leave out `packet`")
        if len(packets) > 1 and channel.packet not in packets:
            raise ValueError(f"channels[{number}]: `packet` is one of {', '.join(map(str, packets))}")

    @property
    def leads(self) -> tuple[str, ...]:
        """What the device sends, in its channel order."""
        return tuple(channel.lead for channel in self.channel)

    @property
    def layout(self) -> Frame | Text:
        """What is on the wire."""
        layout = self.frame or self.text
        assert layout is not None, "checked when the profile was made"
        return layout

    @property
    def packets(self) -> int:
        """Frames that it takes to carry one sample, or several where a frame has several."""
        return len(self.frame.packets) if self.frame else 1

    @property
    def samples(self) -> int:
        """Samples that those frames carry."""
        return self.frame.samples if self.frame else 1

    @property
    def counter_span(self) -> int | None:
        """Samples until the device's counter repeats, so that their loss goes unseen; None where it has none."""
        counter = self.layout.counter
        return None if counter is None else counter.modulus // counter.step // self.packets * self.samples

    def scale_of(self, channel: Channel) -> tuple[float, float]:
        """Counts per millivolt and offset of this channel."""
        counts_per_mv = self.scale.counts_per_mv if channel.counts_per_mv is None else channel.counts_per_mv
        return counts_per_mv, self.scale.offset if channel.offset is None else channel.offset

    def packet_of(self, channel: Channel) -> int:
        """Which of a sample's frames carries this channel, from 0."""
        return 0 if self.frame is None or channel.packet is None else self.frame.packets.index(channel.packet)

    def find_command(self, name: str) -> Command | None:
        return next((command for command in self.command if command.name == name), None)

    def to_json(self) -> str:
        """What the native framer needs of it, as uniecg.h describes."""
        wire = {"frame" if self.frame else "text": self.layout.to_json()}
        channels = [self._channel_to_json(channel) for channel in self.channel]
        whole = {"uniecg": 2, "name": self.name, "fs": self.fs, **wire, "channels": channels}
        return msgspec.json.encode(whole).decode()

    def _channel_to_json(self, channel: Channel) -> dict[str, object]:
        counts_per_mv, offset = self.scale_of(channel)
        result: dict[str, object] = {"lead": channel.lead, "offset": offset, "mv_per_count": 1 / counts_per_mv}
        if channel.column is not None:
            return result | {"column": channel.column}
        result |= {"bits": channel.runs, "signed": channel.is_signed, "packet": self.packet_of(channel)}
        if channel.electrode:
            result["electrode"] = [match.to_json() for match in channel.electrode]
        return result

    def make_framer(self, ring_samples: int) -> _native.Framer:
        """A framer for this grammar. Raises ValueError where the grammar contradicts itself."""
        framer = _native.Framer(self.to_json(), ring_samples)
        if self.decoder is None or self.frame is None:
            return framer
        return cast(_native.Framer, JsonLinesFramer(framer, self.frame))  # which has all its methods


def profile_names() -> list[str]:
    """Profiles that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_profile(name_or_path: str | Path) -> Profile:
    """The built-in profile of that name, or the profile in that TOML file.

    Raises ProfileError, naming the file and where possible the line.
    """
    path = _path_of(name_or_path)
    text = _read_text(path)
    try:
        return parse_profile(text)
    except RecursionError:
        raise ProfileError(f"{path} nests its values deeper than any device profile needs") from None
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{path} is not valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `")
        where = where.rstrip("`")
        if not where:
            where, message = _split_path(message)
        raise ProfileError(f"{_place(path, text, where)}: {message}") from error
    except ValueError as error:
        where, message = _split_path(str(error))
        raise ProfileError(f"{_place(path, text, where)}: {message}") from error


def text_of(name_or_path: str | Path) -> str:
    """The profile's own words. Raises ProfileError for a file that cannot be read, is too large, or is no text."""
    return _read_text(_path_of(name_or_path))


def _path_of(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix == ".toml" or len(path.parts) != 1:
        return path
    if str(name_or_path) not in profile_names():
        known = ", ".join(profile_names())
        raise ProfileError(f"no device profile is named {name_or_path!s}: expected one of {known}, or a .toml file")
    return FOLDER / f"{name_or_path}.toml"


def parse_profile(text: str) -> Profile:
    """Raises TOMLDecodeError, msgspec.ValidationError, or ValueError where the grammar contradicts itself."""
    profile = typed.convert(tomllib.loads(text), Profile)
    profile.make_framer(ring_samples=1)
    return profile


def _split_path(error: str) -> tuple[str, str]:
    """Where in the TOML file a complaint about the JSON form belongs, and the complaint."""
    path = re.match(r"((?:channels|frame|text)[\w.\[\]]*): ", error)
    if path is None:
        return "$", error
    return "$." + path[1].replace("channels", "channel", 1), error[path.end() :]


def _read_text(path: Path) -> str:
    """Raises ProfileError for a file that cannot be read, is too large, or is no text."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise ProfileError(f"cannot read the device profile {path}: {getattr(error, 'strerror', error)}") from error
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
