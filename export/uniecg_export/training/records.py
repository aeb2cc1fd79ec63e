"""Training records: every source brought to the model's window by the runtime's own preprocessing.

Labelled: PTB-XL as published (records500/ under a folder with ptbxl_database.csv) and a z-scored
copy of it beside (ptbxl_zscored/). Unlabelled, for the generator alone: code15_samitrop/ and the
acceptable half of cinc2011/. Folds are PTB-XL's own: 1-8 train, 9 validation; fold 10 is never read.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_device.signals import LEADS, Recording
from uniecg_export.families.uniecg_nano import NanoConfig
from uniecg_export.families.uniecg_nano_prompt import preprocessing
from uniecg_export.training.labels import NAMES, Annotation, read_annotations
from uniecg_export.training.loop import beside
from uniecg_export.training.simulated import simulated_record
from uniecg_runtime.formats.read import read_recording
from uniecg_runtime.signal.measure import Measurements, Value, measure
from uniecg_runtime.signal.window import prepare_window

CINC2011_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")


@dataclass(frozen=True, eq=False)
class Records:
    """Parallel arrays over n records.

    signal (n,12,1280) standardised, lead_facts (n,12,3), labels and known (n,31), fold (n,) with 0
    for unlabelled sources, age (n,) and sex (n,; male 1, female 0) NaN where unknown, source (n,).
    """

    names: tuple[str, ...]
    signal: NDArray[np.float32]
    lead_facts: NDArray[np.float32]
    labels: NDArray[np.float32]
    known: NDArray[np.float32]
    fold: NDArray[np.int64]
    age: NDArray[np.float32]
    sex: NDArray[np.float32]
    source: tuple[str, ...]
    measurements: tuple[Measurements, ...]

    def where(self, chosen: NDArray[np.bool_]) -> Records:
        """The records for which `chosen` (n,) is true."""
        rows = np.flatnonzero(chosen)
        return Records(
            names=tuple(self.names[i] for i in rows),
            source=tuple(self.source[i] for i in rows),
            measurements=tuple(self.measurements[i] for i in rows),
            **{k: getattr(self, k)[rows] for k in ("signal", "lead_facts", "labels", "known", "fold", "age", "sex")},
        )


def load_records(data: Path, cache: Path, config: NanoConfig) -> Records:
    """Read everything once; later calls read `cache`. A record that is refused is named and left out."""
    return _cached(lambda: _prepare(_everything(data), config), cache)


def load_simulated(count: int, cache: Path, config: NanoConfig) -> Records:
    """`count` simulated records, through the same preprocessing; later calls read `cache`.

    Raises InputError where `cache` holds another number of them.
    """
    made = (("simulated", *simulated_record(seed)) for seed in range(count))
    found = _cached(lambda: _prepare(made, config), cache)
    if len(found.names) != count:
        raise InputError(
            f"expected {count} simulated records in {cache}, found {len(found.names)}; ask for as many, or delete it."
        )
    return found


def draw_weights(groups: Sequence[NDArray[Any]], shares: Sequence[float]) -> NDArray[np.float64]:
    """How often each record of the groups is drawn: in proportion within a group, each group its share."""
    parts = [
        share * group.astype(np.float64) / group.sum(dtype=np.float64)
        for group, share in zip(groups, shares, strict=True)
    ]
    weights = np.concatenate(parts)
    return np.asarray(weights / weights.sum())


def _cached(make: Callable[[], Records], cache: Path) -> Records:
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        _save(make(), cache)
    return _load(cache)


def _prepare(sources: Iterable[tuple[str, Recording, Annotation]], config: NanoConfig) -> Records:
    plan, rows, kept = preprocessing(config), [], []
    for source, recording, annotation in sources:
        try:
            window = prepare_window(recording, plan)
        except InputError as error:
            print(f"left out {recording.name}: {error}")
            continue
        measured = measure(recording)
        beats = np.round(measured.beats * config.fs / recording.fs).astype(np.int64)
        kept.append((source, recording, annotation, replace(measured, beats=beats)))
        rows.append((window.signal, window.lead_facts))
    return Records(
        names=tuple(recording.name for _, recording, _, _ in kept),
        signal=np.stack([signal for signal, _ in rows]),
        lead_facts=np.stack([facts for _, facts in rows]),
        labels=np.stack([annotation.labels for _, _, annotation, _ in kept]),
        known=np.stack([annotation.known for _, _, annotation, _ in kept]),
        fold=np.array([annotation.fold for _, _, annotation, _ in kept]),
        age=np.array([np.nan if r.age is None else r.age for _, r, _, _ in kept], np.float32),
        sex=np.array([np.nan if r.sex is None else float(r.sex == "male") for _, r, _, _ in kept], np.float32),
        source=tuple(source for source, _, _, _ in kept),
        measurements=tuple(measured for _, _, _, measured in kept),
    )


def _everything(data: Path) -> Iterator[tuple[str, Recording, Annotation]]:
    annotations = read_annotations(data / "ptbxl")
    for path in sorted((data / "ptbxl").rglob("records500/**/*.hea")):
        annotation = annotations.get(int(path.stem.split("_")[0]))
        if annotation is not None and annotation.fold <= 9:
            recording = read_recording(path)
            yield "ptbxl", _described(recording, path.stem, annotation), annotation
    yield from _zscored(data / "ptbxl_zscored", annotations)
    nothing = Annotation(np.zeros(len(NAMES), np.float32), np.zeros(len(NAMES), np.float32), 0, None, None)
    for path in sorted((data / "code15_samitrop").glob("*.hea")):
        yield "code15_samitrop", read_recording(path), nothing
    yield from ((source, recording, nothing) for source, recording in _cinc2011(data / "cinc2011"))


def _zscored(folder: Path, annotations: dict[int, Annotation]) -> Iterator[tuple[str, Recording, Annotation]]:
    if not folder.exists():
        return
    signals = np.load(folder / "x_int16_125hz.npy", mmap_mode="r")
    for row in _rows(folder / "index.csv"):
        annotation = annotations.get(int(row["ecg_id"]))
        if annotation is None or annotation.fold > 9:
            continue
        signal = np.ascontiguousarray(signals[int(row["row"])].astype(np.float32) / 1000)
        recording = Recording(signal, 125.0, LEADS, units="standardised")
        yield "ptbxl_zscored", _described(recording, f"{int(row['ecg_id']):05d}_z", annotation), annotation


def _cinc2011(folder: Path) -> Iterator[tuple[str, Recording]]:
    if not folder.exists():
        return
    signals = np.load(folder / "x_int16_adu200permV.npy", mmap_mode="r")
    order = [CINC2011_LEADS.index(lead) for lead in LEADS]
    for row in _rows(folder / "index.csv"):
        if row["quality"] == "acceptable" and int(row["n_leads_railed"]) == 0:
            signal = np.ascontiguousarray(signals[int(row["row"])][order].astype(np.float32) / 200)
            yield "cinc2011", Recording(signal, 500.0, LEADS, name=row["record"])


def _described(recording: Recording, name: str, annotation: Annotation) -> Recording:
    sex = {"male": "male", "female": "female"}.get(annotation.sex or "")
    return Recording(
        recording.signal,
        recording.fs,
        recording.leads,
        name=name,
        units=recording.units,
        age=annotation.age,
        sex=sex,  # type: ignore[arg-type]
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _save(records: Records, cache: Path) -> None:
    text = [
        json.dumps({"values": {k: [v.value, v.unit] for k, v in m.values.items()}, "findings": m.findings})
        for m in records.measurements
    ]
    arrays = {k: getattr(records, k) for k in ("signal", "lead_facts", "labels", "known", "fold", "age", "sex")}
    beats = np.array([len(m.beats) for m in records.measurements])
    all_beats = np.concatenate([m.beats for m in records.measurements])
    with beside(cache) as half, half.open("wb") as file:
        np.savez(
            file,
            names=np.array(records.names),
            source=np.array(records.source),
            measured=np.array(text),
            beat_counts=beats,
            beats=all_beats,
            **arrays,
        )


def _load(cache: Path) -> Records:
    with np.load(cache) as stored:
        beats = np.split(stored["beats"], np.cumsum(stored["beat_counts"])[:-1])
        measurements = []
        for text, found in zip(stored["measured"], beats, strict=True):
            fields = json.loads(str(text))
            values = {name: Value(value, unit) for name, (value, unit) in fields["values"].items()}
            findings = {name: tuple(leads) for name, leads in fields["findings"].items()}
            measurements.append(Measurements(values=values, findings=findings, beats=found))
        return Records(
            names=tuple(map(str, stored["names"])),
            source=tuple(map(str, stored["source"])),
            measurements=tuple(measurements),
            **{k: stored[k] for k in ("signal", "lead_facts", "labels", "known", "fold", "age", "sex")},
        )
