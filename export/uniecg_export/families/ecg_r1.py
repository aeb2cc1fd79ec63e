"""ECG-R1: Qwen3-VL-8B with the ECG-CoCa tower and a projector of its own, 101 soft tokens between two markers.

Facts: PKUDigitalHealth/ECG-R1 at 6640e8d100e0911cf33572d9a078ee00a85ff8b5 (Apache-2.0). A checkpoint is a Hugging Face
folder whose shards hold tower, projector, images' tower and text stack. Without an image the text stack is a plain
Qwen3: its three rows of positions are then equal, and nothing is added to its first layers. So the device runs
Qwen3ForCausalLM.

In: (1,12,5000) mV at 500 Hz, as ecg_coca says.
Out: (1,101,4096) embeddings that take the place of 101 `<|ecg_pad|>` between `<|ecg_start|>` and `<|ecg_end|>`. The
three tokens were added to the tokenizer and the rows of the vocabulary set to its length: count the tensor's rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from uniecg_device.errors import InputError
from uniecg_export.exportable import RESEARCH, Exportable, count_parameters
from uniecg_export.families import ecg_coca, parts
from uniecg_export.families.ecg_coca import EcgCocaConfig, EcgTower, preprocessing
from uniecg_export.families.folder import build, chat, open_folder, shapes, sources
from uniecg_export.families.gem import QUESTION, projector
from uniecg_export.families.parts import Fields, Parts, Table, count, text
from uniecg_export.gguf_vocabulary import Vocabulary
from uniecg_export.hf_language_model import Geometry
from uniecg_export.weights import Shapes, refuse
from uniecg_runtime.manifest import Prompt

T = TypeVar("T")
SYSTEM = "You are a helpful, harmless clinical ECG assistant. Provide concise, evidence-based interpretations."
MAX_NEW_TOKENS = 2048
PAD, START, END = "<|ecg_pad|>", "<|ecg_start|>", "<|ecg_end|>"

TABLE: Table = {
    "model.ecg_tower.": ("tower", ""),
    "model.ecg_projector.": ("projectors", "ecg_projector."),
    "model.visual.": ("vision_tower", ""),
    "model.language_model.": ("language_model", "model."),
    "lm_head.": ("language_model", "lm_head."),
}
QWEN3_LAYER = (*parts.LLAMA_LAYER, "self_attn.q_norm.weight", "self_attn.k_norm.weight")


@dataclass(frozen=True)
class EcgR1Config:
    """What config.json, or its `text_config`, calls by these names, and the tower's geometry."""

    tower: EcgCocaConfig = field(default_factory=EcgCocaConfig)
    ecg_projector_type: str = "mlp2x_gelu"
    hidden_size: int = 4096
    num_hidden_layers: int = 36
    tie_word_embeddings: bool = False
    ecg_token_id: int | None = None


class Encoder(nn.Module):
    """Tower and projector in one: (1,12,5000) mV -> (1,101,4096) soft tokens."""

    def __init__(self, config: EcgR1Config) -> None:
        super().__init__()
        self.config = config
        self.ecg_tower = EcgTower(config.tower)
        self.ecg_projector = projector(config.ecg_projector_type, config.tower.width, config.hidden_size)

    def forward(self, signal: Tensor) -> Tensor:
        tokens: Tensor = self.ecg_projector(self.ecg_tower(signal))
        return tokens


def config_from(fields: Fields, tower: Shapes) -> EcgR1Config:
    """Read config.json's fields and the tower's shapes (names without prefix).

    Raises InputError for a field or tensor that is absent or cannot be.
    """
    language = _text_config(fields)
    token = fields.get("ecg_token_id")
    return EcgR1Config(
        tower=ecg_coca.config_from(tower),
        ecg_projector_type=text(fields, "ecg_projector_type", EcgR1Config.ecg_projector_type),
        # The published code asks the top level first.
        hidden_size=count(fields if fields.get("hidden_size") is not None else language, "hidden_size"),
        num_hidden_layers=count(language, "num_hidden_layers", parts.MOST_LAYERS),
        tie_word_embeddings=fields.get("tie_word_embeddings", language.get("tie_word_embeddings")) is True,
        ecg_token_id=None if token is None else count(fields, "ecg_token_id"),
    )


def _text_config(fields: Fields) -> Fields:
    found = fields.get("text_config")
    if not isinstance(found, Mapping):
        raise InputError(
            f"expected the fields of a text stack under 'text_config' in config.json, found {found!r}; "
            f"take the config.json that belongs to the checkpoint."
        )
    return found


def language_model_fields(fields: Fields) -> dict[str, Any]:
    """The text stack's fields as a config.json of Qwen3ForCausalLM has them.

    What says how images' positions are laid out goes; a scaling that text has too, such as yarn, stays.
    """
    language = dict(_text_config(fields)) | {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
    if "tie_word_embeddings" in fields:
        language["tie_word_embeddings"] = fields["tie_word_embeddings"]
    for name in ("rope_scaling", "rope_parameters"):
        if isinstance(held := language.get(name), Mapping):
            kept = {key: value for key, value in held.items() if not key.startswith("mrope_")}
            language[name] = None if kept in ({}, {"rope_type": "default"}) else kept
    return {name: value for name, value in language.items() if value is not None}


def special_ids(config: EcgR1Config, vocabulary: Mapping[str, int]) -> dict[str, int]:
    """Ids of the three ECG tokens. Raises InputError where one is absent or config.json has another for the pad."""
    missing = [token for token in (PAD, START, END) if token not in vocabulary]
    if missing:
        raise InputError(
            f"expected {', '.join((PAD, START, END))} in the tokenizer, missing: {', '.join(missing)}; "
            f"take the tokenizer that the model was trained with."
        )
    if config.ecg_token_id not in (None, vocabulary[PAD]):
        raise InputError(
            f"expected {PAD} to be token {config.ecg_token_id} as 'ecg_token_id' in config.json says, found "
            f"{vocabulary[PAD]}; take the tokenizer that the model was trained with."
        )
    return {token: vocabulary[token] for token in (PAD, START, END)}


def differences(found: Parts[T], config: EcgR1Config) -> dict[str, list[str]]:
    """As parts.differences."""
    layers, tied = config.num_hidden_layers, config.tie_word_embeddings
    return parts.differences(found, lambda: Encoder(config), layers, QWEN3_LAYER, tied=tied)


def prompt(vocabulary: Vocabulary, geometry: Geometry) -> Prompt:
    """The published template `ecg_r1`: ChatML with a system text, the ECG between its markers."""
    system, answering = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n", "<|im_end|>\n<|im_start|>assistant\n"
    return chat(
        vocabulary,
        geometry,
        first_turn_with_signal=f"{system}<|im_start|>user\n{START}{{signal}}{END} {{question}}{answering}",
        first_turn=f"{system}<|im_start|>user\n{{question}}{answering}",
        next_turn=f"<|im_end|>\n<|im_start|>user\n{{question}}{answering}",
        interpret_question=QUESTION,
        end_token="<|im_end|>",
        most=MAX_NEW_TOKENS,
    )


def read(path: Path, tower: Path | None = None) -> Exportable:
    """Open a checkpoint folder; without images, which is a way that it was trained in.

    tower: the ECG tower's own file, where the shards have none. Raises InputError for anything else, listing the
    tensors that are missing or unexpected.
    """
    folder = open_folder(path, tower)
    found = folder.parts(TABLE)
    config = config_from(folder.fields, shapes(found.tower))
    refuse(path, differences(found, config))
    language = folder.language(found, language_model_fields(folder.fields), prompt)
    names = {language.vocabulary.tokens[i]: i for i in language.vocabulary.special}
    special_ids(config, names)
    if not {"<|im_start|>", "<|im_end|>"} <= names.keys():
        raise InputError(
            f"expected Qwen's <|im_start|> and <|im_end|> in the tokenizer of {path}, found none; take it."
        )
    graphs = sources(build(lambda: Encoder(config), found.encoder, path))
    return Exportable(
        family="ecg_r1",
        name="ecg-r1",
        version=path.absolute().name,
        licence="Apache-2.0 (ECG-R1's code); the weights' own terms apply",
        intended_use=RESEARCH,
        paper="https://github.com/PKUDigitalHealth/ECG-R1",
        files=folder.files,
        sources=graphs,
        parameters=count_parameters(graphs) | {"language_model": language.parameters},
        language=language,
        preprocessing=preprocessing(config.tower),
    )
