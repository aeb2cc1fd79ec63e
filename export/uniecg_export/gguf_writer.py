"""From transformers' LLaMA and a tokenizer.json to a GGUF file, and through llama.cpp's own quantizer.

Names, the order of Q and K rows, and metadata are those of llama.cpp's `convert_hf_to_gguf.py`. There is
no `output.weight`: llama.cpp takes the token embeddings for it, which is what tied embeddings mean.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import gguf
import llama_cpp.llama_cpp as api
import numpy as np
from numpy.typing import NDArray
from transformers import LlamaConfig

from uniecg_device.errors import BackendError, InputError
from uniecg_runtime.backends import llama as _llama  # noqa: F401  silences llama.cpp before anything of it runs

Precision = Literal["q8_0", "f16"]
Weights = Mapping[str, NDArray[Any]]

# Qwen2's pre-tokenizer, which llama.cpp knows as "qwen2": digits one by one, words with their space.
SPLIT_PATTERN: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
UNKNOWN_TO_LLAMA_CPP: Final = (
    "dropout",
    "byte_fallback",
    "ignore_merges",
    "continuing_subword_prefix",
    "end_of_word_suffix",
)
LAYER_NAMES: Final = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE tokenizer as GGUF holds it: tokens and their types by id, merges by rank."""

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]

    @property
    def special(self) -> tuple[int, ...]:
        """Ids of control tokens, which no text that a person types becomes."""
        return tuple(i for i, kind in enumerate(self.types) if kind == gguf.TokenType.CONTROL)


def read_tokenizer(path: Path, size: int) -> Vocabulary:
    """Read tokenizer.json; ids up to `size` without a token become unused ones.

    Raises InputError for whatever llama.cpp would tokenise otherwise than the tokenizer says.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        _check_tokenizer(held)
        ids = {int(i): str(token) for token, i in held["model"]["vocab"].items()}
        ids |= {int(token["id"]): str(token["content"]) for token in held["added_tokens"]}
        special = {int(token["id"]) for token in held["added_tokens"] if token["special"]}
        added = {int(token["id"]) for token in held["added_tokens"]}
        merges = tuple(m if isinstance(m, str) else " ".join(m) for m in held["model"]["merges"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"expected a byte-level BPE tokenizer in {path}, could not read it ({error!r}).") from None
    if ids and not 0 <= min(ids) <= max(ids) < size:
        raise InputError(f"expected token ids below {size} in {path}, found up to {max(ids)}; set the vocabulary.")
    kinds = {True: gguf.TokenType.CONTROL, False: gguf.TokenType.USER_DEFINED}
    types = [kinds[i in special] if i in added else gguf.TokenType.NORMAL for i in range(size)]
    types = [kind if i in ids else gguf.TokenType.UNUSED for i, kind in enumerate(types)]
    return Vocabulary(tuple(ids.get(i, f"[unused{i}]") for i in range(size)), tuple(map(int, types)), merges)


def _check_tokenizer(held: dict[str, Any]) -> None:
    model, before = held["model"], held["pre_tokenizer"]
    steps = before["pretokenizers"] if before["type"] == "Sequence" else [before]
    split, level = (steps[0], steps[-1]) if len(steps) == 2 else ({}, {})
    wrong = [
        what
        for what, bad in {
            "its model is not BPE": model["type"] != "BPE",
            "it has a normalizer": held.get("normalizer") is not None,
            "its pre-tokenizer is not qwen2's split and ByteLevel without one of its own": split.get("type") != "Split"
            or split["pattern"].get("Regex") != SPLIT_PATTERN
            or split["behavior"] != "Isolated"
            or split["invert"]
            or level.get("type") != "ByteLevel"
            or level["use_regex"]
            or level["add_prefix_space"],
            "it has dropout, byte fallback, affixes or ignores merges": any(map(model.get, UNKNOWN_TO_LLAMA_CPP)),
            "a special token strips spaces": any(t["lstrip"] or t["rstrip"] for t in held["added_tokens"]),
        }.items()
        if bad
    ]
    if wrong:
        raise InputError(f"llama.cpp cannot follow tokenizer.json: {'; '.join(wrong)}. Train the tokenizer without it.")


def permute(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of Q or K from transformers' order (halves of a head rotate together) to llama.cpp's (pairs do)."""
    rows, *rest = weight.shape
    paired = weight.reshape(heads, 2, rows // heads // 2, *rest).swapaxes(1, 2)
    return np.ascontiguousarray(paired.reshape(weight.shape))


def gguf_tensors(weights: Weights, config: LlamaConfig) -> dict[str, NDArray[Any]]:
    """transformers' tensors under llama.cpp's names: matrices in fp16, norms in float32.

    Raises InputError for a name that a LLaMA does not have.
    """
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    found: dict[str, NDArray[Any]] = {}
    for name, value in weights.items():
        if name in fixed:
            found[fixed[name]] = value
            continue
        head, _, rest = name.removeprefix("model.layers.").partition(".")
        part = rest.removesuffix(".weight")
        if not name.startswith("model.layers.") or not head.isdigit() or part not in LAYER_NAMES:
            raise InputError(f"expected the tensors of a LLaMA without biases, found {name!r}.")
        if part == "self_attn.q_proj":
            value = permute(value, config.num_attention_heads)
        elif part == "self_attn.k_proj":
            value = permute(value, config.num_key_value_heads or config.num_attention_heads)
        found[f"blk.{int(head)}.{LAYER_NAMES[part]}.weight"] = value
    return {name: value.astype(np.float32 if value.ndim == 1 else np.float16) for name, value in found.items()}


def write_gguf(path: Path, weights: Weights, config: LlamaConfig, vocabulary: Vocabulary, name: str) -> None:
    """Write an f16 GGUF of a LLaMA with tied embeddings.

    weights: transformers' names without `lm_head.weight`. vocabulary: as many tokens as the embedding has rows.
    """
    writer = gguf.GGUFWriter(path, "llama")
    held: dict[str, Any] = config.to_dict()
    heads = config.num_attention_heads
    writer.add_name(name)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(held["num_key_value_heads"])
    writer.add_rope_dimension_count(config.hidden_size // heads)
    writer.add_rope_freq_base(float(held["rope_parameters"]["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_bos_token_id(held["bos_token_id"])
    writer.add_eos_token_id(held["eos_token_id"])
    writer.add_pad_token_id(held["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    for tensor_name, value in gguf_tensors(weights, config).items():
        writer.add_tensor(tensor_name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(source: Path, path: Path, precision: Precision) -> None:
    """Write `source` (f16) at `precision` with llama.cpp's quantizer. Raises BackendError where it fails."""
    params = api.llama_model_quantize_default_params()
    params.ftype = {"q8_0": api.LLAMA_FTYPE_MOSTLY_Q8_0, "f16": api.LLAMA_FTYPE_MOSTLY_F16}[precision]
    params.nthread = 1
    status = api.llama_model_quantize(str(source).encode(), str(path).encode(), ctypes.byref(params))
    if status != 0 or not path.is_file():
        raise BackendError(f"expected llama.cpp to quantize {source.name} to {precision}, it returned {status}.")
