"""GEM: Vicuna-7B that reads an ECG as 101 soft tokens, from the ECG-CoCa tower through two projectors.

Facts: lanxiang1017/GEM at c8a580faae819c57c008e94fa080f5d3c6881769 (Apache-2.0). A checkpoint is a LLaVA folder:
config.json and safetensors shards. The ECG tower may lie in the shards or in a file of its own, which config.json
names by somebody's absolute path. The second projector is the images'; their CLIP tower is set aside unless it is
asked for, and `image_newline`, which only tiled images need, always.

In: (1,12,5000) mV at 500 Hz, as ecg_coca says; with image also a picture of it, as clip_vision says.
Out: (1,101,4096) embeddings for the language model, in front of the image's (1,576,4096) where `<image>` stood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from uniecg_device.errors import InputError
from uniecg_export.exportable import RESEARCH, Exportable, count_parameters
from uniecg_export.families import clip_vision, ecg_coca, parts
from uniecg_export.families.ecg_coca import EcgCocaConfig, EcgTower, preprocessing
from uniecg_export.families.folder import Held, bounds, build, chat, open_folder, shapes, sources
from uniecg_export.families.parts import Fields, Parts, Table, count, text
from uniecg_export.gguf_vocabulary import Vocabulary, prepare_text
from uniecg_export.hf_language_model import Geometry
from uniecg_export.onnx_graphs import Source
from uniecg_export.weights import Shapes, refuse
from uniecg_runtime.manifest import Picture, Prompt

T = TypeVar("T")
SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
QUESTION = (
    "Interpret the provided ECG image, identify key features and abnormalities in each lead, and generate a clinical "
    "diagnosis that is supported by the observed evidence."
)
MAX_NEW_TOKENS = 1024

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
        num_hidden_layers=count(fields, "num_hidden_layers", parts.MOST_LAYERS),
        tie_word_embeddings=fields.get("tie_word_embeddings") is True,
    )


def differences(found: Parts[T], config: GemConfig) -> dict[str, list[str]]:
    """As parts.differences."""
    layers, tied = config.num_hidden_layers, config.tie_word_embeddings
    return parts.differences(found, lambda: Encoder(config), layers, parts.LLAMA_LAYER, tied=tied)


def image_source(found: Parts[Held], config: GemConfig, fields: Fields, where: Path) -> tuple[Source, Picture]:
    """The images' tower with the projector that both share, and the picture that it takes. Raises InputError."""
    held = clip_vision.own_names(found.vision_tower)
    seen = clip_vision.config_from(fields, shapes(held))
    if seen.width != config.mm_hidden_size:
        raise InputError(
            f"expected an images' tower as wide as mm_hidden_size {config.mm_hidden_size} in {where}, found "
            f"{seen.width}; take the config.json that belongs to the checkpoint."
        )

    def make() -> clip_vision.ImageEncoder:
        shared = projector(config.mm_projector_type, config.mm_hidden_size, config.hidden_size)
        return clip_vision.ImageEncoder(seen, shared)

    named = {f"vision_tower.{name}": value for name, value in held.items()}
    named |= {name: value for name, value in found.projectors.items() if name.startswith("mm_projector.")}
    encoder = clip_vision.without_unused(build(make, named, where))
    return clip_vision.source(encoder), clip_vision.picture(seen)


def prompt(vocabulary: Vocabulary, geometry: Geometry) -> Prompt:
    """The published conversation, `llava_v1`. Text on each side of the ECG is a text of its own to the tokenizer."""
    begin, end = bounds(vocabulary, geometry)

    def chunk(words: str) -> str:
        return prepare_text(vocabulary, words)

    before, after = chunk(f"{SYSTEM} USER: "), chunk("\n{question} ASSISTANT:")
    return chat(
        vocabulary,
        geometry,
        first_turn_with_signal=f"{begin}{before}{{signal}}{after}",
        first_turn=begin + chunk(f"{SYSTEM} USER: {{question}} ASSISTANT:"),
        next_turn=chunk(f"{end}USER: {{question}} ASSISTANT:"),
        interpret_question=QUESTION,
        end_token=end,
        most=MAX_NEW_TOKENS,
    )


def language_model_fields(fields: Fields) -> dict[str, Any]:
    """config.json's fields with the plain model type behind `llava_llama` or `llava_mistral`."""
    return {**fields, "model_type": str(fields.get("model_type")).removeprefix("llava_")}


def read(path: Path, tower: Path | None = None, with_image: bool = False) -> Exportable:
    """Open a checkpoint folder. tower: the ECG tower's own file, where the shards have none.

    with_image: the images' tower too. Raises InputError for anything else, listing the tensors that are missing or
    unexpected.
    """
    folder = open_folder(path, tower)
    found = folder.parts(TABLE)
    config = config_from(folder.fields, shapes(found.tower))
    refuse(path, differences(found, config))
    language = folder.language(found, language_model_fields(folder.fields), prompt)
    graphs, picture = sources(build(lambda: Encoder(config), found.encoder, path)), None
    if with_image:
        seeing, picture = image_source(found, config, folder.fields, path)
        graphs = (*graphs, seeing)
    return Exportable(
        family="gem",
        name="gem",
        version=path.absolute().name,
        licence="Apache-2.0 (GEM's code); the weights' own terms, LLaMA's among them, apply",
        intended_use=RESEARCH,
        paper="https://arxiv.org/abs/2503.06073",
        files=folder.files,
        sources=graphs,
        parameters=count_parameters(graphs) | {"language_model": language.parameters},
        language=language,
        preprocessing=preprocessing(config.tower),
        picture=picture,
    )
