"""`uniecg export`: a checkpoint becomes a bundle, with its gates shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.table import Table

from uniecg_export.bundle import export_checkpoint
from uniecg_export.gguf_writer import Precision
from uniecg_export.parity import GateError, Parity
from uniecg_runtime.manifest import Override


def export(
    checkpoint: Path,
    out: Path,
    precision: str = "q8_0",
    override: Sequence[str] | None = None,
    family: str | None = None,
    labels: Path | None = None,
    tower: Path | None = None,
    generator: Path | None = None,
) -> None:
    """Export `checkpoint` to the bundle `out` and print what each gate measured.

    Raises UniecgError with the reason where nothing was written.
    """
    console = Console()
    try:
        done = export_checkpoint(
            Path(checkpoint),
            Path(out),
            family=family,
            labels=labels,
            tower=tower,
            generator=generator,
            precision=cast(Precision, precision),
            overrides=override or (),
        )
    except GateError as error:
        console.print(_table(error.parities, ()))
        raise
    console.print(_table(done.parities, done.manifest.overrides))
    size = sum(item.size for item in done.manifest.artifacts) / 1e6
    console.print(f"{done.manifest.name} {done.manifest.version}: {size:.1f} MB in {done.folder}", highlight=False)
    for note in done.manifest.provenance.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    console.print(done.manifest.intended_use, style="dim")


def _table(parities: Sequence[Parity], overrides: Sequence[Override]) -> Table:
    reasons = {item.gate: item.reason for item in overrides}
    table = Table(title="Parity with the checkpoint in torch; relative error is max |a-b| / max |b|")
    for heading in ("gate", "measured", "error", "limit", ""):
        table.add_column(heading, justify="right" if heading in ("error", "limit") else "left")
    for parity in parities:
        verdict = "ok" if parity.ok else f"overridden: {reasons[parity.gate]}" if parity.gate in reasons else "too far"
        table.add_row(parity.gate, parity.what, f"{parity.error:.2g}", f"{parity.limit:.2g}", verdict)
    return table
