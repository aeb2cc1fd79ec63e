"""ECG-FM: a wav2vec 2.0 encoder of 12-lead ECGs (arXiv 2408.05178), with a head of labels once fine-tuned.

Facts from Jwoo5/fairseq-signals at 6b9e137 and bowang-lab/ECG-FM at 9cc0d3f, both MIT; none of their code is here.

In: 5 s at 500 Hz, (1,12,2500), leads I, II, III, aVR, aVL, aVF, V1 to V6, each standardised on its own (no unit).
Out: 17 logits before the sigmoid, 156 tokens of 32 ms, and the vector that the tokens pool to.

A fine-tuned checkpoint is `encoder.*` and `proj.*`; a pretrained one has no `encoder.` in front and no labels.
`unpack` gives both the fine-tuned names. Its four strided convolutions shorten 2500 samples to 156.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from uniecg_device.errors import InputError
from uniecg_device.signals import LEADS
from uniecg_export.exportable import RESEARCH, Exportable, count_parameters, numbered_labels
from uniecg_export.onnx_graphs import Arrays, Source
from uniecg_export.weights import Shapes, build, needed_shape, read_state, shapes_of
from uniecg_runtime.manifest import Preprocessing

CONVOLUTIONS = "encoder.feature_extractor.conv_layers"
LAYERS = "encoder.encoder.layers"
POSITION = "encoder.conv_pos.pos_conv.0"
NORMED = f"{POSITION}.parametrizations.weight"
# Weight norm's gain and direction, as torch spelt them before it had parametrizations.
OLD_SPELLING = {f"{POSITION}.weight_g": f"{NORMED}.original0", f"{POSITION}.weight_v": f"{NORMED}.original1"}
# What pretraining alone uses: the masked step's embedding, the quantiser, and the two projections of its loss.
PRETRAINING = ("encoder.mask_emb", "encoder.quantizer.", "encoder.project_q.", "encoder.final_proj.")


@dataclass(frozen=True)
class EcgFmConfig:
    """The geometry; heads, stride and samples are no tensor's shape.

    convolutions: outputs and kernel of each. labels: 0 for a pretrained checkpoint, which has no head.
    """

    leads: int = 12
    samples: int = 2500
    convolutions: tuple[tuple[int, int], ...] = ((256, 2),) * 4
    convolution_bias: bool = False
    stride: int = 2
    width: int = 768
    position_kernel: int = 128
    position_groups: int = 16
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    labels: int = 17


class FeatureExtractor(nn.Module):
    """Strided convolutions: (B,12,2500) -> (B,256,156). Only the first has a norm, over time, channel by channel."""

    def __init__(self, config: EcgFmConfig) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        inputs = config.leads
        for outputs, kernel in config.convolutions:
            convolution = nn.Conv1d(inputs, outputs, kernel, config.stride, bias=config.convolution_bias)
            norm = [] if blocks else [nn.GroupNorm(outputs, outputs)]
            # The identity is where published blocks drop out: it keeps the names of what follows.
            blocks.append(nn.Sequential(convolution, nn.Identity(), *norm, nn.GELU()))
            inputs = outputs
        self.conv_layers = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.conv_layers:
            x = block(x)
        return x


class WeightNorm(nn.Module):
    """A kernel (768,48,128) as its direction, `original1`, and a gain for each tap, `original0` (1,1,128)."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.original0 = nn.Parameter(torch.ones(1, 1, shape[2]))
        self.original1 = nn.Parameter(torch.randn(shape) / math.sqrt(shape[0]))

    def forward(self) -> Tensor:
        # A gain for each output is the usual weight norm; here outputs and inputs share one.
        return self.original1 * (self.original0 / torch.linalg.vector_norm(self.original1, dim=(0, 1), keepdim=True))


class NormedConv(nn.Module):
    """Grouped convolution under weight norm, its entries named as torch's parametrizations name them.

    Not torch's own: taking weight norm off a copy of a module there takes it off the original too.
    """

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.bias = nn.Parameter(torch.zeros(width))
        self.parametrizations = nn.ModuleDict({"weight": WeightNorm((width, width // groups, kernel))})

    def forward(self, x: Tensor) -> Tensor:
        weight = self.parametrizations["weight"]()
        return functional.conv1d(x, weight, self.bias, padding=weight.shape[2] // 2, groups=self.groups)

    def plain(self) -> nn.Conv1d:
        """The same convolution with weight norm multiplied out."""
        weight = self.parametrizations["weight"]().detach()
        width, _, kernel = weight.shape
        convolution = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=self.groups, device="meta")
        convolution.load_state_dict({"weight": weight, "bias": self.bias.detach()}, assign=True)
        return convolution


class Position(nn.Module):
    """Relative position by a wide grouped convolution: (B,156,768) -> the same, to be added."""

    def __init__(self, config: EcgFmConfig) -> None:
        super().__init__()
        self.pos_conv = nn.Sequential(NormedConv(config.width, config.position_kernel, config.position_groups))

    def forward(self, x: Tensor) -> Tensor:
        # An even kernel makes one step too many; the last goes.
        y = self.pos_conv(x.transpose(1, 2))[:, :, : x.shape[1]]
        return functional.gelu(y).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention of every token with every other: (B,156,768) -> the same."""

    def __init__(self, config: EcgFmConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        scale = (d // self.heads) ** -0.5
        query, key, value = (
            projected.reshape(b, n, self.heads, d // self.heads).transpose(1, 2)
            for projected in (self.q_proj(x) * scale, self.k_proj(x), self.v_proj(x))
        )
        weights = torch.softmax(query @ key.transpose(2, 3), -1)
        mixed: Tensor = self.out_proj((weights @ value).transpose(1, 2).reshape(b, n, d))
        return mixed


class Layer(nn.Module):
    """Transformer layer whose norms come after each half: (B,156,768) -> the same."""

    def __init__(self, config: EcgFmConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.feed_forward)
        self.fc2 = nn.Linear(config.feed_forward, config.width)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.self_attn_layer_norm(x + self.self_attn(x))
        y: Tensor = self.final_layer_norm(x + self.fc2(functional.gelu(self.fc1(x))))
        return y


class Transformer(nn.Module):
    """The layers, with one more norm before the first: (B,156,768) -> the same."""

    def __init__(self, config: EcgFmConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_norm(x)
        for layer in self.layers:
            x = layer(x)
        return x


class Encoder(nn.Module):
    """Standardised leads (B,12,2500) -> tokens (B,156,768)."""

    def __init__(self, config: EcgFmConfig) -> None:
        super().__init__()
        extracted = config.convolutions[-1][0]
        self.encoder = Transformer(config)
        self.feature_extractor = FeatureExtractor(config)
        self.post_extract_proj = nn.Linear(extracted, config.width)
        self.conv_pos = Position(config)
        self.layer_norm = nn.LayerNorm(extracted)

    def forward(self, signal: Tensor) -> Tensor:
        x = self.post_extract_proj(self.layer_norm(self.feature_extractor(signal).transpose(1, 2)))
        tokens: Tensor = self.encoder(x + self.conv_pos(x))
        return tokens


class EcgFm(nn.Module):
    """Signal (B,12,2500) -> logits (B,17), where there is a head, tokens (B,156,768), features (B,768)."""

    def __init__(self, config: EcgFmConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.proj = nn.Linear(config.width, config.labels) if config.labels else None

    def forward(self, signal: Tensor) -> tuple[Tensor, ...]:
        tokens = self.encoder(signal)
        features = pool(tokens)
        return (tokens, features) if self.proj is None else (self.proj(features), tokens, features)


def pool(tokens: Tensor) -> Tensor:
    """Tokens (B,N,D) -> (B,D): the sum over time by the count of elements that are not zero.

    As published, where a padded token is zero; nothing is padded here, so it is the mean unless an element is 0.0.
    """
    return tokens.sum(1) / tokens.sign().abs().sum(1)


def unpack(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors by the fine-tuned checkpoint's names, from what torch.load gives for either checkpoint.

    Both spellings of weight norm are taken. Pretraining's heads are left out; any other entry stays, for the loader to
    refuse. Raises InputError where these are no tensors by name.
    """
    tensors = _fine_tuned_names(state)
    for old, new in OLD_SPELLING.items():
        if old in tensors and new not in tensors:
            tensors[new] = tensors.pop(old)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(PRETRAINING)}


def _fine_tuned_names(state: Mapping[str, Any]) -> dict[str, Tensor]:
    held = state.get("model", state)
    if not isinstance(held, Mapping) or not held or not all(isinstance(value, Tensor) for value in held.values()):
        found = sorted(map(str, held))[:5] if isinstance(held, Mapping) else type(held).__name__
        raise InputError(
            f"expected an ECG-FM checkpoint, tensors by name or those under 'model', found {found or 'nothing'}; "
            f"give the published file."
        )
    # What a pretrained checkpoint holds is a fine-tuned one's `encoder`.
    front = "encoder." if any(str(name).startswith("feature_extractor.") for name in held) else ""
    return {f"{front}{name}": tensor for name, tensor in held.items()}


def config_from(shapes: Shapes) -> EcgFmConfig:
    """The geometry that the tensors of a checkpoint state; names as `unpack` gives them.

    Raises InputError where a needed tensor is absent or has a shape that no ECG-FM has.
    """
    kernels = _numbered(shapes, CONVOLUTIONS, "0.weight", 3)
    layers = _numbered(shapes, LAYERS, "fc1.weight", 2)
    width, _ = needed_shape(shapes, "encoder.post_extract_proj.weight", 2)
    _, group_width, position_kernel = needed_shape(shapes, f"{NORMED}.original1", 3)
    heads = EcgFmConfig.heads
    if width % group_width or width % heads:
        raise InputError(
            f"expected an ECG-FM of a width that groups of {group_width} channels and {heads} heads divide, "
            f"found {width}; give the published file."
        )
    return EcgFmConfig(
        leads=kernels[0][1],
        convolutions=tuple((outputs, kernel) for outputs, _, kernel in kernels),
        convolution_bias=f"{CONVOLUTIONS}.0.0.bias" in shapes,
        width=width,
        position_kernel=position_kernel,
        position_groups=width // group_width,
        layers=len(layers),
        feed_forward=layers[0][0],
        labels=needed_shape(shapes, "proj.weight", 2)[0] if "proj.weight" in shapes else 0,
    )


def _numbered(shapes: Shapes, start: str, end: str, rank: int) -> list[tuple[int, ...]]:
    """Shapes of `start`.0.`end`, `start`.1.`end`, ..., as far as they go; at least the first."""
    found = [needed_shape(shapes, f"{start}.0.{end}", rank)]
    while (name := f"{start}.{len(found)}.{end}") in shapes:
        found.append(needed_shape(shapes, name, rank))
    return found


def sources(model: EcgFm) -> tuple[Source, ...]:
    """The one graph, batch 1, float32: a signal in; logits, where there is a head, tokens and features out."""
    config = model.config

    def draw(rng: np.random.Generator) -> Arrays:
        return {"signal": rng.standard_normal((1, config.leads, config.samples), np.float32)}

    outputs = ("tokens", "features") if model.proj is None else ("logits", "tokens", "features")
    return (Source("encoder", without_weight_norm(model), draw, outputs),)


def without_weight_norm(model: EcgFm) -> EcgFm:
    """A copy in eval mode whose position convolution has a plain weight; all other tensors are the model's own."""
    shared = {id(parameter): parameter for parameter in model.parameters()}
    plain = copy.deepcopy(model, shared).eval()
    plain.encoder.conv_pos.pos_conv = nn.Sequential(model.encoder.conv_pos.pos_conv[0].plain())
    return plain


def read(path: Path) -> Exportable:
    """Open a published ECG-FM file, fine-tuned or pretrained. Raises InputError for anything else."""
    tensors = unpack(read_state(path))
    config = config_from(shapes_of(tensors))
    graphs = sources(build(lambda: EcgFm(config), tensors, path))
    return Exportable(
        family="ecg_fm",
        name="ecg-fm",
        version=path.stem,
        licence="MIT",
        intended_use=RESEARCH,
        paper="https://arxiv.org/abs/2408.05178",
        files=(path,),
        sources=graphs,
        parameters=count_parameters(graphs),
        preprocessing=Preprocessing(fs=500.0, samples=config.samples, leads=LEADS, min_seconds=5.0, scaling="lead"),
        classification=numbered_labels(config.labels),
    )
