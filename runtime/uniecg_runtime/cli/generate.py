"""`uniecg generate`: words in, a synthetic 12-lead ECG out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniecg_runtime.cli.output import describe, keep, say, say_json

if TYPE_CHECKING:
    from uniecg_device.signals import Recording


@dataclass(frozen=True)
class Wish:
    """What to draw."""

    text: str
    sex: str | None
    age: float | None
    heart_rate: float | None
    seed: int
    steps: int | None
    guidance: float | None


def run(wish: Wish, source: str, *, out: Path | None, plot: Path | None, threads: int | None, as_json: bool) -> None:
    """Draw once, write the files asked for, and say what was drawn."""
    from uniecg_runtime.assistant import Assistant
    from uniecg_runtime.bundle import Bundle

    assistant = Assistant(Bundle.open(source), threads=threads)
    drawn = assistant.generate(
        wish.text,
        sex=wish.sex,
        age=wish.age,
        heart_rate=wish.heart_rate,
        seed=wish.seed,
        steps=wish.steps,
        guidance=wish.guidance,
    )
    files = keep(drawn.recording, out, plot)
    if as_json:
        say_json({"route": "ecg", **drawn.to_json(), **drawn_json(drawn.recording, files)})
        return
    say(drawn.text)
    say(f"  {describe(drawn.recording)}, seed {drawn.seed}, {drawn.steps} steps")
    for file in files:
        say(f"  wrote {file}")
    if not files:
        say("  nothing written; --out x.hea (or .csv) keeps the signal, --plot x.png draws it on ECG paper")
    for note in drawn.notes:
        say(f"  note: {note}")
    say(f"  {drawn.disclaimer}")


def drawn_json(recording: Recording, files: list[str]) -> dict[str, Any]:
    """What `--json` adds about a drawn recording: its mark, its files, or the signal itself where there are none."""
    marked: dict[str, Any] = {"synthetic": recording.synthetic, "files": files}
    return marked if files else {**marked, "signal": recording.signal}
