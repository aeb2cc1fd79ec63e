"""Hugging Face folders: what they hold is what llama.cpp computes, and a folder that lies is refused by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from uniecg_device.errors import InputError
from uniecg_export.checkpoint import read_checkpoint
from uniecg_export.families.uniecg_nano import load_config
from uniecg_export.gguf_vocabulary import Vocabulary
from uniecg_export.gguf_writer import write_language_model
from uniecg_export.hf_language_model import open_language_model, read_geometry, read_tensor
from uniecg_runtime.backends.llama import LanguageModel
from uniecg_runtime.verify import relative_error

ROWS = 288  # of the embedding; the tokenizer has fewer
CONTEXT = 128
PASSAGES = 5
SIZES: dict[str, Any] = {
    "vocab_size": ROWS,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
GROUPED = {"num_key_value_heads": 2}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR = {"type": "linear", "factor": 4.0}  # the way older configurations say it
GEOMETRIES: dict[str, tuple[Any, Any]] = {
    "llama, tied": (LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "llama, untied, grouped queries": (LlamaForCausalLM, LlamaConfig(**SIZES | GROUPED)),
    "llama, wide heads": (LlamaForCausalLM, LlamaConfig(**SIZES | GROUPED, head_dim=24)),
    "llama, biases": (LlamaForCausalLM, LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)),
    "llama 3.1's rope": (LlamaForCausalLM, LlamaConfig(**SIZES, rope_parameters=LLAMA3)),
    "linear rope": (LlamaForCausalLM, LlamaConfig(**SIZES, rope_theta=5e4, rope_scaling=LINEAR)),
    "mistral": (MistralForCausalLM, MistralConfig(**SIZES | GROUPED, head_dim=32, sliding_window=None)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES | GROUPED, rope_theta=1e6)),
    "qwen2, tied": (Qwen2ForCausalLM, Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SIZES | GROUPED, head_dim=32)),
}


def vocabulary() -> Vocabulary:
    """Two special tokens, the bytes, one merge, and rows that no token uses."""
    texts = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "he"]
    kinds = [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * 257
    kinds += [gguf.TokenType.UNUSED] * (ROWS - len(texts))
    texts += [f"[unused {i}]" for i in range(len(texts), ROWS)]
    return Vocabulary(tuple(texts), tuple(map(int, kinds)), ("h e",))


def random_model(kind: Any, config: Any, dtype: torch.dtype = torch.float16) -> Any:
    """Weights that `dtype` holds, large enough for attention, biases and norms to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = kind(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" in name:
                    parameter.uniform_(0.5, 1.5)
                else:
                    parameter.normal_(0, 0.08)
                parameter.copy_(parameter.to(dtype).float())
    return model


def save(model: Any, folder: Path, dtype: torch.dtype = torch.float16) -> Path:
    """As transformers saves it, in several shards."""
    model.to(dtype).save_pretrained(folder, max_shard_size="60KB")
    model.float()
    return folder


@pytest.mark.parametrize("name", GEOMETRIES)
def test_llama_cpp_computes_what_transformers_does(name: str, tmp_path: Path) -> None:
    model = random_model(*GEOMETRIES[name])
    folder = save(model, tmp_path / "checkpoint")
    assert len(list(folder.glob("*.safetensors"))) > 2
    write_language_model(tmp_path / "model.gguf", open_language_model(folder), vocabulary(), name)
    llama = LanguageModel(tmp_path / "model.gguf", context=CONTEXT, threads=1)
    passages = np.random.default_rng(3).integers(0, ROWS, (PASSAGES, CONTEXT))
    found = []
    for ids in passages.tolist():
        llama.reset()
        found.append(np.stack([llama.feed_tokens([token]) for token in ids]))
    with torch.inference_mode():
        expected = model(torch.from_numpy(passages)).logits.numpy()
    logits = np.stack(found)
    agreement = float((logits.argmax(-1) == expected.argmax(-1)).mean())
    error = relative_error(logits, expected)
    print(f"{name}: top-1 agreement {agreement:.4f} over {logits[..., 0].size} positions, relative error {error:.2e}")
    assert agreement >= 0.995
    assert error < 0.005


def test_metadata_are_those_of_the_configuration(tmp_path: Path) -> None:
    folder = save(random_model(*GEOMETRIES["qwen3"]), tmp_path / "checkpoint")
    write_language_model(tmp_path / "model.gguf", open_language_model(folder), vocabulary(), "a name")
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    held = {name: field.contents() for name, field in reader.fields.items()}
    expected = {
        "general.architecture": "qwen3",
        "general.name": "a name",
        "qwen3.context_length": CONTEXT,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 32,
        "qwen3.attention.value_length": 32,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }
    assert {name: held.get(name) for name in expected} == expected
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert {types[f"blk.1.attn_{part}_norm.weight"] for part in "qk"} == {"F32"} and types["output.weight"] == "F16"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA with tied embeddings in one file; copy it before changing it."""
    folder = tmp_path_factory.mktemp("llama")
    model = random_model(*GEOMETRIES["llama, tied"])
    model.half().save_pretrained(folder)
    return folder


def changed(checkpoint: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    """A copy of the checkpoint with other tensors."""
    tensors = load_file(checkpoint / "model.safetensors")
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    return folder


def test_other_parts_of_a_checkpoint_are_given_aside_by_whoever_knows_them(checkpoint: Path, tmp_path: Path) -> None:
    def composite(tensors: dict[str, torch.Tensor]) -> None:
        plain = dict(tensors)
        tensors.clear()
        tensors |= {f"language_model.{name}": value for name, value in plain.items()}
        tensors["ecg_tower.patches.weight"] = torch.zeros(3)

    folder = changed(checkpoint, tmp_path, composite)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    nested = {"model_type": "llava", "tie_word_embeddings": config.pop("tie_word_embeddings"), "text_config": config}
    (folder / "config.json").write_text(json.dumps(nested), encoding="utf-8")
    prefix = "language_model."
    model = open_language_model(folder, lambda name: name.removeprefix(prefix) if name.startswith(prefix) else None)
    assert model.aside == ("ecg_tower.patches.weight",) and model.geometry.tied
    assert model.tensors["model.norm.weight"].name == "language_model.model.norm.weight"
    with pytest.raises(InputError, match=r"unexpected \(\d+\): .*ecg_tower\.patches\.weight"):
        open_language_model(folder)
    with pytest.raises(InputError, match="expected one tensor for the_same"):
        open_language_model(folder, lambda name: "the_same")


def test_an_output_matrix_beside_tied_embeddings_is_left_out_if_it_is_a_copy(checkpoint: Path, tmp_path: Path) -> None:
    embedding = "model.embed_tokens.weight"
    folder = changed(checkpoint, tmp_path, lambda held: held.update({"lm_head.weight": held[embedding].clone()}))
    model = open_language_model(folder)
    assert model.geometry.tied and "lm_head.weight" not in model.tensors and not model.geometry.notes
    folder = changed(checkpoint, tmp_path, lambda held: held.update({"lm_head.weight": held[embedding] + 1}))
    model = open_language_model(folder)
    assert not model.geometry.tied and "lm_head.weight" in model.tensors
    assert "not tied" in model.geometry.notes[0]


@pytest.mark.parametrize("shape", [(), (8, 0)], ids=str)
def test_an_embedding_of_another_shape_is_named_whatever_is_tied(
    shape: tuple[int, ...], checkpoint: Path, tmp_path: Path
) -> None:
    names = ("model.embed_tokens.weight", "lm_head.weight")
    folder = changed(checkpoint, tmp_path, lambda held: held.update((name, torch.zeros(shape)) for name in names))
    with pytest.raises(InputError, match=r"other shape \(2\): lm_head\.weight .*, model\.embed_tokens\.weight"):
        open_language_model(folder)
    eighths = torch.zeros(ROWS, 64, dtype=torch.float8_e4m3fn)
    folder = changed(checkpoint, tmp_path, lambda held: held.update({"lm_head.weight": eighths}))
    with pytest.raises(InputError, match=r"other type \(1\): lm_head\.weight F8"):
        open_language_model(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_are_read_as_fp16_and_vectors_as_float32(dtype: torch.dtype, checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path, lambda held: held.update({n: t.to(dtype) for n, t in held.items()}))
    held, model = load_file(folder / "model.safetensors"), open_language_model(folder)
    for name, kind in (("model.embed_tokens.weight", np.float16), ("model.norm.weight", np.float32)):
        value = read_tensor(model.tensors[name])
        assert value.dtype == kind
        np.testing.assert_array_equal(value, held[name].float().numpy().astype(kind))


def test_a_number_that_fp16_cannot_hold_is_refused_and_leaves_no_file(checkpoint: Path, tmp_path: Path) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    folder = changed(checkpoint, tmp_path, lambda held: held.update({name: held[name].float() * 1e6}))
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        write_language_model(tmp_path / "model.gguf", open_language_model(folder), vocabulary(), "large")
    assert not (tmp_path / "model.gguf").exists()


TENSORS: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    r"missing \(1\): model\.norm\.weight": lambda held: held.pop("model.norm.weight"),
    r"unexpected \(1\): model\.layers\.2\.x": lambda held: held.update({"model.layers.2.x": torch.zeros(1)}),
    r"model\.norm\.weight \(63,\) instead of \(64,\)": lambda held: held.update({"model.norm.weight": torch.zeros(63)}),
    r"other type \(1\): model\.norm\.weight I8": lambda held: held.update(
        {"model.norm.weight": torch.zeros(64, dtype=torch.int8)}
    ),
}


@pytest.mark.parametrize("reason", TENSORS)
def test_tensors_that_are_not_the_configurations_are_refused_by_name(
    reason: str, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=reason):
        open_language_model(changed(checkpoint, tmp_path, TENSORS[reason]))


def test_shards_may_not_leave_the_folder(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    index = tmp_path / "model.safetensors.index.json"
    for shard in ("../model.safetensors", "/etc/model.safetensors", "model.bin", 7):
        index.write_text(json.dumps({"weight_map": {"model.norm.weight": shard}}), encoding="utf-8")
        with pytest.raises(InputError, match="the index names"):
            open_language_model(tmp_path)
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": "a.safetensors"}}), encoding="utf-8")
    with pytest.raises(InputError, match=r"missing: a\.safetensors"):
        open_language_model(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="could not read it"):
        open_language_model(tmp_path)
    index.write_text("[1]", encoding="utf-8")
    with pytest.raises(InputError, match="JSON object"):
        open_language_model(tmp_path)
    index.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="weight_map"):
        open_language_model(tmp_path)


def test_pickles_are_never_opened(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"pytorch_model\.bin: pickles"):
        open_language_model(tmp_path)


def test_an_unreadable_configuration_is_an_input_error(tmp_path: Path) -> None:
    for content in (b"", b"\xff\xfe", b"[" * 100_000, b"nonsense", b"{" + b" " * (5 << 20) + b"}"):
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(InputError, match=r"config\.json"):
            open_language_model(tmp_path)
    with pytest.raises(InputError, match="found none"):
        open_language_model(tmp_path / "nowhere")


@pytest.mark.parametrize("made", [lambda path: path.symlink_to("/dev/zero"), os.mkfifo], ids=["a device", "a pipe"])
def test_what_has_no_end_is_never_read(made: Callable[[Path], None], tmp_path: Path) -> None:
    made(tmp_path / "config.json")
    for read in (open_language_model, load_config, read_checkpoint):
        with pytest.raises(InputError, match=r"config\.json"):
            read(tmp_path)


def llama(**change: Any) -> dict[str, Any]:
    return {"model_type": "llama", **SIZES, **change}


WRONG: dict[str, dict[str, Any]] = {
    "model_type": llama(model_type="gpt_neox"),
    "found None": {"hidden_size": 64},
    "quantization_config": llama(quantization_config={"quant_method": "gptq"}),
    "activation 'gelu'": llama(hidden_act="gelu"),
    "found 'yarn' in a llama": llama(rope_scaling={"rope_type": "yarn", "factor": 2.0}),
    "found 'llama3' in a qwen2": llama(model_type="qwen2", rope_parameters=LLAMA3),
    "positive numbers for linear": llama(rope_scaling={"rope_type": "linear", "factor": "much"}),
    "low_freq_factor below": llama(rope_parameters=LLAMA3 | {"low_freq_factor": 4.0}),
    "hidden_size -1": llama(hidden_size=-1),
    "num_hidden_layers 100000": llama(num_hidden_layers=100_000),
    "vocab_size 3.5": llama(vocab_size=3.5),
    "rms_norm_eps nan": llama(rms_norm_eps=float("nan")),
    "tie_word_embeddings 'yes'": llama(tie_word_embeddings="yes"),
    "bos_token_id -1": llama(bos_token_id=-1),
    "not a multiple": llama(hidden_size=66),
    "3 key-value heads for 4": llama(num_key_value_heads=3),
    "an odd head": llama(model_type="qwen2", hidden_size=60),
    "do not add up": llama(model_type="qwen2", head_dim=32),
    "biases in a qwen3": llama(model_type="qwen3", attention_bias=True),
    "a part of each head": llama(partial_rotary_factor=0.5),
}


@pytest.mark.parametrize("reason", WRONG)
def test_a_geometry_that_llama_cpp_would_not_follow_is_refused(reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_geometry(WRONG[reason])


def test_a_sliding_window_bounds_the_context() -> None:
    geometry = read_geometry(llama(model_type="mistral", sliding_window=32))
    assert geometry.context == 32 and "sliding window of 32" in geometry.notes[0]
    assert read_geometry(llama(model_type="mistral", sliding_window=None)).context == CONTEXT
    assert read_geometry(llama(model_type="qwen2", sliding_window=32, use_sliding_window=False)).context == CONTEXT


def test_a_family_with_its_own_name_for_a_llama_says_what_it_is() -> None:
    config = llama(model_type="llava_llama", rope_theta=12345.0, eos_token_id=[7, 8], mm_hidden_size=1024)
    geometry = read_geometry(config, "llama")
    assert (geometry.rope_theta, geometry.eos, geometry.architecture) == (12345.0, 7, "llama")
    turning = llama(model_type="qwen3_vl_text", rope_scaling={"mrope_section": [24, 20, 20], "rope_type": "default"})
    assert "M-RoPE" in read_geometry(turning, "qwen3").notes[0]
