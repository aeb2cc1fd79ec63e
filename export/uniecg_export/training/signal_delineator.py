"""Train the delineator on LUDB: `python -m uniecg_export.training.signal_delineator DATA --out CHECKPOINT`.

What the delineator is given, the usual beat of a kind, is laid out from the readers' records as `find_waves` does, with
what they marked on its beats, lead by lead. 114 records are few: every time a kind is shown it is the mean of other
beats of it, stretched, shifted, noisier, with more wander, other heights of P and T, some leads turned, some absent.

First by cross-validation: six networks, each trained without a sixth of the records and then held against those.
These figures go into the checkpoint, whose own network is trained on all records in the same way.
About a minute and a half a network on one core.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uniecg_device.signals import LEADS
from uniecg_export.families.delineator import Checkpoint, Delineator, save, source
from uniecg_export.training import ludb
from uniecg_export.training.ludb import Score
from uniecg_runtime.manifest import Figure
from uniecg_runtime.signal import delineator, waves
from uniecg_runtime.signal.beats import detect_beats
from uniecg_runtime.signal.bounds import AFTER, BEFORE, running_mean
from uniecg_runtime.signal.kinds import Kind, kinds_of, rhythm_of, usual_shape

FOLDS = 6
STEPS, BATCH = 800, 12  # of kinds
RATE, DECAY = 3e-3, 0.02
SPREAD = 5.0  # samples: standard deviation of the target's probability about a mark
DISTANCE = 0.05  # weight of the distance between expected edge and mark, beside the likelihood
REACH = 60  # samples by which a reader's QRS may lie off a beat that was found
LEADS_SCORED = ("II", "V2", "V5")

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Example:
    """A kind of beat of a record. beats: (12, beats, 550). marks: (12, beats, 9), samples of the shape as the readers
    marked them, NaN where they did not. rr: seconds."""

    record: str
    beats: Floats
    marks: Floats
    rr: float


def examples(record: ludb.Read) -> list[Example]:
    """The kinds of a record's beats that a reader marked, as `find_waves` lays them out."""
    beats = detect_beats(record.recording)
    rows, signal, spikes = waves.usable(record.recording)
    if len(rows) != len(LEADS):
        return []
    rr = rhythm_of(signal, beats, spikes).rr / delineator.HZ
    found = []
    for kind in kinds_of(signal, beats):
        marks = _marks(record, kind, beats)
        if np.isfinite(marks[:, :, 3:6]).any():
            found.append(Example(record.recording.name, kind.beats, marks, rr))
    return found


def _marks(record: ludb.Read, kind: Kind, beats: NDArray[np.int64]) -> Floats:
    """The readers' marks on the beats that the kind's shape is made of."""
    centres = kind.centres[kind.whole]
    marks = np.full((len(LEADS), centres.size, delineator.EDGES), np.nan)
    for row, lead in enumerate(LEADS):
        reader = record.readers[lead]
        for column, centre in enumerate(centres):
            following = beats[beats > centre + REACH]
            until = min(AFTER - 10, following[0] - centre) if following.size else AFTER - 10
            for wave, (low, high) in {"P": (-BEFORE, 0), "QRS": (-REACH, REACH), "T": (20, until)}.items():
                apart = reader[wave][:, 1] - centre
                inside = np.flatnonzero((apart > low) & (apart < high))
                if inside.size:
                    nearest = reader[wave][inside[np.abs(apart[inside]).argmin()]]
                    first = ludb.WAVES[wave]
                    marks[row, column, first : first + 3] = np.where(nearest >= 0, nearest - centre + BEFORE, np.nan)
    return marks


def vary(example: Example, random: np.random.Generator) -> tuple[Floats, Floats, Floats, float]:
    """The example as it may also have been: shape (12, 550), present (12,), marks (12, 9), rr."""
    shape, marks = _some_beats(example, random)
    rr = example.rr
    if random.random() < 0.7:
        stretch = float(np.exp(random.normal(0, 0.08)))
        shape, marks, rr = (
            _at(shape, BEFORE + (SAMPLES - BEFORE) / stretch),
            BEFORE + (marks - BEFORE) * stretch,
            rr * stretch,
        )
    if random.random() < 0.5:
        shift = int(random.integers(-6, 7))
        shape, marks = _at(shape, SAMPLES - shift), marks + shift
    size = np.abs(shape[:, BEFORE - 50 : BEFORE + 60]).max(axis=1, keepdims=True)
    if random.random() < 0.6:
        width = int(random.choice((1, 5, 9, 15)))
        noise = running_mean(random.normal(size=shape.shape), width) * np.sqrt(width)
        shape = shape + noise * size * np.exp(random.normal(np.log(0.015), 0.8, (len(shape), 1)))
    if random.random() < 0.5:
        bends = np.stack([TIME, TIME**2, np.sin(np.pi * TIME * random.uniform(0.5, 2) + random.uniform(0, 6))])
        shape = shape + random.normal(0, 0.05, (len(shape), 3)) @ bends * size
    if random.random() < 0.3:
        shape = shape * random.choice((-1.0, 1.0), (len(shape), 1))
    if random.random() < 0.4:
        p, t = np.exp(random.normal(0, 0.25, 2)) - 1
        shape = shape * (
            1 + p / (1 + np.exp((SAMPLES - BEFORE + 35) / 8)) + t / (1 + np.exp((BEFORE + 60 - SAMPLES) / 8))
        )
    present = np.ones(len(shape))
    if random.random() < 0.35:
        present[random.choice(len(shape), int(random.integers(1, len(shape))), replace=False)] = 0
    return shape * present[:, None], present, marks, rr


SAMPLES = np.arange(BEFORE + AFTER, dtype=np.float64)
TIME = np.linspace(-1, 1, SAMPLES.size)


def _some_beats(example: Example, random: np.random.Generator) -> tuple[Floats, Floats]:
    """The shape of all the kind's beats, or of some that were marked, and the mean of the marks on them."""
    beats, marks = example.beats, example.marks
    marked = np.flatnonzero(np.isfinite(marks[:, :, 3:6]).any(axis=(0, 2)))
    if random.random() < 0.6:
        count = int(random.integers(1, marked.size + 1)) if random.random() < 0.7 else marked.size
        chosen = random.choice(marked, count, replace=False)
        beats, marks = beats[:, chosen], marks[:, chosen]
    count = np.isfinite(marks).sum(axis=1)
    return usual_shape(beats), np.where(count, np.nansum(marks, axis=1) / np.maximum(count, 1), np.nan)


def _at(shape: Floats, places: Floats) -> Floats:
    """`shape` at these samples, between whole ones on a line."""
    return np.stack([np.interp(places, SAMPLES, row) for row in shape])


def fit(taught: Sequence[Example], seed: int = 0, steps: int = STEPS) -> Delineator:
    """A delineator, the running mean of its weights in training, rounded to fp16."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = Delineator().train()
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.15)
    mean = {name: value.clone() for name, value in model.state_dict().items()}
    weights = np.sqrt([min(len(example.beats[0]), 8) for example in taught])
    order: list[int] = []
    for step in range(steps):
        while len(order) < BATCH:
            order += random.permutation(len(taught)).tolist()
        chosen, order = order[:BATCH], order[BATCH:]
        optimiser.zero_grad()
        loss(model, [vary(taught[k], random) for k in chosen], weights[chosen]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        keep = min(0.99, (step + 1) / (step + 20))
        for name, value in model.state_dict().items():
            mean[name].lerp_(value, 1 - keep)
    model.load_state_dict({name: value.half().float() for name, value in mean.items()})
    return model.eval()


def loss(
    model: Delineator, shown: Sequence[tuple[Floats, Floats, Floats, float]], weights: NDArray[np.float64]
) -> Tensor:
    """How unlikely the marks are, and how far from where they are expected. weights: of each that is shown."""
    shape, present, marks = (torch.tensor(np.stack([each[k] for each in shown]), dtype=torch.float32) for k in range(3))
    rr = torch.tensor([[each[3]] for each in shown], dtype=torch.float32)
    logits = model.logits(shape, present, rr)
    known = torch.isfinite(marks) & (present[:, :, None] > 0)
    marks = torch.where(known, marks, 0.0)
    target = torch.exp(-0.5 * ((model.places - marks[..., None]) / SPREAD) ** 2)
    target = target / target.sum(-1, keepdim=True).clamp_min(1e-9)
    unlikely = -(target * functional.log_softmax(logits, -1)).sum(-1)
    apart = functional.smooth_l1_loss(model.mean(logits), marks, reduction="none", beta=4.0)
    weight = known * torch.tensor(weights, dtype=torch.float32)[:, None, None]
    return ((unlikely + DISTANCE * apart) * weight).sum() / weight.sum()


@dataclass(frozen=True, eq=False)
class InTorch:
    """A network where the runtime has its graph."""

    model: Delineator

    def run(self, **inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """The outputs."""
        return source(self.model).run(inputs)


def cross_validate(records: Sequence[ludb.Read], taught: Sequence[Example], steps: int) -> list[Score]:
    """Each record's score by the network that was trained without it."""
    order = np.random.default_rng(0).permutation(len(records))
    scores = []
    for fold in range(FOLDS):
        held_out = [records[k] for k in order[fold::FOLDS]]
        names = {record.recording.name for record in held_out}
        model = fit([example for example in taught if example.record not in names], seed=fold, steps=steps)
        method = ludb.measured(delineator.Delineator(InTorch(model)))
        scores += [ludb.score(record, method, LEADS_SCORED) for record in held_out]
        print(f"fold {fold + 1} of {FOLDS}: {len(held_out)} records held out", flush=True)
    return scores


def figures(scores: Sequence[Score]) -> tuple[Figure, ...]:
    """What the manifest says of it."""
    split = f"LUDB, {FOLDS}-fold cross-validation by record"
    where = f"leads {', '.join(LEADS_SCORED)}, within 150 ms"
    found = []
    for wave, edge in (("P", "on"), ("P", "off"), ("QRS", "on"), ("QRS", "off"), ("T", "off")):
        total = ludb.tally(LEADS_SCORED, scores, wave, edge)
        name = f"delineator, {wave} {'onset' if edge == 'on' else 'end'}, SD in ms"
        found.append(Figure(name, round(float(np.std(total.errors)), 2), split, len(total.errors), note=where))
    for name in ludb.INTERVALS:
        errors, _ = ludb.interval_errors(scores, name)
        mean = round(float(np.mean(np.abs(errors))), 2)
        found.append(Figure(f"delineator, {name}, mean absolute error in ms", mean, split, len(errors)))
    return tuple(found)


def main() -> None:
    """Cross-validate, train on all and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", type=Path, nargs="?", default=Path(os.environ.get("UNIECG_DATA", "~/.cache/uniecg/data"))
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    records = [ludb.read(path) for path in ludb.paths(options.data.expanduser())]
    taught = [example for record in records for example in examples(record)]
    print(f"{len(taught)} kinds of beats of {len(records)} records")
    scores = cross_validate(records, taught, options.steps)
    ludb.report(LEADS_SCORED, scores)
    model = fit(taught, seed=FOLDS, steps=options.steps)
    save(Checkpoint(model, ("LUDB 1.0.1, 114 records",), figures(scores)), options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
