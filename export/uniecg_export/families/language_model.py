"""A language model alone, any Hugging Face folder of a LLaMA, Mistral, Qwen2 or Qwen3: chat in a bundle, without ECGs.

How its turns look is told by the special tokens that it knows, not by the folder's chat template, which is a program:
ChatML (Qwen, and most that were tuned since), LLaMA 3's headers, or else the bare text, which a base model continues.
"""

from __future__ import annotations

from pathlib import Path

from uniecg_export.exportable import RESEARCH, Exportable
from uniecg_export.families.folder import bounds, chat
from uniecg_export.gguf_vocabulary import Vocabulary, prepare_text
from uniecg_export.hf_language_model import Geometry, open_language_model
from uniecg_export.language import Language, read_tokenizers
from uniecg_runtime.manifest import Prompt

MAX_NEW_TOKENS = 1024
# The end of an answer -> what else must be known, what a person's turn looks like, what lies between turns.
CHATS = {
    "<|im_end|>": (
        ("<|im_start|>",),
        "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
        "\n",
    ),
    "<|eot_id|>": (
        ("<|start_header_id|>", "<|end_header_id|>"),
        "<|start_header_id|>user<|end_header_id|>\n\n{question}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "",
    ),
}


def prompt(vocabulary: Vocabulary, geometry: Geometry) -> Prompt:
    """Turns as the special tokens tell them. Raises InputError where nothing ends an answer."""
    special = {vocabulary.tokens[i] for i in vocabulary.special}
    begin, end = bounds(vocabulary, geometry)
    turn, between = "{question}", "\n"
    for token, (others, whole, gap) in CHATS.items():
        if {token, *others} <= special:
            end, turn, between = token, whole, f"{token}{gap}"
            break
    return chat(
        vocabulary,
        geometry,
        first_turn=begin + prepare_text(vocabulary, turn),
        next_turn=prepare_text(vocabulary, between + turn),
        end_token=end,
        most=MAX_NEW_TOKENS,
    )


def read(path: Path) -> Exportable:
    """Open the folder. Raises InputError for a configuration, tensor or tokenizer that llama.cpp could not follow."""
    model = open_language_model(path)
    tokenizer, vocabulary = read_tokenizers(path, model.geometry.vocabulary)
    return Exportable(
        family="language_model",
        name="language-model",
        version=path.absolute().name,
        licence="that of the checkpoint",
        intended_use=RESEARCH,
        paper="",
        files=tuple(dict.fromkeys(place.path for place in model.tensors.values())),
        sources=(),
        parameters={"language_model": model.parameters},
        language=Language(model, tokenizer, vocabulary, prompt(vocabulary, model.geometry)),
    )
