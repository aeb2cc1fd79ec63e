"""A checkpoint's tensors by what they are for, and the fields of its config.json."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import nn

from uniecg_device.errors import InputError
from uniecg_export.weights import skeleton

T = TypeVar("T")
Fields = Mapping[str, Any]  # of a config.json
Table = Mapping[str, tuple[str, str]]  # a prefix -> the part that it belongs to, and the prefix that it has there
MOST = 1 << 20  # of a width in config.json
MOST_LAYERS = 256

LLAMA_LAYER = (
    *(f"self_attn.{letter}_proj.weight" for letter in "qkvo"),
    *(f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")),
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
)


@dataclass(frozen=True, eq=False)
class Parts(Generic[T]):
    """A checkpoint's tensors by what they are for, under the names that each part's own module has.

    language_model: as transformers' causal language model names them. alignment: UniECG's, towards the generator.
    unknown: what belongs nowhere.
    """

    tower: dict[str, T] = field(default_factory=dict)
    projectors: dict[str, T] = field(default_factory=dict)
    vision_tower: dict[str, T] = field(default_factory=dict)
    image_newline: dict[str, T] = field(default_factory=dict)
    language_model: dict[str, T] = field(default_factory=dict)
    alignment: dict[str, T] = field(default_factory=dict)
    unknown: dict[str, T] = field(default_factory=dict)

    @property
    def encoder(self) -> dict[str, T]:
        """Tower and projectors, as the fused encoder names them."""
        return {f"ecg_tower.{name}": value for name, value in self.tower.items()} | self.projectors


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


def split(tensors: Mapping[str, T], tower: Mapping[str, T] | None, table: Table) -> Parts[T]:
    """Sort a checkpoint's tensors, or whatever stands for them, by their published names.

    tensors: of all shards together. tower: of the ECG tower's own file, where the shards have none, by its own names.
    Raises InputError where the tower is in both: the published loaders disagree on which of them counts.
    """
    parts: Parts[T] = Parts()
    for name, value in tensors.items():
        prefix = max((p for p in table if name.startswith(p)), key=len, default=None)
        part, start = ("unknown", "") if prefix is None else table[prefix]
        getattr(parts, part)[start + name.removeprefix(prefix or "")] = value
    if parts.tower and tower is not None:
        raise InputError(
            "expected one ECG tower, found one in the checkpoint's shards and one in a file of its own; "
            "leave out the file, or the shards' `ecg_tower` tensors."
        )
    parts.tower.update(tower or {})
    return parts


def language_model_names(layers: int, of_a_layer: Iterable[str]) -> list[str]:
    """Tensors of a LLaMA-like causal language model as transformers names them."""
    of_a_layer = tuple(of_a_layer)
    names = [f"model.layers.{i}.{name}" for i in range(layers) for name in of_a_layer]
    return ["model.embed_tokens.weight", *names, "model.norm.weight", "lm_head.weight"]


def differences(
    found: Parts[T], encoder: Callable[[], nn.Module], layers: int, of_a_layer: Iterable[str], *, tied: bool
) -> dict[str, list[str]]:
    """Missing and unexpected names of encoder and language model; the images' parts are not looked at.

    encoder: makes tower and projectors in one. layers, of_a_layer: see `language_model_names`. tied: the embeddings, so
    that the output matrix may be absent. Shapes are for `build` to compare. Raises InputError as `skeleton` does.
    """
    expected = [*skeleton(encoder, Path("config.json")), *language_model_names(layers, of_a_layer)]
    known, held = set(expected), found.encoder | found.language_model
    return {
        "missing": [name for name in expected if name not in held and not (tied and name == "lm_head.weight")],
        "unexpected": [*(name for name in held if name not in known), *found.unknown],
    }
