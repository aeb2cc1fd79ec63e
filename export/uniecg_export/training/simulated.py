"""Simulated ECGs with known parameters, for what the recordings hold too little of."""

from __future__ import annotations

import random

import numpy as np

from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import Recording
from uniecg_export.training.labels import NAMES, Annotation

TERRITORIES = {
    "AMI": ("V1", "V2", "V3", "V4"),
    "IMI": ("II", "III", "aVF"),
    "LMI": ("I", "aVL", "V5", "V6"),
}
ABNORMAL = {
    "CD": ("CLBBB", "CRBBB", "IRBBB", "LAFB", "AVB", "IVCD"),
    "MI": ("AMI", "IMI", "LMI"),
    "STTC": ("ISC", "STD", "INVT", "LNGQT"),
    "HYP": ("LVH",),
}


def simulated_record(seed: int) -> tuple[Recording, Annotation]:
    """A random parametric ECG and the labels its parameters mean."""
    rng = random.Random(seed)
    labels: set[str] = set()
    fields: dict[str, object] = {"gain": rng.uniform(0.75, 1.25), "pr": rng.uniform(130, 190)}
    rate = _rhythm(rng, labels, fields)
    if "PACE" not in labels:
        _conduction(rng, labels, fields)
        _infarction(rng, labels, fields)
        _repolarisation(rng, labels, fields)
        _voltage(rng, labels, fields)
    _ectopics(rng, labels, fields)
    for superclass, members in ABNORMAL.items():
        if labels.intersection(members):
            labels.add(superclass)
    if not labels.intersection((*ABNORMAL, "AFIB", "AFLT", "PACE", "PVC", "PAC", "LVOLT")):
        labels.add("NORM")
    parameters = ParametricEcg(
        heart_rate=rate,
        baseline=rng.uniform(0, 0.05),
        muscle=rng.uniform(0.002, 0.02),
        **fields,  # type: ignore[arg-type]
    )
    recording = simulate(parameters, 10.0, 128.0, seed)
    known = np.ones(len(NAMES), np.float32)
    return recording, Annotation(np.array([n in labels for n in NAMES], np.float32), known, 0, None, None)


def _rhythm(rng: random.Random, labels: set[str], fields: dict[str, object]) -> float:
    kind = rng.choices(("sinus", "atrial fibrillation", "atrial flutter", "paced"), (70, 16, 7, 7))[0]
    low, high = {"sinus": (38, 170), "atrial fibrillation": (50, 170), "atrial flutter": (65, 150), "paced": (55, 90)}[
        kind
    ]
    fields["rhythm"] = kind
    rate = rng.uniform(low, high)
    if kind != "sinus":
        labels.add({"atrial fibrillation": "AFIB", "atrial flutter": "AFLT", "paced": "PACE"}[kind])
        return rate
    if rng.random() < 0.1 and 50 < rate < 100:
        fields["respiratory_arrhythmia"] = rng.uniform(0.12, 0.25)
        labels.add("SARRH")
    labels.add("SBRAD" if rate < 60 else "STACH" if rate > 100 else "SR")
    if rng.random() < 0.12 and rate < 100:
        fields["pr"] = rng.uniform(215, 300)
        labels.add("AVB")
    return rate


def _conduction(rng: random.Random, labels: set[str], fields: dict[str, object]) -> None:
    kind = rng.choices(("normal", "CLBBB", "CRBBB", "IRBBB", "LAFB", "IVCD"), (60, 10, 10, 6, 10, 4))[0]
    if kind == "normal":
        return
    labels.add(kind)
    names = {"CLBBB": "left bundle branch block", "LAFB": "left anterior fascicular block", "IVCD": "normal"}
    fields["conduction"] = names.get(kind, "right bundle branch block")
    if kind in ("IRBBB", "IVCD"):
        fields["qrs"] = rng.uniform(104, 116) if kind == "IRBBB" else rng.uniform(118, 135)


def _infarction(rng: random.Random, labels: set[str], fields: dict[str, object]) -> None:
    if rng.random() < 0.25 and not labels.intersection(("CLBBB", "AFLT")):
        kind = rng.choice(tuple(TERRITORIES))
        labels.add(kind)
        fields["q_waves"] = TERRITORIES[kind]
        if rng.random() < 0.5:
            fields["st"] = dict.fromkeys(TERRITORIES[kind], rng.uniform(0.1, 0.3))
        if rng.random() < 0.4:
            fields["t_inversion"] = TERRITORIES[kind]


def _repolarisation(rng: random.Random, labels: set[str], fields: dict[str, object]) -> None:
    if "t_inversion" in fields or "st" in fields or "CLBBB" in labels:
        return
    draw = rng.random()
    if draw < 0.08:
        fields["st"] = dict.fromkeys(("V4", "V5", "V6"), -rng.uniform(0.08, 0.2))
        labels |= {"STD", "ISC"}
    elif draw < 0.16:
        fields["t_inversion"] = ("V4", "V5", "V6", "I", "aVL")
        labels |= {"INVT", "ISC"}
    elif draw < 0.20:
        fields["qt"] = 400.0
        labels.add("LNGQT") if "STACH" in labels else fields.pop("qt")


def _voltage(rng: random.Random, labels: set[str], fields: dict[str, object]) -> None:
    draw = rng.random()
    if draw < 0.08:
        fields["gain"] = rng.uniform(1.7, 2.2)
        labels.add("LVH")
    elif draw < 0.13:
        fields["gain"] = rng.uniform(0.3, 0.4)
        labels.add("LVOLT")


def _ectopics(rng: random.Random, labels: set[str], fields: dict[str, object]) -> None:
    if labels.intersection(("AFIB", "AFLT", "PACE")):
        return
    draw = rng.random()
    if draw < 0.15:
        fields["pvc" if draw < 0.1 else "pac"] = rng.uniform(0.08, 0.2)
        labels.add("PVC" if draw < 0.1 else "PAC")
