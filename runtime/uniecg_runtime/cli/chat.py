"""`uniecg chat`: a conversation in which the model decides whether to explain or to draw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniecg_device.errors import ContextError, InputError
from uniecg_runtime.cli.evidence import show_claims
from uniecg_runtime.cli.generate import drawn_json
from uniecg_runtime.cli.output import check_files, describe, keep, say, say_json
from uniecg_runtime.cli.records import window_seconds

if TYPE_CHECKING:
    from uniecg_device.signals import Recording
    from uniecg_runtime.assistant import Assistant, Reply
    from uniecg_runtime.cli.opening import Opening
    from uniecg_runtime.cli.records import Told


@dataclass
class Keep:
    """Where drawn ECGs go; in a conversation each gets a number, so that none overwrites another."""

    out: Path | None
    plot: Path | None
    count: int = 0

    def once(self, recording: Recording) -> list[str]:
        return keep(recording, self.out, self.plot)

    def next(self, recording: Recording) -> list[str]:
        self.count += 1
        return keep(recording, self._numbered(self.out), self._numbered(self.plot))

    def _numbered(self, path: Path | None) -> Path | None:
        return None if path is None else path.with_stem(f"{path.stem}-{self.count}")


def run(
    record: Path | None,
    ask: str | None,
    opening: Opening,
    told: Told,
    files: Keep,
    *,
    as_json: bool,
) -> None:
    """Answer `ask` once, or talk until end of input. Raises InputError for --json without --ask."""
    if as_json and ask is None:
        raise InputError('expected --ask "TEXT" beside --json, found none; a conversation at the keyboard is text.')
    check_files(files.out, files.plot)
    assistant = opening.assistant()
    recording = None if record is None else told.read(record, seconds=window_seconds(assistant.bundle))
    if ask is None:
        _talk(assistant, recording, files)
        return
    on_text = None if as_json else lambda text: say(text, end="")
    reply = assistant.chat(recording).ask(ask, on_text=on_text)
    written = files.once(reply.recording) if reply.recording is not None else []
    if as_json:
        say_json(reply_json(reply, written))
    else:
        _after(reply, written)


def _talk(assistant: Assistant, recording: Recording | None, files: Keep) -> None:
    """Read a line, answer it; end of input or `/quit` ends it."""
    from uniecg_runtime.results import DISCLAIMER

    about = f" about {recording.name or 'the recording'} ({describe(recording)})" if recording is not None else ""
    say(f"Talking{about}. Ask for an explanation or for an ECG; /new starts over, /quit leaves. {DISCLAIMER}")
    conversation = assistant.chat(recording)
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            say()
            return
        if line == "/quit":
            return
        if line == "/new":
            conversation = assistant.chat(recording)
            continue
        if not line:
            continue
        try:
            reply = conversation.ask(line, on_text=lambda text: say(text, end=""))
            written = files.next(reply.recording) if reply.recording is not None else []
        except (ContextError, InputError) as error:
            say(f"error: {error} (/new starts over)")
            continue
        _after(reply, written)


def _after(reply: Reply, written: list[str]) -> None:
    say()
    show_claims(reply.claims)
    if reply.recording is not None:
        say(f"  drew {describe(reply.recording)}")
        for file in written:
            say(f"  wrote {file}")
        if not written:
            say("  not written; start with --out x.hea or --plot x.png to keep what is drawn")
    for note in reply.notes:
        say(f"  note: {note}")
    say(f"  {reply.disclaimer}")


def reply_json(reply: Reply, files: list[str]) -> dict[str, Any]:
    """What `--ask --json` prints: the route the model took, its words, and what it drew."""
    drawn = {} if reply.recording is None else drawn_json(reply.recording, files)
    return {**reply.to_json(), **drawn}
