"""The language model's file: order of rows, names, metadata, tokenizer, and silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniecg_device.errors import InputError
from uniecg_export.bundle import Exported
from uniecg_export.checkpoint import Checkpoint
from uniecg_export.families.uniecg_nano import llama_config
from uniecg_export.gguf_writer import gguf_tensors, permute, quantize, read_tokenizer
from uniecg_runtime.backends.llama import LanguageModel


@given(heads=st.integers(1, 4), half=st.integers(1, 6), columns=st.integers(1, 3))
def test_permuting_puts_the_two_rows_that_rotate_together_side_by_side(heads: int, half: int, columns: int) -> None:
    weight = np.arange(heads * 2 * half * columns).reshape(heads * 2 * half, columns)
    moved = permute(weight, heads)
    for head in range(heads):
        for i in range(half):
            first, second = moved[head * 2 * half + 2 * i], moved[head * 2 * half + 2 * i + 1]
            np.testing.assert_array_equal(first, weight[head * 2 * half + i])
            np.testing.assert_array_equal(second, weight[head * 2 * half + half + i])


@pytest.fixture(scope="module")
def written(bundle_f16: Exported) -> gguf.GGUFReader:
    return gguf.GGUFReader(bundle_f16.folder / "language_model.gguf")


def test_metadata_says_what_llama_cpp_needs(written: gguf.GGUFReader) -> None:
    held = {name: field.contents() for name, field in written.fields.items()}
    expected = {
        "general.architecture": "llama",
        "general.name": "uniecg-nano",
        "llama.vocab_size": 512,
        "llama.context_length": 1024,
        "llama.embedding_length": 64,
        "llama.block_count": 2,
        "llama.feed_forward_length": 128,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 4,
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
    }
    assert {name: held.get(name) for name in expected} == expected
    assert held["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)
    assert held["tokenizer.ggml.tokens"][:3] == ["<pad>", "<s>", "</s>"]
    assert len(held["tokenizer.ggml.tokens"]) == len(held["tokenizer.ggml.token_type"]) == 512


def test_matrices_are_half_precision_norms_are_not_and_the_output_is_the_embedding(written: gguf.GGUFReader) -> None:
    types = {tensor.name: tensor.tensor_type.name for tensor in written.tensors}
    assert "output.weight" not in types
    assert len(types) == 2 + 2 * 9
    assert {name for name, kind in types.items() if kind == "F32"} == {n for n in types if "norm" in n}


def test_every_matrix_is_eight_bits_after_quantization(bundle_q8: Exported) -> None:
    reader = gguf.GGUFReader(bundle_q8.folder / "language_model.gguf")
    assert {t.tensor_type.name for t in reader.tensors if "norm" not in t.name} == {"Q8_0"}
    assert bundle_q8.manifest.artifact("language_model").precision == "q8_0"


def test_special_tokens_are_control_tokens_that_typed_text_never_becomes(bundle_f16: Exported) -> None:
    model = LanguageModel(bundle_f16.folder / "language_model.gguf", context=64, threads=1)
    for token in ("<s>", "</s>", "<|user|>", "[ECG]", "<|yes|>", "<|stmt:NORM|>"):
        (only,) = model.tokenize(token)
        assert model.is_special(only)
        typed = model.tokenize(token, special=False)
        assert len(typed) > 1 and not any(map(model.is_special, typed))


# Letters whose class every Unicode version agrees on; both sides split text by class.
LETTERS = st.one_of(
    st.sampled_from("0123456789 .,;:|/-+()%'\n\t\r\"_[]<>{}µ±½°²≥→🫀❤️"),
    st.characters(min_codepoint=0x20, max_codepoint=0x17E),
    st.characters(min_codepoint=0x391, max_codepoint=0x3C9, categories=["Lu", "Ll"]),
    st.characters(min_codepoint=0x410, max_codepoint=0x44F),
    st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5),
)
WORDS = st.sampled_from(
    ["HR 72", " ms", "V1-V6", "isn't", "I'LL", "[ECG]", "<|user|>", "</s>", "12.5 mV", "  ", "\r\n"]
)


@settings(max_examples=400, deadline=None)
@given(text=st.lists(st.one_of(LETTERS, WORDS), max_size=40).map("".join))
def test_llama_cpp_tokenises_as_the_checkpoint_does(tokenizers: tuple[LanguageModel, Checkpoint], text: str) -> None:
    model, opened = tokenizers
    assert model.tokenize(text) == opened.tokenize(text)


@pytest.fixture(scope="module")
def tokenizers(bundle_f16: Exported, opened: Checkpoint) -> tuple[LanguageModel, Checkpoint]:
    return LanguageModel(bundle_f16.folder / "language_model.gguf", context=64, threads=1), opened


def drop_merge_pairs(held: dict[str, Any]) -> None:
    held["model"]["merges"] = [" ".join(pair) for pair in held["model"]["merges"]]


def test_merges_are_read_as_pairs_and_as_lines(checkpoint: Path, tmp_path: Path) -> None:
    changed = change_tokenizer(checkpoint, tmp_path, drop_merge_pairs)
    assert read_tokenizer(changed, 512) == read_tokenizer(checkpoint / "tokenizer.json", 512)


def test_ids_without_a_token_are_marked_as_unused(checkpoint: Path) -> None:
    vocabulary = read_tokenizer(checkpoint / "tokenizer.json", 520)
    assert vocabulary.tokens[-1] == "[unused519]" and vocabulary.types[-1] == gguf.TokenType.UNUSED


REFUSED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "normalizer": lambda held: held.update(normalizer={"type": "NFC"}),
    "pre-tokenizer": lambda held: held["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex="\\w+"),
    "not BPE": lambda held: held["model"].update(type="Unigram"),
    "dropout": lambda held: held["model"].update(dropout=0.1),
    "strips spaces": lambda held: held["added_tokens"][0].update(lstrip=True),
    "below 512": lambda held: held["added_tokens"][0].update(id=512),
    "could not read": lambda held: held.pop("model"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_tokenizer_that_llama_cpp_would_not_follow_is_refused(checkpoint: Path, tmp_path: Path, reason: str) -> None:
    changed = change_tokenizer(checkpoint, tmp_path, REFUSED[reason])
    with pytest.raises(InputError, match=reason):
        read_tokenizer(changed, 512)


def change_tokenizer(checkpoint: Path, folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    held = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    change(held)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(held), encoding="utf-8")
    return path


def test_a_tensor_that_no_llama_has_is_refused_by_name(opened: Checkpoint) -> None:
    config = llama_config(opened.model.config)
    with pytest.raises(InputError, match=r"self_attn\.q_proj\.bias"):
        gguf_tensors({"model.layers.0.self_attn.q_proj.bias": np.zeros(4, np.float32)}, config)


def test_llama_cpp_writes_nothing_to_the_terminal(
    bundle_f16: Exported, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = shutil.copy(bundle_f16.folder / "language_model.gguf", tmp_path / "f16.gguf")
    quantize(Path(source), tmp_path / "q8.gguf", "q8_0")
    LanguageModel(tmp_path / "q8.gguf", context=64, threads=1).feed_tokens([1])
    assert capfd.readouterr() == ("", "")
