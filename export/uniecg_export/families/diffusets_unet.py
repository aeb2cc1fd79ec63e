"""DiffuSETS' noise predictor: a one-dimensional U-Net over ECG latents, given a text vector, sex, age and heart rate.

Facts from the behaviour of tuhlnaa/DiffuSETS_Exp-Extended@3170786 (ECGConditional). That repository has no licence
file: all rights reserved, so names, shapes and outputs are reproduced and no line is.

Inputs: latent (B,4,128); time (B,), the index of the diffusion step; text (B,1,1536) in the paper's variant, 8192 in
the web demo's; scalars (B,3) in raw units: sex (male 1, female 0), age in years, heart rate in beats per minute.
Output: the predicted noise (B,4,128). `diffusets.py` folds this into what runs on a device.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from uniecg_device.errors import InputError
from uniecg_export.weights import Shapes, needed_shape

SCALARS = 3  # sex, age, heart rate, behind the text vector


@dataclass(frozen=True)
class UNetConfig:
    """The geometry. Shapes tell all of it but the numbers of heads and the latent's length.

    Level n halves the length and doubles the channels; `levels` counts the bottleneck.
    """

    text_width: int = 1536
    channels: int = 4
    levels: int = 7
    kernel: int = 7
    bottleneck_kernel: int = 3
    bottleneck_inner: int = 32
    steps: int = 1000
    time_width: int = 64
    time_hidden: int = 128
    heads: int = 8
    bottleneck_heads: int = 4
    length: int = 128

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the latent and behind each way down; the last are the bottleneck's."""
        return tuple(self.channels << level for level in range(self.levels))


def config_from(shapes: Shapes) -> UNetConfig:
    """The geometry of a checkpoint from its tensors' shapes. Raises InputError where one is missing."""
    first, middle = "downsampling_blocks.0.block", "bottelneck"
    hidden, time_width = needed_shape(shapes, f"{first}.time_emb.fc1.weight", 2)
    _, channels, kernel = needed_shape(shapes, f"{first}.pre_shortcut_convs.weight", 3)
    combiner = f"{first}.cross_attention.value_combiner.weight"
    text_width = needed_shape(shapes, combiner, 2)[1] - SCALARS
    if text_width < 1:
        raise InputError(
            f"expected {combiner} to take a text embedding and {SCALARS} scalars, found {text_width + SCALARS} "
            f"columns; give the published file, whole and unchanged."
        )
    return UNetConfig(
        text_width=text_width,
        channels=channels,
        levels=1 + sum(f"downsampling_blocks.{n}.down.weight" in shapes for n in range(len(shapes))),
        kernel=kernel,
        bottleneck_kernel=needed_shape(shapes, f"{middle}.bottleneck_conv1.weight", 3)[2],
        bottleneck_inner=needed_shape(shapes, f"{middle}.self_attention.to_q.weight", 2)[0],
        steps=needed_shape(shapes, f"{first}.time_emb.embeddings", 2)[0],
        time_width=time_width,
        time_hidden=hidden,
    )


def mish(x: Tensor) -> Tensor:
    """x tanh(ln(1 + e^x)) (arXiv 1908.08681), by the sigmoid s: tanh(ln(1 + e^x)) = s(2 - s) / (2 - s(2 - s)).

    Every runtime has these operators, none of them overflows, and on a CPU they take less than softplus and tanh.
    """
    s = torch.sigmoid(x)
    twice = s * (2 - s)
    return x * (twice / (2 - twice))


class Mish(nn.Module):
    """`mish` where a sequence needs a module."""

    def forward(self, x: Tensor) -> Tensor:
        return mish(x)


class TimeEmbedding(nn.Module):
    """Step index (B,) -> one value per channel (B,width): a frozen sinusoid table and two linear maps."""

    def __init__(self, config: UNetConfig, width: int) -> None:
        super().__init__()
        half = config.time_width // 2
        angle = torch.arange(1, config.steps + 1)[:, None] * torch.exp(-torch.arange(half) * (10 / (half - 1)))
        self.embeddings = nn.Parameter(torch.cat([angle.sin(), angle.cos()], 1), requires_grad=False)
        self.fc1 = nn.Linear(config.time_width, config.time_hidden)
        self.fc2 = nn.Linear(config.time_hidden, width)

    def rows(self, table: Tensor) -> Tensor:
        """From rows of the table (N,64) to (N,width)."""
        result: Tensor = self.fc2(mish(self.fc1(table)))
        return result

    def forward(self, time: Tensor) -> Tensor:
        return self.rows(self.embeddings[time])


class Heads(nn.Module):
    """Scaled dot-product attention with projections of its own; tensors are named as in nn.MultiheadAttention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B,L,width) and twice (B,M,width) -> (B,L,width)."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        projected = zip((query, key, value), weights, biases, strict=True)
        q, k, v = (functional.linear(x, w, b).unflatten(2, (self.heads, -1)).transpose(1, 2) for x, w, b in projected)
        scores = q @ k.transpose(2, 3) * q.shape[3] ** -0.5
        result: Tensor = self.out_proj((scores.softmax(3) @ v).transpose(1, 2).flatten(2))
        return result


class SelfAttention(nn.Module):
    """Residual self-attention over time, (B,L,width); every projection is made twice, as published."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, inner) for _ in range(3))
        self.to_out = nn.Linear(inner, width)
        self.attention = Heads(inner, heads)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.to_out(self.attention(self.to_q(y), self.to_k(y), self.to_v(y)))


class CrossAttention(nn.Module):
    """Residual attention to the condition, which is one token repeated to the length of x."""

    def __init__(self, width: int, inner: int, heads: int, text_width: int) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, inner) for _ in range(3))
        self.to_out = nn.Linear(inner, width)
        self.attention = Heads(inner, heads)
        self.normalization = nn.LayerNorm(width)
        self.value_combiner = nn.Linear(text_width + SCALARS, width)
        self.condition_normalization = nn.LayerNorm(width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B,L,width), condition (B,1,text width + 3) -> (B,L,width)."""
        token = self.condition_normalization(self.value_combiner(condition)).expand(-1, x.shape[1], -1)
        q = self.to_q(self.normalization(x))
        return x + self.to_out(self.attention(q, self.to_k(token), self.to_v(token)))


class Block(nn.Module):
    """Convolution, self- and cross-attention, convolution around a residual: (B,inputs,L) -> (B,outputs,L)."""

    def __init__(self, config: UNetConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        width, kernel = (inputs + outputs) // 2, config.kernel
        self.time_emb = TimeEmbedding(config, inputs)
        self.pre_shortcut_convs = nn.Conv1d(inputs, width, kernel, padding="same")
        self.layer_norm1 = nn.GroupNorm(1, width)
        self.shortcut_convs = nn.Conv1d(width, width, 1)
        self.self_attention = SelfAttention(width, 2 * inputs, config.heads)
        self.cross_attention = CrossAttention(width, 2 * inputs, config.heads, config.text_width)
        self.attention_norm = nn.LayerNorm(width)
        self.post_shortcut_convs = nn.Conv1d(width, outputs, kernel, padding="same")
        self.layer_norm2 = nn.GroupNorm(1, outputs)
        self.res_conv = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.down = nn.Conv1d(outputs, outputs, 3)  # published, never called

    def forward(self, x: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        y = self.pre_shortcut_convs(x + self.time_emb(time)[:, :, None])
        y = self.shortcut_convs(mish(self.layer_norm1(y))).transpose(1, 2)
        y = self.attention_norm(self.cross_attention(self.self_attention(y), condition)).transpose(1, 2)
        return mish(self.layer_norm2(self.post_shortcut_convs(y))) + self.res_conv(x)


class Down(nn.Module):
    """A block, and the half as long beginning of the next level."""

    def __init__(self, config: UNetConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = Block(config, inputs, outputs)
        self.down = nn.Conv1d(outputs, outputs, 3, 2, 1)

    def forward(self, x: Tensor, time: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.block(x, time, condition)
        return skip, self.down(skip)


class Up(nn.Module):
    """Twice as long, joined with the way down, through a block; `inputs` counts the joined channels."""

    def __init__(self, config: UNetConfig, coming: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose1d(coming, coming, 4, 2, 1)
        self.block = Block(config, inputs, outputs)

    def forward(self, x: Tensor, skip: Tensor | None, time: Tensor, condition: Tensor) -> Tensor:
        x = self.up(x)
        result: Tensor = self.block(x if skip is None else torch.cat([x, skip], 1), time, condition)
        return result


class Bottleneck(nn.Module):
    """As Block, at the shortest length: (B,C,L) -> (B,C,L), with names of its own."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        width, kernel, inner, heads = (
            config.widths[-1],
            config.bottleneck_kernel,
            config.bottleneck_inner,
            config.bottleneck_heads,
        )
        self.time_emb = TimeEmbedding(config, width)
        self.bottleneck_conv1 = nn.Conv1d(width, width, kernel, padding="same")
        self.bottleneck_layer_norm1 = nn.GroupNorm(1, width)
        self.bottleneck_conv1_2 = nn.Conv1d(width, width, kernel, padding="same")
        self.self_attention = SelfAttention(width, inner, heads)
        self.cross_attention = CrossAttention(width, inner, heads, config.text_width)
        self.attention_norm = nn.LayerNorm(width)
        self.bottleneck_conv2 = nn.Conv1d(width, width, kernel, padding="same")
        self.bottleneck_layer_norm2 = nn.GroupNorm(1, width)

    def forward(self, x: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        y = self.bottleneck_conv1(x + self.time_emb(time)[:, :, None])
        y = self.bottleneck_conv1_2(mish(self.bottleneck_layer_norm1(y))).transpose(1, 2)
        y = self.attention_norm(self.cross_attention(self.self_attention(y), condition)).transpose(1, 2)
        return mish(self.bottleneck_layer_norm2(self.bottleneck_conv2(y))) + x


class UNet(nn.Module):
    """The published network under its published names."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        pairs = list(itertools.pairwise(widths))
        self.downsampling_blocks = nn.ModuleList(Down(config, *pair) for pair in pairs)
        self.bottelneck = Bottleneck(config)
        # The deepest way down is not joined: the bottleneck's channels are already as many as a join gives.
        ups = [Up(config, wide, wide if n == 0 else 2 * wide, narrow) for n, (narrow, wide) in enumerate(pairs[::-1])]
        self.upsampling_blocks = nn.ModuleList(ups)
        self.output_conv = nn.Sequential(
            nn.Conv1d(widths[0], widths[0], 3, padding=1), Mish(), nn.Conv1d(widths[0], widths[0], 1)
        )

    def forward(self, latent: Tensor, time: Tensor, text: Tensor, scalars: Tensor) -> Tensor:
        """(B,4,128), (B,), (B,1,D), (B,3) -> predicted noise (B,4,128)."""
        condition = torch.cat([text, scalars[:, None]], 2)
        skips: list[Tensor | None] = []
        x = latent
        for down in self.downsampling_blocks:
            skip, x = down(x, time, condition)
            skips.append(skip)
        x = self.bottelneck(x, time, condition)
        skips[-1] = None
        for up, skip in zip(self.upsampling_blocks, skips[::-1], strict=True):
            x = up(x, skip, time, condition)
        noise: Tensor = self.output_conv(x)
        return noise
