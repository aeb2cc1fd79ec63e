"""A folder's tokenizer as the exporter runs it is the one that transformers runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from transformers import AutoTokenizer  # noqa: E402

from checkpoints import vicuna_tokenizer  # noqa: E402
from made_tokenizers import SIZE, byte_level, ecg_lines  # noqa: E402
from uniecg_device.errors import InputError  # noqa: E402
from uniecg_export.language import read_tokenizers  # noqa: E402

LINES = [line for line in ecg_lines(300, seed=9) if line]


def ids(folder: Path, lines: list[str], spaces: str) -> list[list[int]]:
    tokenizer, vocabulary = read_tokenizers(folder, SIZE)
    assert vocabulary.spaces == spaces and vocabulary.eos == 2
    return [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)]


def test_a_sentencepiece_model_alone_is_run_as_transformers_runs_it(tmp_path: Path) -> None:
    vicuna_tokenizer(tmp_path, ("[ECG]",))
    known, lines = AutoTokenizer.from_pretrained(tmp_path), [*LINES, "a[ECG]b</s> c", "[ECG]"]
    expected = [known(line, add_special_tokens=False).input_ids for line in lines]
    assert ids(tmp_path, lines, "first") == expected


def test_an_old_sentencepiece_model_is_run_as_its_own_library_runs_it(tmp_path: Path) -> None:
    library = pytest.importorskip("sentencepiece", reason="needs the package `sentencepiece`")
    vicuna_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": "</s>"}', encoding="utf-8")
    processor = library.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    assert ids(tmp_path, LINES, "each") == processor.encode(LINES)


def test_tokens_that_were_added_in_a_file_of_their_own_are_added(tmp_path: Path) -> None:
    tokenizer = byte_level("qwen2", ecg_lines(200))
    place = tokenizer.get_vocab_size()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|ecg_end|>": place}), encoding="utf-8")
    read, vocabulary = read_tokenizers(tmp_path, SIZE)
    assert read.encode("a<|ecg_end|>", add_special_tokens=False).ids[-1] == place and place in vocabulary.special
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|ecg_end|>": place + 1}), encoding="utf-8")
    with pytest.raises(InputError, match=rf"'<\|ecg_end\|>' as token {place + 1}"):
        read_tokenizers(tmp_path, SIZE)


@pytest.mark.parametrize("content", ["{", "[]", '{"model": {"type": "BPE"}}', '{"added_tokens": [], "model": 3}'])
def test_a_file_that_is_no_tokenizer_is_one_clear_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"tokenizer"):
        read_tokenizers(tmp_path, SIZE)
