"""The paper's two decoupled stages (arXiv 2509.18588) on the language model.

Interpretation: encoder, projector and language model learn to write evidence and conclusion, and to
answer statements. Alignment: the language model learns to answer a request to draw with a
specification and `[ECG]` tokens whose hidden states land in the generator's condition space, while
it goes on rehearsing the first stage every fourth step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from uniecg_export.families.uniecg_nano import UniEcgNano
from uniecg_export.families.uniecg_nano_prompt import DRAW_PREFIX, NO, QUESTION, YES
from uniecg_export.training.dialogues import about_record, following, opening, to_draw, without_record
from uniecg_export.training.encoder import augment, auroc
from uniecg_export.training.labels import NAMES
from uniecg_export.training.loop import device, run_stage
from uniecg_export.training.records import Records, draw_weights
from uniecg_export.training.sequences import IGNORE, Batch, Turn, Writer, hidden_states, to_device


def soft_tokens(
    model: UniEcgNano, records: Records, turns: Sequence[Turn], generator: np.random.Generator | None
) -> Tensor | None:
    """Soft tokens of the turns' records, augmented where a generator is given."""
    rows = [turn.record for turn in turns if turn.record is not None]
    if not rows:
        return None
    signal, facts = torch.from_numpy(records.signal[rows]), torch.from_numpy(records.lead_facts[rows])
    if generator is not None:
        signal, facts = augment(signal, facts, generator)
    tokens: Tensor = model.encoder(signal.to(device()), facts.to(device()))
    return tokens


def text_loss(model: UniEcgNano, states: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Cross-entropy of answers and of statements, each a mean over its own tokens."""
    terms = {}
    for name, chosen in (("text", ~batch.statement), ("statements", batch.statement)):
        use = chosen & (batch.targets != IGNORE)
        if bool(use.any()):
            logits = model.language_model.lm_head(states[use])
            terms[name] = functional.cross_entropy(logits.float(), batch.targets[use])
    return terms


def train_interpretation(
    model: UniEcgNano, writer: Writer, records: Records, simulated: Records, work: Path, steps: int, seconds: float
) -> None:
    """Stage one, on folds 1-8 and simulated records."""
    pool, draw = _pool(records, simulated)

    def loss(step: int) -> Mapping[str, Tensor]:
        generator, rng = np.random.default_rng((21, step)), Random(step * 7919 + 21)
        model.encoder.eval()  # batch norm keeps the statistics of pre-training; its weights still learn
        turns = _rehearsal(rng, generator, pool, draw, 16)
        return _text_terms(model, writer, pool, turns, generator)

    def score() -> Mapping[str, float]:
        return statement_scores(model, writer, records.where(records.fold == 9))

    modules = {"encoder": model.encoder, "language_model": model.language_model}
    run_stage(
        "4-interpretation",
        modules,
        loss,
        steps=steps,
        learning_rate=1.2e-3,
        work=work,
        score=score,
        slower={"encoder": 0.15},
        average=0.998,
        weight_decay=0.05,
        seconds=seconds,
    )


def train_alignment(
    model: UniEcgNano, writer: Writer, records: Records, simulated: Records, work: Path, steps: int, seconds: float
) -> None:
    """Stage two: the encoder is frozen, the language model rehearses stage one in every batch."""
    pool, draw = _pool(records, simulated)
    asked = Writer(writer.tokenizer, writer.config, merge_dropout=0.06)
    label_sets = [[NAMES[k] for k in np.flatnonzero(row)] for row in pool.labels]
    opening_token = writer.text(DRAW_PREFIX)[0]
    model.encoder.eval().requires_grad_(False)

    def loss(step: int) -> Mapping[str, Tensor]:
        generator, rng = np.random.default_rng((31, step)), Random(step * 7919 + 31)
        turns, told = _requests(rng, generator, pool, label_sets, 16)
        turns = turns + [without_record(rng) for _ in range(6)] + _questions(rng, generator, pool, 6)
        turns = [_perhaps_following(rng, turn, pool, label_sets) for turn in turns]
        batch = to_device(asked.batch(turns), device())
        states = hidden_states(model.language_model, batch, _frozen_tokens(model, pool, turns))
        terms = text_loss(model, states, batch)
        cheap = [_perhaps_following(rng, t, pool, label_sets) for t in _choices(rng, generator, pool, label_sets, 96)]
        terms["choice"] = 3 * _choice_loss(model, asked, pool, cheap, opening_token)
        drawn = states[batch.draw].reshape(len(told), model.config.ecg_tokens, -1)
        aligned = model.condition.align(drawn.flatten(1)).float()
        target = model.condition.label_embedding(torch.stack(told).to(device())).float()
        # Weighted so that the language model, not the small projector alone, makes the states tell labels apart.
        terms["align"] = 10 * (aligned - target).square().mean()
        if step % 4 == 0:  # a full answer costs as much as many requests
            again = _rehearsal(rng, generator, pool, draw, 12)
            for name, value in _text_terms(model, writer, pool, again, generator).items():
                terms[f"again_{name}"] = 2 * value
        return terms

    def score() -> Mapping[str, float]:
        return statement_scores(model, writer, records.where(records.fold == 9))

    modules = {"language_model": model.language_model, "align": model.condition.align}
    run_stage(
        "5-alignment",
        modules,
        loss,
        steps=steps,
        learning_rate=1e-3,
        work=work,
        score=score,
        average=0.995,
        seconds=seconds,
    )


def statement_scores(model: UniEcgNano, writer: Writer, records: Records) -> dict[str, float]:
    """AUROC of the language model's own yes/no probabilities, per label, and the superclasses' mean."""
    probabilities = statement_probabilities(model, writer, records)
    known = records.known > 0
    each = {name: auroc(records.labels[known[:, k], k], probabilities[known[:, k], k]) for k, name in enumerate(NAMES)}
    first = [each[name] for name in NAMES[:5]]
    return {"superclass_auroc": float(np.mean(first)), **each}


@torch.no_grad()
def statement_probabilities(model: UniEcgNano, writer: Writer, records: Records) -> np.ndarray:
    """P(yes) for every record and label, (n,31), from the canonical question."""
    rows, yes, no = [], writer.special[YES], writer.special[NO]
    everything = dict.fromkeys(NAMES, False)
    for start in range(0, len(records.names), 16):
        turns = []
        for row in range(start, min(start + 16, len(records.names))):
            seen = about_record(Random(1), records, row, "interpret")
            turns.append(Turn(QUESTION, "", row, seen.measurements, statements=everything))
        batch = to_device(writer.batch(turns), device())
        states = hidden_states(model.language_model, batch, soft_tokens(model, records, turns, None))
        logits = model.language_model.lm_head(states[batch.statement]).float()
        difference = logits[:, yes] - logits[:, no]
        rows.append(torch.sigmoid(difference).reshape(len(turns), len(NAMES)).cpu().numpy())
    return np.concatenate(rows)


def _pool(records: Records, simulated: Records) -> tuple[Records, np.ndarray]:
    """Training records and simulated ones in one set, with how often each is drawn."""
    train = records.where((records.fold >= 1) & (records.fold <= 8))
    pool = _joined(train, simulated)
    counts = np.maximum(train.labels.sum(0), 12)
    rare = 1 + (train.labels * np.minimum(60 / counts, 4)).max(1)
    return pool, draw_weights([rare, np.ones(len(simulated.names))], (0.85, 0.15))


def _joined(a: Records, b: Records) -> Records:
    arrays = ("signal", "lead_facts", "labels", "known", "fold", "age", "sex")
    return Records(
        names=a.names + b.names,
        source=a.source + b.source,
        measurements=a.measurements + b.measurements,
        **{k: np.concatenate([getattr(a, k), getattr(b, k)]) for k in arrays},
    )


def _rehearsal(rng: Random, generator: np.random.Generator, pool: Records, draw: np.ndarray, size: int) -> list[Turn]:
    kinds = rng.choices(("interpret", "question", "measure", "beyond", "nothing"), (68, 12, 7, 3, 10), k=size)
    rows = generator.choice(len(pool.names), size, p=draw)
    return [
        without_record(rng) if kind == "nothing" else about_record(rng, pool, int(row), kind)
        for kind, row in zip(kinds, rows, strict=True)
    ]


def _questions(rng: Random, generator: np.random.Generator, pool: Records, size: int) -> list[Turn]:
    """What is asked of a record in words; of full interpretations only the opening."""
    kinds = rng.choices(("opening", "question", "measure", "beyond", "general"), (5, 2, 1, 3, 2), k=size)
    rows = [int(row) for row in generator.integers(len(pool.names), size=size)]
    return [
        opening(rng, pool, row) if kind == "opening" else about_record(rng, pool, row, kind)
        for kind, row in zip(kinds, rows, strict=True)
    ]


def _choice_loss(model: UniEcgNano, writer: Writer, pool: Records, turns: Sequence[Turn], opening_token: int) -> Tensor:
    """Cross-entropy of opening a drawing line or not: one token in twenty, and the one that the answer hangs on.

    The turns go in groups of like length, so that short ones are not padded to the longest.
    """
    ordered = sorted(turns, key=lambda turn: len(writer.prompt(turn)))
    sums = []
    for group in (ordered[start : start + 24] for start in range(0, len(ordered), 24)):
        batch = to_device(writer.batch(group), device())
        states = hidden_states(model.language_model, batch, _frozen_tokens(model, pool, group))
        logits = model.language_model.lm_head(states[batch.first]).float()
        others = logits.clone()
        others[:, opening_token] = -torch.inf
        draws = logits[:, opening_token] - others.logsumexp(1)
        truth = (batch.targets[batch.first] == opening_token).float()
        sums.append(functional.binary_cross_entropy_with_logits(draws, truth, reduction="sum"))
    return torch.stack(sums).sum() / len(turns)


def _choices(
    rng: Random, generator: np.random.Generator, pool: Records, label_sets: list[list[str]], size: int
) -> list[Turn]:
    """Requests to draw and questions, of whose answers only the opening is taught: the choice, at little cost.

    More of the questions are about a record, for what is asked of one has the most ways of being said.
    """
    about, without = 5 * size // 12, size // 4
    requests = _requests(rng, generator, pool, label_sets, size - about - without)[0]
    requests = [replace(turn, draws=False) for turn in requests]
    asked = [without_record(rng) for _ in range(without)] + _questions(rng, generator, pool, about)
    return [replace(turn, cut=2, statements={}) for turn in requests + asked]


def _perhaps_following(rng: Random, turn: Turn, pool: Records, label_sets: list[list[str]]) -> Turn:
    return following(rng, turn, pool, label_sets) if rng.random() < 0.2 else turn


def _requests(
    rng: Random, generator: np.random.Generator, pool: Records, label_sets: list[list[str]], size: int
) -> tuple[list[Turn], list[Tensor]]:
    turns, told = [], []
    for row in generator.integers(len(pool.names), size=size):
        attached = about_record(rng, pool, int(row), "measure") if rng.random() < 0.35 else None
        turn, labels = to_draw(
            rng, label_sets, None if attached is None else attached.record, attached.measurements if attached else ""
        )
        turns.append(turn)
        told.append(torch.tensor([float(name in labels) for name in NAMES]))
    return turns, told


def _text_terms(
    model: UniEcgNano, writer: Writer, pool: Records, turns: Sequence[Turn], generator: np.random.Generator
) -> dict[str, Tensor]:
    batch = to_device(writer.batch(turns), device())
    states = hidden_states(model.language_model, batch, soft_tokens(model, pool, turns, generator))
    return text_loss(model, states, batch)


def _frozen_tokens(model: UniEcgNano, pool: Records, turns: Sequence[Turn]) -> Tensor | None:
    with torch.no_grad():
        return soft_tokens(model, pool, turns, None)
