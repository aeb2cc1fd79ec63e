"""MERL: an ECG encoder trained against reports, whose embedding is compared with those of sentences.

Facts are of cheliu-computation/MERL-ICML2024 at commit 38799b7deb1c9958f41badcfacc6a95192787cc4 (MIT licence);
this code is our own. Input is 10 s at 500 Hz, (1,12,5000), leads in MIMIC's order, one min-max to [0,1] per record.
Outputs are the encoder's own `features`, (1,512,313) of a ResNet or (1,192) of a vision transformer, and
`embedding` (1,256), not normalised: zero-shot classes are the cosine with projected sentences.

Published files: the whole model; the same nested beside an optimiser; or the encoder alone, which has no embedding.
`unpack` makes one set of names of the three. The sentences' language model (`lm_model.`) is left behind; its
projection `proj_t` loads and runs in torch, because prototypes are made once and no device makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from uniecg_device.errors import InputError
from uniecg_export.exportable import MIMIC_LEADS, RESEARCH, Exportable, count_parameters
from uniecg_export.families.merl_encoders import AttentionPool, ResNet, ResNetConfig, VisionTransformer, VitConfig
from uniecg_export.onnx_graphs import Arrays, Source
from uniecg_export.weights import Shapes, build, needed_shape, read_state, shapes_of
from uniecg_runtime.manifest import Preprocessing

ENCODER = "ecg_encoder."
TEXT_MODEL = "lm_model."


@dataclass(frozen=True)
class ProjectionConfig:
    """From features (and a sentence's pooled vector, `text_width`) to the common space, `width`."""

    hidden: int = 256
    width: int = 256
    text_width: int = 768
    heads: int = 4


@dataclass(frozen=True)
class MerlConfig:
    """Encoder and, unless the file is the encoder's alone, projection."""

    encoder: ResNetConfig | VitConfig = field(default_factory=ResNetConfig)
    projection: ProjectionConfig | None = field(default_factory=ProjectionConfig)
    samples: int = 5000


def config_from(shapes: Shapes) -> MerlConfig:
    """The geometry that the tensors of `unpack` state. Raises InputError where one that states it is missing."""
    projection = None
    if any(not name.startswith(ENCODER) for name in shapes):
        hidden, text_width = needed_shape(shapes, "proj_t.0.weight", 2)
        width, _ = needed_shape(shapes, "proj_t.2.weight", 2)
        projection = ProjectionConfig(hidden=hidden, width=width, text_width=text_width)
    if ENCODER + "to_patch_embedding.weight" in shapes:
        vit = _vit_from(shapes)
        return MerlConfig(vit, projection, samples=vit.patch * vit.tokens)
    resnet = _resnet_from(shapes)
    config = MerlConfig(resnet, projection)
    if projection is not None:
        _check_pool(shapes, config, resnet, projection.width)
    return config


def _resnet_from(shapes: Shapes) -> ResNetConfig:
    stem, leads, stem_kernel = needed_shape(shapes, ENCODER + "conv1.weight", 3)
    classes, _ = needed_shape(shapes, ENCODER + "linear.weight", 2)
    layer = ENCODER + "layer{}.{}.conv2.weight"
    _, _, kernel = needed_shape(shapes, layer.format(1, 0), 3)
    if layer.format(1, 0).replace("conv2", "conv3") in shapes:
        raise InputError(
            "expected a MERL ResNet of blocks with two convolutions (18 or 34 layers), found three (50 or 101); "
            "give a checkpoint of one of those."
        )
    widths: list[int] = []
    blocks: list[int] = []
    while layer.format(len(widths) + 1, 0) in shapes:
        widths.append(needed_shape(shapes, layer.format(len(widths) + 1, 0), 3)[0])
        blocks.append(1)
        while layer.format(len(widths), blocks[-1]) in shapes:
            blocks[-1] += 1
    return ResNetConfig(leads, stem, stem_kernel, kernel, tuple(widths), tuple(blocks), classes)


def _vit_from(shapes: Shapes) -> VitConfig:
    width, leads, patch = needed_shape(shapes, ENCODER + "to_patch_embedding.weight", 3)
    _, tokens, _ = needed_shape(shapes, ENCODER + "pos_embedding", 3)
    block = ENCODER + "block{}."
    _, inner = needed_shape(shapes, block.format(0) + "attn.fn.to_out.0.weight", 2)
    feed_forward, _ = needed_shape(shapes, block.format(0) + "ff.fn.net.0.weight", 2)
    depth = 1
    while block.format(depth) + "ff.fn.net.0.weight" in shapes:
        depth += 1
    config = VitConfig(leads, patch, tokens, width, depth, inner, feed_forward)
    if inner % config.head_width:
        raise InputError(
            f"expected attention heads {config.head_width} wide in a MERL vision transformer, found {inner} channels "
            f"for all of them; give a published file."
        )
    return config


def _check_pool(shapes: Shapes, config: MerlConfig, encoder: ResNetConfig, width: int) -> None:
    name = "att_pool_head.positional_embedding"
    _, found, _ = needed_shape(shapes, name, 3)
    expected = encoder.positions(config.samples) + 1
    if found != expected:
        raise InputError(
            f"expected {name} for {config.samples} samples, {expected} positions, found {found}; "
            f"give a checkpoint for recordings of 10 s at 500 Hz."
        )
    if width % ProjectionConfig.heads:
        raise InputError(
            f"expected an embedding of a width that {ProjectionConfig.heads} attention heads share, found {width}; "
            f"give a published file."
        )


def unpack(state: Mapping[str, object]) -> dict[str, Tensor]:
    """What torch.load gives of any of the three published files -> tensors by one set of names.

    Those of the whole model, without its language model; of an encoder's file, the names with `ecg_encoder.`
    before them. Raises InputError where it holds something else.
    """
    held = state.get("model_state_dict", state)
    if not isinstance(held, Mapping):
        raise InputError(f"expected tensors under 'model_state_dict', found {type(held).__name__}; give another file.")
    tensors = {str(name).removeprefix("module."): value for name, value in held.items()}
    tensors = {name: value for name, value in tensors.items() if not name.startswith(TEXT_MODEL)}
    others = sorted(name for name, value in tensors.items() if not isinstance(value, Tensor))
    if others or not tensors:
        raise InputError(
            f"expected a MERL checkpoint, tensors by name or those under 'model_state_dict', found "
            f"{', '.join(others[:5]) or 'nothing'}; give the published file."
        )
    prefix = "" if any(name.startswith(ENCODER) for name in tensors) else ENCODER
    return {prefix + name: value for name, value in tensors.items()}


class Merl(nn.Module):
    """An encoder's file: signal (B,12,5000) -> (features,)."""

    def __init__(self, config: MerlConfig) -> None:
        super().__init__()
        self.config = config
        encoder = config.encoder
        self.ecg_encoder = ResNet(encoder) if isinstance(encoder, ResNetConfig) else VisionTransformer(encoder)

    def forward(self, signal: Tensor) -> tuple[Tensor, ...]:
        return (self.ecg_encoder(signal),)


class ProjectedMerl(Merl):
    """The whole model: signal (B,12,5000) -> features, embedding (B,256).

    `proj_t` is the sentences' way into the same space; linear1 and linear2 gave training its two views.
    """

    def __init__(self, config: MerlConfig, projection: ProjectionConfig, view_inputs: int) -> None:
        super().__init__(config)
        self.proj_t = nn.Sequential(
            nn.Linear(projection.text_width, projection.hidden),
            nn.GELU(),
            nn.Linear(projection.hidden, projection.width),
        )
        self.linear1 = nn.Linear(view_inputs, projection.width, bias=False)
        self.linear2 = nn.Linear(view_inputs, projection.width, bias=False)

    def forward(self, signal: Tensor) -> tuple[Tensor, ...]:
        features = self.ecg_encoder(signal)
        return features, self.project(features)

    def project(self, features: Tensor) -> Tensor:
        """Features -> embedding (B,256)."""
        raise NotImplementedError

    def pool(self, features: Tensor) -> Tensor:
        """Features -> what training's two views were made of."""
        raise NotImplementedError

    def views(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features -> the two (B,256) that training drew together, without its dropout."""
        pooled = self.pool(features)
        return self.linear1(pooled), self.linear2(pooled)


class ResNetMerl(ProjectedMerl):
    """The embedding is an attention pool over the feature map."""

    def __init__(self, config: MerlConfig, encoder: ResNetConfig, projection: ProjectionConfig) -> None:
        super().__init__(config, projection, projection.width)
        self.downconv = nn.Conv1d(encoder.widths[-1], projection.width, 1)
        self.att_pool_head = AttentionPool(encoder.positions(config.samples), projection.width, projection.heads)

    def project(self, features: Tensor) -> Tensor:
        return self.att_pool_head(self.downconv(features))

    def pool(self, features: Tensor) -> Tensor:
        return self.downconv(features).mean(2)


class VitMerl(ProjectedMerl):
    """The embedding is two layers on the features."""

    def __init__(self, config: MerlConfig, encoder: VitConfig, projection: ProjectionConfig) -> None:
        super().__init__(config, projection, encoder.width)
        self.proj_e = nn.Sequential(
            nn.Linear(encoder.width, projection.hidden),
            nn.BatchNorm1d(projection.hidden),
            nn.ReLU(),
            nn.Linear(projection.hidden, projection.width),
            nn.BatchNorm1d(projection.width),
        )

    def project(self, features: Tensor) -> Tensor:
        return self.proj_e(features)

    def pool(self, features: Tensor) -> Tensor:
        return features


def make(config: MerlConfig) -> Merl:
    """The module of `config`, of random weights."""
    encoder, projection = config.encoder, config.projection
    if projection is None:
        return Merl(config)
    if isinstance(encoder, ResNetConfig):
        return ResNetMerl(config, encoder, projection)
    return VitMerl(config, encoder, projection)


def sources(model: Merl) -> tuple[Source, ...]:
    """The one graph; batch 1, float32."""
    config = model.config

    def encoder(rng: np.random.Generator) -> Arrays:
        signal = rng.standard_normal((1, config.encoder.leads, config.samples), np.float32)
        return {"signal": (signal - signal.min()) / np.ptp(signal)}

    return (Source("encoder", model, encoder, ("features", "embedding") if config.projection else ("features",)),)


def read(path: Path) -> Exportable:
    """Open any of the published MERL files. Raises InputError for anything else."""
    tensors = unpack(read_state(path))
    config = config_from(shapes_of(tensors))
    graphs = sources(build(lambda: make(config), tensors, path))
    kind = "resnet" if isinstance(config.encoder, ResNetConfig) else "vit"
    return Exportable(
        family="merl",
        name=f"merl-{kind}",
        version=path.stem,
        licence="MIT",
        intended_use=RESEARCH,
        paper="https://arxiv.org/abs/2403.06659",
        files=(path,),
        sources=graphs,
        parameters=count_parameters(graphs),
        preprocessing=Preprocessing(
            fs=500.0, samples=config.samples, leads=MIMIC_LEADS, min_seconds=5.0, scaling="minmax"
        ),
    )
