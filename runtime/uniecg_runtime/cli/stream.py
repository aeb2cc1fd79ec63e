"""`uniecg stream`: a device live on the terminal, or as JSON Lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from uniecg_runtime.cli.evidence import show_claims
from uniecg_runtime.cli.output import after_text, clean, quality_line, remark, say, say_json

if TYPE_CHECKING:
    from uniecg_runtime.cli.opening import Opening
    from uniecg_runtime.evidence import Claim
    from uniecg_runtime.stream import Event, LiveState, WindowDue, WindowResult


@dataclass(frozen=True)
class Limits:
    """Seconds between windows, when to stop, and whether poor windows are left out."""

    interval: float
    windows: int | None
    duration: float | None
    skip_poor: bool


def run(profile: str, port: str, opening: Opening, limits: Limits, reconnect: float, *, as_json: bool) -> None:
    """Open the device and show what happens until a limit is reached or Ctrl-C.

    reconnect: seconds that a lost device is looked for; that it was lost, and is back, goes to standard error.
    """
    from uniecg_device.device import open_device
    from uniecg_runtime.stream import stream

    assistant = opening.assistant()
    assistant.load(*assistant.looking)  # a backend that does not run here is known now, not a window later
    with open_device(profile, port, reconnect=reconnect, notify=remark) as device:
        events = stream(
            device,
            assistant,
            interval=limits.interval,
            windows=limits.windows,
            duration=limits.duration,
            skip_poor=limits.skip_poor,
        )
        if as_json:
            for event in events:
                line = event_json(event)
                if line is not None:
                    say_json(line)
        else:
            show(events)


def event_json(event: Event) -> dict[str, Any] | None:
    """A line of `--json`; text pieces are left out, the window's line holds the whole text."""
    from uniecg_runtime.stream import LiveState, WindowDue, WindowResult

    match event:
        case LiveState():
            return {
                "event": "live",
                "time": event.time,
                "heart_rate": event.heart_rate,
                "quality": None if event.quality is None else asdict(event.quality),
                "electrodes_off": event.electrodes_off,
                "gaps": event.gaps,
                "gap_seconds": event.gap_seconds,
                "lost": event.lost,
                "interpreted": event.interpreted,
                "skipped": event.skipped,
                "poor": event.poor,
                "device": event.device,
            }
        case WindowDue():
            quality = asdict(event.quality)
            return {"event": "window", "index": event.index, "start": event.start, "quality": quality}
        case WindowResult(interpretation=None):
            return {"event": "refused", "index": event.index, "start": event.start, "error": event.error}
        case WindowResult():
            told = {} if event.interpretation is None else event.interpretation.to_json()
            return {"event": "interpretation", **told, "index": event.index, "start": event.start}
    return None


def live_line(state: LiveState) -> str:
    """The one line that a person watches."""
    rate = "--" if state.heart_rate is None else f"{state.heart_rate:.0f}"
    parts = [f"{state.time:7.1f} s", f"HR {rate:>3} bpm"]
    parts.append("no signal" if state.quality is None else quality_line(state.quality))
    if state.electrodes_off:
        parts.append(f"ELECTRODE OFF {' '.join(state.electrodes_off)}")
    parts.append(f"gaps {state.gaps} ({state.gap_seconds:.1f} s), lost {state.lost}")
    parts.append(f"windows {state.interpreted}, skipped {state.skipped}, poor {state.poor}")
    counted = {name.replace("_", " "): state.device.get(name, 0) for name in TROUBLES}
    parts += [f"{name} {count}" for name, count in counted.items() if count]
    return "  ".join(parts)


TROUBLES = (
    "reconnects",
    "estimated_lost_samples",
    "skipped_bytes",
    "resyncs",
    "bad_headers",
    "bad_footers",
    "bad_checksums",
    "duplicates",
    "overflowed_samples",
)


def show(events: Iterable[Event]) -> None:
    """Live at the foot of a terminal, one line per second elsewhere; text as it is written."""
    if sys.stdout.isatty():
        _show_live(events)
    else:
        _show_plain(events)


def _show_plain(events: Iterable[Event]) -> None:
    from uniecg_runtime.stream import LiveState, TextPiece, WindowDue, WindowResult

    writing = False
    for event in events:
        match event:
            case LiveState():
                if not writing:  # a line amid the text would tear it; the next one comes within a second
                    say(live_line(event))
            case WindowDue():
                say(window_line(event))
                writing = True
            case TextPiece():
                say(event.text, end="")
            case WindowResult():
                writing = False
                say()
                show_claims(claims_of(event))
                for line in result_lines(event):
                    say(line)


def _show_live(events: Iterable[Event]) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from uniecg_runtime.stream import LiveState, TextPiece, WindowDue, WindowResult

    console = Console(highlight=False, markup=False)
    state, written = "", ""
    with Live(console=console, auto_refresh=False) as live:
        for event in events:
            match event:
                case LiveState():
                    state = live_line(event)
                case WindowDue():
                    console.print(window_line(event))
                case TextPiece():
                    written += clean(event.text)
                case WindowResult():
                    console.print(clean(written))
                    show_claims(claims_of(event), console)
                    console.print(clean("\n".join(result_lines(event))))
                    written = ""
            live.update(Text(f"{written}\n{state}" if written else state), refresh=True)


def window_line(event: WindowDue) -> str:
    """Which window, and a warning first where its quality is poor."""
    warned = "".join(f" WARNING: {warning}; read with care." for warning in event.quality.warnings)
    return f"window {event.index}, from {event.start:.1f} s:{warned}"


def claims_of(event: WindowResult) -> tuple[Claim, ...]:
    """What a window's text states, checked; nothing where there is no text."""
    return () if event.interpretation is None else event.interpretation.claims


def result_lines(event: WindowResult) -> list[str]:
    """What follows a window's text and claims."""
    if event.interpretation is None:
        return [f"  not interpreted: {event.error}"]
    return after_text(event.interpretation)
