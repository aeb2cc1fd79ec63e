"""DiffuSETS' variational autoencoder: 10 s of twelve leads at 102.4 Hz to and from a latent (B,4,128).

Facts from the behaviour of tuhlnaa/DiffuSETS_Exp-Extended@3170786 (vae_model.pth is {'encoder': ..., 'decoder': ...}).
That repository has no licence file: names, shapes and outputs are reproduced and no line is.

Leads are in mV, unnormalised, in MIMIC-IV-ECG's order (aVF before aVL), lead-major here: (B,12,1024). The published
code is time-major, (B,1024,12). Latents are scaled to about unit variance by 0.18215.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from uniecg_export.weights import Shapes, needed_shape


@dataclass(frozen=True)
class VaeConfig:
    """The geometry. widths: channels at the full, the halved, and the two shortest lengths."""

    leads: int = 12
    latent_channels: int = 4
    widths: tuple[int, int, int] = (128, 256, 512)
    groups: int = 32
    scale: float = 0.18215
    length: int = 128


def config_from(shapes: Shapes) -> VaeConfig:
    """The geometry from the shapes of the 'encoder' or the 'decoder' part. Raises InputError where one is missing."""
    decoder = "25.weight" in shapes
    names = ("20.conv_1.weight", "15.conv_1.weight", "2.conv_1.weight") if decoder else ("0.weight", "4.conv_1.weight")
    widths = [needed_shape(shapes, name, 3)[0] for name in names]
    if decoder:
        leads, latent = needed_shape(shapes, "25.weight", 3)[0], needed_shape(shapes, "0.weight", 3)[0]
    else:
        leads, latent = needed_shape(shapes, "0.weight", 3)[1], needed_shape(shapes, "18.weight", 3)[0] // 2
        widths.append(needed_shape(shapes, "7.conv_1.weight", 3)[0])
    return VaeConfig(leads=leads, latent_channels=latent, widths=(widths[0], widths[1], widths[2]))


class ResidualBlock(nn.Module):
    """Two normalised convolutions around a residual: (B,inputs,L) -> (B,outputs,L)."""

    def __init__(self, config: VaeConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.groupnorm_1 = nn.GroupNorm(config.groups, inputs)
        self.conv_1 = nn.Conv1d(inputs, outputs, 3, padding=1)
        self.groupnorm_2 = nn.GroupNorm(config.groups, outputs)
        self.conv_2 = nn.Conv1d(outputs, outputs, 3, padding=1)
        self.residual_layer = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_1(functional.silu(self.groupnorm_1(x)))
        return self.conv_2(functional.silu(self.groupnorm_2(y))) + self.residual_layer(x)


class SingleHead(nn.Module):
    """Self-attention with one head over (B,L,C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.in_proj(x).chunk(3, 2)
        scores = q @ k.transpose(1, 2) * x.shape[2] ** -0.5
        result: Tensor = self.out_proj(scores.softmax(2) @ v)
        return result


class AttentionBlock(nn.Module):
    """Residual self-attention over time, (B,C,L)."""

    def __init__(self, config: VaeConfig, width: int) -> None:
        super().__init__()
        self.groupnorm = nn.GroupNorm(config.groups, width)  # published, never applied
        self.attention = SingleHead(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(x.transpose(1, 2)).transpose(1, 2)


class Halve(nn.Conv1d):
    """Convolution with stride two; the zero that it lacks is padded on the right only."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = super().forward(functional.pad(x, (0, 1)))
        return result


class Decoder(nn.Sequential):
    """Latent (B,4,128) -> leads (B,12,1024) in mV; unlike the published one, it leaves its argument as it is."""

    def __init__(self, config: VaeConfig) -> None:
        narrow, middle, wide = config.widths

        def blocks(inputs: int, outputs: int) -> list[nn.Module]:
            return [ResidualBlock(config, inputs if n == 0 else outputs, outputs) for n in range(3)]

        def double(width: int) -> list[nn.Module]:
            return [nn.Upsample(scale_factor=2), nn.Conv1d(width, width, 3, padding=1)]

        super().__init__(
            nn.Conv1d(config.latent_channels, config.latent_channels, 1),
            nn.Conv1d(config.latent_channels, wide, 3, padding=1),
            ResidualBlock(config, wide, wide),
            AttentionBlock(config, wide),
            ResidualBlock(config, wide, wide),
            *blocks(wide, wide),
            *double(wide),
            *blocks(wide, wide),
            *double(wide),
            *blocks(wide, middle),
            *double(middle),
            *blocks(middle, narrow),
            nn.GroupNorm(config.groups, narrow),
            nn.SiLU(),
            nn.Conv1d(narrow, config.leads, 3, padding=1),
        )
        self.config = config

    def forward(self, latent: Tensor) -> Tensor:
        leads: Tensor = super().forward(latent / self.config.scale)
        return leads


class Encoder(nn.Sequential):
    """Leads (B,12,1024) in mV -> mean and log-variance of the unscaled latent, (B,4,128) each; no graph needs it."""

    def __init__(self, config: VaeConfig) -> None:
        narrow, middle, wide = config.widths

        def blocks(*widths: int) -> list[nn.Module]:
            return [ResidualBlock(config, *pair) for pair in itertools.pairwise(widths)]

        super().__init__(
            nn.Conv1d(config.leads, narrow, 3, padding=1),
            *blocks(narrow, narrow, narrow),
            Halve(narrow),
            *blocks(narrow, middle, middle),
            Halve(middle),
            *blocks(middle, wide, wide),
            Halve(wide),
            *blocks(wide, wide, wide, wide),
            AttentionBlock(config, wide),
            ResidualBlock(config, wide, wide),
            nn.GroupNorm(config.groups, wide),
            nn.SiLU(),
            nn.Conv1d(wide, 2 * config.latent_channels, 3, padding=1),
            nn.Conv1d(2 * config.latent_channels, 2 * config.latent_channels, 1),
        )
        self.config = config

    def forward(self, leads: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = super().forward(leads).chunk(2, 1)
        return mean, log_variance.clamp(-30, 20)

    def latent(self, leads: Tensor, noise: Tensor) -> Tensor:
        """A draw of the latent (B,4,128), scaled as the decoder and the noise predictor take it."""
        mean, log_variance = self(leads)
        return (mean + torch.exp(log_variance / 2) * noise) * self.config.scale
