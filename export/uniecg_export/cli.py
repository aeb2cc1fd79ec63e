"""`uniecg export`: a checkpoint becomes a bundle, with its gates shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from uniecg_export.bundle import export_checkpoint
from uniecg_export.gates import GateError, verdict
from uniecg_export.sweep import trial_table
from uniecg_runtime.manifest import Gate, Override


def export(checkpoint: Path, out: Path, **options: Any) -> None:
    """Export `checkpoint` to the bundle `out` and print what each gate measured. options: of `export_checkpoint`.

    Raises UniecgError with the reason where nothing was written.
    """
    console = Console(highlight=False, markup=False, emoji=False)  # names and reasons are printed as they are
    try:
        with console.status("reading the checkpoint") as status:
            done = export_checkpoint(
                Path(checkpoint),
                Path(out),
                shown=lambda role, precision: status.update(f"trying the {role} in {precision}"),
                **options,
            )
    except GateError as error:
        console.print(_table("What was measured; less is better", error.gates, error.overrides))
        raise
    overrides = done.manifest.overrides
    console.print(_table("The reference against the checkpoint", done.parity, overrides))
    if done.manifest.gates:
        console.print(_table("The bundle against the reference; less is better", done.manifest.gates, overrides))
    console.print(trial_table(done.trials, done.chosen))
    size = sum(item.size for item in done.manifest.artifacts) / 1e6
    console.print(f"{done.manifest.name} {done.manifest.version}: {size:.1f} MB in {done.folder}")
    for note in done.manifest.provenance.notes:
        console.print(f"note: {note}")
    console.print(done.manifest.intended_use, style="dim")


def _table(title: str, gates: Sequence[Gate], overrides: Sequence[Override]) -> Table:
    table = Table(title=title)
    for heading in ("gate", "what", "measured", "limit", ""):
        table.add_column(heading, justify="right" if heading in ("measured", "limit") else "left")
    for gate in gates:
        figures = f"{gate.measured:.2g}", f"{gate.limit:.2g}"
        table.add_row(gate.name, gate.what, *figures, verdict(gate, overrides))
    return table
