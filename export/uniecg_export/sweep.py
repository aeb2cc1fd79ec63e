"""Trials as a table, and which of them nothing else beats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.table import Table

from uniecg_export.gates import share
from uniecg_export.trials import Trial, pareto


def trial_table(trials: Sequence[Trial], chosen: Sequence[Trial]) -> Table:
    """Size, time and memory, the worst gate of quality as a share of its limit, and the task where there is one."""
    shown = Table(
        title="Each precision against its reference: > is in the bundle, * is beaten in size, time and quality by none"
    )
    for heading in ("role", "precision", "", "MB", "ms", "MiB", "quality", "task", "refused by"):
        right = heading in ("MB", "ms", "MiB")
        shown.add_column(heading, justify="right" if right else "left")
    for role, group in groupby(trials, key=lambda trial: trial.role):
        of_role = list(group)
        best = pareto(of_role)
        for index, trial in enumerate(of_role):
            marks = f"{'>' if trial in chosen else ''}{'*' if index in best else ''}"
            shown.add_row(role, trial.precision, marks, *_cells(trial))
    return shown


def _cells(trial: Trial) -> Iterator[str]:
    if trial.artifact is None:
        yield from ("", "", "", "", "", "could not be made, see the report")
        return
    yield f"{trial.artifact.size / 1e6:.2f}"
    yield "" if trial.speed is None else f"{trial.speed.trial_ms:.2f}"
    yield "" if trial.memory_mb is None else f"{trial.memory_mb:.0f}"
    worst = max(trial.quality, key=share, default=None)
    yield "" if worst is None else f"{worst.name.rpartition('.')[2]} {worst.measured:.2g} of {worst.limit:g}"
    tasks = (".auroc", ".agreement", ".probability", ".heart_rate")
    task = next((g for g in trial.quality if g.name.endswith(tasks)), None)
    yield "" if task is None else f"{task.name.rpartition('.')[2]} {task.measured:+.3g}"
    yield ", ".join(g.name.rpartition(".")[2] for g in trial.gates if not g.ok)
