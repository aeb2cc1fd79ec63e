"""The generator: a latent autoencoder of the eight independent leads, then a rectified flow in its latent.

Both learn from recordings in millivolts, from z-scored ones whose amplitudes are imputed (lead
scales follow a log-normal fitted on the recordings in mV; the ratio of I to II comes from
Einthoven's law), and from simulated ones. Rates are widened by stretching time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniecg_device.signals import INDEPENDENT_LEADS, LEADS
from uniecg_export.families.uniecg_nano import NanoConfig, UniEcgNano
from uniecg_export.training.labels import NAMES
from uniecg_export.training.loop import device, run_stage
from uniecg_export.training.records import Records, draw_weights
from uniecg_export.training.texts import choose_subset

ROWS = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]
BEAT_LEAD_S = 0.3  # a splice falls this long before R, where the signal is mostly flat


@dataclass(frozen=True, eq=False)
class Strips:
    """What the generator learns from: millivolts (n,8,1280) with beats, labels and the patient."""

    millivolts: NDArray[np.float32]
    beats: tuple[NDArray[np.int64], ...]
    labels: NDArray[np.float32]
    age: NDArray[np.float32]
    sex: NDArray[np.float32]
    weight: NDArray[np.float64]


def strips(records: Records, simulated: Records, config: NanoConfig) -> Strips:
    """Everything outside fold 9, in mV; simulated strips get a fifth of the draws."""
    real = records.where((records.fold != 9) & np.array([len(m.beats) >= 5 for m in records.measurements]))
    parts = [real, simulated.where(np.array([len(m.beats) >= 3 for m in simulated.measurements]))]
    scales = [_scales(part, parts[0], config) for part in parts]
    millivolts = np.concatenate([p.signal[:, ROWS] * s[:, :, None] for p, s in zip(parts, scales, strict=True)])
    labelled = real.known.max(1)
    rare = real.labels / np.maximum(real.labels.sum(0), 25)
    weights = [(0.3 + labelled) * (1 + 40 * rare.max(1)), np.ones(len(parts[1].names))]
    return Strips(
        millivolts=np.clip(millivolts, -6, 6).astype(np.float32),
        beats=tuple(m.beats for p in parts for m in p.measurements),
        labels=np.concatenate([p.labels for p in parts]),
        age=np.concatenate([p.age for p in parts]),
        sex=np.concatenate([p.sex for p in parts]),
        weight=draw_weights(weights, (0.8, 0.2)),
    )


def _scales(records: Records, reference: Records, config: NanoConfig) -> NDArray[np.float32]:
    """Standard deviation in mV per independent lead, (n,8); imputed where the recording lost it."""
    facts = records.lead_facts[:, ROWS]
    scale = config.reference_mv * np.exp(facts[:, :, 2])
    complete = (reference.lead_facts[:, ROWS, :2].min((1, 2)) > 0) & np.array(
        [s != "simulated" for s in reference.source]
    )
    known = np.log(config.reference_mv) + reference.lead_facts[complete][:, ROWS, 2]
    mean, covariance = known.mean(0), np.cov(known.T) + 1e-3 * np.eye(len(ROWS))
    contrast = np.zeros(len(ROWS))
    contrast[:2] = 1, -1
    gain = covariance @ contrast / (contrast @ covariance @ contrast)
    for row in np.flatnonzero(facts[:, :, 1].min(1) == 0):
        ratio = _limb_log_ratio(records.signal[row])
        imputed = mean if ratio is None else mean + gain * (ratio - contrast @ mean)
        scale[row] = np.where(facts[row, :, 1] == 0, np.exp(imputed), scale[row])
    return scale.astype(np.float32)


def _limb_log_ratio(signal: NDArray[np.float32]) -> float | None:
    """ln(scale of I / scale of II) from III = II - I over standardised leads; None where it does not fit."""
    solution, *_ = np.linalg.lstsq(signal[:2].T.astype(np.float64), signal[2].astype(np.float64), rcond=None)
    a, b = -solution[0], solution[1]
    return float(np.clip(np.log(a / b), -1.5, 1.5)) if a > 0.05 and b > 0.05 else None


def stretched(
    strip: NDArray[np.float32], beats: NDArray[np.int64], factor: float, fs: float
) -> tuple[NDArray[np.float32], float] | None:
    """The strip with its rate multiplied by `factor` and its true rate in bpm; None where beats are too few.

    Whole beats are repeated, spliced with a 40 ms cross-fade before P, so that 10 s stay full.
    """
    lead = round(BEAT_LEAD_S * fs * factor)  # so that R comes at the same time after stretching: the clock's zero
    inside = beats[(beats >= lead) & (beats < strip.shape[1] - lead)]
    if len(inside) < 4:
        return None
    first, last = int(inside[0]) - lead, int(inside[-1]) - lead
    rate = 60 * fs * (len(inside) - 1) / (last - first) * factor
    if not 32 <= rate <= 200:
        return None
    n, fade = strip.shape[1], round(0.04 * fs)
    need = int(np.ceil(n * factor)) + fade
    cycle, after = strip[:, first:last], strip[:, last : last + fade]
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    cycle = cycle.copy()
    cycle[:, :fade] = cycle[:, :fade] * ramp + after * (1 - ramp)
    tiled = np.tile(cycle, (1, need // cycle.shape[1] + 2))
    at = np.arange(n) * factor
    low = at.astype(np.int64)
    part = (at - low).astype(np.float32)
    return np.ascontiguousarray(tiled[:, low] * (1 - part) + tiled[:, low + 1] * part), rate


def _batch(
    data: Strips, generator: np.random.Generator, size: int, fs: float
) -> tuple[Tensor, NDArray[np.int64], Tensor]:
    """Millivolts (size,8,1280), the rows they came from, and scalars (size,6)."""
    rows = generator.choice(len(data.millivolts), size, p=data.weight)
    out, rates = [], []
    for row in rows:
        strip, rate = data.millivolts[row], float("nan")
        factor = float(np.exp(np.clip(generator.normal(0, 0.22), -0.5, 0.5)))
        found = stretched(strip, data.beats[row], factor, fs) or stretched(strip, data.beats[row], 1.0, fs)
        if found is not None:
            strip, rate = found
        strip = np.roll(strip, int(generator.integers(strip.shape[1])), 1) if found is None else strip
        out.append(strip * np.float32(np.exp(generator.normal(0, 0.08))))
        rates.append(rate)
    told = generator.uniform(size=(3, size)) < np.array([[0.6], [0.6], [0.9]])
    scalars = np.zeros((size, 6), np.float32)
    for k, (values, unit) in enumerate(((data.sex[rows], 1), (data.age[rows], 100), (np.array(rates), 100))):
        known = told[k] & np.isfinite(values)
        scalars[known, 2 * k] = values[known] / unit
        scalars[known, 2 * k + 1] = 1
    return torch.from_numpy(np.stack(out)), rows, torch.from_numpy(scalars)


def train_autoencoder(model: UniEcgNano, data: Strips, work: Path, steps: int) -> None:
    """Reconstruct leads and their slopes under a light KL."""
    fs = model.config.fs

    def loss(step: int) -> Mapping[str, Tensor]:
        leads = _batch(data, np.random.default_rng((11, step)), 32, fs)[0].to(device())
        mean, log_variance = model.latent_encoder(leads)
        mean, log_variance = mean.float(), log_variance.float()
        latent = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        made = model.decoder(latent).float()
        kl = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
        return {
            "level": (made - leads).abs().mean() * 10,
            "slope": (made.diff() - leads.diff()).abs().mean() * 10,
            "kl": 2e-3 * kl,
        }

    modules = {"latent_encoder": model.latent_encoder, "decoder": model.decoder}
    run_stage("2-autoencoder", modules, loss, steps=steps, learning_rate=1.5e-3, work=work, average=0.995)
    set_latent_scale(model, data)


@torch.no_grad()
def set_latent_scale(model: UniEcgNano, data: Strips) -> None:
    """Fix the mean and deviation that the decoder undoes, over 512 strips."""
    model.latent_encoder.eval()
    batches = [_batch(data, np.random.default_rng((12, k)), 32, model.config.fs)[0] for k in range(16)]
    latent = torch.cat([model.latent_encoder(leads.to(device()))[0] for leads in batches]).float()
    model.decoder.mean.copy_(latent.mean((0, 2))[None, :, None])
    model.decoder.deviation.copy_(latent.std((0, 2))[None, :, None])


def train_flow(model: UniEcgNano, data: Strips, work: Path, steps: int, seconds: float, name: str = "3-flow") -> None:
    """Rectified flow conditioned on labels, sex, age and rate, each left out at random for guidance."""
    config = model.config
    model.latent_encoder.eval().requires_grad_(False)

    def loss(step: int) -> Mapping[str, Tensor]:
        generator = np.random.default_rng((13, step))
        leads, rows, scalars = _batch(data, generator, 64, config.fs)
        labels = torch.stack([_told_labels(data.labels[row], Random(int(generator.integers(1 << 31)))) for row in rows])
        with torch.no_grad():
            latent = model.latent_encoder(leads.to(device()))[0].float()
            latent = (latent - model.decoder.mean) / model.decoder.deviation
        embedding = model.condition.label_embedding(labels.to(device()))
        embedding = embedding + 0.05 * torch.randn_like(embedding)
        condition = model.condition.from_embedding(embedding, scalars.to(device()))
        drop = (torch.rand(len(rows), 1, device=device()) < 0.1).float()
        condition = condition * (1 - drop) + model.denoiser.nothing(condition) * drop
        noise = torch.randn_like(latent)
        time = torch.sigmoid(torch.randn(len(rows), device=device()))
        mixed = (1 - time[:, None, None]) * noise + time[:, None, None] * latent
        velocity = model.denoiser(mixed, time, condition).float()
        return {"flow": (velocity - (latent - noise)).square().mean()}

    modules = {"combine": model.condition.combine, "denoiser": model.denoiser}
    run_stage(name, modules, loss, steps=steps, learning_rate=1e-3, work=work, average=0.9985, seconds=seconds)


def _told_labels(labels: NDArray[np.float32], rng: Random) -> Tensor:
    """What a user might say of a strip: up to three of its labels, as the alignment stage will say it."""
    names = [NAMES[k] for k in np.flatnonzero(labels)]
    chosen = choose_subset(rng, names)
    return torch.tensor([float(name in chosen) for name in NAMES])
