"""`uniecg devices`, and what `uniecg stream` says of a device that was lost."""

from __future__ import annotations

import json

import msgspec
import pytest
from typer.testing import CliRunner

from uniecg_device import discovery, profile
from uniecg_device.discovery import SerialPort
from uniecg_device.profile import Usb, load_profile
from uniecg_runtime.cli.app import app
from uniecg_runtime.cli.output import remark
from uniecg_runtime.cli.stream import live_line
from uniecg_runtime.stream import LiveState

CYTON = SerialPort("/dev/ttyUSB0", 0x0403, 0x6015, "DM00Q0QN", "FT231X [USB] UART\x1b[31m", "FTDI", "1-1.2")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["devices", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = msgspec.structs.replace(load_profile("openbci_cyton"), usb=(Usb(0x0403, 0x6015, serial="DM00"),))
    others = msgspec.structs.replace(load_profile("e8_12lead"), usb=())
    monkeypatch.setattr(discovery, "serial_ports", lambda: (CYTON, SerialPort("/dev/ttyS0")))
    monkeypatch.setattr(profile, "profile_names", lambda: ["openbci_cyton", "e8_12lead"])
    monkeypatch.setattr(profile, "load_profile", lambda name: claimed if name == "openbci_cyton" else others)


def test_devices_shows_ports_and_who_claims_them(ports: None) -> None:
    lines = run().splitlines()
    usb = next(line for line in lines if "/dev/ttyUSB0" in line)
    assert "usb:0403:6015:DM00Q0QN" in usb and "[USB]" in usb and "openbci_cyton" in usb
    assert "\x1b" not in usb  # what a device calls itself must not steer the terminal
    assert any("/dev/ttyS0" in line and "e8_12lead" not in line for line in lines)


def test_devices_as_json(ports: None) -> None:
    cyton, board = json.loads(run("--json"))["ports"]
    assert (cyton["device"], cyton["usb"], cyton["vid"]) == ("/dev/ttyUSB0", "usb:0403:6015:DM00Q0QN", 0x0403)
    assert cyton["profiles"] == ["openbci_cyton"]
    assert (board["usb"], board["vid"], board["profiles"]) == (None, None, [])


def test_no_device_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "serial_ports", tuple)
    assert "is the device plugged in?" in run()
    assert json.loads(run("--json")) == {"ports": []}


def test_a_loss_and_a_return_are_told_beside_the_stream(capsys: pytest.CaptureFixture[str]) -> None:
    remark("/dev/ttyUSB0 went away")
    told = capsys.readouterr()
    assert told.err == "/dev/ttyUSB0 went away\n" and told.out == ""
    state = LiveState(9.0, 72.0, None, (), 1, 2.0, 1000, 0, 0, {"reconnects": 1, "duplicates": 0, "drift_ppm": None})
    assert "reconnects 1" in live_line(state) and "duplicates" not in live_line(state)
