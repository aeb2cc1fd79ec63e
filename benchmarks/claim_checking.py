"""Are statements about an ECG judged rightly? `python benchmarks/claim_checking.py [--texts 100]`.

Statements are made true or false by construction: from what LUDB's annotators marked (rate, intervals, P waves, and the
levels of each lead between their marks; the axis from the areas between them), and from the parameters of simulated
ECGs. A stated number is the true one, or one that is off by a quarter of the rate, 60 ms of PR or QRS, 110 ms of QT or
80 degrees; a criterion is used where the truth is clear of its limit. Whatever is not judged, or not read at all, is
wrong. Then the built-in model's own texts on records of PTB-XL's fold 9: what they state, and what becomes of it.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.backends.graphs import open_graph
from uniecg_runtime.bundle import BUILT_IN, Bundle
from uniecg_runtime.evidence import Facts, check, gather
from uniecg_runtime.formats.read import read_recording
from uniecg_runtime.signal.delineator import Delineator
from uniecg_runtime.signal.edges import FindEdges, edges_of
from uniecg_runtime.signal.measure import measure
from uniecg_runtime.signal.quality import assess

Counts = Counter[tuple[str, ...]]  # of (kind, "true" or "false", verdict), or of (kind, verdict)
DATA = Path(os.environ.get("UNIECG_DATA", "~/.cache/uniecg/data")).expanduser()


@dataclass(frozen=True)
class Truth:
    """What is so, whatever this house measures. values: as `Facts.values`; None where unknown. rhythm: "sinus",
    "atrial fibrillation" or "" where neither is sure. st, t: mV by lead. q: leads with a Q wave of 40 ms and 0.15 mV,
    and without any. low: whether low voltage, lvh: whether a voltage criterion is met; None where near."""

    values: dict[str, float | None]
    rhythm: str
    p_waves: bool | None
    st: dict[str, float] = field(default_factory=dict)
    t: dict[str, float] = field(default_factory=dict)
    q: dict[str, bool] = field(default_factory=dict)
    low: bool | None = None
    lvh: bool | None = None


@dataclass(frozen=True)
class Made:
    """A statement, the kind of claim it must be read as, and whether it is true."""

    text: str
    kind: str
    true: bool


NUMBERS: dict[
    str, tuple[float, tuple[str, ...]]
] = {  # what a stated number is off by where it is to be false; shares of the value, or so much
    "heart_rate": (
        0.25,
        ("Heart rate {v} bpm.", "The ventricular rate is about {v} beats per minute.", "HR {v}"),
    ),
    "pr": (60.0, ("PR interval {v} ms.", "The PR interval measures {v} ms.", "PR: {v} ms")),
    "qrs": (60.0, ("QRS {v} ms.", "The QRS duration is {v} ms.", "QRS complex of {v} milliseconds")),
    "qt": (110.0, ("QT {v} ms.", "The QT interval is about {v} ms.", "QT interval: {v} ms")),
    "qtc": (110.0, ("QTc {v} ms.", "A corrected QT interval of {v} ms is noted.", "QTc {v}")),
    "axis": (80.0, ("Axis {v} degrees.", "The QRS axis is {v}°.", "electrical axis at {v} deg")),
}
Limits = dict[str, tuple[str, tuple[int, int], tuple[int, int], tuple[str, ...]]]
LIMITS: Limits = {  # kind -> quantity, where it surely holds, outside what it surely does not, texts
    "bradycardia": ("heart_rate", (0, 55), (0, 66), ("Bradycardia.", "The heart rate is slow.")),
    "tachycardia": ("heart_rate", (105, 999), (94, 999), ("Tachycardia is present.", "The heart rate is fast.")),
    "normal rate": ("heart_rate", (65, 95), (46, 106), ("Normal heart rate.", "The heart rate is normal.")),
    "first-degree AV block": (
        "pr",
        (215, 999),
        (185, 999),
        ("First-degree AV block.", "There is 1st degree AV block."),
    ),
    "long PR": ("pr", (215, 999), (185, 999), ("The PR interval is prolonged.", "Prolonged PR interval.")),
    "normal PR": ("pr", (130, 190), (100, 220), ("The PR interval is within normal limits.", "Normal PR interval.")),
    "short PR": ("pr", (0, 108), (0, 140), ("Short PR interval.", "The PR interval is short.")),
    "wide QRS": ("qrs", (132, 999), (100, 999), ("Wide QRS complexes.", "The QRS complexes are broad.")),
    "narrow QRS": ("qrs", (0, 108), (0, 135), ("The QRS complexes are narrow.", "Narrow QRS.")),
    "long QT": ("qtc", (480, 999), (430, 999), ("The QTc is prolonged.", "QT prolongation is seen.")),
    "normal QT": ("qtc", (375, 435), (330, 490), ("Normal QT interval.", "The QTc is normal.")),
    "left axis": ("axis", (-80, -42), (-90, -15), ("Left axis deviation.", "The axis is deviated to the left.")),
    "right axis": ("axis", (105, 170), (75, 180), ("Right axis deviation.", "There is rightward axis deviation.")),
    "normal axis": ("axis", (-15, 75), (-45, 105), ("Normal axis.", "The QRS axis is normal.")),
}
AXIS_ALONE = {
    "left anterior fascicular block": ((-85, -55), (-90, -10), ("Left anterior fascicular block.", "LAFB.")),
    "left posterior fascicular block": ((105, 170), (75, 180), ("Left posterior fascicular block.",)),
}
LIMITS |= {kind: ("axis", *limits) for kind, limits in AXIS_ALONE.items()}
BLOCKS = (
    ("left bundle branch block", "Complete left bundle branch block."),
    ("right bundle branch block", "RBBB is present."),
)
NEGATIONS = {
    "bradycardia": "No bradycardia.",
    "tachycardia": "There is no tachycardia.",
    "first-degree AV block": "No evidence of first-degree AV block.",
    "long PR": "The PR interval is not prolonged.",
    "wide QRS": "The QRS is not widened.",
    "long QT": "QT is not prolonged.",
    "left axis": "No left axis deviation.",
    "right axis": "There is no right axis deviation.",
}
# Where a lead's level surely makes a finding, and where it surely does not, mV.
ST_UP = {lead: (0.3, 0.1) if lead in ("V2", "V3") else (0.16, 0.04) for lead in LEADS if lead != "aVR"}
ST_DOWN = (-0.15, 0.0)
T_DOWN = (-0.17, 0.05)


def main() -> None:
    """Print all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=None, help="so many of LUDB's, all by default")
    parser.add_argument("--simulated", type=int, default=60)
    parser.add_argument("--texts", type=int, default=100, help="fold 9 records for the model to write about")
    parser.add_argument("--rules", action="store_true", help="waves by rules instead of the bundle's delineator")
    parser.add_argument("--wrong", action="store_true", help="show each statement that was judged wrongly")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    told: dict[str, Counts] = {}
    find_edges = edges_of if options.rules else Delineator(open_graph(Bundle.open(BUILT_IN), "delineator"))
    if not options.rules:
        print("with the delineator of the built-in bundle, which was trained on these LUDB records; without: --rules")
    parts = {"LUDB": annotated(options.records, find_edges), "simulated": simulated(options.simulated, find_edges)}
    for name, cases in parts.items():
        told[name] = judge_all(name, cases, show=options.wrong)
    print("\nall statements")
    report(told["LUDB"] + told["simulated"])
    if options.texts:
        told["texts"] = own_texts(options.texts)
    if options.json:
        counts = {part: {" / ".join(k): n for k, n in held.items()} for part, held in told.items()}
        options.json.write_text(json.dumps(counts, indent=1) + "\n")


def judge_all(name: str, cases: Iterator[tuple[str, Facts, Truth]], *, show: bool) -> Counts:
    """Counts of (kind, true or false, verdict)."""
    counts: Counts = Counter()
    for number, (record, facts, truth) in enumerate(cases):
        for made in statements(truth, np.random.default_rng(number)):
            verdict = read(made, facts)
            counts[made.kind, "true" if made.true else "false", verdict] += 1
            if show and verdict != ("supported" if made.true else "contradicted"):
                print(f"  {name} {record}: {made.text!r} is {made.true}, judged {verdict}")
    print(f"\n{name}")
    report(counts)
    return counts


def read(made: Made, facts: Facts) -> str:
    """The verdict on a statement; "not read" where no claim of its kind was found in it."""
    verdicts = [claim.verdict for claim in check(made.text, facts) if claim.kind == made.kind]
    return verdicts[0] if len(verdicts) == 1 else "not read"


def report(counts: Counts) -> None:
    """Per kind and together: how many are right, with Wilson's interval, and the confusion."""
    verdicts = ("supported", "contradicted", "not checkable", "not read")
    print(f"  {'kind':28}{'':6}" + "".join(f"{verdict:>15}" for verdict in verdicts))
    for kind in [*sorted({kind for kind, _, _ in counts}), ""]:
        for truth in ("true", "false"):
            row = [
                sum(n for (k, t, v), n in counts.items() if t == truth and v == said and kind in (k, ""))
                for said in verdicts
            ]
            if sum(row):
                print(f"  {kind or 'all':28}{truth:6}" + "".join(f"{n:15}" for n in row))
    total = sum(counts.values())
    right = sum(n for (_, t, v), n in counts.items() if v == ("supported" if t == "true" else "contradicted"))
    true = sum(n for (_, t, _), n in counts.items() if t == "true")
    denied = sum(n for (_, t, v), n in counts.items() if t == "true" and v == "contradicted")
    believed = sum(n for (_, t, v), n in counts.items() if t == "false" and v == "supported")
    print(f"  judged right: {share(right, total)}")
    print(f"  true ones called contradicted: {share(denied, true)}")
    print(f"  false ones called supported: {share(believed, total - true)}")
    print(
        f"  not checkable or not read: {share(sum(n for (_, _, v), n in counts.items() if v.startswith('not')), total)}"
    )


def share(k: int, n: int) -> str:
    """`98.2 % (96.0 to 99.2), 54 of 55`, by Wilson."""
    if n == 0:
        return "none of 0"
    p, z = k / n, 1.96
    centre, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    low, high = (100 * (centre + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return f"{100 * p:.1f} % ({max(low, 0):.1f} to {high:.1f}), {k} of {n}"


# Statements


def statements(truth: Truth, rng: np.random.Generator) -> Iterator[Made]:
    """True and false ones of every kind that the truth decides, the wording drawn by chance."""
    for quantity, (off, texts) in NUMBERS.items():
        if (value := truth.values.get(quantity)) is not None:
            yield Made(_say(rng, texts, value), quantity, True)
            sign = -1 if rng.random() < 0.5 and quantity not in ("pr", "qrs") else 1
            if quantity == "qtc" and abs(value + sign * off - (truth.values.get("qtcf") or value)) < 80:
                sign = -sign  # or it would be Fridericia's
            wrong = value * (1 + sign * off) if off < 1 else value + sign * off
            wrong = (wrong + 180) % 360 - 180 if quantity == "axis" else wrong
            yield Made(_say(rng, texts, wrong), quantity, False)
    for kind, (quantity, surely, perhaps, texts) in LIMITS.items():
        if (value := truth.values.get(quantity)) is not None:
            held = _within(value, surely, perhaps)
            if quantity == "qtc" and held is not _within(truth.values.get("qtcf") or value, surely, perhaps):
                continue  # the formulas disagree
            yield from _either(rng, kind, texts, held)
    qrs = truth.values.get("qrs")
    if qrs is not None and (qrs < 95):
        yield from (Made(text, kind, False) for kind, text in BLOCKS)
    yield from _rhythm(truth, rng)
    yield from _leads(truth, rng)
    yield from _either(rng, "low voltage", ("Low QRS voltage.", "Low voltage is noted."), truth.low)
    yield from _either(rng, "LVH voltage", ("Voltage criteria for left ventricular hypertrophy are met.",), truth.lvh)


def _within(value: float, surely: tuple[float, float], perhaps: tuple[float, float]) -> bool | None:
    return True if surely[0] <= value <= surely[1] else None if perhaps[0] < value < perhaps[1] else False


def _say(rng: np.random.Generator, texts: Sequence[str], value: float = 0.0) -> str:
    return str(rng.choice(list(texts))).replace("{v}", str(round(value)))


def _either(rng: np.random.Generator, kind: str, texts: Sequence[str], held: bool | None) -> Iterator[Made]:
    """A statement or, one time in three where there is one, its denial."""
    if held is None:
        return
    if kind in NEGATIONS and rng.random() < 0.33:
        yield Made(NEGATIONS[kind], kind, not held)
    else:
        yield Made(_say(rng, texts), kind, held)


def _rhythm(truth: Truth, rng: np.random.Generator) -> Iterator[Made]:
    if not truth.rhythm:
        return
    sinus, rate = truth.rhythm == "sinus", truth.values.get("heart_rate") or 0.0
    yield Made(_say(rng, ("Sinus rhythm.", "The rhythm is sinus rhythm.")), "sinus rhythm", sinus)
    yield Made(_say(rng, ("Atrial fibrillation.", "AF is present.")), "atrial fibrillation", not sinus)
    yield Made("There is no atrial fibrillation.", "atrial fibrillation", sinus)
    if not sinus:
        yield Made("The rhythm is irregularly irregular.", "irregular rhythm", True)
        yield Made("RR intervals regular.", "regular rhythm", False)
        yield Made("P waves are absent.", "P waves", True)
    else:
        yield Made("No P waves are seen.", "P waves", False)
        held = True if 65 <= rate <= 95 else None if 46 < rate < 106 else False
        yield from _either(rng, "normal sinus rhythm", ("Normal sinus rhythm.",), held)
        for kind, (least, most), (low, high) in (
            ("sinus bradycardia", (0, 55), (0, 66)),
            ("sinus tachycardia", (105, 999), (94, 999)),
        ):
            held = True if least <= rate <= most else None if low < rate < high else False
            yield from _either(rng, kind, (f"{kind.capitalize()}.",), held)


def _leads(truth: Truth, rng: np.random.Generator) -> Iterator[Made]:
    up = {lead: _held(level, *ST_UP[lead]) for lead, level in truth.st.items() if lead in ST_UP}
    down = {lead: _held(-level, -ST_DOWN[0], -ST_DOWN[1]) for lead, level in truth.st.items() if lead != "aVR"}
    inverted = {lead: _held(-level, -T_DOWN[0], -T_DOWN[1]) for lead, level in truth.t.items()}
    for kind, held, texts in (
        ("ST elevation", up, ("ST elevation in {l}.", "ST-segment elevation is noted in leads {l}.")),
        ("ST depression", down, ("ST depression in {l}.", "The ST segments are depressed in {l}.")),
        ("T inversion", inverted, ("T-wave inversion in {l}.", "Inverted T waves in leads {l}.")),
        ("Q wave", truth.q, ("Q waves in {l}.", "Pathological Q waves are seen in leads {l}.")),
    ):
        yes = [lead for lead in LEADS if held.get(lead) is True]
        no = [lead for lead in LEADS if held.get(lead) is False]
        if yes:
            some = [lead for lead in yes if rng.random() < 0.7] or yes
            yield Made(_say(rng, texts).replace("{l}", joined(some)), kind, True)
            yield Made(f"No {kind if kind != 'T inversion' else 'T-wave inversion'} in {joined(some)}.", kind, False)
        if no:
            some = [str(lead) for lead in rng.choice(no, min(len(no), int(rng.integers(1, 4))), replace=False)]
            some.sort(key=LEADS.index)
            yield Made(_say(rng, texts).replace("{l}", joined(some)), kind, False)
        if len(no) == len(held) and no:
            yield Made(f"No {kind if kind != 'T inversion' else 'T-wave inversion'} in {joined(no)}.", kind, True)


def _held(level: float, surely: float, surely_not: float) -> bool | None:
    return True if level >= surely else False if level <= surely_not else None


def joined(leads: Sequence[str]) -> str:
    """`V2, V3 and V4`."""
    return leads[0] if len(leads) == 1 else f"{', '.join(leads[:-1])} and {leads[-1]}"


# LUDB: what its annotators marked


def annotated(count: int | None, find_edges: FindEdges) -> Iterator[tuple[str, Facts, Truth]]:
    """LUDB's records, 12 leads of 10 s, with the truth by their marks."""
    folder = DATA / "ludb" / "data"
    for path in sorted(folder.glob("*.hea"), key=lambda path: int(path.stem))[:count]:
        recording = read_recording(path)
        yield path.stem, _facts(recording, find_edges), ludb_truth(path, recording)


def _facts(recording: Recording, find_edges: FindEdges) -> Facts:
    return gather(recording, measure(recording), assess(recording), find_edges)


Marks = list[tuple[str, int, int, int]]  # kind (p, N, t), onset, peak, end in samples


def marks_of(path: Path, lead: str) -> Marks:
    """One lead's waves that have both ends."""
    import wfdb

    held = wfdb.rdann(str(path.with_suffix("")), lead.lower())
    sample, symbol = held.sample, held.symbol
    return [
        (symbol[k], int(sample[k - 1]), int(sample[k]), int(sample[k + 1]))
        for k in range(1, len(symbol) - 1)
        if symbol[k] in "pNt" and symbol[k - 1] == "(" and symbol[k + 1] == ")"
    ]


def ludb_truth(path: Path, recording: Recording) -> Truth:
    """Intervals: the median over a lead's beats, then over the leads. Levels: medians over the beats."""
    marks = {lead: marks_of(path, lead) for lead in LEADS}
    to_ms = 1000 / recording.fs
    spans: dict[str, list[float]] = defaultdict(list)
    rates = []
    beats: dict[str, NDArray[np.float64]] = {}
    for lead, row in zip(recording.leads, recording.signal, strict=True):
        found: dict[str, list[float]] = defaultdict(list)
        levels = []
        waves = marks[lead]
        for k, (kind, onset, _, end) in enumerate(waves):
            if kind != "N":
                continue
            before, after = waves[k - 1] if k else None, waves[k + 1] if k + 1 < len(waves) else None
            found["qrs"].append((end - onset) * to_ms)
            if before and before[0] == "p":
                found["pr"].append((onset - before[1]) * to_ms)
            if after and after[0] == "t":
                found["qt"].append((after[3] - onset) * to_ms)
                levels.append(_levels(row, recording.fs, onset, end, after))
        for name, lengths in found.items():
            spans[name].append(float(np.median(lengths)))
        times = [wave[2] for wave in waves if wave[0] == "N"]
        rates += [60 * recording.fs / float(np.mean(np.diff(times)))] if len(times) > 2 else []
        if levels:
            beats[lead] = np.median(np.array(levels), axis=0)
    values: dict[str, float | None] = {name: float(np.median(held)) for name, held in spans.items() if len(held) >= 6}
    values["heart_rate"] = float(np.median(rates)) if rates else None
    if values.get("qt") and values["heart_rate"]:
        values |= _corrected(float(values["qt"] or 0), values["heart_rate"])
    values["axis"] = _axis(beats)
    said = next((c for c in recording.comments if "hythm:" in c), "")
    rhythm = "atrial fibrillation" if "fibrillation" in said else "sinus" if "Sinus" in said else ""
    plain = not any(word in " ".join(recording.comments) for word in ("pacing", "III degree", "flutter"))
    p_waves = bool(spans["pr"])
    if rhythm == "sinus" and not p_waves:
        rhythm = ""
    if rhythm != "sinus":
        values.pop("pr", None)
    return Truth(
        values=values,
        rhythm=rhythm if plain else "",
        p_waves=p_waves,
        st={lead: float(held[0]) for lead, held in beats.items()},
        t={lead: float(held[1]) for lead, held in beats.items()},
        q=_q_of(beats),
        low=_low(beats),
        lvh=_lvh({lead: (float(held[2]), float(held[3])) for lead, held in beats.items()}),
    )


def _corrected(qt: float, rate: float) -> dict[str, float]:
    return {"qtc": qt / (60 / rate) ** 0.5, "qtcf": qt / (60 / rate) ** (1 / 3)}


def _levels(row: NDArray[np.float32], fs: float, onset: int, end: int, t: tuple[str, int, int, int]) -> list[float]:
    """ST 60 ms behind the mark, T at its mark, R, S, area, depth and width of a first negative deflection: mV, s."""
    base = float(row[max(0, onset - round(0.02 * fs)) : onset + 1].mean())
    place = end + round(0.06 * fs)
    qrs = row[onset : end + 1] - base
    first = int(np.argmax(np.abs(qrs) > 0.05 * np.ptp(qrs)))
    ahead = np.flatnonzero(qrs[first:] >= 0)
    stop = first + (int(ahead[0]) if ahead.size else qrs.size - first)
    negative = bool(qrs[first] < 0)
    return [
        float(row[place - 2 : place + 3].mean()) - base,
        float(row[t[2]]) - base,
        float(qrs.max()),
        float(-qrs.min()),
        float(qrs.sum()),
        float(-qrs[first:stop].min()) if negative and stop > first else 0.0,
        (stop - first) / fs if negative else 0.0,
    ]


def _axis(beats: dict[str, NDArray[np.float64]]) -> float | None:
    if not {"I", "aVF"} <= beats.keys():
        return None
    i, avf = float(beats["I"][4]), float(beats["aVF"][4]) * 2 / 3**0.5
    size = max(float(beats[lead][2] + beats[lead][3]) for lead in ("I", "aVF"))
    return float(np.degrees(np.arctan2(avf, i))) if np.hypot(i, avf) > 5 * size else None


def _q_of(beats: dict[str, NDArray[np.float64]]) -> dict[str, bool]:
    found = {}
    for lead, held in beats.items():
        r, height, depth, width = float(held[2]), float(held[2] + held[3]), float(held[5]), float(held[6])
        if lead in ("aVR", "V1"):
            continue  # where a QS is usual
        if width >= 0.04 and depth >= max(0.15, 0.35 * r):
            found[lead] = True
        elif depth == 0 and r > 0.15 * height:
            found[lead] = False
    return found


def _low(beats: dict[str, NDArray[np.float64]]) -> bool | None:
    sizes = [
        max(float(beats[lead][2] + beats[lead][3]) for lead in group)
        for group in (LEADS[:6], LEADS[6:])
        if set(group) <= beats.keys()
    ]
    if len(sizes) < 2:
        return None
    return True if sizes[0] < 0.42 or sizes[1] < 0.85 else False if sizes[0] > 0.65 and sizes[1] > 1.3 else None


def _lvh(beats: dict[str, tuple[float, float]]) -> bool | None:
    """By R and S of each lead."""
    if not {"V1", "V3", "V5", "V6", "aVL"} <= beats.keys():
        return None
    sokolow = beats["V1"][1] + max(beats[lead][0] for lead in ("V5", "V6"))
    avl, cornell = beats["aVL"][0], beats["V3"][1] + beats["aVL"][0]
    if sokolow > 3.8 or avl > 1.25 or cornell > 3.1:
        return True
    return False if sokolow < 2.7 and avl < 0.85 and cornell < 1.5 else None


# Simulated ECGs: what they were told to be


def simulated(count: int, find_edges: FindEdges) -> Iterator[tuple[str, Facts, Truth]]:
    """ECGs with drawn parameters, which are the truth."""
    rng = np.random.default_rng(2009)
    for number in range(count):
        parameters = _parameters(rng, number)
        recording = simulate(parameters, seconds=10, fs=500, seed=number)
        clean = simulate(replace(parameters, muscle=0.0, baseline=0.0), seconds=10, fs=500, seed=number)
        truth = replace(_told(parameters), lvh=_lvh(_extremes(clean)))
        yield recording.name, _facts(recording, find_edges), truth


def _extremes(clean: Recording) -> dict[str, tuple[float, float]]:
    """Largest deflections each way from the level between the beats, mV: those of the QRS."""
    level = np.median(clean.signal, axis=1, keepdims=True)
    rows = clean.signal - level
    return {lead: (float(row.max()), float(-row.min())) for lead, row in zip(clean.leads, rows, strict=True)}


def _parameters(rng: np.random.Generator, number: int) -> ParametricEcg:
    fibrillates = number % 4 == 1
    low, high = ((-15, 75), (-75, -45), (108, 165))[number % 3]
    rate = float(rng.choice([rng.uniform(42, 55), rng.uniform(65, 92), rng.uniform(106, 125)]))
    shift = float(rng.choice([0.0, 0.0, 0.35, -0.25]))
    leads = (("V2", "V3", "V4"), ("II", "III", "aVF"), ("I", "aVL", "V5", "V6"))[int(rng.integers(3))]
    return ParametricEcg(
        heart_rate=rate,
        rhythm="atrial fibrillation" if fibrillates else "sinus",
        pr=float(rng.choice([100.0, 150.0, 170.0, 230.0, 250.0])) if rate < 100 else 150.0,
        qrs=float(rng.choice([88.0, 96.0, 146.0])),
        qt=float(rng.choice([0.0, 1.0])) * min(560.0, 500.0 * (60 / rate) ** 0.5) or None,
        axis=float(rng.uniform(low, high)),
        gain=float(rng.choice([0.25, 1.0, 1.0, 2.2])),
        st=dict.fromkeys(leads, shift) if shift else {},
        muscle=0.008,
    )


def _told(p: ParametricEcg) -> Truth:
    sinus = p.rhythm == "sinus"
    values: dict[str, float | None] = {
        "heart_rate": p.heart_rate,
        "qrs": p.qrs_ms,
        "qt": p.qt_ms,
        "axis": p.axis_deg,
        "pr": p.pr if sinus else None,
        **_corrected(p.qt_ms, p.heart_rate),
    }
    # Limb leads come out as near to what was asked as Einthoven's law allows: only chest leads are taken at their word.
    # A T wave made large reaches into the ST segment.
    st = {lead: level for lead, level in p.st.items() if lead.startswith("V") and p.gain <= 1}
    return Truth(values, "sinus" if sinus else "atrial fibrillation", sinus, st=st)


# What the model itself writes


def own_texts(count: int) -> Counts:
    """Verdicts on the built-in bundle's texts about records of fold 9, by kind."""
    from quality import fold_nine
    from uniecg_runtime.assistant import Assistant

    assistant = Assistant(Bundle.open(BUILT_IN))
    counts: Counts = Counter()
    records = contradicted = 0
    for recording, _ in islice((pair for pair in fold_nine() if pair[0].units == "mV"), count):
        claims = assistant.interpret(recording).claims
        records += 1
        contradicted += any(claim.verdict == "contradicted" for claim in claims)
        counts.update((claim.kind, claim.verdict) for claim in claims)
    print(f"\nthe model's own texts, {records} records of PTB-XL fold 9 in mV: {sum(counts.values())} statements")
    for kind in [*sorted({kind for kind, _ in counts}), ""]:
        row = [sum(n for (k, v), n in counts.items() if v == said and kind in (k, "")) for said in VERDICTS]
        print(f"  {kind or 'all':34}" + "".join(f"{n:15}" for n in row))
    for said in VERDICTS:
        print(f"  {said}: {share(sum(n for (_, v), n in counts.items() if v == said), sum(counts.values()))}")
    print(f"  texts with a contradiction: {share(contradicted, records)}")
    return counts


VERDICTS = ("supported", "contradicted", "not checkable")


if __name__ == "__main__":
    main()
