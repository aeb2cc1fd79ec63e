"""The ECG tower of ECG-CoCa: a transformer over 100 ms patches, through which GEM, ECG-R1 and UniECG see an ECG.

Facts: lanxiang1017/GEM at c8a580faae819c57c008e94fa080f5d3c6881769, folder ecg_coca (Apache-2.0); ECG-R1 holds
the same tower. Published as cpt_wfep_epoch_20.pt, whose `state_dict` has it under `module.ecg.` beside a text side
that no device needs.

In: (1,12,5000) mV, 10 s at 500 Hz, leads in the order of the training files, neither filtered nor normalised.
Out: the residual stream after the last block, (1,101,768), class token first and before `ln_post` (what the language
models get); or the class token behind `ln_post` and `proj`, (1,512) (CoCa's own embedding, which they do not see).
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from uniecg_device.errors import InputError
from uniecg_export.exportable import MIMIC_LEADS, RESEARCH, Exportable, count_parameters
from uniecg_export.onnx_graphs import Arrays, Source
from uniecg_export.weights import Shapes, build, needed_shape, read_state, shapes_of
from uniecg_runtime.manifest import Preprocessing

PREFIX = "module.ecg."  # in the tower's own file


@dataclass(frozen=True)
class EcgCocaConfig:
    """The tower's geometry; `samples` at 500 Hz, `patch` is kernel and stride at once."""

    leads: int = 12
    samples: int = 5000
    patch: int = 50
    width: int = 768
    layers: int = 12
    feed_forward: int = 3072
    embedding: int = 512
    head_width: int = 64
    epsilon: float = 1e-5

    @property
    def tokens(self) -> int:
        """Patches, and the class token before them."""
        return self.samples // self.patch + 1


class Attention(nn.Module):
    """Self-attention under nn.MultiheadAttention's names: (B,N,W) -> (B,N,W)."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) / math.sqrt(width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        packed = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = (part.unflatten(2, (-1, self.head_width)).transpose(1, 2) for part in packed.chunk(3, 2))
        weights = torch.softmax(query * self.head_width**-0.5 @ key.transpose(2, 3), 3)
        mixed: Tensor = self.out_proj((weights @ value).transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """A transformer block that normalises before attention and before its two layers."""

    def __init__(self, config: EcgCocaConfig) -> None:
        super().__init__()
        width = config.width
        self.ln_1 = nn.LayerNorm(width, config.epsilon)
        self.attn = Attention(width, config.head_width)
        self.ln_2 = nn.LayerNorm(width, config.epsilon)
        layers = {
            "c_fc": nn.Linear(width, config.feed_forward),
            "gelu": nn.GELU(),
            "c_proj": nn.Linear(config.feed_forward, width),
        }
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        mixed: Tensor = x + self.mlp(self.ln_2(x))
        return mixed


class EcgTower(nn.Module):
    """(B,12,5000) mV -> the residual stream (B,101,768); `pooled` makes an embedding (B,512) of it."""

    def __init__(self, config: EcgCocaConfig) -> None:
        super().__init__()
        self.config = config
        width, scale = config.width, config.width**-0.5
        self.class_embedding = nn.Parameter(torch.randn(width) * scale)
        self.positional_embedding = nn.Parameter(torch.randn(config.tokens, width) * scale)
        self.proj = nn.Parameter(torch.randn(width, config.embedding) * scale)
        self.conv1 = nn.Conv1d(config.leads, width, config.patch, config.patch, bias=False)
        self.ln_pre = nn.LayerNorm(width, config.epsilon)
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(Block(config) for _ in range(config.layers))})
        self.ln_post = nn.LayerNorm(width, config.epsilon)

    def forward(self, signal: Tensor) -> Tensor:
        patches = self.conv1(signal).transpose(1, 2)
        first = self.class_embedding.expand(signal.shape[0], 1, -1)
        x: Tensor = self.ln_pre(torch.cat([first, patches], 1) + self.positional_embedding)
        for block in self.transformer["resblocks"]:
            x = block(x)
        return x

    def pooled(self, stream: Tensor) -> Tensor:
        """CoCa's embedding of the record from what `forward` returns."""
        embedding: Tensor = self.ln_post(stream[:, 0]) @ self.proj
        return embedding


class StreamAndEmbedding(nn.Module):
    """Both outputs of the tower, for the tower's own bundle."""

    def __init__(self, tower: EcgTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        stream = self.tower(signal)
        return stream, self.tower.pooled(stream)


def config_from(shapes: Shapes) -> EcgCocaConfig:
    """Read the geometry from the tower's shapes, names without prefix; the heads' width stays the published one.

    Raises InputError for a name that is absent or has another number of dimensions, and for a width that the heads
    do not divide.
    """
    width, leads, patch = needed_shape(shapes, "conv1.weight", 3)
    tokens, _ = needed_shape(shapes, "positional_embedding", 2)
    feed_forward, _ = needed_shape(shapes, "transformer.resblocks.0.mlp.c_fc.weight", 2)
    _, embedding = needed_shape(shapes, "proj", 2)
    # Counted, not the largest plus one: a made-up number must not make a billion blocks.
    blocks = {match[1] for name in shapes if (match := re.match(r"transformer\.resblocks\.(\d+)\.", name))}
    head_width = EcgCocaConfig.head_width
    if width % head_width or tokens < 2:
        raise InputError(
            f"expected an ECG tower whose width is a multiple of {head_width} and that has patches, found a width of "
            f"{width} and {tokens} positions; export a checkpoint of ECG-CoCa."
        )
    return EcgCocaConfig(leads, (tokens - 1) * patch, patch, width, len(blocks), feed_forward, embedding)


def preprocessing(config: EcgCocaConfig) -> Preprocessing:
    """What the tower was trained on: mV at 500 Hz as they are, leads in MIMIC-IV-ECG's order."""
    return Preprocessing(fs=500.0, samples=config.samples, leads=MIMIC_LEADS, min_seconds=5.0, scaling="none")


def sources(tower: EcgTower) -> tuple[Source, ...]:
    """The tower alone, with both outputs; batch 1, float32."""
    return (Source("encoder", StreamAndEmbedding(tower), draw_signal(tower.config), ("tokens", "embedding")),)


def draw_signal(config: EcgCocaConfig) -> Callable[[np.random.Generator], Arrays]:
    """What draws `signal` (1,leads,samples): beats of about 1 mV at a resting rate, and noise of 0.02 mV."""

    def draw(rng: np.random.Generator) -> Arrays:
        beats = np.arange(config.samples) / 500 * rng.uniform(0.9, 1.7)
        phase = (beats + rng.uniform()) % 1
        wave = np.exp(-(((phase - 0.3) / 0.015) ** 2)) + 0.2 * np.exp(-(((phase - 0.6) / 0.06) ** 2))
        clean = rng.normal(0, 0.7, (1, config.leads, 1)) * wave
        return {"signal": (clean + rng.normal(0, 0.02, clean.shape)).astype(np.float32)}

    return draw


def unpack(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tower's tensors without prefix, from what torch.load gives: under `state_dict`, each behind `module.ecg.`.

    The text side of the published file stays aside. Raises InputError where there is no tower.
    """
    held = state.get("state_dict", state)
    names = held if isinstance(held, Mapping) else {}
    tower = {str(name).removeprefix(PREFIX): value for name, value in names.items() if str(name).startswith(PREFIX)}
    if not tower or not all(isinstance(value, Tensor) for value in tower.values()):
        raise InputError(
            f"expected an ECG-CoCa checkpoint, tensors named {PREFIX}* under 'state_dict', found "
            f"{', '.join(sorted(map(str, names))[:5]) or 'nothing'}; give the published file."
        )
    return tower


def read(path: Path) -> Exportable:
    """Open the published tower, cpt_wfep_epoch_20.pt. Raises InputError for anything else."""
    tensors = unpack(read_state(path))
    config = config_from(shapes_of(tensors))
    graphs = sources(build(lambda: EcgTower(config), tensors, path))
    return Exportable(
        family="ecg_coca",
        name="ecg-coca",
        version=path.stem,
        licence="Apache-2.0 (GEM's code); the weights' own terms apply",
        intended_use=RESEARCH,
        paper="https://arxiv.org/abs/2408.08849",
        files=(path,),
        sources=graphs,
        parameters=count_parameters(graphs),
        preprocessing=preprocessing(config),
    )
