"""uniecg-nano's modules as the bundle's roles: what goes in, what comes out, under which names."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from uniecg_export.families.uniecg_nano import Denoiser, NanoConfig, UniEcgNano
from uniecg_export.onnx_graphs import Arrays, Source


class Guided(nn.Module):
    """The denoiser with classifier-free guidance inside, as one module."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, latent: Tensor, time: Tensor, condition: Tensor, guidance: Tensor) -> Tensor:
        return self.denoiser.guided(latent, time, condition, guidance)


def sources(model: UniEcgNano) -> tuple[Source, ...]:
    """The four graphs; batch 1, float32."""
    config = model.config

    def encoder(rng: np.random.Generator) -> Arrays:
        facts = np.stack([np.ones(12), np.ones(12), rng.normal(0, 0.7, 12)], 1)
        return {"signal": _normal(rng, 1, 12, config.samples), "lead_facts": facts[None].astype(np.float32)}

    def condition(rng: np.random.Generator) -> Arrays:
        return {"states": _normal(rng, 1, config.ecg_tokens, config.width), "scalars": _scalars(rng)}

    def denoiser(rng: np.random.Generator) -> Arrays:
        return {
            "latent": _latent(rng, config),
            "time": rng.uniform(0, 1, 1).astype(np.float32),
            "condition": np.concatenate([_normal(rng, 1, config.width), np.array([[1.4, 1.0]], np.float32)], 1),
            "guidance": np.array([config.guidance], np.float32),
        }

    def decoder(rng: np.random.Generator) -> Arrays:
        return {"latent": _latent(rng, config)}

    return (
        Source("encoder", model.encoder, encoder, ("tokens",)),
        Source("condition", model.condition, condition, ("condition",)),
        Source("denoiser", Guided(model.denoiser), denoiser, ("velocity",)),
        Source("decoder", model.decoder, decoder, ("leads",)),
    )


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return rng.standard_normal(shape, np.float32)


def _latent(rng: np.random.Generator, config: NanoConfig) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return _normal(rng, 1, config.latent_channels, config.latent_length)


def _scalars(rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    values = [rng.integers(0, 2), 1, rng.uniform(0.2, 0.9), 1, rng.uniform(0.4, 1.6), 1]
    return np.array([values], np.float32)
