"""The runtime: from millivolts to words, and from words to millivolts. Research use, unconfirmed.

Names are imported when first used, so that `import uniecg_runtime` is quick and needs no native library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uniecg_device.device import open_device
    from uniecg_device.signals import Recording
    from uniecg_runtime.assistant import Assistant
    from uniecg_runtime.bundle import Bundle

__all__ = ["Assistant", "Bundle", "Recording", "open_device"]

_HOMES = {
    "Assistant": "uniecg_runtime.assistant",
    "Bundle": "uniecg_runtime.bundle",
    "Recording": "uniecg_device.signals",
    "open_device": "uniecg_device.device",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
