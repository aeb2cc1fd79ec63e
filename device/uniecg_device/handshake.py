"""Starting and stopping a device by its profile's commands, waiting for answers no longer than they may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Protocol

from uniecg_device.encoder import encode_pattern
from uniecg_device.profile import Command, Profile, parse_pattern
from uniecg_device.transport import Transport


class Listener(Protocol):
    """Takes what the device sends and finds the messages in it."""

    def push(self, data: bytes, /) -> None: ...
    def pull_message(self) -> bytes | None: ...


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
    """The answer, or None if there is none in time; without a declared answer, waits only to `settle` the line."""
    if command.reply is None and not settle:
        return None
    expected = parse_pattern(command.reply) if command.reply is not None else None
    deadline = time.monotonic() + command.wait
    while time.monotonic() < deadline and not stop.is_set():
        listener.push(transport.read())
        while (message := listener.pull_message()) is not None:
            if expected is not None and _fits(expected, message):
                return message
    return None


def _fits(pattern: list[int | None], message: bytes) -> bool:
    return len(pattern) == len(message) and all(p is None or p == b for p, b in zip(pattern, message, strict=True))
