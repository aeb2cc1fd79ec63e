"""GEM: Vicuna-7B that reads an ECG as 101 soft tokens, from the ECG-CoCa tower through two projectors.

Facts: lanxiang1017/GEM at c8a580faae819c57c008e94fa080f5d3c6881769 (Apache-2.0). A checkpoint is a LLaVA folder:
config.json and safetensors shards. The ECG tower may lie in the shards or in a file of its own, which config.json
names by somebody's absolute path. The second projector is the images'; the CLIP tower and `image_newline` are only for
images and set aside.

In: (1,12,5000) mV at 500 Hz, as ecg_coca says.
Out: (1,101,4096) embeddings for the language model, in front of the images' where `<image>` stood.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from uniecg_device.errors import InputError
from uniecg_export.families import ecg_coca
from uniecg_export.families.ecg_coca import EcgCocaConfig, EcgTower, Shapes, draw_signal
from uniecg_export.onnx_graphs import Source

T = TypeVar("T")
Fields = Mapping[str, Any]  # of a config.json
Table = Mapping[str, tuple[str, str]]  # a prefix -> the part that it belongs to, and the prefix that it has there
MOST = 1 << 20  # of a width in config.json
MOST_LAYERS = 256

TABLE: Table = {
    "model.ecg_tower.ecg_tower.": ("tower", ""),
    "model.ecg_projector.": ("projectors", "ecg_projector."),
    "model.mm_projector.": ("projectors", "mm_projector."),
    "model.vision_tower.vision_tower.": ("vision_tower", ""),
    "model.image_newline": ("image_newline", "image_newline"),
    "model.embed_tokens.": ("language_model", "model.embed_tokens."),
    "model.layers.": ("language_model", "model.layers."),
    "model.norm.": ("language_model", "model.norm."),
    "lm_head.": ("language_model", "lm_head."),
}
LLAMA_LAYER = (
    *(f"self_attn.{letter}_proj.weight" for letter in "qkvo"),
    *(f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")),
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
)


@dataclass(frozen=True)
class GemConfig:
    """What config.json calls by these names, and the tower's geometry."""

    tower: EcgCocaConfig = field(default_factory=EcgCocaConfig)
    ecg_projector_type: str = "linear"
    mm_projector_type: str = "mlp2x_gelu"
    mm_hidden_size: int = 1024
    hidden_size: int = 4096
    num_hidden_layers: int = 32
    tie_word_embeddings: bool = False


@dataclass(frozen=True, eq=False)
class Parts(Generic[T]):
    """A checkpoint's tensors by what they are for, under the names that each part's own module has.

    language_model: as transformers' causal language model names them. alignment: UniECG's, towards the generator.
    aside: what the tower's own file holds besides the tower. unknown: what belongs nowhere.
    """

    tower: dict[str, T] = field(default_factory=dict)
    projectors: dict[str, T] = field(default_factory=dict)
    vision_tower: dict[str, T] = field(default_factory=dict)
    image_newline: dict[str, T] = field(default_factory=dict)
    language_model: dict[str, T] = field(default_factory=dict)
    alignment: dict[str, T] = field(default_factory=dict)
    aside: dict[str, T] = field(default_factory=dict)
    unknown: dict[str, T] = field(default_factory=dict)

    @property
    def encoder(self) -> dict[str, T]:
        """Tower and projectors, as the fused encoder names them."""
        return {f"ecg_tower.{name}": value for name, value in self.tower.items()} | self.projectors


class Encoder(nn.Module):
    """Tower and both projectors in one: (1,12,5000) mV -> (1,101,4096) soft tokens."""

    def __init__(self, config: GemConfig) -> None:
        super().__init__()
        self.config = config
        self.ecg_tower = EcgTower(config.tower)
        self.ecg_projector = projector(config.ecg_projector_type, config.tower.width, config.mm_hidden_size)
        self.mm_projector = projector(config.mm_projector_type, config.mm_hidden_size, config.hidden_size)

    def forward(self, signal: Tensor) -> Tensor:
        tokens: Tensor = self.mm_projector(self.ecg_projector(self.ecg_tower(signal)))
        return tokens


def projector(kind: str, inputs: int, outputs: int) -> nn.Module:
    """`linear`, or `mlpNx_gelu`: N linear layers with GELU (erf) between, all but the first as wide as the output.

    Raises InputError for any other kind.
    """
    if kind == "linear":
        return nn.Linear(inputs, outputs)
    depth = re.fullmatch(r"mlp([1-9][0-9]?)x_gelu", kind)
    if depth is None:
        raise InputError(
            f"expected a projector of type linear or mlpNx_gelu in config.json, found {kind!r}; it cannot be exported."
        )
    layers: list[nn.Module] = [nn.Linear(inputs, outputs)]
    for _ in range(int(depth[1]) - 1):
        layers += [nn.GELU(), nn.Linear(outputs, outputs)]
    return nn.Sequential(*layers)


def config_from(fields: Fields, tower: Shapes) -> GemConfig:
    """Read config.json's fields and the tower's shapes (names without prefix).

    A projector's type that is not stated is `linear`, as in the published code. Raises InputError for a field or
    tensor that is absent or cannot be.
    """
    return GemConfig(
        tower=ecg_coca.config_from(tower),
        ecg_projector_type=text(fields, "ecg_projector_type", "linear"),
        mm_projector_type=text(fields, "mm_projector_type", "linear"),
        mm_hidden_size=count(fields, "mm_hidden_size"),
        hidden_size=count(fields, "hidden_size"),
        num_hidden_layers=count(fields, "num_hidden_layers", MOST_LAYERS),
        tie_word_embeddings=fields.get("tie_word_embeddings") is True,
    )


def count(fields: Fields, name: str, most: int = MOST) -> int:
    """A whole number from 1 to `most`. Raises InputError where it is not one."""
    value = fields.get(name)
    if type(value) is not int or not 0 < value <= most:
        raise InputError(
            f"expected {name!r} as a whole number from 1 to {most} in config.json, found {value!r}; "
            f"take the config.json that belongs to the checkpoint."
        )
    return value


def text(fields: Fields, name: str, default: str) -> str:
    """A word, `default` where there is none. Raises InputError where it is something else."""
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise InputError(
            f"expected {name!r} as a word in config.json, found {value!r}; "
            f"take the config.json that belongs to the checkpoint."
        )
    return value


def split(tensors: Mapping[str, T], tower_file: Mapping[str, T] | None = None, table: Table = TABLE) -> Parts[T]:
    """Sort a checkpoint's tensors, or whatever stands for them, by their published names.

    tensors: of all shards together. tower_file: of the ECG tower's own file, where the shards have no tower.
    Raises InputError where the tower is in both: the published loaders disagree on which of them counts.
    """
    parts: Parts[T] = Parts()
    for name, value in tensors.items():
        prefix = max((p for p in table if name.startswith(p)), key=len, default=None)
        part, start = ("unknown", "") if prefix is None else table[prefix]
        getattr(parts, part)[start + name.removeprefix(prefix or "")] = value
    if parts.tower and tower_file is not None:
        raise InputError(
            "expected one ECG tower, found one in the checkpoint's shards and one in a file of its own; "
            "leave out the file, or the shards' `ecg_tower` tensors."
        )
    for name, value in (tower_file or {}).items():
        own = name.startswith(ecg_coca.PREFIX)
        (parts.tower if own else parts.aside)[name.removeprefix(ecg_coca.PREFIX)] = value
    return parts


def differences(parts: Parts[T], config: GemConfig) -> tuple[list[str], list[str]]:
    """What is missing from `parts` and what is unexpected in it, by name; shapes are load_state_dict's to compare."""
    with torch.device("meta"):
        encoder = Encoder(config).state_dict()
    names = language_model_names(config.num_hidden_layers, LLAMA_LAYER)
    return compare(parts, (*encoder, *names), optional=("lm_head.weight",) if config.tie_word_embeddings else ())


def language_model_names(layers: int, of_a_layer: Iterable[str]) -> list[str]:
    """Tensors of a LLaMA-like causal language model as transformers names them."""
    of_a_layer = tuple(of_a_layer)
    names = [f"model.layers.{i}.{name}" for i in range(layers) for name in of_a_layer]
    return ["model.embed_tokens.weight", *names, "model.norm.weight", "lm_head.weight"]


def compare(parts: Parts[T], expected: Collection[str], optional: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Missing and unexpected names of encoder and language model together; the images' parts are not looked at."""
    found = parts.encoder | parts.language_model
    known = set(expected)
    missing = [name for name in expected if name not in found and name not in optional]
    return missing, [*(name for name in found if name not in known), *parts.unknown]


def sources(encoder: Encoder) -> tuple[Source, ...]:
    """The fused encoder; batch 1, float32."""
    return (Source("encoder", encoder, draw_signal(encoder.config.tower), ("tokens",)),)
