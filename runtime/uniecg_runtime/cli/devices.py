"""`uniecg devices`: which serial ports are there, and which profiles say that they are theirs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from uniecg_runtime.cli.output import clean, say, say_json

if TYPE_CHECKING:
    from uniecg_device.discovery import SerialPort
    from uniecg_device.profile import Profile

NONE = "no serial port is present: is the device plugged in? socket:// and rfc2217:// URLs need none"


def run(*, as_json: bool) -> None:
    """A table of ports, or the same as one JSON object."""
    from uniecg_device.discovery import serial_ports, usb_of
    from uniecg_device.profile import load_profile, profile_names

    profiles = [load_profile(name) for name in profile_names()]
    rows = [(port, usb_of(port), _claimants(port, profiles)) for port in serial_ports()]
    if as_json:
        say_json({"ports": [{**asdict(port), "usb": usb or None, "profiles": names} for port, usb, names in rows]})
        return
    if not rows:
        say(NONE)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("port", "or", "product", "profiles", box=None)
    for port, usb, names in rows:
        product = " ".join(part for part in (port.manufacturer, port.product) if part)
        table.add_row(*(escape(clean(text)) for text in (port.device, usb, product, " ".join(names))))
    Console().print(table)


def _claimants(port: SerialPort, profiles: list[Profile]) -> list[str]:
    from uniecg_device.discovery import claims

    return [profile.name for profile in profiles if claims(profile, port)]
