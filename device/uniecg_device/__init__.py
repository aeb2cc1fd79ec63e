"""From the wire to millivolts: device profiles, native framing, live devices and their simulator.

Names are imported when first used, so that whoever needs only the plain data or the errors pays for nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uniecg_device.device import Device, DeviceStats, open_device
    from uniecg_device.profile import Profile, load_profile, profile_names
    from uniecg_device.signals import Block, Recording
    from uniecg_device.simulator import Faults, Simulator

__version__ = "0.1.0"

__all__ = [
    "Block",
    "Device",
    "DeviceStats",
    "Faults",
    "Profile",
    "Recording",
    "Simulator",
    "load_profile",
    "open_device",
    "profile_names",
]

_HOMES = {
    "device": ("Device", "DeviceStats", "open_device"),
    "profile": ("Profile", "load_profile", "profile_names"),
    "signals": ("Block", "Recording"),
    "simulator": ("Faults", "Simulator"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"uniecg_device.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
