"""JSON and plain values into typed structs, one thread at a time.

msgspec works a type out at its first use; threads that do so at once crash the process.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

_Kind = TypeVar("_Kind")
_LOCK = threading.Lock()


def decode(data: bytes | str, kind: type[_Kind]) -> _Kind:
    """Raises msgspec.ValidationError, msgspec.DecodeError."""
    with _LOCK:
        return msgspec.json.decode(data, type=kind)


def convert(value: Any, kind: type[_Kind]) -> _Kind:
    """Raises msgspec.ValidationError."""
    with _LOCK:
        return msgspec.convert(value, kind)
