"""The language model's file: order of rows, names, metadata, tokenizer, and silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import llama_cpp.llama_cpp as api
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from opened import Opened
from uniecg_device.errors import BackendError, InputError
from uniecg_export.bundle import Exported
from uniecg_export.families.uniecg_nano import llama_config
from uniecg_export.gguf_writer import (
    TYPES,
    Precision,
    Vocabulary,
    permute,
    quantize,
    read_tokenizer,
    write_gguf,
)
from uniecg_export.importance import write_importance
from uniecg_export.language import in_torch
from uniecg_runtime.backends.llama import LanguageModel
from uniecg_runtime.verify import relative_error


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
def test_llama_cpp_tokenises_as_the_checkpoint_does(tokenizers: tuple[LanguageModel, Opened], text: str) -> None:
    model, opened = tokenizers
    assert model.tokenize(text) == opened.tokenize(text)


@pytest.fixture(scope="module")
def tokenizers(bundle_f16: Exported, opened: Opened) -> tuple[LanguageModel, Opened]:
    return LanguageModel(bundle_f16.folder / "language_model.gguf", context=64, threads=1), opened


def drop_merge_pairs(held: dict[str, Any]) -> None:
    held["model"]["merges"] = [" ".join(pair) for pair in held["model"]["merges"]]


def test_merges_are_read_as_pairs_and_as_lines(checkpoint: Path, tmp_path: Path) -> None:
    changed = change_tokenizer(checkpoint, tmp_path, drop_merge_pairs)
    assert read_tokenizer(changed, 512) == read_tokenizer(checkpoint / "tokenizer.json", 512)


def test_ids_without_a_token_are_marked_as_unused(checkpoint: Path) -> None:
    vocabulary = read_tokenizer(checkpoint / "tokenizer.json", 520)
    assert vocabulary.tokens[-1] == "[unused 519]" and vocabulary.types[-1] == gguf.TokenType.UNUSED


REFUSED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "normalizer": lambda held: held.update(normalizer={"type": "NFC"}),
    "pre-tokenizer": lambda held: held["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex="\\w+"),
    "not pairs of tokens": lambda held: held["model"]["merges"].append(["nowhere", "else"]),
    "a byte has no token": lambda held: held["model"]["vocab"].pop("Ċ"),
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


def test_a_tensor_that_no_llama_has_is_refused_by_name(opened: Opened, tmp_path: Path) -> None:
    weights, config = (
        {"model.layers.0.self_attn.q_proj.bias": np.zeros(4, np.float32)},
        llama_config(opened.model.config),
    )
    with pytest.raises(InputError, match=r"self_attn\.q_proj\.bias"):
        write_gguf(tmp_path / "model.gguf", weights, config, bytes_vocabulary(), "strange")


def test_llama_cpp_writes_nothing_to_the_terminal(
    bundle_f16: Exported, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = shutil.copy(bundle_f16.folder / "language_model.gguf", tmp_path / "f16.gguf")
    quantize(Path(source), tmp_path / "q8.gguf", "q8_0")
    LanguageModel(tmp_path / "q8.gguf", context=64, threads=1).feed_tokens([1])
    assert capfd.readouterr() == ("", "")


def bytes_vocabulary(**change: Any) -> Vocabulary:
    """Two special tokens, the bytes, one merge."""
    tokens = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "he"]
    types = [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * 257
    held: dict[str, Any] = {"tokens": tuple(tokens), "types": tuple(map(int, types)), "merges": ("h e",)}
    return Vocabulary(**held | change)


def random_llama(folder: Path, width: int, feed_forward: int) -> tuple[LlamaForCausalLM, Path]:
    """Two layers with tied embeddings, columns of unlike weight; f16 file of them."""
    config = LlamaConfig(
        vocab_size=259,
        hidden_size=width,
        intermediate_size=feed_forward,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(2)
        model = LlamaForCausalLM(config).eval()
        for name, parameter in model.named_parameters():
            drawn = torch.rand_like(parameter) ** 2 * 3 if "norm" in name else torch.randn_like(parameter) * 0.05
            parameter.copy_(drawn.half())
    weights = {name: value.numpy() for name, value in model.state_dict().items() if name != "lm_head.weight"}
    write_gguf(folder / "f16.gguf", weights, config, bytes_vocabulary(), "random")
    return model, folder / "f16.gguf"


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[LlamaForCausalLM, Path]:
    """Rows that divide into the quantizer's blocks of 256."""
    return random_llama(tmp_path_factory.mktemp("wide"), 256, 512)


def logits_of(path: Path, ids: list[int]) -> NDArray[np.float32]:
    model = LanguageModel(path, context=64, threads=1)
    return np.stack([model.feed_tokens([token]) for token in ids])


PRECISIONS: tuple[Precision, ...] = ("q8_0", "q6_k", "q5_k_m", "q4_k_m")


def test_every_precision_is_what_it_says_and_errs_more_the_smaller_it_is(
    wide: tuple[LlamaForCausalLM, Path], tmp_path: Path
) -> None:
    model, source = wide
    ids = np.random.default_rng(0).integers(0, 259, 64).tolist()
    expected, _ = in_torch(model)([], None, ids)
    sizes, errors = [], []
    for precision in PRECISIONS:
        path = tmp_path / f"{precision}.gguf"
        done = quantize(source, path, precision)
        matrices = {kind for name, kind in done.types.items() if "norm" not in name}
        assert matrices <= set(TYPES[precision]) and TYPES[precision][0] in matrices and not done.fallbacks
        errors.append(relative_error(logits_of(path, ids), expected))
        sizes.append(path.stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors) and errors[0] < 0.06 and errors[-1] < 0.8, errors  # random weights


def test_rows_that_do_not_divide_into_blocks_are_reported(tmp_path: Path) -> None:
    _, source = random_llama(tmp_path, 96, 80)
    done = quantize(source, tmp_path / "q4.gguf", "q4_k_m")
    assert {name: kind for name, kind in done.fallbacks.items() if name.startswith(("blk.0", "token"))} == {
        "token_embd.weight": "Q8_0",
        "blk.0.attn_q.weight": "Q5_0",
        "blk.0.attn_k.weight": "Q5_0",
        "blk.0.attn_v.weight": "Q5_0",
        "blk.0.attn_output.weight": "Q5_0",
        "blk.0.ffn_gate.weight": "Q5_0",
        "blk.0.ffn_up.weight": "Q5_0",
        "blk.0.ffn_down.weight": "F16",
    }


TEXTS_OF_DOMAIN = ("HR 72 PR 160 QRS 92 QT 400", "sinus rhythm; normal ECG", "ST elevation V2 V3" * 3)


@pytest.fixture(scope="module")
def importance(wide: tuple[LlamaForCausalLM, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("importance") / "imatrix.gguf"
    assert write_importance(wide[1], TEXTS_OF_DOMAIN, path) == sum(map(len, TEXTS_OF_DOMAIN))
    return path


def inputs_of(model: LlamaForCausalLM, path: Path) -> dict[str, NDArray[np.float32]]:
    """torch's sums of squares of what each matrix is multiplied with, by llama.cpp's names."""
    places = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output"}
    places |= {"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}
    sums: dict[str, Any] = {}

    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        def hook(_: Any, inputs: Any, __: Any) -> None:
            sums[name] = sums.get(name, 0.0) + np.square(inputs[0][0].double().numpy()).sum(0)

        return hook

    handles = [
        module.register_forward_hook(keep(f"blk.{name.split('.')[2]}.{places[name.split('.')[-1]]}.weight"))
        for name, module in model.named_modules()
        if name.split(".")[-1] in places
    ]
    tokenizer = LanguageModel(path, context=64, threads=1)
    with torch.inference_mode():
        for text in TEXTS_OF_DOMAIN:
            model(torch.tensor([tokenizer.tokenize(text)]))
    for handle in handles:
        handle.remove()
    return sums


def test_importance_is_the_squares_of_what_each_matrix_is_multiplied_with(
    wide: tuple[LlamaForCausalLM, Path], importance: Path
) -> None:
    found = {tensor.name: tensor.data for tensor in gguf.GGUFReader(importance).tensors}
    expected = inputs_of(*wide)
    assert set(found) == {f"{name}.{part}" for name in expected for part in ("in_sum2", "counts")}
    for name, sums in expected.items():
        assert found[f"{name}.counts"].ravel() == [sum(map(len, TEXTS_OF_DOMAIN))]
        np.testing.assert_allclose(found[f"{name}.in_sum2"].ravel(), sums, rtol=0.02, atol=1e-3 * sums.max())


def test_importance_is_measured_in_the_machines_own_memory_whatever_llama_cpp_was_built_for(
    wide: tuple[LlamaForCausalLM, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    for name in ("llama_model_load_from_file", "llama_init_from_model"):
        real = getattr(api, name)
        monkeypatch.setattr(api, name, lambda first, params, real=real: asked.append(params) or real(first, params))
    write_importance(wide[1], TEXTS_OF_DOMAIN[:1], tmp_path / "imatrix.gguf")
    model, context = asked
    assert (model.n_gpu_layers, context.offload_kqv, context.op_offload) == (0, False, False)


def test_importance_makes_errors_small_where_they_count(
    wide: tuple[LlamaForCausalLM, Path], importance: Path, tmp_path: Path
) -> None:
    weights = {tensor.name: tensor.data.astype(np.float32) for tensor in gguf.GGUFReader(wide[1]).tensors}
    squares = inputs_of(*wide)
    errors = []
    for imatrix in (None, importance):
        quantize(wide[1], tmp_path / "q4.gguf", "q4_k_m", imatrix)
        held = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "q4.gguf").tensors}
        rounded = {name: gguf.dequantize(held[name].data, held[name].tensor_type) for name in squares}
        errors.append(sum(float((np.square(rounded[n] - weights[n]) * squares[n]).sum()) for n in squares))
    assert errors[1] < 0.9 * errors[0]


def test_what_is_no_importance_matrix_of_this_model_is_refused(
    wide: tuple[LlamaForCausalLM, Path], importance: Path, tmp_path: Path
) -> None:
    (tmp_path / "noise").write_bytes(b"GGUF" + bytes(60))
    for path in (tmp_path / "noise", tmp_path / "nowhere", wide[1]):
        with pytest.raises(InputError, match="importance matrix"):
            quantize(wide[1], tmp_path / "q4.gguf", "q4_k_m", path)
    _, other = random_llama(tmp_path, 512, 512)
    with pytest.raises(BackendError, match="quantize"):
        quantize(other, tmp_path / "q4.gguf", "q4_k_m", importance)
    with pytest.raises(InputError, match="found none"):
        write_importance(wide[1], (), tmp_path / "imatrix.gguf")


WRONG: dict[str, dict[str, Any]] = {
    "258 tokens": {"tokens": bytes_vocabulary().tokens[:-1], "types": bytes_vocabulary().types[:-1]},
    "twice": {"tokens": (*bytes_vocabulary().tokens[:-1], "<s>")},
    "empty": {"tokens": (*bytes_vocabulary().tokens[:-1], "")},
    "no text": {"tokens": (*bytes_vocabulary().tokens[:-1], "a\0b")},
    "ud800": {"tokens": (*bytes_vocabulary().tokens[:-1], "\ud800")},
    "makes special": {"tokens": (*bytes_vocabulary().tokens[:-1], "<|im_end|>")},
    "makes ordinary": {"tokens": ("<|start|>", *bytes_vocabulary().tokens[1:])},
    "neither merges nor scores": {"merges": ()},
    "no BOS or EOS": {"add_bos": True},
    "none of them": {"pad": 259},
}


@pytest.mark.parametrize("reason", WRONG)
def test_a_vocabulary_that_llama_cpp_would_stop_for_is_refused(reason: str, tmp_path: Path) -> None:
    config = LlamaConfig(vocab_size=259, hidden_size=32, num_attention_heads=2, bos_token_id=None)
    with pytest.raises(InputError, match=reason):
        write_gguf(tmp_path / "model.gguf", {}, config, bytes_vocabulary(**WRONG[reason]), "random")
    with pytest.raises(InputError, match="a name by which"):
        write_gguf(tmp_path / "model.gguf", {}, config, bytes_vocabulary(), "Phi-3-mini")
    assert not (tmp_path / "model.gguf").exists()
