"""Which serial ports are there, what hangs on them, and where a device is now that its tty may have another name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from uniecg_device.errors import DeviceError
from uniecg_device.profile import Profile

_USB_PORT = re.compile(r"usb:([0-9a-f]{1,4}):([0-9a-f]{1,4})(?::(.+))?", re.IGNORECASE)


@dataclass(frozen=True)
class SerialPort:
    """A serial port of this machine. vid and pid are None, and the texts empty, where it is not on USB.

    location: where it is plugged in, such as "1-2"; with the interface, "1-2:1.0", where a device has several.
    """

    device: str
    vid: int | None = None
    pid: int | None = None
    serial: str = ""
    product: str = ""
    manufacturer: str = ""
    location: str = ""


@dataclass(frozen=True)
class UsbIdentity:
    """What tells a USB device from others. An empty serial number or location is that of any."""

    vid: int
    pid: int
    serial: str = ""
    location: str = ""

    def __str__(self) -> str:
        """As `--port` takes it, usb:VID:PID[:SERIAL], and the socket where only that tells devices apart."""
        where = f" in USB socket {self.location}" if self.location and not self.serial else ""
        return f"usb:{self.vid:04x}:{self.pid:04x}" + (f":{self.serial}" if self.serial else "") + where

    def fits(self, port: SerialPort) -> bool:
        """Whether the port is this device: by its serial number and interface, or without one by its USB socket."""
        if (port.vid, port.pid) != (self.vid, self.pid) or self.serial not in ("", port.serial):
            return False
        if not self.location:
            return True
        return _interface(port.location) == _interface(self.location) if self.serial else port.location == self.location


def serial_ports() -> tuple[SerialPort, ...]:
    """The ports that are there now, in the order of their names."""
    from serial.tools import list_ports

    return tuple(
        SerialPort(
            device=port.device,
            vid=port.vid,
            pid=port.pid,
            serial=port.serial_number or "",
            product=port.product or "",
            manufacturer=port.manufacturer or "",
            location=port.location or "",
        )
        for port in sorted(list_ports.comports())
    )


def parse_usb(url: str) -> UsbIdentity | None:
    """The device that `usb:VID:PID[:SERIAL]` (hex) names, None for any other port. Raises DeviceError."""
    if not url.lower().startswith("usb:"):
        return None
    found = _USB_PORT.fullmatch(url)
    if found is None:
        raise DeviceError(f"expected usb:VID:PID or usb:VID:PID:SERIAL in hex, such as usb:0403:6015, found {url!r}")
    return UsbIdentity(int(found[1], 16), int(found[2], 16), found[3] or "")


def identify(device: str, ports: Sequence[SerialPort]) -> UsbIdentity | None:
    """Whom to look for once the device at this path is gone; None for what is not on USB, or no path.

    A serial number that several devices share, as cheap chips do, tells nobody apart: then the socket must.
    """
    path = os.path.realpath(device)
    port = next((port for port in ports if os.path.realpath(port.device) == path), None)
    if port is None or port.vid is None or port.pid is None:
        return None
    identity = UsbIdentity(port.vid, port.pid, port.serial, port.location)
    unique = sum(identity.fits(other) for other in ports) == 1
    return identity if unique else UsbIdentity(port.vid, port.pid, "", port.location)


def find_port(identity: UsbIdentity, ports: Sequence[SerialPort]) -> str:
    """Path of the one port that carries this device. Raises DeviceError where none does, or several do."""
    found = [port for port in ports if identity.fits(port)]
    if not found:
        raise DeviceError(f"no serial port is {identity}; {present(ports)}")
    if len(found) > 1:
        choice = ", ".join(f"{port.device} ({usb_of(port)})" for port in found)
        raise DeviceError(
            f"{len(found)} serial ports are {identity}: {choice}; add the serial number, or give the path"
        )
    return found[0].device


def claims(profile: Profile, port: SerialPort) -> bool:
    """Whether the profile says that its device shows up as this port; upper and lower case are the same."""
    return any(
        (usb.vid, usb.pid) == (port.vid, port.pid)
        and usb.product.lower() in port.product.lower()
        and usb.serial.lower() in port.serial.lower()
        for usb in profile.usb
    )


def usb_of(port: SerialPort) -> str:
    """`usb:VID:PID[:SERIAL]`, which `--port` takes; empty where the port is not on USB."""
    return "" if port.vid is None or port.pid is None else str(UsbIdentity(port.vid, port.pid, port.serial))


def present(ports: Iterable[SerialPort]) -> str:
    """The ports that are there, as the end of an error message."""
    names = [f"{port.device} ({usb_of(port)})" if port.vid is not None else port.device for port in ports]
    return f"present are {', '.join(names)}" if names else "no serial port is present: is the device plugged in?"


def _interface(location: str) -> str:
    return location.partition(":")[2]
