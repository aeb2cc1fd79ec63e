"""The serial line itself: every URL of pyserial, and nothing lost between it and us."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import serial

from uniecg_device.errors import DeviceError
from uniecg_device.transport import Transport


def read_some(transport: Transport, size: int) -> bytes:
    data, deadline = b"", time.monotonic() + 10
    while len(data) < size and time.monotonic() < deadline:
        data += transport.read()
    return data


@pytest.mark.parametrize("url", ["{}", "spy://{}", "alt://{}?class=Serial", "hwgrep://{}"])
def test_every_url_reads_and_writes(pty: tuple[int, str], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    master, name = pty
    from serial.tools import list_ports

    monkeypatch.setattr(list_ports, "grep", lambda *_, **__: iter([(name, "", "")]))
    with Transport(url.format(name), 115200) as transport:
        os.write(master, b"\xe8" * 3000)
        assert read_some(transport, 3000) == b"\xe8" * 3000
        transport.write(b"start")
        assert os.read(master, 100) == b"start"


def test_a_loop_comes_back() -> None:
    with Transport("loop://", 115200) as transport:
        transport.write(b"abc")
        assert read_some(transport, 3) == b"abc"


class Unplugged:
    """A port whose plug is pulled just after something arrived."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces: list[bytes | Exception] = [*pieces, serial.SerialException("gone")]

    def read(self, size: int) -> bytes:
        piece = self.pieces.pop(0) if len(self.pieces) > 1 else self.pieces[0]
        if isinstance(piece, Exception):
            raise piece
        return piece


@pytest.mark.parametrize("pieces", [(b"last words",), (3000 * b".", b"last words"), (3000 * b".",)])
def test_what_arrived_just_before_the_plug_was_pulled_is_read(pty: tuple[int, str], pieces: tuple[bytes, ...]) -> None:
    transport = Transport(pty[1], 115200)
    transport._port.close()
    transport._port = Unplugged(*pieces)
    assert transport.read() == b"".join(pieces)
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"went away while it was open \(gone\); check the plug"):
            transport.read()


def test_one_program_at_a_time(pty: tuple[int, str]) -> None:
    with Transport(pty[1], 115200), pytest.raises(DeviceError, match="in use by another program"):
        Transport(pty[1], 115200)


@pytest.mark.parametrize("answer", [None, ValueError("ENOTTY"), NotImplementedError()])
def test_low_latency_is_asked_for_and_its_absence_no_error(
    pty: tuple[int, str], monkeypatch: pytest.MonkeyPatch, answer: Exception | None
) -> None:
    asked: list[bool] = []

    def switch(self: Any, on: bool) -> None:
        asked.append(on)
        if answer is not None:
            raise answer

    monkeypatch.setattr(serial.Serial, "set_low_latency_mode", switch)
    Transport(pty[1], 115200).close()
    assert asked == [True]


@pytest.mark.parametrize("dtr", [True, False])
def test_dtr_has_its_level_before_the_port_opens(
    pty: tuple[int, str], monkeypatch: pytest.MonkeyPatch, dtr: bool
) -> None:
    levels: list[bool] = []
    real = serial.Serial.open
    monkeypatch.setattr(serial.Serial, "open", lambda self: levels.append(self.dtr) or real(self))
    Transport(pty[1], 115200, dtr=dtr).close()
    assert levels == [dtr]


def test_permission_says_which_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(13, "Permission denied")

    monkeypatch.setattr(serial.Serial, "open", refuse)
    with pytest.raises(DeviceError, match=r"no permission to open .*usermod -aG \w+ \$USER"):
        Transport(str(tmp_path), 115200)


@pytest.mark.parametrize(
    "url", ["hwgrep://(", "loop://?x=1", "alt:///dev/null?class=VERSION", "socket://", "rfc2217://x"]
)
def test_a_url_that_pyserial_cannot_follow_is_one_error(url: str) -> None:
    with pytest.raises(DeviceError, match=r"is not a port|cannot open"):
        Transport(url, 115200)


def test_a_file_that_is_no_serial_port_is_called_so() -> None:
    with pytest.raises(DeviceError, match="/dev/null is not a serial port"):
        Transport("/dev/null", 115200)
