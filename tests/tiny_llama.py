"""A small random LLaMA, once as transformers' model and once as a GGUF file, for comparing the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

SPECIALS = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "[ECG]")
MERGES = (("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w"))
CONTEXT = 96
WIDTH = 64


def byte_letters() -> dict[int, str]:
    """GPT-2's printable stand-in for every byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(hidden)}}


def vocabulary() -> list[str]:
    """Specials, the bytes, then the merged pieces."""
    return [*SPECIALS, *byte_letters().values(), *(a + b for a, b in MERGES)]


def tiny_llama() -> LlamaForCausalLM:
    """Two layers with weights large enough for the attention to matter."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=WIDTH,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.15)
            parameter.copy_(parameter.half().float())
    return model


def write_gguf(model: LlamaForCausalLM, path: Path) -> None:
    """float32 GGUF; rows of Q and K in llama.cpp's order."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(WIDTH // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    names = vocabulary()
    writer.add_token_list(names)
    writer.add_token_types([gguf.TokenType.CONTROL if n in SPECIALS else gguf.TokenType.NORMAL for n in names])
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    for name, value in tensors(model).items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors(model: LlamaForCausalLM) -> dict[str, NDArray[np.float32]]:
    """llama.cpp's tensor names."""
    state: dict[str, Any] = {n: t.detach().numpy() for n, t in model.model.state_dict().items()}
    heads = model.config.num_attention_heads
    named = {"token_embd.weight": state["embed_tokens.weight"], "output_norm.weight": state["norm.weight"]}
    places = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    for layer in range(model.config.num_hidden_layers):
        for theirs, ours in places.items():
            value = state[f"layers.{layer}.{ours}.weight"]
            if theirs in ("attn_q", "attn_k"):
                rows = value.reshape(heads, 2, -1, value.shape[1]).swapaxes(1, 2)
                value = np.ascontiguousarray(rows).reshape(value.shape)
            named[f"blk.{layer}.{theirs}.weight"] = value
    return named
