"""Starting and stopping a device by its profile's commands, waiting for answers no longer than they may take."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from threading import Event
from typing import Protocol

from uniecg_device.encoder import encode_pattern
from uniecg_device.profile import Command, Profile, parse_pattern
from uniecg_device.transport import Transport

_KEPT = 8192  # bytes that an answer is looked for in


class Listener(Protocol):
    """Takes what the device sends."""

    def push(self, data: bytes, /) -> None: ...


def start(
    transport: Transport, profile: Profile, listener: Listener, spare: Callable[[], Listener], stop: Event
) -> None:
    """Sends the profile's opening commands; what follows the last one goes to `listener`, all before to a `spare`.

    Gives up waiting when `stop` is set. Raises DeviceError where the device goes away.
    """
    transport.discard_input()
    for name in profile.open[:-1]:
        command = send(transport, profile, name)
        _await_reply(transport, spare(), command, stop, settle=True)
    transport.discard_input()
    if profile.open:
        command = send(transport, profile, profile.open[-1])
        # A device that streams without acknowledging is welcome; one that stays silent is found out later.
        _await_reply(transport, listener, command, stop, settle=False)


def send(transport: Transport, profile: Profile, name: str) -> Command:
    """Sends the command of that name. Raises DeviceError."""
    command = profile.find_command(name)
    assert command is not None, "checked when the profile was loaded"
    transport.write(encode_pattern(command.send))
    return command


def _await_reply(
    transport: Transport, listener: Listener, command: Command, stop: Event, *, settle: bool
) -> bytes | None:
    """The answer, or None if there is none in time; without a declared answer, waits only to `settle` the line.

    An answer need be no frame of the device's grammar, so it is looked for in the bytes themselves.
    """
    if command.reply is None and not settle:
        return None
    expected = None if command.reply is None else _expression(command.reply)
    deadline, received = time.monotonic() + command.wait, b""
    while time.monotonic() < deadline and not stop.is_set():
        data = transport.read()
        listener.push(data)
        received = (received + data)[-_KEPT:]
        if expected is not None and (found := expected.search(received)):
            return found[0]
    return None


def _expression(pattern: str) -> re.Pattern[bytes]:
    """What matches the bytes of a pattern."""
    parts = [b"." if byte is None else re.escape(bytes([byte])) for byte in parse_pattern(pattern)]
    return re.compile(b"".join(parts), re.DOTALL)
