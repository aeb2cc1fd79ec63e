"""DiffuSETS (arXiv 2501.05932): a latent diffusion model that draws a 12-lead ECG from a text vector and three numbers.

Its published networks are in `diffusets_unet.py` and `diffusets_vae.py`; this folds them, exactly, into three graphs:

condition: text (1,1,D) and scalars (1,3), raw units in the order sex (male 1, female 0), age in years, heart rate in
    beats per minute -> condition (1,1136), once per drawing.
denoiser: latent (1,4,128), time (1,) int64 and condition -> noise (1,4,128), once per step.
decoder: latent (1,4,128) -> leads (1,12,1024) in mV at 102.4 Hz, in MIMIC-IV-ECG's order.

What makes the fold exact: the condition is one token repeated over time, so every key is the same, the softmax of the
cross-attention is uniform whatever the query, and its output is one vector per block; what depends on the step alone
is a table; and two linear maps in a row are one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from uniecg_device.errors import InputError
from uniecg_export.exportable import MIMIC_LEADS, RESEARCH, Exportable, count_parameters
from uniecg_export.families import diffusets_unet, diffusets_vae
from uniecg_export.families.diffusets_unet import (
    SCALARS,
    Block,
    Bottleneck,
    CrossAttention,
    SelfAttention,
    UNet,
    UNetConfig,
    mish,
)
from uniecg_export.families.diffusets_vae import Decoder, VaeConfig
from uniecg_export.onnx_graphs import Arrays, Source
from uniecg_export.weights import PICKLES, Shapes, build, read_state, shapes_of
from uniecg_runtime.manifest import Generation, Schedule

FS = 102.4
SCHEDULE = Schedule(train_steps=1000, beta_start=0.00085, beta_end=0.012, clip=1.0)
STEPS = 50  # of DDIM; the published runs take all 1000 of DDPM


@dataclass(frozen=True)
class DiffusetsConfig:
    """Both networks' geometry."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    vae: VaeConfig = field(default_factory=VaeConfig)


def config_from(shapes: Shapes) -> DiffusetsConfig:
    """The geometry from `unet.*` (unet_all.pth) and `decoder.*` (vae_model.pth).

    Raises InputError where a tensor that it is read from is missing.
    """

    def part(prefix: str) -> Shapes:
        return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}

    return DiffusetsConfig(diffusets_unet.config_from(part("unet.")), diffusets_vae.config_from(part("decoder.")))


class Diffusets(nn.Module):
    """The two networks that drawing needs, under their published names behind `unet.` and `decoder.`."""

    def __init__(self, config: DiffusetsConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = UNet(config.unet)
        self.decoder = Decoder(config.vae)


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear map from float64 products; (outputs,inputs) and (outputs,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = (nn.Parameter(value.detach().float(), requires_grad=False) for value in (weight, bias))
    return layer


def chain(*layers: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """(weight, bias) of linear maps applied in the order given, in float64."""
    weight, bias = (value.double() for value in layers[0])
    for next_weight, next_bias in layers[1:]:
        weight, bias = next_weight.double() @ weight, next_weight.double() @ bias + next_bias.double()
    return weight, bias


def of(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """A layer as `chain` takes it."""
    return layer.weight, layer.bias


def keep(module: nn.Module, name: str, value: Tensor) -> None:
    """A constant of `module`, in float32."""
    module.register_buffer(name, value.detach().float().contiguous())


class FoldedAttention(nn.Module):
    """Residual self-attention without its constant output, which is `bias`: (L,C) -> (L,C).

    A key's bias moves all scores of a query alike, so it goes; a value's bias passes through the softmax unchanged,
    so it joins the output's. The scale of the scores is in the query's projection.
    """

    project: Tensor
    project_bias: Tensor
    out: Tensor

    def __init__(self, published: SelfAttention) -> None:
        super().__init__()
        heads = published.attention
        self.heads, self.norm = heads.heads, published.norm
        inner = list(zip(heads.in_proj_weight.chunk(3), heads.in_proj_bias.chunk(3), strict=True))
        first = published.to_q, published.to_k, published.to_v
        (q, q_bias), (k, _), (v, v_bias) = (chain(of(a), b) for a, b in zip(first, inner, strict=True))
        scale = (len(q) // self.heads) ** -0.5
        nothing = torch.zeros_like(v_bias)
        out, out_bias = chain(of(heads.out_proj), of(published.to_out))
        self.bias = (out_bias + out @ v_bias).detach()
        keep(self, "project", torch.cat([q * scale, k, v]))
        keep(self, "project_bias", torch.cat([q_bias * scale, nothing, nothing])[:, None])
        keep(self, "out", out.T)

    def forward(self, x: Tensor) -> Tensor:
        # Channels by time, so that heads come apart without moving data; a runtime fuses each .T with its product.
        projected = torch.addmm(self.project_bias, self.project, self.norm(x).T)
        q, k, v = projected.reshape(3, self.heads, -1, x.shape[0]).split(1)
        weights = (q.transpose(2, 3) @ k).softmax(3)
        y = (v @ weights.transpose(2, 3)).reshape(-1, x.shape[0])
        return torch.addmm(x, y.T, self.out)


class WholeNorm(nn.Module):
    """GroupNorm of one group over (B,C,L) as one layer norm, its weights spread over the length."""

    weight: Tensor
    bias: Tensor

    def __init__(self, published: nn.GroupNorm, length: int) -> None:
        super().__init__()
        self.shape, self.eps = (published.num_channels, length), published.eps
        for name in ("weight", "bias"):
            keep(self, name, getattr(published, name)[:, None].expand(self.shape))

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.shape, self.weight, self.bias, self.eps)


class Turn(nn.Module):
    """(1,C,L) -> (L,C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(0).T


class FoldedBlock(nn.Module):
    """A block for one length: x (1,inputs,L), shift (1,inputs,1) by time and bias (1,width) -> (1,outputs,L)."""

    def __init__(self, published: Block | Bottleneck, length: int) -> None:
        super().__init__()
        norms: tuple[nn.GroupNorm, nn.GroupNorm]
        if isinstance(published, Block):
            self.pre, self.post = published.pre_shortcut_convs, published.post_shortcut_convs
            # Over one sample a convolution is a linear map, which takes the transposition in.
            over_one = published.shortcut_convs
            self.middle: nn.Module = nn.Sequential(Turn(), linear(over_one.weight[:, :, 0], over_one.bias))
            self.short: nn.Module = published.res_conv
            norms = published.layer_norm1, published.layer_norm2
        else:
            self.pre, self.post = published.bottleneck_conv1, published.bottleneck_conv2
            self.middle = nn.Sequential(published.bottleneck_conv1_2, Turn())
            self.short = nn.Identity()
            norms = published.bottleneck_layer_norm1, published.bottleneck_layer_norm2
        self.norm1, self.norm2 = (WholeNorm(norm, length) for norm in norms)
        self.attention = FoldedAttention(published.self_attention)
        self.attention_norm = published.attention_norm

    def forward(self, x: Tensor, shift: Tensor, bias: Tensor) -> Tensor:
        y = self.middle(mish(self.norm1(self.pre(x + shift))))
        y = self.attention_norm(self.attention(y) + bias)
        return mish(self.norm2(self.post(y.T.unsqueeze(0)))) + self.short(x)


class FoldedUNet(nn.Module):
    """The denoiser: latent (1,4,128), time (1,) int64, condition (1,1136) -> predicted noise (1,4,128)."""

    table: Tensor

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        length = unet.config.length
        depth = len(unet.downsampling_blocks)
        self.shrink = nn.ModuleList(down.down for down in unet.downsampling_blocks)
        self.grow = nn.ModuleList(up.up for up in unet.upsampling_blocks)
        lengths = [length >> n for n in (*range(depth + 1), *reversed(range(depth)))]
        published = list(blocks_of(unet))
        self.blocks = nn.ModuleList(FoldedBlock(block, n) for block, n in zip(published, lengths, strict=True))
        self.output = unet.output_conv
        with torch.no_grad():
            tables = [block.time_emb.rows(block.time_emb.embeddings) for block in published]
        keep(self, "table", torch.cat(tables, 1))
        self.inputs = [table.shape[1] for table in tables]
        self.widths = [len(block.attention_norm.weight) for block in published]

    def forward(self, latent: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        shifts = functional.embedding(time, self.table).unsqueeze(2).split(self.inputs, 1)
        steps = iter(zip(self.blocks, shifts, condition.split(self.widths, 1), strict=True))

        def block(x: Tensor) -> Tensor:
            layer, shift, bias = next(steps)
            result: Tensor = layer(x, shift, bias)
            return result

        skips, x = [], latent
        for shrink in self.shrink:
            skips.append(block(x))
            x = shrink(skips[-1])
        x = self.grow[0](block(x))
        for grow, skip in zip(self.grow[1:], skips[-2::-1], strict=True):
            x = torch.cat([grow(block(x)), skip], 1)
        noise: Tensor = self.output(block(x))
        return noise


class FoldedCondition(nn.Module):
    """text (1,1,D) and raw scalars (1,3) -> condition (1,1136): what attention adds to each block whatever the latent.

    That is the cross-attention's output and the constant of the self-attention's. Scalars of tens to hundreds have a
    map of their own, apart from text of hundredths, so that a half-precision text map does not round them away.
    """

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        crosses: list[CrossAttention] = [block.cross_attention for block in blocks_of(unet)]
        weight = torch.cat([cross.value_combiner.weight for cross in crosses])
        bias = torch.cat([cross.value_combiner.bias for cross in crosses])
        self.text = linear(weight[:, :-SCALARS], bias)
        self.scalars = linear(weight[:, -SCALARS:], bias)
        self.scalars.bias = None
        self.norms = nn.ModuleList(cross.condition_normalization for cross in crosses)
        self.widths = [len(cross.condition_normalization.weight) for cross in crosses]
        self.values = nn.ModuleList(self._value(block) for block in blocks_of(unet))

    @staticmethod
    def _value(block: Block | Bottleneck) -> nn.Linear:
        cross = block.cross_attention
        heads = cross.attention
        inner = heads.in_proj_weight.chunk(3)[2], heads.in_proj_bias.chunk(3)[2]
        weight, bias = chain(of(cross.to_v), inner, of(heads.out_proj), of(cross.to_out))
        return linear(weight, bias + FoldedAttention(block.self_attention).bias)

    def forward(self, text: Tensor, scalars: Tensor) -> Tensor:
        combined = self.text(text.squeeze(1)) + self.scalars(scalars)
        parts = zip(combined.split(self.widths, 1), self.norms, self.values, strict=True)
        return torch.cat([value(norm(part)) for part, norm, value in parts], 1)


def blocks_of(unet: UNet) -> Iterator[Block | Bottleneck]:
    """In the order of the forward pass, which is the order of the condition's parts."""
    yield from (down.block for down in unet.downsampling_blocks)
    yield unet.bottelneck
    yield from (up.block for up in unet.upsampling_blocks)


def sources(model: Diffusets) -> tuple[Source, ...]:
    """The three graphs; batch 1, float32."""
    unet, vae = model.config.unet, model.config.vae
    denoiser = FoldedUNet(model.unet)

    def condition(rng: np.random.Generator) -> Arrays:
        text = rng.standard_normal((1, 1, unet.text_width), np.float32) / np.sqrt(np.float32(unet.text_width))
        scalars = [[rng.integers(0, 2), rng.uniform(18, 95), rng.uniform(40, 150)]]
        return {"text": text, "scalars": np.array(scalars, np.float32)}

    def noise(rng: np.random.Generator) -> Arrays:
        drawn = {
            "latent": rng.standard_normal((1, unet.channels, unet.length), np.float32),
            "time": rng.integers(0, unet.steps, 1),
            "condition": rng.standard_normal((1, sum(denoiser.widths)), np.float32),
        }
        return cast(Arrays, drawn)  # time is an index, int64

    def latent(rng: np.random.Generator) -> Arrays:
        drawn = rng.standard_normal((1, vae.latent_channels, vae.length), np.float32)
        return {"latent": drawn * np.float32(vae.scale)}

    return (
        Source("condition", FoldedCondition(model.unet), condition, ("condition",)),
        Source("denoiser", denoiser, noise, ("noise",)),
        Source("decoder", model.decoder, latent, ("leads",)),
    )


def read(folder: Path) -> Exportable:
    """Open a folder that holds the two published files, unet*.pth and vae*.pth. Raises InputError for anything else."""
    files = _file(folder, "unet"), _file(folder, "vae")
    unet, vae = (read_state(file) for file in files)
    tensors = {f"unet.{name}": value for name, value in _tensors(unet, files[0]).items()}
    tensors |= {f"decoder.{name}": value for name, value in _tensors(vae.get("decoder", {}), files[1]).items()}
    config = config_from(shapes_of(tensors))
    graphs = sources(build(lambda: Diffusets(config), tensors, folder))
    return Exportable(
        family="diffusets",
        name="diffusets",
        version=files[0].stem,
        licence="not stated by its authors",
        intended_use=RESEARCH,
        paper="https://arxiv.org/abs/2501.05932",
        files=files,
        sources=graphs,
        parameters=count_parameters(graphs),
        generation=Generation(
            scalars=("sex", "age_years", "heart_rate_bpm"),
            latent_shape=(config.unet.channels, config.unet.length),
            sampler="ddim",
            steps=STEPS,
            fs=FS,
            leads=MIMIC_LEADS,
            schedule=SCHEDULE,
        ),
    )


def _file(folder: Path, start: str) -> Path:
    found = sorted(path for path in folder.glob(f"{start}*") if path.suffix in (*PICKLES, ".safetensors"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(f"expected one {start}*.pth in the folder {folder}, found {names}; put both files there.")
    return found[0]


def _tensors(state: Any, file: Path) -> dict[str, Tensor]:
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"expected DiffuSETS' tensors by name in {file}, found others; give the published file.")
    return {str(name): value for name, value in state.items()}
