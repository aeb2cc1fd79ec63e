"""uniecg-nano: a UniECG model small enough for a clinic's offline laptop.

The shape is UniECG's (arXiv 2509.18588): an ECG encoder whose outputs are soft tokens of a
LLaMA-architecture language model, and a latent rectified-flow generator conditioned on the
language model's hidden states at its `[ECG]` tokens plus sex, age and heart rate.

A checkpoint is a folder: config.json, model.safetensors, tokenizer.json.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from uniecg_export.hf_language_model import CONFIG_BYTES, read_json

CHECKPOINT_FILES = ("config.json", "model.safetensors", "tokenizer.json")


@dataclass(frozen=True)
class NanoConfig:
    """Everything the checkpoint's geometry depends on; config.json holds it."""

    fs: float = 128.0
    samples: int = 1280
    reference_mv: float = 0.15
    highpass_hz: float = 0.5
    lowpass_hz: float = 40.0
    width: int = 256
    encoder_channels: tuple[int, ...] = (64, 64, 128, 192, 256)
    signal_tokens: int = 41
    vocabulary: int = 2048
    layers: int = 6
    heads: int = 4
    feed_forward: int = 768
    context: int = 1024
    ecg_tokens: int = 8
    labels: tuple[str, ...] = ()
    condition_embedding: int = 128
    latent_channels: int = 20
    latent_length: int = 80
    denoiser_depth: int = 6
    decoder_channels: tuple[int, ...] = (160, 128, 96)
    steps: int = 24
    guidance: float = 2.0
    figures: tuple[dict[str, Any], ...] = field(default=())
    trained_on: tuple[str, ...] = ()


class ResidualBlock(nn.Module):
    """Two convolutions with batch norm around an identity (ResNet-18's basic block in one dimension)."""

    def __init__(self, inputs: int, outputs: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm1 = nn.BatchNorm1d(outputs)
        self.conv2 = nn.Conv1d(outputs, outputs, kernel, 1, kernel // 2, bias=False)
        self.norm2 = nn.BatchNorm1d(outputs)
        self.short = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(nn.Conv1d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm1d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.short(x))


class Encoder(nn.Module):
    """Tower and projector: (B,12,1280) shapes and (B,12,3) lead facts -> (B,41,256) soft tokens.

    40 tokens of 250 ms each, after one global token pooled over the window.
    """

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        first, *rest = config.encoder_channels
        self.stem = nn.Conv1d(12, first, 15, 2, 7, bias=False)
        self.stem_norm = nn.BatchNorm1d(first)
        self.lead_facts = nn.Linear(36, first)
        blocks: list[nn.Module] = []
        for previous, channels in zip(config.encoder_channels, rest, strict=False):
            kernel = 7 if channels <= 128 else 5
            blocks += [ResidualBlock(previous, channels, 2, kernel), ResidualBlock(channels, channels, 1, kernel)]
        self.blocks = nn.Sequential(*blocks)
        last = rest[-1]
        self.pool = nn.Linear(2 * last + 36, config.width)
        self.project = nn.Sequential(nn.Linear(last, config.width), nn.GELU(), nn.Linear(config.width, config.width))
        self.project_global = nn.Sequential(nn.GELU(), nn.Linear(config.width, config.width))

    def features(self, signal: Tensor, lead_facts: Tensor) -> tuple[Tensor, Tensor]:
        """Local features (B,40,256) and the global vector (B,256) before projection."""
        facts = lead_facts.flatten(1)
        x = torch.relu(self.stem_norm(self.stem(signal)) + self.lead_facts(facts)[:, :, None])
        x = self.blocks(x)
        pooled = self.pool(torch.cat([x.mean(2), x.amax(2), facts], 1))
        return x.transpose(1, 2), pooled

    def forward(self, signal: Tensor, lead_facts: Tensor) -> Tensor:
        local, pooled = self.features(signal, lead_facts)
        return torch.cat([self.project_global(pooled)[:, None], self.project(local)], 1)


class Condition(nn.Module):
    """Hidden states at `[ECG]` (B,K,256) and scalars (B,6) -> the denoiser's condition (B,258).

    Its last two columns are the rate in beats per second and whether it is known: the denoiser's clock.

    Scalars are pairs (value, known): sex (male 1, female 0), age / 100, heart rate / 100.
    `label_embedding` is the space that stage two aligns the hidden states with.
    """

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        embedding = config.condition_embedding
        # Fixed and orthonormal, so that stage two has a target that the generator's training cannot move.
        self.label_embedding = nn.Linear(len(config.labels), embedding, bias=False).requires_grad_(False)
        nn.init.orthogonal_(self.label_embedding.weight, math.sqrt(embedding / 8))
        self.align = nn.Sequential(
            nn.LayerNorm(config.width * config.ecg_tokens),
            nn.Linear(config.width * config.ecg_tokens, 256),
            nn.GELU(),
            nn.Linear(256, embedding),
        )
        self.register_buffer("frequencies", torch.arange(1, 9).float() * math.pi / 2, persistent=False)
        self.combine = nn.Sequential(
            nn.Linear(embedding + 6 + 16, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )

    def from_embedding(self, embedding: Tensor, scalars: Tensor) -> Tensor:
        """Condition from a point of the label-embedding space."""
        known = scalars * scalars[:, [1, 1, 3, 3, 5, 5]]
        angle = known[:, 4:5] * self.frequencies
        rate = torch.cat([angle.sin(), angle.cos()], 1) * known[:, 5:6]
        combined = self.combine(torch.cat([embedding, known, rate], 1))
        return torch.cat([combined, known[:, 4:5] * (100 / 60), known[:, 5:6]], 1)

    def forward(self, states: Tensor, scalars: Tensor) -> Tensor:
        return self.from_embedding(self.align(states.flatten(1)), scalars)


class DenoiserBlock(nn.Module):
    """Transformer block with adaptive layer norm (DiT, arXiv 2212.09748; shared modulation as PixArt-alpha)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = nn.Parameter(torch.randn(6, width) * 0.02)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 3 * width)
        self.down = nn.Linear(3 * width, width)

    def forward(self, x: Tensor, shared: Tensor) -> Tensor:
        b, n, d = x.shape
        shift1, scale1, gate1, shift2, scale2, gate2 = (shared + self.modulation).unbind(1)
        y = functional.layer_norm(x, (d,)) * (1 + scale1[:, None]) + shift1[:, None]
        qkv = self.query_key_value(y).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        x = x + gate1[:, None] * self.out(y.transpose(1, 2).reshape(b, n, d))
        y = functional.layer_norm(x, (d,)) * (1 + scale2[:, None]) + shift2[:, None]
        return x + gate2[:, None] * self.down(functional.gelu(self.up(y)))


class Denoiser(nn.Module):
    """Velocity of the rectified flow (arXiv 2209.03003): latent (B,20,80), time (B,), condition (B,258).

    40 transformer positions of 250 ms, two latent steps each. Beside its place, each position is told
    the phase of a clock that ticks at the asked rate (three harmonics), so that beats keep time over
    10 s without having been counted; strips begin at the same phase in training.

    `guided` is what is exported: classifier-free guidance (arXiv 2207.12598) inside the graph.
    """

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        width = config.width
        self.enter = nn.Conv1d(config.latent_channels, width, 4, 2, 1)
        self.position = nn.Parameter(torch.randn(1, config.latent_length // 2, width) * 0.02)
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, math.log(1000.0), 64)), persistent=False)
        seconds = (torch.arange(config.latent_length // 2).float() + 0.5) * 2 * config.samples / config.latent_length
        phase = 2 * math.pi * seconds[:, None] / config.fs * torch.arange(1, 4).float()
        self.register_buffer("phase", phase, persistent=False)
        self.clock = nn.Linear(6, width, bias=False)
        nn.init.zeros_(self.clock.weight)
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.null = nn.Parameter(torch.randn(width) * 0.02)
        self.modulate = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(DenoiserBlock(width, config.heads) for _ in range(config.denoiser_depth))
        self.leave = nn.ConvTranspose1d(width, config.latent_channels, 4, 2, 1)

    def forward(self, latent: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        condition, rate, known = condition.split((condition.shape[1] - 2, 1, 1), 1)
        angle = time[:, None] * self.frequencies
        c = self.time(torch.cat([angle.sin(), angle.cos()], 1)) + condition
        shared = self.modulate(c).unflatten(1, (6, -1))
        beat = rate[:, :, None] * self.phase
        clock = torch.cat([beat.sin(), beat.cos()], 2) * known[:, :, None]
        x = self.enter(latent).transpose(1, 2) + self.position + self.clock(clock)
        for block in self.blocks:
            x = block(x, shared)
        velocity: Tensor = self.leave(functional.layer_norm(x, x.shape[-1:]).transpose(1, 2))
        return velocity

    def nothing(self, condition: Tensor) -> Tensor:
        """The condition that says nothing, for as many rows: the learned null and a stopped clock."""
        return torch.cat([self.null.expand(len(condition), -1), torch.zeros_like(condition[:, -2:])], 1)

    def guided(self, latent: Tensor, time: Tensor, condition: Tensor, guidance: Tensor) -> Tensor:
        """(1,20,80), (1,), (1,258), (1,) -> (1,20,80); guidance 1 is the plain conditional velocity."""
        both = torch.cat([condition, self.nothing(condition)], 0)
        velocity = self(latent.expand(2, -1, -1), time.expand(2), both)
        return velocity[1:] + guidance[:, None, None] * (velocity[:1] - velocity[1:])


class ConvBlock(nn.Module):
    """Residual pair of convolutions with group norm, as latent autoencoders use."""

    def __init__(self, channels: int, kernel: int = 5) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv1d(channels, channels, kernel, padding=kernel // 2)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv1d(channels, channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))


class LatentEncoder(nn.Module):
    """Leads (B,8,1280) in mV -> mean and log-variance of the latent (B,20,80) each; training only."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        c3, c2, c1 = config.decoder_channels
        self.layers = nn.Sequential(
            nn.Conv1d(32, c1, 7, padding=3),
            ConvBlock(c1),
            nn.Conv1d(c1, c2, 4, 2, 1),
            ConvBlock(c2),
            nn.Conv1d(c2, c3, 4, 2, 1),
            ConvBlock(c3),
            nn.GroupNorm(8, c3),
            nn.SiLU(),
            nn.Conv1d(c3, 2 * config.latent_channels, 3, padding=1),
        )

    def forward(self, leads: Tensor) -> tuple[Tensor, Tensor]:
        b, n, t = leads.shape
        x = leads.reshape(b, n, t // 4, 4).transpose(2, 3).reshape(b, n * 4, t // 4)
        mean, log_variance = self.layers(x).chunk(2, 1)
        return mean, log_variance.clamp(-10, 4)


class Decoder(nn.Module):
    """Normalised latent (B,20,80) -> the 8 independent leads (B,8,1280) in mV at 128 Hz."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        c3, c2, c1 = config.decoder_channels
        self.register_buffer("mean", torch.zeros(1, config.latent_channels, 1))
        self.register_buffer("deviation", torch.ones(1, config.latent_channels, 1))
        self.layers = nn.Sequential(
            nn.Conv1d(config.latent_channels, c3, 3, padding=1),
            ConvBlock(c3),
            nn.ConvTranspose1d(c3, c2, 4, 2, 1),
            ConvBlock(c2),
            nn.ConvTranspose1d(c2, c1, 4, 2, 1),
            ConvBlock(c1),
            nn.GroupNorm(8, c1),
            nn.SiLU(),
            nn.Conv1d(c1, 32, 7, padding=3),
        )

    def forward(self, latent: Tensor) -> Tensor:
        x = self.layers(latent * self.deviation + self.mean)
        b, _, t = x.shape
        return x.reshape(b, 8, 4, t).transpose(2, 3).reshape(b, 8, t * 4)


class UniEcgNano(nn.Module):
    """The whole model; submodules are named after the bundle's roles."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.language_model = LlamaForCausalLM(llama_config(config))
        self.condition = Condition(config)
        self.denoiser = Denoiser(config)
        self.latent_encoder = LatentEncoder(config)
        self.decoder = Decoder(config)


def llama_config(config: NanoConfig) -> LlamaConfig:
    """The language model in transformers' own terms; embeddings are tied."""
    return LlamaConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        intermediate_size=config.feed_forward,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        attn_implementation="sdpa",
    )


def save_checkpoint(model: UniEcgNano, folder: Path) -> None:
    """Write config.json and model.safetensors, in fp16: those rounded weights are the model."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.detach().half().contiguous() if value.is_floating_point() else value.contiguous()
        for name, value in model.state_dict().items()
        if name != "language_model.lm_head.weight"
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"family": "uniecg_nano", **asdict(model.config)}, indent=1) + "\n")


def load_config(folder: Path) -> NanoConfig:
    """Read config.json. Raises InputError where there is none that can be read."""
    fields = read_json(folder / "config.json", CONFIG_BYTES)
    fields.pop("family")
    read: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return NanoConfig(**read)


def load_checkpoint(folder: Path) -> UniEcgNano:
    """Load strictly, in float32 and eval mode."""
    model = UniEcgNano(load_config(folder))
    tensors = {n: t.float() if t.is_floating_point() else t for n, t in load_file(folder / "model.safetensors").items()}
    tensors["language_model.lm_head.weight"] = tensors["language_model.model.embed_tokens.weight"]
    model.load_state_dict(tensors, strict=True)
    return model.eval()
