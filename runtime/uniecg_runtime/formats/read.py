"""Read a recording from a WFDB, EDF, CSV or NPY file, or one of `uniecg record`. The bytes are not trusted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_device.signals import LEADS, Recording, Sex, Units
from uniecg_runtime.formats import labels, physionet, recorded, tables
from uniecg_runtime.formats.request import Request, rate

_KINDS = (".hea", ".edf", ".bdf", ".csv", ".tsv", ".txt", ".npy", ".uniecg")


def read_recording(
    path: str | Path,
    *,
    fs: float | None = None,
    units: str | None = None,
    leads: Sequence[str] | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    allow_empty: bool = False,
) -> Recording:
    """Read a stretch of a recording, in mV unless its units are standardised.

    path: `.hea` (or the record's name, `.dat` or `.mat` beside it), `.edf`, `.bdf`, `.csv`, `.tsv`, `.txt`,
    `.npy` or `.uniecg`.
    fs (Hz), units (mV, uV, V, counts per millivolt as "200/mV", standardised) and leads (one name per signal in
    file order) supply or correct what the file says. start, seconds: the stretch to read; all of it otherwise.
    Channels of WFDB and EDF files that are no ECG leads are left out, and a comment says so.
    allow_empty: a stretch of which every value is missing is given as it is, as one of a long recording may be.
    Raises InputError for a file that is missing, damaged, truncated, without samples, or not an ECG.
    """
    request = Request.checked(fs, units, leads, start, seconds)
    file = _locate(Path(path))
    kind = file.suffix.lower()
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what float32 cannot hold becomes a gap
        if kind == ".hea":
            recording = _read_wfdb(file, request)
        elif kind in (".edf", ".bdf"):
            recording = _read_edf(file, request)
        elif kind == ".uniecg":
            recording = recorded.read_recorded(file, request)
        elif kind == ".npy":
            recording = tables.read_npy(file, request)
        else:
            recording = tables.read_csv(file, request)
    return _sound(recording, file.name, allow_empty=allow_empty)


def _locate(path: Path) -> Path:
    """The file to open, of a known kind. Raises InputError where there is none."""
    kind = path.suffix.lower()
    header = path.parent / f"{path.name}.hea"
    try:
        if kind in _KINDS:
            found = path
        elif kind in (".dat", ".mat"):
            found = path.with_suffix(".hea")
        elif path.name and header.is_file():
            found = header
        elif path.is_file():
            raise InputError(f"{path.name} is of an unknown kind; expected {', '.join(_KINDS[:-1])} or {_KINDS[-1]}.")
        else:
            found = path
        if not found.is_file():
            raise InputError(f"No such file: {found}.")
    except OSError as error:  # a folder that may not be entered, a name that is too long
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None
    return found


def _sound(recording: Recording, name: str, *, allow_empty: bool) -> Recording:
    """The recording with infinities as gaps. Raises InputError where no sample is left, unless that is allowed."""
    signal = recording.signal
    if signal.size == 0:
        raise InputError(f"{name} holds no samples.")
    infinite = np.isinf(signal)
    if infinite.any():
        signal = np.where(infinite, np.float32(np.nan), signal)
    if not allow_empty and np.isnan(signal).all():
        raise InputError(f"{name} holds no valid sample in this stretch; every value is missing (NaN).")
    return replace(recording, signal=np.ascontiguousarray(signal, np.float32))


def _leads_of(
    name: str, channels: Sequence[str], channel_units: Sequence[str], request: Request
) -> tuple[list[int], tuple[str, ...], list[str]]:
    """Rows that are ECG leads, their names, and a note for each channel left out.

    Raises InputError where no channel is a lead, or one lead appears twice.
    """
    given = request.named(name, len(channels))
    if given is not None:
        return list(range(len(channels))), given, []
    rows, left_out = [], []
    for row, (channel, unit) in enumerate(zip(channels, channel_units, strict=True)):
        electrical = request.units is not None or _is_voltage(unit)
        if labels.lead_name(channel) is None or not electrical:
            left_out.append(f"channel {channel.strip()[:40]!r} left out: not an ECG lead")
        else:
            rows.append(row)
    if not rows:
        labels.lead_names(channels)  # raises, naming the first unknown one
        raise InputError(f"{name} holds no channel in volts; give its units with the units option.")
    return rows, labels.lead_names(channels[row] for row in rows), left_out


def _is_voltage(unit: str) -> bool:
    try:
        labels.scale_of(unit)
    except InputError:
        return False
    return True


def _to_mv(
    name: str, signal: NDArray[np.float32], stated: Sequence[str], request: Request
) -> tuple[NDArray[np.float32], Units]:
    scales = [request.scale(unit) for unit in stated]
    factors = np.array([scale.factor for scale in scales], np.float32)
    if (factors != 1).any():
        signal = signal * factors[:, None]
    return signal, tables.one_unit(name, [scale.units for scale in scales])


# WFDB


def _read_wfdb(path: Path, request: Request) -> Recording:
    header = physionet.read_header(path)
    fs = request.fs or rate(header.fs, "its header")
    if header.lean:
        samples = physionet.available_samples(path, header)
        start, end = request.cut(path.name, fs, samples, header.count)
        signal = physionet.read_signals(path, header, start, end)
        channels = [s.label for s in header.signals]
        units = [s.units for s in header.signals]
    else:
        signal, channels, units = _through_wfdb(path, header, fs, request)
    rows, names, left_out = _leads_of(path.name, _unnamed(channels), units, request)
    picked, unit = _to_mv(path.name, signal[rows], [units[row] for row in rows], request)
    age, sex = labels.person(header.comments)
    return Recording(
        signal=picked,
        fs=fs,
        leads=names,
        name=path.stem,
        units=unit,
        age=age,
        sex=sex,
        synthetic=labels.is_synthetic(header.comments),
        comments=(*labels.other_comments(header.comments), *left_out),
    )


def _unnamed(channels: list[str]) -> list[str]:
    """Twelve signals without any names stand in the usual order; that is what WFDB's own tools assume of ECGs."""
    return list(LEADS) if len(channels) == len(LEADS) and not any(c.strip() for c in channels) else channels


def _through_wfdb(
    path: Path, header: physionet.Header, fs: float, request: Request
) -> tuple[NDArray[np.float32], list[str], list[str]]:
    """Formats beyond 16, 24, 32 and 212, several segments, skew: with the wfdb package."""
    try:
        import wfdb
    except ImportError:
        raise InputError(
            f"{path.name} uses a WFDB layout that needs the wfdb package; install it: pip install 'uniecg-edge[files]'."
        ) from None
    if header.samples is None:
        raise InputError(f"{path.name} does not state its number of samples, which this WFDB layout needs.")
    values = sum(signal.frame for signal in header.signals) or header.count  # the package reads whole frames
    start, end = request.cut(path.name, fs, header.samples, values)
    with _refused(path):
        record = wfdb.rdrecord(str(path.with_suffix("")), sampfrom=start, sampto=end, return_res=32)
        signal = np.ascontiguousarray(record.p_signal.T, np.float32)
        return signal, [str(name) for name in record.sig_name], [str(unit) for unit in record.units]


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Whatever another package raises on a damaged file becomes one InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = str(error).replace(str(path), path.name).split("\n")[0][:160] or type(error).__name__
        raise InputError(f"{path.name} cannot be read; it is damaged or not what its name says: {reason}.") from None


# EDF


def _read_edf(path: Path, request: Request) -> Recording:
    try:
        import pyedflib
    except ImportError:
        raise InputError(
            f"Reading {path.name} needs the pyEDFlib package; install it: pip install 'uniecg-edge[files]'."
        ) from None
    _check_edf(path)
    with _refused(path), pyedflib.EdfReader(str(path)) as file:
        channels = [str(label) for label in file.getSignalLabels()]
        units = [file.getPhysicalDimension(row).strip() for row in range(len(channels))]
        rows, names, left_out = _leads_of(path.name, channels, units, request)
        fs = _edf_rate(path, [float(file.getSampleFrequency(row)) for row in rows], request)
        start, end = request.cut(path.name, fs, int(min(file.getNSamples()[rows])), len(rows))
        signal = np.empty((len(rows), end - start), np.float32)
        for row, channel in enumerate(rows):
            signal[row] = file.readSignal(channel, start, end - start)
        _blank_gaps(signal, file, fs, start)
        age, sex = _edf_person(file)
        synthetic = labels.is_synthetic([str(file.getRecordingAdditional())])
    signal, unit = _to_mv(path.name, signal, [units[row] for row in rows], request)
    return Recording(
        signal, fs, names, name=path.stem, units=unit, age=age, sex=sex, synthetic=synthetic, comments=tuple(left_out)
    )


def _blank_gaps(signal: NDArray[np.float32], file: Any, fs: float, start: int) -> None:
    """NaN where the annotations of `uniecg convert` say that nothing was received."""
    for onset, duration, text in zip(*file.readAnnotations(), strict=True):
        first = max(round(float(onset) * fs) - start, 0)
        if str(text).startswith("gap: "):
            signal[:, first : max(round((float(onset) + float(duration)) * fs) - start, 0)] = np.nan
        elif str(text) == "recording ends":
            signal[:, first:] = np.nan


def _check_edf(path: Path) -> None:
    """Raise InputError for pauses, and where header and size disagree, which the EDF library would print."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(256)
            signals = int(head[252:256])
            counts = file.read(256 * signals)[216 * signals :][: 8 * signals] if 0 < signals <= 4096 else b""
        length, records = int(head[184:192]), int(head[236:244])
        per_record = sum(int(counts[k : k + 8]) for k in range(0, 8 * signals, 8))
    except (OSError, ValueError):
        raise InputError(f"{path.name} is not an EDF file: its header is damaged.") from None
    sample = 3 if head[:1] == b"\xff" else 2  # BDF holds 24-bit samples
    if length + records * per_record * sample != size:
        raise InputError(
            f"{path.name} is truncated or damaged: its header promises {records} records, "
            f"{length + records * per_record * sample} bytes in all, and the file holds {size}."
        )
    if head[195:197] == b"+D":  # the EDF library opens none of these
        raise InputError(
            f"{path.name} is {head[192:197].decode()}, a recording with pauses, which is not read here; "
            f"take the recording that it was made of, or convert that to WFDB or CSV."
        )


def _edf_rate(path: Path, rates: list[float], request: Request) -> float:
    if len(set(rates)) != 1:
        found = ", ".join(f"{value:g}" for value in sorted(set(rates)))
        raise InputError(f"The ECG leads of {path.name} have several sampling rates ({found} Hz); one is expected.")
    return request.fs or rate(rates[0], "its header")


def _edf_person(file: Any) -> tuple[float | None, Sex | None]:
    """Age at recording and sex from an EDF+ header; pseudonymised dates give an age out of range, hence None."""
    age: float | None = None
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        days = (file.getStartdatetime() - file.getBirthdate(string=False)).days
        age = float(days // 365.2425) if 0 <= days <= 120 * 365.2425 else None
    return age, labels.sex_of(file.getSex())
