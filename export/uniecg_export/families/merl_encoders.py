"""MERL's two encoders and the attention pool, in torch; `merl` says where their facts come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ResNetConfig:
    """ResNet-18's geometry in one dimension. classes: of a last layer that is stored and never applied."""

    leads: int = 12
    stem: int = 64
    stem_kernel: int = 7
    kernel: int = 3
    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    classes: int = 10

    def positions(self, samples: int) -> int:
        """Length of the feature map: the stem and all layers but the first halve it, rounding up."""
        return -(-samples // 2 ** len(self.widths))


@dataclass(frozen=True)
class VitConfig:
    """The tiny vision transformer's geometry. inner: of all heads together, each `head_width` wide."""

    leads: int = 12
    patch: int = 50
    tokens: int = 100
    width: int = 192
    depth: int = 12
    inner: int = 192
    feed_forward: int = 768
    head_width: int = 64


class BasicBlock(nn.Module):
    """Two convolutions with batch norm around an identity or a strided projection (arXiv 1512.03385)."""

    def __init__(self, inputs: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, kernel, 1, kernel // 2, bias=False)
        self.bn2 = nn.BatchNorm1d(width)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != width:
            self.shortcut = nn.Sequential(nn.Conv1d(inputs, width, 1, stride, bias=False), nn.BatchNorm1d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """Signal (B,12,5000) -> feature map (B,512,313); unlike ResNet-18, there is no pool behind the stem."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        kernel = config.stem_kernel
        self.conv1 = nn.Conv1d(config.leads, config.stem, kernel, 2, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm1d(config.stem)
        inputs = (config.stem, *config.widths)
        self.layers = [f"layer{i + 1}" for i in range(len(config.widths))]
        for i, (name, width, blocks) in enumerate(zip(self.layers, config.widths, config.blocks, strict=True)):
            first = BasicBlock(inputs[i], width, config.kernel, 2 if i else 1)
            rest = (BasicBlock(width, width, config.kernel, 1) for _ in range(blocks - 1))
            self.add_module(name, nn.Sequential(first, *rest))
        self.linear = nn.Linear(inputs[-1], config.classes)  # stored, never applied

    def forward(self, signal: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(signal)))
        for name in self.layers:
            x = self.get_submodule(name)(x)
        return x


class PreNorm(nn.Module):
    """x + fn(norm(x))."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(self.norm(x))


class Attention(nn.Module):
    """Self-attention (B,N,width) -> (B,N,width)."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.head_width = config.head_width
        self.to_qkv = nn.Linear(config.width, 3 * config.inner)
        self.to_out = nn.Sequential(nn.Linear(config.inner, config.width))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.to_qkv(x).chunk(3, 2)
        return self.to_out(attend(query, key, value, self.head_width))


class FeedForward(nn.Module):
    """Two layers with an exact GELU between; numbered as published, which counts its dropouts."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(config.width, config.feed_forward),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(config.feed_forward, config.width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class VisionTransformer(nn.Module):
    """Signal (B,12,5000) -> features (B,192): patches of 100 ms, no class token, the mean's norm (not the reverse)."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        width = config.width
        self.pos_embedding = nn.Parameter(torch.randn(1, config.tokens, width))
        self.to_patch_embedding = nn.Conv1d(config.leads, width, config.patch, config.patch, bias=False)
        self.blocks = [f"block{i}" for i in range(config.depth)]
        for name in self.blocks:
            block = nn.Sequential()
            block.add_module("attn", PreNorm(width, Attention(config)))
            block.add_module("ff", PreNorm(width, FeedForward(config)))
            self.add_module(name, block)
        self.norm = nn.LayerNorm(width)

    def forward(self, signal: Tensor) -> Tensor:
        x = self.to_patch_embedding(signal).transpose(1, 2) + self.pos_embedding
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return self.norm(x.mean(1))


class AttentionPool(nn.Module):
    """Feature map (B,C,T) -> (B,C): attention with one query, a learned class token."""

    def __init__(self, positions: int, width: int, heads: int) -> None:
        super().__init__()
        self.head_width = width // heads
        self.positional_embedding = nn.Parameter(torch.randn(1, positions + 1, width))
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.mhsa = nn.MultiheadAttention(width, heads, batch_first=True)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        place, weight, bias = self.positional_embedding, self.mhsa.in_proj_weight, self.mhsa.in_proj_bias
        # The class token gets its place twice: on its own, then with everybody else.
        token = self.cls_token + 2 * place[:, :1]
        sequence = functional.pad(x.transpose(1, 2), (0, 0, 1, 0)) + torch.cat([token, place[:, 1:]], 1)
        c = len(weight) // 3
        query = functional.linear(token, weight[:c], bias[:c])
        key = functional.linear(sequence, weight[c : 2 * c], bias[c : 2 * c])
        value = functional.linear(sequence, weight[2 * c :], bias[2 * c :])
        return self.c_proj(self.mhsa.out_proj(attend(query, key, value, self.head_width))).flatten(1)


def attend(query: Tensor, key: Tensor, value: Tensor, head_width: int) -> Tensor:
    """Scaled dot-product attention (arXiv 1706.03762) of (B,M,C) to (B,N,C), heads side by side -> (B,M,C)."""
    query, key, value = (x.unflatten(2, (-1, head_width)).transpose(1, 2) for x in (query, key, value))
    weights = torch.softmax(query * head_width**-0.5 @ key.transpose(2, 3), 3)
    return (weights @ value).transpose(1, 2).flatten(2)
