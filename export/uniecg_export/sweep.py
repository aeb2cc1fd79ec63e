"""Every precision of every role beside each other, and which of them nothing else beats."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.table import Table

from uniecg_export.report import plain_trial
from uniecg_export.trials import Bench, Make, Trial, pareto
from uniecg_runtime.manifest import Role

Swept = Mapping[Role, Sequence[Trial]]


def sweep(
    bench: Bench,
    precisions: Mapping[Role, Sequence[str]],
    make: Callable[[Role], Make],
    shown: Callable[[Role, str], None] = lambda role, precision: None,
) -> Swept:
    """Try each role in each of its precisions, memory measured too. shown: is told what is being tried."""
    found: dict[Role, list[Trial]] = {}
    for role, names in precisions.items():
        found[role] = []
        for precision in names:
            shown(role, precision)
            found[role].append(bench.try_precision(role, precision, make(role), memory=True))
    return found


def write_sweep(path: Path, swept: Swept) -> None:
    """As JSON, each trial with whether it is on the Pareto front of its role."""
    rows = [
        {**plain_trial(trial), "pareto": index in pareto(trials)}
        for trials in swept.values()
        for index, trial in enumerate(trials)
    ]
    path.write_text(json.dumps({"trials": rows}, indent=1) + "\n", encoding="utf-8")


def table(swept: Swept) -> Table:
    """Size, time and memory, the worst gate of quality as a share of its limit, and the task where there is one."""
    shown = Table(title="each precision against the reference; * is beaten by none in size, time and quality at once")
    for heading in ("role", "precision", "", "MB", "ms", "MiB", "quality", "task", "refused by"):
        right = heading in ("MB", "ms", "MiB", "quality", "task")
        shown.add_column(heading, justify="right" if right else "left")
    for trials in swept.values():
        best = pareto(trials)
        for index, trial in enumerate(trials):
            shown.add_row(trial.role, trial.precision, "*" if index in best else "", *_cells(trial))
    return shown


def _cells(trial: Trial) -> Iterator[str]:
    if trial.artifact is None:
        yield from ("", "", "", "", "", trial.failed)
        return
    yield f"{trial.artifact.size / 1e6:.2f}"
    yield "" if trial.speed is None else f"{trial.speed.trial_ms:.2f}"
    yield "" if trial.memory_mb is None else f"{trial.memory_mb:.0f}"
    quality = [g for g in trial.gates if not g.name.endswith((".size", ".speed"))]
    worst = max(quality, key=lambda g: g.measured / g.limit)
    yield f"{worst.name.rpartition('.')[2]} {worst.measured:.2g} of {worst.limit:g}"
    task = next((g for g in quality if g.name.endswith((".auroc", ".agreement", ".heart_rate"))), None)
    yield "" if task is None else f"{task.name.rpartition('.')[2]} {task.measured:+.3g}"
    yield ", ".join(g.name.rpartition(".")[2] for g in trial.gates if not g.ok)
