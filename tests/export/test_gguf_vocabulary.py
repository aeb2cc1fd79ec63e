"""Tokenizers: llama.cpp gives the tokens that Hugging Face's give, or the tokenizer is refused with the reason."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import TokenType
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import LlamaConfig

from made_tokenizers import (
    LATE,
    SIZE,
    SPECIALS,
    byte_level,
    ecg_lines,
    pieces,
    sentencepiece_model,
    write_folder,
)
from uniecg_device.errors import InputError
from uniecg_export.gguf_vocabulary import Vocabulary, prepare_text, read_vocabulary
from uniecg_export.gguf_writer import write_gguf
from uniecg_export.sentencepiece_model import MOST_PIECES
from uniecg_runtime.backends.llama import LanguageModel

KINDS = ("qwen2", "llama-bpe", "smaug-bpe", "gpt-2", "smollm")


def with_specials(lines: Iterable[str], specials: Iterable[str], seed: int = 1) -> list[str]:
    """Every third line has special tokens in it, with and without spaces around them."""
    rng, names, done = random.Random(seed), list(specials), []
    for i, line in enumerate(lines):
        cut = rng.randint(0, len(line))
        space = [rng.choice(("", "", " ", "  ")) for _ in range(2)]
        done.append(line if i % 3 else line[:cut] + space[0] + rng.choice(names) + space[1] + line[cut:])
    return done


def opened(vocabulary: Vocabulary, folder: Path) -> LanguageModel:
    """The vocabulary in llama.cpp, with a language model of zeros."""
    config = LlamaConfig(
        vocab_size=len(vocabulary.tokens),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        bos_token_id=1,
        eos_token_id=2,
    )
    matrices = [*(f"self_attn.{letter}_proj" for letter in "qkvo"), "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    shapes = dict.fromkeys(matrices, (32, 32))
    layer: dict[str, tuple[int, ...]] = {**shapes, "input_layernorm": (32,), "post_attention_layernorm": (32,)}
    weights = {f"model.layers.0.{name}.weight": np.zeros(shape, np.float16) for name, shape in layer.items()}
    weights |= {"model.norm.weight": np.zeros(32), "model.embed_tokens.weight": np.zeros((config.vocab_size, 32))}
    write_gguf(folder / "model.gguf", weights, config, vocabulary, "vocabulary")
    return LanguageModel(folder / "model.gguf", context=64, threads=1)


def differing(tokenizer: Tokenizer, vocabulary: Vocabulary, model: LanguageModel, lines: list[str]) -> list[str]:
    """Lines that llama.cpp gives other tokens."""
    expected = [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)]
    found = (model.tokenize(prepare_text(vocabulary, line)) for line in lines)
    return [line for line, a, b in zip(lines, found, expected, strict=True) if a != b]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return ecg_lines(2000)


@pytest.mark.parametrize("kind", KINDS)
def test_byte_level_tokenizers_of_every_layout_agree_on_every_line(kind: str, lines: list[str], tmp_path: Path) -> None:
    tokenizer = byte_level(kind, ecg_lines(600, seed=5))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocabulary = read_vocabulary(tmp_path, SIZE)
    assert (vocabulary.pre, vocabulary.normal_form) == (kind, "NFC" if kind == "qwen2" else None)
    assert vocabulary.add_bos and vocabulary.spaces == "none"
    assert differing(tokenizer, vocabulary, opened(vocabulary, tmp_path), with_specials(lines, LATE)) == []


@pytest.fixture(scope="module")
def scores() -> dict[str, float]:
    return pieces(ecg_lines(600, seed=5))


SOURCES = {
    "tokenizer.model alone": ("tokenizer.model", "added_tokens.json", "tokenizer_config.json"),
    "tokenizer.json alone": ("tokenizer.json", "tokenizer_config.json"),
    "both": ("tokenizer.model", "tokenizer.json", "tokenizer_config.json"),
}


@pytest.mark.parametrize("source", SOURCES)
def test_sentencepiece_tokenizers_agree_on_every_line_whatever_file_they_are_in(
    source: str, scores: dict[str, float], lines: list[str], tmp_path: Path
) -> None:
    tokenizer = write_folder(tmp_path, scores, *SOURCES[source])
    vocabulary = read_vocabulary(tmp_path, SIZE)
    assert (vocabulary.spaces, vocabulary.bos, vocabulary.eos, vocabulary.unknown) == ("each", 1, 2, 0)
    assert vocabulary.add_bos == (source == "tokenizer.model alone")
    texts = with_specials(lines, (*SPECIALS, *LATE))
    assert differing(tokenizer, vocabulary, opened(vocabulary, tmp_path), texts) == []


@pytest.mark.parametrize(("metaspace", "spaces"), [("first", "first"), ("always", "always"), ("never", "none")])
def test_a_space_in_front_that_llama_cpp_would_set_otherwise_is_prepared(
    metaspace: str, spaces: str, scores: dict[str, float], lines: list[str], tmp_path: Path
) -> None:
    tokenizer = write_folder(tmp_path, scores, "tokenizer.model", "tokenizer.json", metaspace=metaspace)
    vocabulary = read_vocabulary(tmp_path, SIZE)
    assert vocabulary.spaces == spaces
    texts = with_specials(lines, (*SPECIALS, *LATE))
    assert differing(tokenizer, vocabulary, opened(vocabulary, tmp_path), texts) == []


def test_vicunas_settings_set_a_space_in_front_of_the_first_piece_only(
    scores: dict[str, float], lines: list[str], tmp_path: Path
) -> None:
    tokenizer = write_folder(tmp_path, scores, "tokenizer.model", "added_tokens.json", metaspace="first")
    (tmp_path / "tokenizer_config.json").write_text('{"legacy": false, "bos_token": "<s>"}', encoding="utf-8")
    vocabulary = read_vocabulary(tmp_path, SIZE)
    assert vocabulary.spaces == "first"
    texts = with_specials(lines, (*SPECIALS, *LATE))
    assert differing(tokenizer, vocabulary, opened(vocabulary, tmp_path), texts) == []


def test_the_sentencepiece_library_itself_agrees(scores: dict[str, float], lines: list[str], tmp_path: Path) -> None:
    library = pytest.importorskip("sentencepiece", reason="needs the package `sentencepiece`")
    write_folder(tmp_path, scores, "tokenizer.model")
    processor = library.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    vocabulary = read_vocabulary(tmp_path, SIZE)
    model = opened(vocabulary, tmp_path)
    texts = [line for line in lines if line]
    assert [line for line in texts if model.tokenize(line) != processor.encode(line)] == []


def test_special_tokens_keep_their_ids_and_typed_text_never_becomes_one(
    scores: dict[str, float], tmp_path: Path
) -> None:
    tokenizer = write_folder(tmp_path, scores, *SOURCES["tokenizer.model alone"])
    vocabulary = read_vocabulary(tmp_path, SIZE)
    model = opened(vocabulary, tmp_path)
    for token in ("<s>", "</s>", "<|user|>", "[ECG]"):
        (only,) = model.tokenize(token)
        assert only == tokenizer.token_to_id(token) and model.is_special(only)
        assert not any(map(model.is_special, model.tokenize(token, special=False)))
    ordinary = tokenizer.token_to_id("<tool_call>")
    assert vocabulary.types[ordinary] == TokenType.USER_DEFINED
    assert vocabulary.types[-1] == TokenType.UNUSED and not model.is_text(SIZE - 1)


def test_settings_say_which_tokens_go_around_a_text(scores: dict[str, float], tmp_path: Path) -> None:
    write_folder(tmp_path, scores, "tokenizer.model")
    said = {"pad_token": "<unk>", "add_bos_token": False, "add_eos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")
    vocabulary = read_vocabulary(tmp_path, SIZE)
    assert (vocabulary.bos, vocabulary.eos, vocabulary.pad) == (1, None, 0)
    assert (vocabulary.add_bos, vocabulary.add_eos) == (False, True)
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "<nowhere>"}', encoding="utf-8")
    with pytest.raises(InputError, match="pad_token '<nowhere>'"):
        read_vocabulary(tmp_path, SIZE)


MODELS: dict[str, dict[str, int]] = {
    "no BPE": {"t3": 1},
    "fall back to bytes": {"t35": 0},
    "behind words": {"t24": 1},
    "drops or keeps spaces": {"n4": 1},
}


@pytest.mark.parametrize("reason", MODELS)
def test_a_sentencepiece_model_that_llama_cpp_would_not_follow_is_refused(
    scores: dict[str, float], tmp_path: Path, reason: str
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model(scores, **MODELS[reason]))
    with pytest.raises(InputError, match=reason):
        read_vocabulary(tmp_path, SIZE)


def lone_merge(held: dict[str, Any]) -> None:
    held["model"]["merges"] = held["model"]["merges"][1:]


def shuffled_merges(held: dict[str, Any]) -> None:
    merges = held["model"]["merges"]
    twice = next(i for i, (a, b) in enumerate(merges) if i and a + b == "".join(merges[i - 1]))
    merges.append(merges.pop(twice))


def reachable_special(held: dict[str, Any]) -> None:
    held["added_tokens"].append(held["added_tokens"][0] | {"id": SIZE - 1, "content": "HRPR"})


LAYOUTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "apart": lone_merge,
    "lie between": shuffled_merges,
    "typed text becomes": reachable_special,
    "normalized text": lambda held: held["added_tokens"][0].update(normalized=True),
    "spaces otherwise": lambda held: held.update(normalizer={"type": "NFKC"}),
    "in the place of others": lambda held: held["added_tokens"].append({"id": 300, "content": "<new>"}),
    "strips": lambda held: held["added_tokens"][0].update(rstrip=True),
    "word of its own": lambda held: held["added_tokens"][0].update(single_word=True),
    "'--' and '-->' can overlap": lambda held: held["added_tokens"].extend(
        {"id": SIZE - 1 - i, "content": text} for i, text in enumerate(("-->", "--"))
    ),
    "overlap": lambda held: held["added_tokens"].append({"id": SIZE - 1, "content": "|><x"}),
    "byte": lambda held: held["model"]["vocab"].pop("<0x0A>"),
    "could not read": lambda held: held.pop("added_tokens"),
}


@pytest.mark.parametrize("reason", LAYOUTS)
def test_a_layout_of_llama_that_llama_cpp_would_not_follow_is_refused(
    scores: dict[str, float], tmp_path: Path, reason: str
) -> None:
    write_folder(tmp_path, scores, "tokenizer.json")
    held = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    LAYOUTS[reason](held)
    (tmp_path / "tokenizer.json").write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(InputError, match=reason):
        read_vocabulary(tmp_path, SIZE)


def test_a_special_token_that_llama_3_would_take_for_a_word_is_refused(lines: list[str], tmp_path: Path) -> None:
    tokenizer = byte_level("llama-bpe", lines[:200])
    tokenizer.add_special_tokens(["ECG"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="typed text becomes the special token 'ECG'"):
        read_vocabulary(tmp_path, SIZE)


def test_an_ordinary_token_that_llama_cpp_would_end_on_is_made_unused(lines: list[str], tmp_path: Path) -> None:
    tokenizer = byte_level("qwen2", lines[:200])
    held = json.loads(tokenizer.to_str())
    held["model"]["vocab"]["</s>"] = SIZE - 1  # Qwen2's own vocabulary has it
    (tmp_path / "tokenizer.json").write_text(json.dumps(held), encoding="utf-8")
    vocabulary = read_vocabulary(tmp_path, SIZE)
    assert "no text gives '</s>'" in vocabulary.notes[0] and vocabulary.types[-1] == TokenType.UNUSED
    texts = with_specials(lines[:300], ("</s>",))
    known = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert differing(known, vocabulary, opened(vocabulary, tmp_path), texts) == []


def test_two_files_that_contradict_each_other_are_refused(scores: dict[str, float], tmp_path: Path) -> None:
    write_folder(tmp_path, scores, "tokenizer.model", "tokenizer.json")
    changed = sentencepiece_model({text + "x" * (i == 300): score for i, (text, score) in enumerate(scores.items())})
    (tmp_path / "tokenizer.model").write_bytes(changed)
    with pytest.raises(InputError, match="different tokens"):
        read_vocabulary(tmp_path, SIZE)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json or tokenizer\.model"):
        read_vocabulary(tmp_path, SIZE)


def test_scores_that_are_no_numbers_are_an_input_error(scores: dict[str, float], tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model({**scores, "xyz": float("nan")}))
    with pytest.raises(InputError, match="no number"):
        read_vocabulary(tmp_path, SIZE)


def test_a_model_of_more_pieces_than_any_is_refused_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a\x00" * (MOST_PIECES + 1))
    with pytest.raises(InputError, match=f"more than {MOST_PIECES} pieces"):
        read_vocabulary(tmp_path, SIZE)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), cut=st.integers(0, 4000))
def test_bytes_that_are_no_tokenizer_are_an_input_error(
    data: bytes, cut: int, scores: dict[str, float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged" / "tokenizer.model"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(sentencepiece_model(scores)[:cut] + data)
    with pytest.raises(InputError):
        read_vocabulary(path.parent, SIZE)
