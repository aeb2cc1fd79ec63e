"""Tokenizers as published models have them, trained on the spot: byte-level BPE, and SentencePiece's BPE."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.convert_slow_tokenizer import generate_merges

from uniecg_export.gguf_vocabulary import LLAMA3_PATTERN, SPLIT_PATTERN

SPECIALS = ("<unk>", "<s>", "</s>")
LATE = ("<|user|>", "[ECG]", "<tool_call>")  # added after training; the last is no special token
SIZE = 1600  # rows of the embedding, more than any of the tokenizers here has
SPACE = "▁"


def ecg_lines(count: int, seed: int = 0) -> list[str]:
    """Lines as models of ECGs read and write them, and as people type them: numbers, units, leads, odd spacing."""
    rng = random.Random(seed)
    leads = ["I", "II", "III", "aVR", "aVL", "aVF", *(f"V{i}" for i in range(1, 7))]
    found = ["sinus rhythm", "atrial fibrillation", "complete left bundle branch block", "ST elevation", "LVH", "WPW"]
    other = [
        "Größe 1,72 m",
        "心电图显示什么",
        "Что показывает ЭКГ?",
        "µV ±0.05",
        "12½",
        "🫀",
        "naïve café",
        "e\u0301 —",
    ]
    odd = ["  ", "\t", "\n", "\r\n", " \n ", "    ", "\u00a0", "...", "!!!", "----", "=====", "it's", "I'LL", "don't"]
    letters = "abcxyzAVR0123456789 .,;:|/-+()_\n'\""
    shapes: list[Callable[[], str]] = [
        lambda: f"HR {rng.randint(20, 250)} PR {rng.randint(80, 400)} ms QTc {rng.random():.4f}",
        lambda: f"{rng.choice(found).capitalize()}; T inversion {rng.choice(leads)} ({rng.random():.3f} mV).",
        lambda: f"Is there {rng.choice(found)} in {rng.choice(leads)}/{rng.choice(leads)}?",
        lambda: f"Generate an ECG with {rng.choice(found)}, male, {rng.randint(1, 99)} years @25mm/s",
        lambda: "".join(rng.choices(letters, k=rng.randint(0, 40))),
        lambda: rng.choice(odd).join([*rng.sample(found, 2), rng.choice(other)]),
        lambda: rng.choice(odd) + rng.choice(other) + rng.choice(odd) + str(rng.randint(0, 10**9)) + rng.choice(odd),
    ]
    return [rng.choice(shapes)() for _ in range(count)]


def layout(kind: str) -> Any:
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind in ("gpt-2", "smollm"))
    if kind == "gpt-2":
        return level
    pattern = SPLIT_PATTERN if kind == "qwen2" else LLAMA3_PATTERN
    first = pre_tokenizers.Digits(True) if kind == "smollm" else pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([first, level])


def byte_level(kind: str, lines: list[str]) -> Tokenizer:
    """Trained on lines; the words of a LLaMA 3 skip the merges, as its tokenizer has it."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    tokenizer.normalizer = normalizers.NFC() if kind == "qwen2" else None
    tokenizer.pre_tokenizer = layout(kind)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=1200, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.add_special_tokens(["<|begin_of_text|>", *LATE[:2]])
    tokenizer.add_tokens([AddedToken(LATE[2], normalized=False)])
    start = "<|begin_of_text|>"
    tokens = [(start, tokenizer.token_to_id(start))]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A", special_tokens=tokens)
    return tokenizer


def pieces(lines: list[str]) -> dict[str, float]:
    """SentencePiece's BPE as LLaMA has it: specials, bytes, merged pieces by rank, then characters; with scores."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE)
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=1000, limit_alphabet=90, show_progress=False))
    texts = [text for text, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    ordered = [text for text in texts if len(text) > 1] + [text for text in texts if len(text) == 1]
    head = [*SPECIALS, *(f"<0x{i:02X}>" for i in range(256))]
    return dict.fromkeys(head, 0.0) | {text: -float(i) for i, text in enumerate(ordered)}


def llama_tokenizer(scores: Mapping[str, float], *, metaspace: str | None = None) -> Tokenizer:
    """What transformers makes of such a model: its old layout, or Metaspace with a scheme."""
    ids = {text: i for i, text in enumerate(scores)}
    merges = generate_merges(ids, scores, skip_tokens=list(scores)[:259])
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace is None:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=metaspace, split=False)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in (*SPECIALS, *LATE[:2])])
    tokenizer.add_tokens([AddedToken(LATE[2], normalized=False)])
    return tokenizer


def field(number: int, value: int | bytes | float) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", value)
    size = value if isinstance(value, int) else len(value)
    digits = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    key = number << 3 | (0 if isinstance(value, int) else 2)
    return bytes([key & 0x7F | 0x80, key >> 7]) + digits + (b"" if isinstance(value, int) else value)


def sentencepiece_model(scores: Mapping[str, float], **change: int) -> bytes:
    """tokenizer.model of LLaMA's kind; change: fields of the trainer (t35=0) and the normalizer (n4=1)."""
    kinds = [2, 3, 3, *[6] * 256]
    kinds += [1] * (len(scores) - len(kinds))
    numbers = {"t3": 2, "t35": 1, "n3": 1, "n4": 0, "n5": 1} | change
    entries = zip(scores.items(), kinds, strict=True)
    model = b"".join(
        field(1, field(1, text.encode()) + field(2, score) + field(3, kind)) for (text, score), kind in entries
    )
    for part, letter in ((2, "t"), (3, "n")):
        chosen = {int(name[1:]): value for name, value in numbers.items() if name[0] == letter}
        model += field(part, b"".join(field(number, value) for number, value in chosen.items()))
    return model


def write_folder(folder: Path, scores: Mapping[str, float], *files: str, metaspace: str | None = None) -> Tokenizer:
    """The named files of a LLaMA tokenizer's folder; the tokenizer as transformers runs it."""
    tokenizer = llama_tokenizer(scores, metaspace=metaspace)
    late = {token: tokenizer.token_to_id(token) for token in LATE}
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "additional_special_tokens": ["<|user|>", "[ECG]"]}
    contents = {
        "tokenizer.model": sentencepiece_model(scores),
        "tokenizer.json": tokenizer.to_str().encode(),
        "added_tokens.json": json.dumps(late).encode(),
        "tokenizer_config.json": json.dumps(config).encode(),
    }
    for name in files:
        (folder / name).write_bytes(contents[name])
    return tokenizer
