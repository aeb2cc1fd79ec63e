"""`uniecg record`, `uniecg convert` and `uniecg replay`: from a device to a file, and from that file to others."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from uniecg_device.errors import InputError
from uniecg_runtime.cli.output import remark, say, say_json

if TYPE_CHECKING:
    from uniecg_device.recorder import Committed


def run(
    profile: str,
    port: str,
    out: Path,
    reconnect: float,
    *,
    seconds: float | None,
    wire: bool,
    synthetic: bool | None,
    as_json: bool,
) -> None:
    """Record until the time has passed, or Ctrl-C or SIGTERM, which end the recording as asked.

    reconnect: seconds that a lost device is looked for; that it was lost, and is back, goes to standard error.
    """
    from uniecg_device.recording import is_pseudo_terminal, record

    if seconds is not None and not seconds > 0:
        raise InputError(f"expected --seconds above 0, found {seconds:g}.")
    if synthetic is None:
        synthetic = is_pseudo_terminal(port)
        if synthetic:
            remark("SYNTHETIC: a pseudo-terminal is a simulator's; --no-synthetic where it leads to a device")
    committed = None
    steps = record(
        profile, port, out, seconds=seconds, wire=wire, synthetic=synthetic, reconnect=reconnect, notify=remark
    )
    with terminable(), closing(steps):
        try:
            for committed in steps:
                tell(committed, as_json=as_json)
        except KeyboardInterrupt:
            steps.close()
    if not as_json:
        say(f"{out}: {'nothing' if committed is None else line(committed)}")


def convert(recording: Path, to: str, out: Path) -> None:
    """Write the other format; its path is printed."""
    from uniecg_device import converters
    from uniecg_device.recording_store import open_store

    with open_store(recording) as store:
        say(f"wrote {converters.convert(store, to, out)}")


def replay(recording: Path, *, as_json: bool) -> None:
    """Compare; a difference is an error."""
    from uniecg_device import replay
    from uniecg_device.recording_store import open_store

    with open_store(recording) as store:
        found = replay.replay(store)
    if as_json:
        say_json({"event": "replay", **asdict(found)})
    else:
        more = f"; {found.further} more are in the wire bytes alone" if found.further else ""
        say(f"{recording}: {found.identical} samples come out of the wire bytes as they were recorded{more}")


def tell(committed: Committed, *, as_json: bool) -> None:
    """A line for each second that is safe on the disk: on a terminal the same line again."""
    if as_json:
        say_json({"event": "committed", **asdict(committed)})
    elif sys.stdout.isatty():
        sys.stdout.write(f"\r{line(committed)}   \r")
        sys.stdout.flush()
    else:
        say(line(committed))


def line(committed: Committed) -> str:
    """What is safe on the disk."""
    gaps = f", {committed.gaps} gaps, {committed.missing} samples missing" if committed.gaps else ", no gaps"
    return f"{committed.seconds:.1f} s, {committed.samples} samples{gaps}"


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM, as a service manager sends it, ends a recording as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
