"""`uniecg measure`: recordings in, the measurement matrix out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniecg_device.errors import InputError
from uniecg_runtime.cli.output import clean, complain, quality_line, say, say_json
from uniecg_runtime.results import DISCLAIMER

if TYPE_CHECKING:
    from uniecg_device.signals import Recording
    from uniecg_runtime.cli.opening import Opening
    from uniecg_runtime.cli.records import Told
    from uniecg_runtime.signal.edges import FindEdges
    from uniecg_runtime.signal.matrix import Measured
    from uniecg_runtime.signal.survey import Report

LABELS = {
    "heart_rate": "HR",
    "rr": "RR",
    "pr": "PR",
    "p_duration": "P",
    "qrs": "QRS",
    "qt": "QT",
    "qtc": "QTc Bazett",
    "qtcf": "QTc Fridericia",
    "qtc_framingham": "QTc Framingham",
    "qtc_hodges": "QTc Hodges",
    "p_axis": "P axis",
    "axis": "QRS axis",
    "t_axis": "T axis",
    "sokolow_lyon": "Sokolow-Lyon",
    "cornell": "Cornell",
    "r_transition": "R transition",
    "p_share": "beats with P",
}
COLUMNS = {
    "p": "P",
    "q": "Q",
    "r": "R",
    "s": "S",
    "r2": "R'",
    "t": "T",
    "st_j": "J",
    "st_60": "J+60",
    "q_duration": "Q ms",
    "r_duration": "R ms",
    "s_duration": "S ms",
}
DOUBTFUL = 0.5  # quality under which a value is marked


@dataclass(frozen=True)
class Measuring:
    """How records are read and measured. opening: of the bundle whose delineator finds the waves; None: rules do.

    annotations: a folder to write the waves to.
    """

    told: Told
    opening: Opening | None
    annotations: Path | None

    def find_edges(self) -> tuple[FindEdges, str]:
        """What finds the waves, and what it is called. Raises BundleError for a bundle without a delineator."""
        from uniecg_runtime.signal.delineator import Delineator
        from uniecg_runtime.signal.edges import edges_of

        if self.opening is None:
            return edges_of, "rules"
        from uniecg_runtime.backends.graphs import open_graph

        bundle = self.opening.open()
        manifest = bundle.manifest
        return Delineator(open_graph(bundle, "delineator")), f"{manifest.name} {manifest.version}"


def run(records: list[Path], how: Measuring, *, as_json: bool) -> int:
    """Measure each record; a bad one is reported and the others go on. Returns the exit code.

    Raises InputError without the folder for annotations, BundleError for a bundle that has no delineator.
    """
    annotations = how.annotations
    if annotations is not None and not annotations.is_dir():
        raise InputError(f"expected a folder for --annotations, found none at {annotations}; make it first.")
    failed = False
    names: set[str] = set()
    find_edges, finder = how.find_edges()
    for record in records:
        try:
            if annotations is not None:
                _check_place(record, annotations, names)
            found = _measure(record, how.told, find_edges)
            files = [] if annotations is None else _annotate(found, annotations, record)
            _tell(record, found, finder, files, as_json=as_json)
        except InputError as error:
            failed = True
            complain(f"{record}: {error}")
    return int(failed)


def _check_place(record: Path, folder: Path, names: set[str]) -> None:
    """Raise InputError where annotations would take the place of others: a reader's, or of this very run."""
    if record.absolute().parent.resolve() == folder.resolve():
        raise InputError("expected another folder for --annotations than the record's own, where a reader's may lie.")
    if record.stem in names:
        raise InputError(f"two records are called {record.stem}, whose annotations would be one; measure them apart.")
    names.add(record.stem)


def _measure(record: Path, told: Told, find_edges: FindEdges) -> Report:
    from uniecg_runtime.signal.survey import measure_all

    def read(start: float, seconds: float) -> Recording:
        return told.read(record, start=start, seconds=seconds, allow_empty=True)

    return measure_all(read, find_edges)


def _annotate(found: Report, folder: Path, record: Path) -> list[Path]:
    from uniecg_runtime.formats.annotations import write_annotations

    return write_annotations(found.waves, folder, record.stem)


def _tell(record: Path, found: Report, finder: str, files: list[Path], *, as_json: bool) -> None:
    if as_json:
        told = {"record": str(record), **_as_json(found), "waves_by": finder, "files": [str(path) for path in files]}
        say_json(told)
        return
    _show(record, found, finder)
    if files:
        say(f"  wrote {files[0]} and {len(files) - 1} leads beside it")
    say(f"  {DISCLAIMER}")


def _as_json(found: Report) -> dict[str, Any]:
    first = found.first
    return {
        "fs": first.fs,
        "seconds": found.samples / first.fs,
        "units": first.units,
        "measurements": {name: asdict(value) for name, value in found.matrix.values.items()},
        "leads": {
            lead: {name: asdict(value) for name, value in row.items()} for lead, row in found.matrix.leads.items()
        },
        "quality": asdict(found.quality),
        "beats": found.waves.beats.tolist(),
        "waves": {
            lead: {name: marks[:, 3 * k : 3 * k + 3].tolist() for k, name in enumerate(("p", "qrs", "t"))}
            for lead, marks in found.waves.leads.items()
        },
        "synthetic": first.synthetic,
        "notes": list(first.comments),
        "disclaimer": DISCLAIMER,
    }


def _show(record: Path, found: Report, finder: str) -> None:
    """The matrix as people read it: what is measured of the whole, then a row per lead."""
    from rich.console import Console
    from rich.table import Table

    first, matrix = found.first, found.matrix
    marked = ", SYNTHETIC" if first.synthetic else ""
    say(f"{record}: {_count(len(first.leads), 'lead')}, {first.fs:g} Hz, {found.samples / first.fs:.1f} s{marked}")
    say(f"  {_count(len(found.waves.beats), 'beat')}, waves by {finder}, {quality_line(found.quality)}")
    if found.quality.reversal is not None:
        say(f"  WARNING: {found.quality.reversal.warning}; read with care.")
    whole = Table(box=None, show_header=False, pad_edge=True)
    for name, label in LABELS.items():
        value = matrix.values[name]
        whole.add_row(label, _number(value, value.unit), value.unit, _remark(value))
    console = Console()
    console.print(whole)
    unit = "mV" if first.units == "mV" else "SD"
    rows = Table(box=None, title=f"per lead, {unit} and ms; J and J+60: ST level", title_justify="left")
    rows.add_column("lead")
    for label in COLUMNS.values():
        rows.add_column(label, justify="right")
    for lead, row in matrix.leads.items():
        rows.add_row(lead, *(_number(row[name], row[name].unit) for name in COLUMNS))
    console.print(rows)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _number(value: Measured, unit: str) -> str:
    if value.value is None:
        return "-"
    decimals = 2 if unit in ("mV", "SD", "") else 1 if unit == "V" else 0
    text = f"{value.value:.{decimals}f}"
    return f"{text.removeprefix('-') if float(text) == 0 else text}{'?' if value.quality < DOUBTFUL else ''}"


def _remark(value: Measured) -> str:
    return clean(value.reason) if value.value is None else ""
