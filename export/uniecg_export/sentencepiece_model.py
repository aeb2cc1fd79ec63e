"""SentencePiece models of LLaMA's kind: tokenizer.model, or the merges that a tokenizer.json made of one.

llama.cpp merges by score; what it would merge otherwise than the model says is refused with the reason.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from gguf import TokenType

from uniecg_device.errors import InputError

Spaces = Literal["none", "each", "first", "always"]

BYTE: Final = re.compile(r"<0x[0-9A-F]{2}>")
MODEL_BYTES: Final = 16 << 20
MOST_PIECES: Final = 1 << 19
LONGEST_PIECE: Final = 512  # characters
UNKNOWN_TO_LLAMA_CPP: Final = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")


@dataclass(frozen=True)
class Pieces:
    """Of a SentencePiece model: texts, scores, types, the id of BOS, and what it does with spaces."""

    tokens: dict[int, str]
    scores: dict[int, float]
    types: dict[int, int]
    bos: int | None
    spaces: Spaces


def read_model(path: Path) -> Pieces:
    """Pieces of a tokenizer.model (sentencepiece_model.proto: pieces 1, trainer 2, normalizer 3).

    Raises InputError for a model that llama.cpp would not follow, ValueError or another of its kind for damaged bytes.
    """
    data = path.read_bytes() if path.stat().st_size <= MODEL_BYTES else b""
    parts = [*islice(((field, value) for field, value in _fields(data) if field in (1, 2, 3)), MOST_PIECES + 1)]
    if len(parts) > MOST_PIECES:
        raise ValueError(f"more than {MOST_PIECES} pieces")
    pieces = [_message(value) for field, value in parts if field == 1]
    trainer, normalizer = (_message(b"".join(v for f, v in parts if f == field)) for field in (2, 3))
    refuse(
        path,
        {
            "it is no SentencePiece model": not pieces,
            "it is no BPE (a unigram model takes the likeliest pieces, llama.cpp merges)": trainer.get(3, 1) != 2,
            "its characters do not fall back to bytes": not trainer.get(35, 0),
            "it sets spaces behind words": bool(trainer.get(24, 0)),
            "it normalizes text": bool(normalizer.get(2, b"")),
            "it drops or keeps spaces otherwise than LLaMA's": (normalizer.get(4, 1), normalizer.get(5, 1)) != (0, 1),
        },
    )
    texts = {i: bytes(piece[1]).decode("utf-8") for i, piece in enumerate(pieces)}
    _check_lengths(texts.values())
    scores = {i: struct.unpack("<f", piece.get(2, bytes(4)))[0] for i, piece in enumerate(pieces)}
    types = {i: int(TokenType(piece.get(3, 1))) for i, piece in enumerate(pieces)}
    if not all(map(math.isfinite, scores.values())):
        raise ValueError("a score is no number")
    bos = trainer.get(41, 1)
    return Pieces(texts, scores, types, bos if bos in texts else None, "each" if normalizer.get(3, 1) else "none")


def ways(tokens: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Every token that merging can make, and the pairs that llama.cpp makes it of.

    It merges any two symbols that together are a token of whatever type; a symbol is a character or such a token.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for token in sorted(tokens, key=len):
        cuts = ((token[:n], token[n:]) for n in range(1, len(token)))
        pairs = [cut for cut in cuts if all(part in found or (len(part) == 1 and part != " ") for part in cut)]
        if pairs:
            found[token] = pairs
    return found


def from_merges(held: Mapping[str, Any], where: Path) -> Pieces:
    """Pieces of a SentencePiece model that was saved as merges: the earlier a token's merges, the higher its score."""
    model = held["model"]
    ids = {int(i): str(text) for text, i in model["vocab"].items()}
    _check_lengths(ids.values())
    merges = [tuple(m.split(" ") if isinstance(m, str) else map(str, m)) for m in model["merges"]]
    known, groups = set(merges), _groups(merges)
    apart = next((pair for pairs in ways(ids.values()).values() for pair in pairs if pair not in known), ())
    refuse(
        where,
        {
            "its model is not BPE": model["type"] != "BPE",
            "it has dropout or affixes or ignores merges": any(
                map(model.get, (*UNKNOWN_TO_LLAMA_CPP, "ignore_merges"))
            ),
            f"it keeps {' and '.join(map(repr, apart))} apart, which llama.cpp would merge": bool(apart),
            "merges for one token lie between those for others": any(
                len(group) > 1 and len(set("".join(group))) > 1 for group in groups
            ),
        },
    )
    places = {token: -float(place) for place, group in enumerate(groups) for token in group}
    types = {i: int(TokenType.BYTE if BYTE.fullmatch(text) else TokenType.NORMAL) for i, text in ids.items()}
    types |= {i: int(TokenType.UNKNOWN) for i, text in ids.items() if text == model.get("unk_token")}
    return Pieces(ids, {i: places.get(text, -float(len(groups))) for i, text in ids.items()}, types, None, "none")


def _groups(merges: Iterable[tuple[str, ...]]) -> list[set[str]]:
    """Tokens that merges make, by rank; those whose merges lie between each other's are together.

    LLaMA's runs of spaces are, which have one score. That is no loss: of a run, each order of merging makes the same.
    """
    ranks: dict[str, list[int]] = {}
    for rank, (a, b) in enumerate(merges):
        ranks.setdefault(a + b, []).append(rank)
    groups: list[set[str]] = []
    last = -1
    for token in sorted(ranks, key=lambda token: ranks[token][0]):
        if ranks[token][0] < last:
            groups[-1].add(token)
        else:
            groups.append({token})
        last = max(last, ranks[token][-1])
    return groups


def _check_lengths(texts: Iterable[str]) -> None:
    if max(map(len, texts), default=0) > LONGEST_PIECE:
        raise ValueError(f"a piece is longer than {LONGEST_PIECE} characters")


def _message(data: bytes) -> dict[int, Any]:
    """Fields by number; there are none of SentencePiece's above 63, however many a file names."""
    return {field: value for field, value in _fields(data) if field < 64}


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Fields of a protobuf message: whole numbers as int, all else as bytes. Raises ValueError or IndexError."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(data):
            raise ValueError("cut short")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        value |= (data[at + place] & 0x7F) << (7 * place)
        if data[at + place] < 0x80:
            return value, at + place + 1
    raise ValueError("number too long")


def refuse(where: Path, reasons: Mapping[str, bool]) -> None:
    """Raises InputError that names every reason that holds."""
    wrong = [reason for reason, bad in reasons.items() if bad]
    if wrong:
        raise InputError(
            f"expected a tokenizer that llama.cpp can follow in {where}, found that {'; '.join(wrong)}; export another."
        )
