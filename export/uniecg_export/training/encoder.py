"""Pre-training of the ECG encoder: labels straight from its pooled features.

The classifier head is thrown away; only what the soft tokens will carry is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uniecg_export.families.uniecg_nano import Encoder, NanoConfig
from uniecg_export.training.loop import device, run_stage
from uniecg_export.training.records import Records

LIMB_SETS = ((0,), (1,), (0, 1, 2, 3, 4, 5), (0, 1), (0, 1, 2, 3, 4, 5, 7, 10))


def augment(signal: Tensor, facts: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Cyclic shift, noise, wander, lead dropout, scale forgotten; (B,12,1280) and (B,12,3)."""
    b, leads, n = signal.shape
    signal, facts = signal.clone(), facts.clone()
    shifts = generator.integers(0, n, b)
    signal = torch.stack([row.roll(int(k), -1) for row, k in zip(signal, shifts, strict=True)])
    noise = torch.from_numpy(generator.normal(0, 1, (b, leads, n)).astype(np.float32))
    signal = signal + noise * torch.from_numpy(generator.uniform(0, 0.12, (b, 1, 1)).astype(np.float32))
    phase = generator.uniform(0, 2 * np.pi, (b, leads, 1)) + generator.uniform(0.5, 6, (b, 1, 1)) * np.linspace(
        0, 2 * np.pi, n
    )
    signal = signal + torch.from_numpy((generator.uniform(0, 0.15, (b, 1, 1)) * np.sin(phase)).astype(np.float32))
    keep = torch.from_numpy((generator.uniform(size=(b, leads, 1)) > 0.08).astype(np.float32))
    for row in np.flatnonzero(generator.uniform(size=b) < 0.08):
        chosen = LIMB_SETS[int(generator.integers(len(LIMB_SETS)))]
        keep[row] = 0
        keep[row, list(chosen)] = 1
    forget = torch.from_numpy((generator.uniform(size=(b, 1)) < 0.3).astype(np.float32))
    facts[:, :, 1] *= 1 - forget
    facts[:, :, 2] = (facts[:, :, 2] + torch.from_numpy(generator.normal(0, 0.05, (b, 1)).astype(np.float32))) * facts[
        :, :, 1
    ]
    return signal * keep * facts[:, :, :1], facts * keep


def auroc(truth: NDArray[np.float32], score: NDArray[np.float32]) -> float:
    """Area under the ROC curve by ranks (Mann-Whitney), ties at half."""
    order = np.argsort(score, kind="stable")
    _values, inverse, counts = np.unique(score[order], return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    ranks = np.empty(len(score))
    ranks[order] = middle[inverse]
    positive = truth > 0.5
    p, n = int(positive.sum()), int((~positive).sum())
    if p == 0 or n == 0:
        return float("nan")
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * n))


def pretrain_encoder(
    encoder: Encoder, config: NanoConfig, records: Records, simulated: Records, work: Path, steps: int
) -> None:
    """Fold 1-8 of every labelled record, a fifth of each batch simulated; mixup and augmentation."""
    head = nn.Linear(config.width, len(config.labels)).to(device())
    train, held = records.where((records.fold >= 1) & (records.fold <= 8)), records.where(records.fold == 9)
    sources = [_tensors(train), _tensors(simulated)]
    valid = _tensors(held)
    prevalence = train.labels.sum(0) / np.maximum(train.known.sum(0), 1)
    rare = 1 + (train.labels * np.minimum(1 / np.maximum(prevalence, 0.02), 12)).max(1) / 4
    draw = [rare / rare.sum(), None]

    def loss(step: int) -> Mapping[str, Tensor]:
        generator = np.random.default_rng((7, step))
        parts = []
        for (signal, facts, labels, known), size, p in zip(sources, (52, 12), draw, strict=True):
            rows = torch.from_numpy(generator.choice(len(signal), size, p=p))
            parts.append((*augment(signal[rows], facts[rows], generator), labels[rows], known[rows]))
        signal, facts, labels, known = (torch.cat(part).to(device()) for part in zip(*parts, strict=True))
        mix = torch.from_numpy(generator.beta(0.3, 0.3, (len(signal), 1)).astype(np.float32)).to(device())
        mix = torch.maximum(mix, 1 - mix)
        other = torch.from_numpy(generator.permutation(len(signal))).to(device())
        # A lead that this record lacks stays missing, whatever the other brings.
        signal = (mix[:, :, None] * signal + (1 - mix[:, :, None]) * signal[other]) * facts[:, :, :1]
        labels, known = mix * labels + (1 - mix) * labels[other], known * known[other]
        logits = head(functional.gelu(encoder.features(signal, facts)[1]))
        each = functional.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none")
        return {"bce": (each * known).sum() / known.sum()}

    def score() -> Mapping[str, float]:
        logits = (
            head(functional.gelu(encoder.features(valid[0].to(device()), valid[1].to(device()))[1]))
            .float()
            .cpu()
            .numpy()
        )
        use = held.known[:, 0] > 0
        each = [auroc(held.labels[use, k], logits[use, k]) for k in range(len(config.labels))]
        return {"superclass_auroc": float(np.mean(each[:5])), "all_auroc": float(np.nanmean(each))}

    modules = {"encoder": encoder, "head": head}
    run_stage(
        "1-encoder",
        modules,
        loss,
        steps=steps,
        learning_rate=2e-3,
        work=work,
        score=score,
        average=0.995,
        weight_decay=0.05,
    )


def _tensors(records: Records) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return tuple(torch.from_numpy(a) for a in (records.signal, records.lead_facts, records.labels, records.known))
