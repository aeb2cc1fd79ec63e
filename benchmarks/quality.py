"""How good a bundle is, through the runtime alone: `python benchmarks/quality.py [BUNDLE]`.

Fold 9 of PTB-XL in $UNIECG_DATA (docs/model-card.md says how many of its records were there), held-out routing
phrasings, and 100 drawings timed by an independent detector (wfdb's XQRS). Fold 9 also served to tune
training, so these are validation figures. Intervals: 95 %, bootstrap over records (AUROC) or Wilson.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import LEADS, Recording
from uniecg_export.training.encoder import auroc
from uniecg_export.training.labels import NAMES, Annotation, read_annotations
from uniecg_runtime.assistant import Assistant
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.formats.read import read_recording
from uniecg_runtime.manifest import Figure

RATE = re.compile(r"[Hh]eart rate (\d+)")
EVERYTHING = "accuracy,signal,routing,generation"
DRAWN = (
    "sinus rhythm",
    "atrial fibrillation",
    "left bundle branch block",
    "left ventricular hypertrophy",
    "normal ECG",
)


def main() -> None:
    """Measure what was asked for and print one figure a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="?", default="uniecg-nano")
    parser.add_argument("--only", default=EVERYTHING)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--write", type=Path, help="write the figures into this checkpoint's config.json")
    options = parser.parse_args()
    assistant = Assistant(Bundle.open(options.bundle))
    parts: dict[str, Callable[[Assistant], list[Figure]]] = {
        "accuracy": accuracy,
        "signal": signal_use,
        "routing": routing,
        "generation": generation,
    }
    figures = [figure for name in options.only.split(",") for figure in parts[name](assistant)]
    for f in figures:
        interval = "" if f.low is None or f.high is None else f"  [{f.low:.3f}, {f.high:.3f}]"
        print(f"{f.name:48} {f.value:8.4f}{interval}  n={f.n}  {f.split}  {f.note}")
    plain = [msgspec.to_builtins(figure) for figure in figures]
    if options.json:
        options.json.write_text(json.dumps(plain, indent=1) + "\n")
    if options.write:
        path = options.write / "config.json"
        config = json.loads(path.read_text())
        kept = {(f["name"], f["split"]): f for f in config.get("figures", [])} if options.only != EVERYTHING else {}
        kept |= {(f["name"], f["split"]): f for f in plain}
        path.write_text(json.dumps({**config, "figures": list(kept.values())}, indent=1) + "\n")


def accuracy(assistant: Assistant) -> list[Figure]:
    """Superclass AUROC from the language model's own probabilities, and the stated heart rate."""
    truth, known, scores, raw = [], [], [], []
    for recording, annotation in fold_nine():
        result = assistant.interpret(recording)
        truth.append(annotation.labels)
        known.append(annotation.known)
        scores.append([result.statements[name] for name in NAMES])
        if recording.units == "mV":
            raw.append((result.text, recording))
    labels, use, p = np.stack(truth), np.stack(known) > 0, np.array(scores, np.float32)
    figures = [_auroc_figure("superclass macro-AUROC", labels, use, p, range(5), "PTB-XL fold 9, raw and z-scored")]
    for k, name in enumerate(NAMES):
        if labels[use[:, k], k].sum() >= 8:
            figures.append(_auroc_figure(f"AUROC {name}", labels, use, p, [k], "PTB-XL fold 9, raw and z-scored"))
    stated = [RATE.search(text) for text, _ in raw]
    for name, leads in (("XQRS on II", ("II",)), ("the median of XQRS on I, II, V2, V5", ("I", "II", "V2", "V5"))):
        measured = [median_rate(recording, leads) for _, recording in raw]
        hits = [
            m is not None and x is not None and abs(float(m[1]) - x) <= 5 for m, x in zip(stated, measured, strict=True)
        ]
        figures.append(_share(f"stated heart rate within 5 bpm of {name}", hits, "PTB-XL fold 9, raw"))
    return figures


def signal_use(assistant: Assistant) -> list[Figure]:
    """Does the language model read the soft tokens? The same prompts with another record's tokens, and with zeros."""
    pairs = list(fold_nine())[::2]
    looks = [assistant.look(recording, 0.0, _quiet()) for recording, _ in pairs]
    labels, known = np.stack([a.labels for _, a in pairs]), np.stack([a.known for _, a in pairs]) > 0
    variants = {
        "own": looks,
        "another record's": [dataclasses.replace(s, encoded=looks[k - 1].encoded) for k, s in enumerate(looks)],
        "zeroed": [dataclasses.replace(s, encoded={"tokens": np.zeros_like(s.encoded["tokens"])}) for s in looks],
    }
    figures, texts = [], {}
    for name, seen in variants.items():
        answers = [_answer(assistant, s) for s in seen]
        p = np.array([[statements[label] for label in NAMES] for _, statements in answers], np.float32)
        texts[name] = [text for text, _ in answers]
        figures.append(
            _auroc_figure(f"superclass macro-AUROC, {name} tokens", labels, known, p, range(5), "PTB-XL fold 9, half")
        )
    for name in ("another record's", "zeroed"):
        changed = [a != b for a, b in zip(texts["own"], texts[name], strict=True)]
        figures.append(_share(f"text changed by {name} tokens, same prompt", changed, "PTB-XL fold 9, half"))
    return figures


def routing(assistant: Assistant) -> list[Figure]:
    """The model's own choice between words and a drawing, on phrasings written apart from training.

    Errors are shown on the validation phrasings alone, so that the others stay held out.
    """
    recording = next(r for r, _ in fold_nine())
    figures = []
    for file, split in (("routing_phrasings", "held-out phrasings"), ("routing_validation", "validation phrasings")):
        items = json.loads((Path(__file__).parent / f"{file}.json").read_text(encoding="utf-8"))["items"]
        right: dict[str, list[bool]] = {"text": [], "ecg": [], "recording attached": [], "none attached": []}
        for item in items:
            route = first_choice(assistant, item["text"], recording if item["signal"] else None)
            for part in (item["route"], "recording attached" if item["signal"] else "none attached"):
                right[part].append(route == item["route"])
            if route != item["route"] and split == "validation phrasings":
                print(f"  routed to {route}: {item['text']!r} (signal {item['signal']})")
        figures.append(_share("routing right", right["text"] + right["ecg"], split))
        figures += [_share(f"routing right, {part}", values, split) for part, values in right.items()]
    return figures


def first_choice(assistant: Assistant, text: str, recording: Recording | None) -> str:
    """Where the model goes with `text`."""
    return assistant.chat(recording).ask(text).route


def generation(assistant: Assistant) -> list[Figure]:
    """100 drawings with a stated rate: XQRS's rate of lead II against the asked one; Einthoven's law.

    Where XQRS finds none, the drawing counts as 60 bpm off.
    """
    rng = np.random.default_rng(2026)
    close, errors, residuals = [], [], []
    for k in range(100):
        kind = DRAWN[k % len(DRAWN)]
        low, high = {"atrial fibrillation": (60, 150), "sinus rhythm": (60, 100), "normal ECG": (60, 100)}.get(
            kind, (50, 120)
        )
        rate = int(rng.integers(low, high))
        sex, age = ("male", "female")[k % 2], int(rng.integers(25, 90))
        made = assistant.generate(f"Generate an ECG with {kind}, heart rate {rate}, {sex}, {age} years", seed=k)
        found = xqrs_rate(made.recording)
        close.append(found is not None and abs(found - rate) <= 8)
        errors.append(abs(found - rate) if found is not None else 60.0)
        lead = dict(zip(made.recording.leads, made.recording.signal, strict=True))
        residuals.append(float(np.abs(lead["III"] - (lead["II"] - lead["I"])).max()))
        if not close[-1]:
            print(f"  {kind} at {rate}: XQRS {found}")
    split = "100 prompts with a stated rate, seeds 0-99"
    return [
        _share("drawn heart rate within 8 bpm (XQRS, lead II)", close, split),
        Figure(name="drawn heart rate, median error (bpm)", value=float(np.median(errors)), split=split, n=100),
        Figure(name="Einthoven residual, worst (mV)", value=max(residuals), split=split, n=100),
    ]


def fold_nine() -> Iterator[tuple[Recording, Annotation]]:
    """Validation records with their annotations: raw ones first, then those that are only z-scored."""
    data = Path(os.environ.get("UNIECG_DATA", "~/.cache/uniecg/data")).expanduser()
    annotations = {k: a for k, a in read_annotations(data / "ptbxl").items() if a.fold == 9}
    seen: set[int] = set()
    for path in sorted((data / "ptbxl").rglob("records500/**/*.hea")):
        annotation = annotations.get(int(path.stem.split("_")[0]))
        if annotation is not None:
            seen.add(int(path.stem.split("_")[0]))
            yield read_recording(path), annotation
    signals = np.load(data / "ptbxl_zscored" / "x_int16_125hz.npy", mmap_mode="r")
    rows = (data / "ptbxl_zscored" / "index.csv").read_text().split()[1:]
    for row, ecg_id, _ in (line.split(",") for line in rows):
        if int(ecg_id) in annotations and int(ecg_id) not in seen:
            signal = np.ascontiguousarray(signals[int(row)].astype(np.float32) / 1000)
            yield Recording(signal, 125.0, LEADS, name=f"{ecg_id}_z", units="standardised"), annotations[int(ecg_id)]


def median_rate(recording: Recording, leads: Sequence[str]) -> float | None:
    """The median over leads of XQRS's rates; None where it finds beats on none."""
    rates = [rate for lead in leads if (rate := xqrs_rate(recording, lead)) is not None]
    return float(np.median(rates)) if rates else None


def xqrs_rate(recording: Recording, lead: str = "II") -> float | None:
    """Mean heart rate by an independent detector, wfdb's XQRS; None where it finds under 3 beats."""
    from wfdb.processing import XQRS, resample_sig

    signal = recording.signal[recording.leads.index(lead)].astype(float)
    if recording.fs < 250:
        signal, _ = resample_sig(signal, recording.fs, 250)
    detector = XQRS(signal, max(recording.fs, 250.0))
    detector.detect(verbose=False)
    beats = np.asarray(detector.qrs_inds)
    return None if len(beats) < 3 else float(60 * max(recording.fs, 250.0) / np.mean(np.diff(beats)))


def _answer(assistant: Assistant, seen: Any) -> tuple[str, dict[str, float]]:
    from uniecg_runtime.reading import Asked

    asked = Asked(assistant.fresh_dialogue(), seen, None)
    speech, statements = asked.answer(256, None, _quiet())
    return speech.text, statements


def _quiet() -> Any:
    from uniecg_runtime.stopwatch import Stopwatch

    return Stopwatch()


def _auroc_figure(
    name: str,
    labels: NDArray[np.float32],
    known: NDArray[np.bool_],
    p: NDArray[np.float32],
    columns: Sequence[int],
    split: str,
) -> Figure:
    rng = np.random.default_rng(0)

    def macro(rows: NDArray[np.int64]) -> float:
        use = [rows[known[rows, k]] for k in columns]
        return float(np.mean([auroc(labels[r, k], p[r, k]) for r, k in zip(use, columns, strict=True)]))

    everything = np.flatnonzero(known[:, list(columns)].all(1))
    resampled = [macro(rng.choice(everything, len(everything))) for _ in range(500)]
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Figure(name=name, value=macro(everything), split=split, n=len(everything), low=float(low), high=float(high))


def _share(name: str, hits: Sequence[bool], split: str) -> Figure:
    n, p, z = len(hits), float(np.mean(hits)), 1.96
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Figure(
        name=name, value=p, split=split, n=n, low=float((centre - half) / scale), high=float((centre + half) / scale)
    )


if __name__ == "__main__":
    main()
