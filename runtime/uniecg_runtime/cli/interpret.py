"""`uniecg interpret`: recordings in, what they show out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from uniecg_device.errors import InputError
from uniecg_runtime.cli.evidence import show_claims
from uniecg_runtime.cli.output import after_text, complain, describe, say, say_json
from uniecg_runtime.cli.records import window_seconds
from uniecg_runtime.files import replace_file

if TYPE_CHECKING:
    from uniecg_device.signals import Recording
    from uniecg_runtime.assistant import Assistant
    from uniecg_runtime.cli.opening import Opening
    from uniecg_runtime.cli.records import Told


@dataclass(frozen=True)
class Reading:
    """How to read the files, from which second on, and what to ask."""

    told: Told
    start: float
    question: str | None


def run(records: list[Path], opening: Opening, how: Reading, *, as_json: bool) -> int:
    """Interpret each record; a bad one is reported and the others go on. Returns the exit code."""
    assistant = opening.assistant()
    failed = False
    for record in records:
        try:
            _one(assistant, record, how, as_json=as_json)
        except InputError as error:
            failed = True
            complain(f"{record}: {error}")
    return int(failed)


def encode(records: list[Path], opening: Opening, how: Reading, out: Path) -> int:
    """Write `out` with one array per output of the encoder, (records, ...), and `records`; a bad record is left out."""
    import numpy as np

    assistant = opening.assistant()
    encoded = []
    for record in records:
        try:
            encoded.append((str(record), assistant.encode(_read(assistant, record, how))))
        except InputError as error:
            complain(f"{record}: {error}")
    if encoded:
        arrays = {name: np.stack([outputs[name] for _, outputs in encoded]) for name in encoded[0][1]}
        held = {"records": np.array([record for record, _ in encoded]), **arrays}
        packed = BytesIO()
        np.savez_compressed(packed, **held)  # type: ignore[arg-type]
        try:
            replace_file(out, packed.getbuffer())
        except OSError as error:
            raise InputError(f"expected to be able to write {out}: {error}; choose another place.") from None
        say(f"wrote {out}: {', '.join(f'{name} {array.shape}' for name, array in arrays.items())}")
    return int(len(encoded) < len(records))


def _one(assistant: Assistant, record: Path, how: Reading, *, as_json: bool) -> None:
    from uniecg_runtime.signal.quality import assess

    recording = _read(assistant, record, how)
    if as_json:
        result = assistant.interpret(recording, question=how.question)
        say_json({**result.to_json(), "start": how.start})
        return
    say(f"{record}: {describe(recording)}, from {how.start:g} s")
    for warning in assess(recording).warnings:
        say(f"  WARNING: {warning}; read with care.")
    result = assistant.interpret(recording, question=how.question, on_text=lambda text: say(text, end=""))
    say()
    show_claims(result.claims)
    for line in after_text(result):
        say(line)


def _read(assistant: Assistant, record: Path, how: Reading) -> Recording:
    """The stretch that the bundle's encoder takes."""
    recording = how.told.read(record, start=how.start, seconds=window_seconds(assistant.bundle))
    return replace(recording, name=str(record))
