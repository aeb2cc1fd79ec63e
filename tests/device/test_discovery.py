"""Which port is which device, on port descriptions as pyserial gave them on real machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from uniecg_device import discovery
from uniecg_device.discovery import (
    SerialPort,
    UsbIdentity,
    claims,
    find_port,
    identify,
    parse_usb,
    serial_ports,
    usb_of,
)
from uniecg_device.errors import DeviceError
from uniecg_device.profile import Usb, load_profile

CYTON = SerialPort("/dev/ttyUSB0", 0x0403, 0x6015, "DM00Q0QN", "FT231X USB UART", "FTDI", "1-1.2")
CH340_A = SerialPort("/dev/ttyUSB1", 0x1A86, 0x7523, "", "USB Serial", "", "1-1.3")
CH340_B = SerialPort("/dev/ttyUSB2", 0x1A86, 0x7523, "", "USB Serial", "", "1-1.4")
CP2102_A = SerialPort(
    "/dev/ttyUSB3", 0x10C4, 0xEA60, "0001", "CP2102 USB to UART Bridge Controller", "Silicon Labs", "1-2"
)
CP2102_B = SerialPort(
    "/dev/ttyUSB4", 0x10C4, 0xEA60, "0001", "CP2102 USB to UART Bridge Controller", "Silicon Labs", "1-3"
)
QUAD = tuple(
    SerialPort(f"/dev/ttyUSB{5 + k}", 0x0403, 0x6011, "FT4XYZ", "Quad RS232-HS", "FTDI", f"1-4:1.{k}") for k in range(4)
)
PICO = SerialPort("/dev/ttyACM0", 0x2E8A, 0x000A, "E6616407E3", "HealthyPi 5", "ProtoCentral", "1-5:1.0")
BOARD = SerialPort("/dev/ttyS0")
ALL = (CYTON, CH340_A, CH340_B, CP2102_A, CP2102_B, *QUAD, PICO, BOARD)


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        ("usb:0403:6015", UsbIdentity(0x0403, 0x6015)),
        ("USB:2e8a:A", UsbIdentity(0x2E8A, 0x000A)),
        ("usb:0403:6015:DM00Q0QN", UsbIdentity(0x0403, 0x6015, "DM00Q0QN")),
        ("usb:0a12:0001:00:1A:7D:DA", UsbIdentity(0x0A12, 1, "00:1A:7D:DA")),
        ("/dev/ttyUSB0", None),
        ("socket://usb:7000", None),
    ],
)
def test_what_port_options_name(url: str, identity: UsbIdentity | None) -> None:
    assert parse_usb(url) == identity


@pytest.mark.parametrize(
    "url", ["usb:", "usb:0403", "usb:0403:60155", "usb:xyz:6015", "usb:0403:6015:", "usb://0403:6015"]
)
def test_a_usb_port_that_is_none_says_how_it_is_written(url: str) -> None:
    with pytest.raises(DeviceError, match="expected usb:VID:PID"):
        parse_usb(url)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.text("ABC012:-_", max_size=12))
def test_what_is_shown_can_be_given(vid: int, pid: int, serial: str) -> None:
    port = SerialPort("/dev/ttyUSB0", vid, pid, serial)
    identity = parse_usb(usb_of(port))
    assert identity is not None and find_port(identity, [BOARD, port]) == port.device


def test_a_device_is_found_under_its_new_name() -> None:
    identity = identify("/dev/ttyUSB0", ALL)
    assert identity is not None
    moved = (SerialPort("/dev/ttyUSB9", 0x0403, 0x6015, "DM00Q0QN", location="3-1"), *ALL[1:])
    assert find_port(identity, moved) == "/dev/ttyUSB9"  # in another socket: the serial number is enough


def test_a_link_is_the_device_it_points_to(tmp_path: Path) -> None:
    tty, link = tmp_path / "ttyUSB0", tmp_path / "by-id"
    tty.touch()
    link.symlink_to(tty)
    port = SerialPort(str(tty), 0x0403, 0x6015, "DM00Q0QN")
    assert identify(str(link), [port]) == UsbIdentity(0x0403, 0x6015, "DM00Q0QN")


@pytest.mark.parametrize("device", ["/dev/ttyS0", "/dev/ttyUSB77", "socket://cart.local:7000"])
def test_what_is_not_on_usb_has_no_identity(device: str) -> None:
    assert identify(device, ALL) is None


@pytest.mark.parametrize("gone", [CH340_A, CP2102_A])
def test_a_twin_is_never_taken_for_the_device(gone: SerialPort) -> None:
    """Another patient's device of the same make stays plugged in: without a serial number of its own, only the
    same socket is the same device."""
    identity = identify(gone.device, ALL)
    assert identity is not None
    with pytest.raises(DeviceError, match=rf"no serial port is usb:.* in USB socket {gone.location}; present are"):
        find_port(identity, [port for port in ALL if port != gone])
    back = SerialPort("/dev/ttyUSB9", gone.vid, gone.pid, gone.serial, location=gone.location)
    assert find_port(identity, [*(port for port in ALL if port != gone), back]) == "/dev/ttyUSB9"


def test_one_line_of_a_chip_with_four_is_that_line() -> None:
    identity = identify("/dev/ttyUSB7", ALL)
    assert identity is not None
    moved = [SerialPort(f"/dev/ttyUSB{20 + k}", 0x0403, 0x6011, "FT4XYZ", location=f"2-1:1.{k}") for k in range(4)]
    assert find_port(identity, moved) == "/dev/ttyUSB22"


def test_none_or_several_is_an_error_that_lists_them() -> None:
    with pytest.raises(
        DeviceError, match=r"no serial port is usb:dead:beef; present are /dev/ttyUSB0 \(usb:0403:6015:DM"
    ):
        find_port(UsbIdentity(0xDEAD, 0xBEEF), ALL)
    with pytest.raises(DeviceError, match=r"is the device plugged in\?"):
        find_port(UsbIdentity(0xDEAD, 0xBEEF), [])
    with pytest.raises(
        DeviceError, match=r"2 serial ports are usb:1a86:7523: /dev/ttyUSB1 .*/dev/ttyUSB2 .*serial number"
    ):
        find_port(UsbIdentity(0x1A86, 0x7523), ALL)


def test_profiles_claim_what_they_name() -> None:
    profile = replace(load_profile("openbci_cyton"), usb=())
    assert not claims(profile, CYTON)
    assert claims(replace(profile, usb=(Usb(0x0403, 0x6015),)), CYTON)
    assert claims(replace(profile, usb=(Usb(0x2E8A, 0x000A, product="healthypi"),)), PICO)
    assert not claims(replace(profile, usb=(Usb(0x2E8A, 0x000A, product="Pico"),)), PICO)
    assert claims(replace(profile, usb=(Usb(1, 1), Usb(0x0403, 0x6015, serial="dm"))), CYTON)
    assert not claims(replace(profile, usb=(Usb(0x0403, 0x6015),)), BOARD)


def test_ports_are_what_pyserial_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    usb, board = ListPortInfo("/dev/ttyUSB10"), ListPortInfo("/dev/ttyUSB9")
    usb.vid, usb.pid, usb.serial_number, usb.product, usb.location = (
        0x0403,
        0x6015,
        "DM00Q0QN",
        "FT231X USB UART",
        "1-1.2",
    )
    monkeypatch.setattr(list_ports, "comports", lambda: [usb, board])
    expected = SerialPort("/dev/ttyUSB10", 0x0403, 0x6015, "DM00Q0QN", "FT231X USB UART", "", "1-1.2")
    assert serial_ports() == (SerialPort("/dev/ttyUSB9"), expected)
    assert discovery.present(serial_ports()) == "present are /dev/ttyUSB9, /dev/ttyUSB10 (usb:0403:6015:DM00Q0QN)"
