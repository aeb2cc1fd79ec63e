"""Recordings as plain tables: CSV with a header row, and NPY arrays."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_device.signals import LEADS, Recording, Units
from uniecg_runtime.formats import labels
from uniecg_runtime.formats.request import LARGEST, Request, rate

_LARGEST_CSV = 1 << 29
_TIME = re.compile(
    r"^(?:elapsed\s*)?(?:time|timestamp|t|seconds|secs?|s|ms|millis(?:econds)?)(?:[\s_]*(ms|us|s))?$", re.I
)
_INDEX = re.compile(r"^(?:|#|n|index|idx|sample|samples|sample[\s_#]*(?:number|index)?|unnamed.*)$", re.I)
_IGNORED = re.compile(r"^(?:.+ count|missing|note)$", re.I)  # beside the millivolts that `uniecg convert` writes
_MISSING = {"", "nan", "na", "n/a", "null", "none", "-"}


@dataclass(frozen=True)
class _Column:
    kind: str  # "lead", "time", "position", "index" or "ignored"
    label: str
    units: str | None


def read_csv(path: Path, request: Request) -> Recording:
    """A table of one row per sample: optional `#` comments, a header row of lead names, an optional time column.

    Where a column `position` numbers the samples, as `uniecg convert` writes it, numbers left out become NaN.

    Units come from the option, else from names such as "II (uV)", else mV is taken. Raises InputError for
    unknown columns, ragged or non-numeric rows, an uneven time column, and a rate that is nowhere stated.
    """
    text = _text(path)
    comments, body = _comments(text)
    if not body.strip():
        raise InputError(f"{path.name} is empty; expected a header row of lead names and one row per sample.")
    first = body.split("\n", 1)[0]
    delimiter = _delimiter(first)
    header, body = _header(path, body, delimiter, request)
    table = _numbers(path, body, delimiter, header)
    header = [column for column in header if column.kind != "ignored"]
    table = _placed(path, table, header)
    time = next((table[:, k] for k, column in enumerate(header) if column.kind == "time"), None)
    fs = _rate(path, request, comments, header, time)
    rows = [k for k, column in enumerate(header) if column.kind == "lead"]
    names = request.named(path.name, len(rows)) or labels.lead_names(header[k].label for k in rows)
    start, end = request.cut(path.name, fs, len(table), len(rows))
    stretch = table[start:end]
    scales = [request.scale(header[k].units or "mV") for k in rows]
    signal = np.stack([stretch[:, k] * np.float32(s.factor) for k, s in zip(rows, scales, strict=True)])
    age, sex = labels.person(comments)
    return Recording(
        signal=np.ascontiguousarray(signal, np.float32),
        fs=fs,
        leads=names,
        name=path.stem,
        units=one_unit(path.name, [s.units for s in scales]),
        age=age,
        sex=sex,
        synthetic=labels.is_synthetic(comments),
        comments=tuple(c for c in labels.other_comments(comments) if not c.lower().startswith("fs:")),
    )


def one_unit(name: str, units: list[Units]) -> Units:
    """The unit all leads share. Raises InputError where some are in mV and some standardised."""
    if len(set(units)) != 1:
        raise InputError(f"{name} mixes millivolts and standardised leads; give one with the units option.")
    return units[0]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(min(path.stat().st_size, _LARGEST_CSV) + 1)  # room is made for as much as is asked for
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None
    if len(raw) > _LARGEST_CSV:
        raise InputError(f"{path.name} is larger than 512 MB; store such a recording as WFDB, EDF or NPY.")
    if b"\0" in raw[:4096]:
        raise InputError(f"{path.name} is not text; a CSV file holds lead names and numbers.")
    return raw.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")


def _comments(text: str) -> tuple[tuple[str, ...], str]:
    lines, start = [], 0
    while text.startswith("#", start):
        end = text.find("\n", start) + 1 or len(text)
        lines.append(text[start + 1 : end].strip())
        start = end
    return tuple(lines), text[start:]


def _delimiter(first: str) -> str | None:
    """The likeliest delimiter of a line; None stands for runs of blanks."""
    for candidate in ("\t", ";", ","):
        if candidate in first:
            return candidate
    return None


def _split(line: str, delimiter: str | None) -> list[str]:
    cells = line.split() if delimiter is None else next(csv.reader(io.StringIO(line), delimiter=delimiter), [])
    return [cell.strip().strip("'\"").strip() for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return cell.lower() in _MISSING
    return True


def _header(path: Path, body: str, delimiter: str | None, request: Request) -> tuple[list[_Column], str]:
    first, _, rest = body.partition("\n")
    if len(first) > 65536:
        raise InputError(f"The first line of {path.name} is {len(first)} characters long; expected lead names.")
    cells = _split(first, delimiter)
    if all(_is_number(cell) for cell in cells):
        wanted = request.leads or (LEADS if len(cells) == len(LEADS) else None)
        if wanted is None:
            raise InputError(f"{path.name} has no header row; name its {len(cells)} columns with the leads option.")
        if len(cells) == len(wanted) + 1:
            return [_Column("time", "time", None), *(_Column("lead", lead, None) for lead in wanted)], body
        if len(cells) != len(wanted):
            raise InputError(f"{path.name} holds {len(cells)} columns but {len(wanted)} lead names were given.")
        return [_Column("lead", lead, None) for lead in wanted], body
    columns = [_column(cell) for cell in cells]
    second, _, after = rest.partition("\n")  # PhysioNet's rdsamp puts the units in a row of their own
    units = _split(second, delimiter) if len(second) < 65536 else []
    if len(units) == len(cells) and units and not any(_is_number(cell) for cell in units if cell):
        columns = [replace(column, units=unit) for column, unit in zip(columns, units, strict=True)]
        rest = after
    if not any(column.kind == "lead" for column in columns):
        raise InputError(f"{path.name} has no lead columns in its header row {first[:60]!r}.")
    return columns, rest


def _column(cell: str) -> _Column:
    label, units = labels.split_units(cell)
    time = _TIME.match(label)
    if time:
        unit = units or time[1] or ("ms" if label.lower() in ("ms", "millis", "milliseconds") else "s")
        return _Column("time", label, unit)
    if label.lower() == "position" and units is None:
        return _Column("position", label, None)
    if _IGNORED.match(label) and units is None:
        return _Column("ignored", label, None)
    return _Column("index" if _INDEX.match(label) else "lead", label, units)


def _placed(path: Path, table: NDArray[np.float64], header: list[_Column]) -> NDArray[np.float64]:
    """The rows at their positions, and rows of NaN where positions are left out, but for a time that goes on."""
    column = next((k for k, column in enumerate(header) if column.kind == "position"), None)
    if column is None:
        return table
    position = table[:, column]
    steps = np.diff(position)
    if not ((np.abs(position) < 2**53).all() and (position == np.rint(position)).all() and (steps > 0).all()):
        raise InputError(f"The positions in {path.name} are not whole numbers that rise from row to row.")
    length = int(position[-1] - position[0]) + 1
    if length * len(header) > LARGEST:
        raise InputError(f"{path.name} spans {length} samples; cut it into pieces or convert it to WFDB instead.")
    rows = (position - position[0]).astype(np.int64)
    placed = np.full((length, len(header)), np.nan)
    placed[rows] = table
    for k, each in enumerate(header):
        if each.kind == "time":
            placed[:, k] = np.interp(np.arange(length), rows, table[:, k])
    return placed


def _numbers(path: Path, body: str, delimiter: str | None, header: list[_Column]) -> NDArray[np.float64]:
    """The columns that are not ignored, a row per line."""
    rows, columns = body.count("\n") + 1, len(header)
    if rows * columns > LARGEST:
        raise InputError(f"{path.name} holds {rows} rows of {columns} columns; store it as WFDB, EDF or NPY instead.")
    if delimiter == ";" and "," in body:
        body = body.replace(",", ".")
    kept = [k for k, column in enumerate(header) if column.kind != "ignored"]
    chosen = kept if len(kept) < columns else None  # all of them: a row of another length is then found out
    if chosen and len(_split(body.rstrip("\n").rpartition("\n")[2], delimiter)) != columns:
        raise InputError(f"The last row of {path.name} is not {columns} values; the file may be truncated.")
    try:
        table = (
            np.loadtxt(io.StringIO(body), delimiter=delimiter, ndmin=2, comments=None, usecols=chosen, quotechar='"')
            if body.strip()
            else None
        )
    except ValueError:
        table = np.fromiter(_values(path, body, delimiter, columns, kept), np.float64).reshape(-1, len(kept))
    if table is None:
        raise InputError(f"{path.name} holds no samples below its header row.")
    if table.shape[1] != len(kept):
        raise InputError(f"{path.name} names {columns} columns but its rows hold {table.shape[1]}.")
    return table


def _values(path: Path, body: str, delimiter: str | None, columns: int, kept: list[int]) -> Iterator[float]:
    """Row by row, the slow way, for empty cells and quotes; says which row is wrong."""
    for number, line in enumerate(io.StringIO(body), 1):
        if not line.strip():
            continue
        try:
            cells = _split(line, delimiter)
            if len(cells) != columns:
                raise InputError(
                    f"Row {number} of {path.name} holds {len(cells)} values, expected {columns}; "
                    "the file may be truncated."
                )
            chosen = [cells[k] for k in kept]
            yield from [np.nan if cell.lower() in _MISSING else float(cell) for cell in chosen]
        except (ValueError, csv.Error):  # csv: a cell of more than 131,072 characters
            raise InputError(f"Row {number} of {path.name} is not all numbers: {line.strip()[:60]!r}.") from None


def _rate(
    path: Path, request: Request, comments: tuple[str, ...], header: list[_Column], time: NDArray[np.float64] | None
) -> float:
    if request.fs is not None:
        return request.fs
    for comment in comments:
        key, _, value = comment.partition(":")
        if key.strip().lower() == "fs":
            try:
                return rate(float(value.lower().removesuffix("hz")), "its fs comment")
            except ValueError:
                break
    if time is None:
        raise InputError(f"{path.name} has no time column; give its sampling rate with the fs option.")
    unit = next(column.units for column in header if column.kind == "time") or "s"
    if len(time) < 2 or not (np.abs(time) < 1e99).all() or time[-1] <= time[0]:
        raise InputError(f"The time column of {path.name} does not rise; give the sampling rate with the fs option.")
    step = (time[-1] - time[0]) / (len(time) - 1)
    if np.abs(time - (time[0] + step * np.arange(len(time)))).max() > 0.75 * step:
        raise InputError(f"The time column of {path.name} is uneven; samples must follow at a steady rate.")
    seconds = step * {"ms": 1e-3, "msec": 1e-3, "us": 1e-6, "µs": 1e-6}.get(unit.lower(), 1.0)
    fs = 1 / max(float(seconds), 1e-99)  # finite whatever the column holds
    return rate(float(round(fs)) if abs(fs - round(fs)) < 1e-3 * fs and fs >= 10 else float(fs), "its time column")


def read_npy(path: Path, request: Request) -> Recording:
    """An array of shape (leads, samples) or (samples, leads), mapped, never unpickled.

    The rate must be given; leads too unless 12 rows stand in the usual order; integers need units. Raises
    InputError for anything else.
    """
    array = load_npy(path)
    signal = _leads_first(path, array, request)
    if request.fs is None:
        raise InputError(f"{path.name} does not state its sampling rate; give it with the fs option.")
    if array.dtype.kind != "f" and request.units is None:
        raise InputError(
            f"{path.name} holds integers ({array.dtype}); give their meaning with the units option "
            "(uV, counts per millivolt such as 200/mV, or standardised)."
        )
    names = request.named(path.name, signal.shape[0]) or LEADS
    start, end = request.cut(path.name, request.fs, signal.shape[1], signal.shape[0])
    scale = request.scale("mV")
    values = np.multiply(signal[:, start:end], scale.factor, dtype=np.float32, casting="unsafe")
    return Recording(np.ascontiguousarray(values), request.fs, names, name=path.stem, units=scale.units)


def load_npy(path: Path) -> NDArray[np.generic]:
    """An array of real numbers, mapped, never unpickled. Raises InputError for any other file."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # np.load would look for archives and pickles too
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None
    except Exception as error:  # NumPy answers damaged bytes with a dozen kinds of error
        raise InputError(f"{path.name} is not a plain NPY array or is truncated: {str(error)[:120]}.") from None
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path.name} must hold one array of real numbers.")
    return array


def _leads_first(path: Path, array: NDArray[np.generic], request: Request) -> NDArray[np.generic]:
    wanted = len(request.leads) if request.leads is not None else len(LEADS)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or wanted not in array.shape:
        advice = "name its leads with the leads option" if request.leads is None else "name as many leads as it holds"
        raise InputError(f"{path.name} has shape {array.shape}, not {wanted} leads by samples; {advice}.")
    if array.shape == (wanted, wanted):
        raise InputError(f"{path.name} is square, so that leads and samples cannot be told apart.")
    return array if array.shape[0] == wanted else array.T
