"""A Hugging Face folder that holds an ECG tower and its projectors beside a language model, tower or not in it.

Nothing of the language model is read but its headers; the ECG side is read tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from torch import Tensor, nn

from uniecg_device.errors import InputError
from uniecg_export import weights
from uniecg_export.families import ecg_coca, parts
from uniecg_export.families.ecg_coca import draw_signal
from uniecg_export.families.parts import Fields, Parts, Table
from uniecg_export.gguf_vocabulary import Vocabulary
from uniecg_export.hf_language_model import (
    CONFIG_BYTES,
    Geometry,
    Stored,
    open_language_model,
    read_float,
    read_json,
    stored_tensors,
)
from uniecg_export.language import CONTEXT, Language, read_tokenizers
from uniecg_export.onnx_graphs import Source
from uniecg_export.weights import Shapes, compare, read_state, skeleton
from uniecg_runtime.manifest import Prompt

M = TypeVar("M", bound=nn.Module)
Held: TypeAlias = "Stored | Tensor"


@dataclass(frozen=True, eq=False)
class Folder:
    """Where a checkpoint lies, and what its config.json says. tower: the ECG tower's own file, where it has one."""

    path: Path
    fields: Fields
    tower: Path | None

    def parts(self, table: Table) -> Parts[Held]:
        """The tensors by what they are for. Raises InputError where there is no ECG tower, or two."""
        stored: dict[str, Held] = {place.name: place for place in stored_tensors(self.path)}
        stored = {name: held for name, held in stored.items() if not name.endswith(".rotary_emb.inv_freq")}
        tower = None if self.tower is None else ecg_coca.unpack(read_state(self.tower))
        found = parts.split(stored, tower, table)
        if not found.tower:
            named = self.fields.get("mm_ecg_tower")
            hint = f" (config.json names {named})" if isinstance(named, str) else ""
            raise InputError(
                f"expected an ECG tower in the shards of {self.path} or in a file of its own, found neither; "
                f"give the file with --tower{hint}."
            )
        return found

    def language(
        self, found: Parts[Held], config: Fields, prompt: Callable[[Vocabulary, Geometry], Prompt]
    ) -> Language:
        """The language model as one of its own. config: what its config.json would say."""
        names = {place.name: name for name, place in found.language_model.items() if isinstance(place, Stored)}
        model = open_language_model(self.path, names.get, config)
        tokenizer, vocabulary = read_tokenizers(self.path, model.geometry.vocabulary)
        return Language(model, tokenizer, vocabulary, prompt(vocabulary, model.geometry))

    @property
    def files(self) -> tuple[Path, ...]:
        """What the weights were read from."""
        return (
            *dict.fromkeys(place.path for place in stored_tensors(self.path)),
            *([self.tower] if self.tower else ()),
        )


def open_folder(path: Path, tower: Path | None) -> Folder:
    """Raises InputError where there is no folder with a config.json."""
    if not path.is_dir():
        found = "a file" if path.is_file() else "nothing"
        raise InputError(f"expected a folder with config.json and safetensors at {path}, found {found}; give one.")
    return Folder(path, read_json(path / "config.json", CONFIG_BYTES), tower)


def shapes(held: Mapping[str, Held]) -> Shapes:
    """By name."""
    return {name: tuple(value.shape) for name, value in held.items()}


def load(held: Mapping[str, Held]) -> dict[str, Tensor]:
    """In float32."""
    return {name: read_float(value) if isinstance(value, Stored) else value for name, value in held.items()}


def build(make: Callable[[], M], held: Mapping[str, Held], where: Path) -> M:
    """As `weights.build`; no tensor is read before all of them are known to fit."""
    compare(where, skeleton(make, where), shapes(held))
    return weights.build(make, load(held), where)


def sources(encoder: nn.Module) -> tuple[Source, ...]:
    """Of a fused encoder, tower and projectors in one; batch 1, float32."""
    return (Source("encoder", encoder, draw_signal(encoder.config.tower), ("tokens",)),)


def bounds(vocabulary: Vocabulary, geometry: Geometry) -> tuple[str, str]:
    """What a conversation begins with, "" where it is nothing, and the token that ends an answer.

    Raises InputError where neither the tokenizer nor config.json says what ends an answer.
    """
    tokens = vocabulary.tokens
    end = geometry.eos if vocabulary.eos is None else vocabulary.eos
    if end is None or end not in vocabulary.special:
        found = "none" if end is None or end >= len(tokens) else f"{tokens[end]!r}, which is no special token"
        raise InputError(f"expected a special token that ends an answer (eos_token), found {found}; state it.")
    begins = vocabulary.add_bos and vocabulary.bos in vocabulary.special
    return tokens[vocabulary.bos or 0] if begins else "", tokens[end]


def chat(
    vocabulary: Vocabulary,
    geometry: Geometry,
    *,
    first_turn: str,
    next_turn: str,
    end_token: str,
    most: int,
    first_turn_with_signal: str = "",
    interpret_question: str = "",
) -> Prompt:
    """A prompt that tells the model no measurements. most: tokens of an answer.

    Context and answer are as long as the model and a small machine's memory go.
    """
    context = min(geometry.context, CONTEXT)
    return Prompt(
        first_turn_with_signal=first_turn_with_signal,
        first_turn=first_turn,
        next_turn=next_turn,
        interpret_question=interpret_question,
        features=(),
        findings=(),
        draw_prefix="",
        end_token=end_token,
        context=context,
        max_new_tokens=min(most, context // 2),
        normal_form=vocabulary.normal_form,
    )
