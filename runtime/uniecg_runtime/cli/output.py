"""How results look: lines for people, JSON for programs."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniecg_device.errors import InputError

if TYPE_CHECKING:
    from uniecg_device.signals import Recording
    from uniecg_runtime.results import Interpretation
    from uniecg_runtime.signal.quality import Quality

SHOWN = {"heart_rate": "HR", "pr": "PR", "qrs": "QRS", "qt": "QT", "qtc": "QTc", "axis": "axis"}


# What a model writes, and what a file calls itself, must not steer the terminal.
CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)], "\N{REPLACEMENT CHARACTER}")


def clean(text: str) -> str:
    """Text without control characters other than tab and newline, nor what UTF-8 cannot hold."""
    return text.translate(CONTROLS).encode("utf-8", "replace").decode()


def complain(text: str) -> None:
    """One `error:` line on standard error."""
    print(f"error: {clean(' '.join(text.split()))}", file=sys.stderr)


def remark(text: str) -> None:
    """One line on standard error, beside those that a program may read."""
    print(clean(" ".join(text.split())), file=sys.stderr, flush=True)


def say(text: str = "", end: str = "\n") -> None:
    """Write to standard output at once."""
    sys.stdout.write(clean(text) + end)
    sys.stdout.flush()


def say_json(value: dict[str, Any]) -> None:
    """One JSON object on one line; a float that is not finite becomes null."""
    import msgspec

    say(msgspec.json.encode(_plain(value)).decode())


def _plain(value: Any) -> Any:
    """Python numbers, strings, lists and dicts for JSON."""
    if isinstance(value, dict):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def measurements_line(measurements: dict[str, dict[str, Any]]) -> str:
    """`HR 72 bpm  PR 160 ms ...`; `-` where it could not be measured."""
    parts = []
    for name, label in SHOWN.items():
        if name in measurements:
            value, unit = measurements[name]["value"], measurements[name]["unit"]
            parts.append(f"{label} {'-' if value is None else f'{value:.0f} {unit}'}")
    return "  ".join(parts)


def quality_line(quality: Quality) -> str:
    """`quality 92 %`, with what is wrong."""
    wrong = ", ".join(f"{lead} {'+'.join(reasons)}" for lead, reasons in quality.leads.items() if reasons)
    return f"{'' if quality.acceptable else 'POOR '}quality {100 * quality.score:.0f} %{f' ({wrong})' if wrong else ''}"


def statements_line(statements: dict[str, float], count: int = 6) -> str:
    """The likeliest statements with the model's own probabilities."""
    likeliest = sorted(statements.items(), key=lambda item: -item[1])[:count]
    return "  ".join(f"{label} {probability:.2f}" for label, probability in likeliest)


def after_text(result: Interpretation) -> list[str]:
    """What follows the streamed text: measurements, notes, probabilities, and what this is not."""
    lines = [f"  measured: {measurements_line(result.measurements)}", *(f"  note: {note}" for note in result.notes)]
    if result.statements:
        lines.append(f"  model's own probabilities: {statements_line(result.statements)}")
    return [*lines, f"  {result.disclaimer}"]


def describe(recording: Recording) -> str:
    """`12 leads, 500 Hz, 10.0 s`."""
    marked = ", SYNTHETIC" if recording.synthetic else ""
    return f"{len(recording.leads)} leads, {recording.fs:g} Hz, {recording.duration:.1f} s{marked}"


def check_files(out: Path | None, plot: Path | None) -> None:
    """Raises InputError, before any work is done, where `keep` could not write a file."""
    if out is not None and out.suffix.lower() not in (".hea", ".csv"):
        what = "x.hea or x.csv, which carry the SYNTHETIC mark"
        raise InputError(f"expected --out {what}, found {out.name}; name it so.")
    if plot is not None:
        from uniecg_runtime.formats.plot import check_plot

        check_plot(plot)
    for path in (out, plot):
        if path is not None and not path.absolute().parent.is_dir():
            raise InputError(f"expected a folder at {path.absolute().parent}, found none; make it, or write elsewhere.")


def keep(recording: Recording, out: Path | None, plot: Path | None) -> list[str]:
    """Write the files that were asked for, which `check_files` let pass; their paths."""
    written = []
    if out is not None:
        written.append(str(_write(recording, out)))
    if plot is not None:
        from uniecg_runtime.formats.plot import plot_paper

        written.append(str(plot_paper(recording, plot)))
    return written


def _write(recording: Recording, path: Path) -> Path:
    from uniecg_runtime.formats.write import write_csv, write_wfdb

    return write_csv(recording, path) if path.suffix.lower() == ".csv" else write_wfdb(recording, path)
