"""Tokenizers as llama.cpp holds them: byte-level BPE, and SentencePiece's BPE as LLaMA 2, Vicuna and Mistral use it.

llama.cpp tokenises by rules of its own. A tokenizer is read only if these give the tokens that it gives itself;
any other is refused with the reason. Two things are left to whoever calls llama.cpp, and `prepare_text` does them:
a normal form (Qwen's NFC), and the space in front of a text where the tokenizer sets it otherwise than llama.cpp.

Corners in which they may still differ: code points that have become characters lately, as llama.cpp and HF have tables
of different years (80 of the first three planes under LLaMA 3's pattern, none under the others'), and runs of one
character, whose merges HF takes by rank where SentencePiece and llama.cpp begin at the left (none was found to differ).
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from gguf import TokenType
from tokenizers import Regex, pre_tokenizers

from uniecg_device.errors import InputError
from uniecg_export.hf_language_model import read_json
from uniecg_export.sentencepiece_model import (
    LONGEST_PIECE,
    UNKNOWN_TO_LLAMA_CPP,
    Spaces,
    from_merges,
    read_model,
    refuse,
    ways,
)

# Qwen2's pre-tokenizer, which llama.cpp knows as "qwen2": digits one by one, words with their space.
SPLIT_PATTERN: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_PATTERN: Final = SPLIT_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")  # digits by threes
# Steps before the merges, and whether whole words of the vocabulary skip them, by llama.cpp's name for the two.
PRE_TOKENIZERS: Final[dict[str, tuple[tuple[tuple[object, ...], ...], bool]]] = {
    "qwen2": ((("Split", SPLIT_PATTERN), ("ByteLevel", False)), False),
    "llama-bpe": ((("Split", LLAMA3_PATTERN), ("ByteLevel", False)), True),
    "smaug-bpe": ((("Split", LLAMA3_PATTERN), ("ByteLevel", False)), False),
    "gpt-2": ((("ByteLevel", True),), False),
    "smollm": ((("Digits", True), ("ByteLevel", True)), False),
}
_LLAMA3_SPLIT: Final = pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated")
# llama.cpp makes tokens of these names special, whatever their type says.
_MADE_SPECIAL = """
</s> <EOT> _<EOT> [EOT] [EOS] <eos> <PAD> [PAD] <PRE> <SUF> <MID> <REPO> ▁<PRE> ▁<SUF> ▁<MID> <reponame> [e~[
<end_of_turn> <end_of_utterance> <turn|> <|tool_response> <fim-prefix> <fim-suffix> <fim-middle> <fim-pad> <fim-repo>
<fim_prefix> <fim_suffix> <fim_middle> <fim_pad> <|fim_prefix|> <|fim_suffix|> <|fim_middle|> <|fim_pad|> <|fim_repo|>
<|repo_name|> <|file_sep|> <|code_prefix|> <|code_suffix|> <|code_middle|> <|prefix|> <|suffix|> <|middle|>
<|end_of_text|> <|endoftext|> <|end|> <|eom_id|> <|eot_id|> <|im_end|> <|return|> <|call|> <|calls|> <|flush|>
<｜end▁of▁sentence｜> <｜fim▁begin｜> <｜fim▁end｜> <｜fim▁hole｜>
"""  # noqa: RUF001
MADE_SPECIAL: Final = frozenset(_MADE_SPECIAL.split())
LOOKS_SPECIAL: Final = re.compile(r"<\|.*\|>|<｜.*｜>|<pad>|<mask>")  # noqa: RUF001  as convert_hf_to_gguf.py has it
SPACE: Final = "▁"
TOKENIZER_BYTES: Final = 128 << 20
SETTINGS_BYTES: Final = 16 << 20
MOST_ADDED: Final = 1 << 19  # characters of all added tokens
UNUSED_SCORE: Final = -10000.0
NAMES: Final = ("bos_token", "eos_token", "pad_token", "unk_token")
MISREAD: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, struct.error)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as GGUF holds it: tokens and their types by id, merges by rank or scores by id.

    scores: of a SentencePiece model, else empty. pre: llama.cpp's name of the pre-tokenizer. spaces: where a space is
    set in front: "each" piece between special tokens, which llama.cpp does; the "first" piece or "always", in both
    cases only where none is, which `prepare_text` does. normal_form: what text must be brought to before.
    notes: what was made otherwise than the tokenizer says, one sentence each.
    """

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    pre: str = "qwen2"
    spaces: Spaces = "none"
    normal_form: Literal["NFC"] | None = None
    bos: int | None = None
    eos: int | None = None
    pad: int | None = None
    unknown: int | None = None
    add_bos: bool = False
    add_eos: bool = False
    notes: tuple[str, ...] = ()

    @property
    def special(self) -> tuple[int, ...]:
        """Ids of control tokens, which no text that a person types becomes."""
        return tuple(i for i, kind in enumerate(self.types) if kind == TokenType.CONTROL)

    @cached_property
    def added(self) -> re.Pattern[str]:
        """Finds the names of special and other added tokens in a text, the longest first."""
        kinds = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
        names = [token for token, kind in zip(self.tokens, self.types, strict=True) if kind in kinds]
        every = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        return re.compile(f"({every or '(?!)'})")


@dataclass(frozen=True)
class _Added:
    content: str
    special: bool
    normalized: bool
    strips: bool
    word: bool


def read_tokenizer(path: Path, size: int) -> Vocabulary:
    """Read a byte-level tokenizer.json; ids up to `size` without a token become unused ones.

    Raises InputError for whatever llama.cpp would tokenise otherwise than the tokenizer says, normal forms included.
    """
    held = read_json(path, TOKENIZER_BYTES)
    try:
        vocabulary = _byte_level(held, _added((t["id"], t) for t in held["added_tokens"]), size, path)
    except MISREAD as error:
        raise InputError(f"expected a byte-level BPE tokenizer in {path}, could not read it ({error!r}).") from None
    refuse(path, {"it has a normalizer": vocabulary.normal_form is not None})
    return vocabulary


def read_vocabulary(folder: Path, size: int) -> Vocabulary:
    """Read the tokenizer of a Hugging Face folder for an embedding of `size` rows.

    tokenizer.json says which kind it is; of a SentencePiece tokenizer, tokenizer.model has the pieces where it is
    there. Ids without a token become unused ones. Raises InputError for whatever llama.cpp would tokenise otherwise.
    """
    names = {name: folder / name for name in ("tokenizer.json", "tokenizer.model")}
    if not any(path.is_file() for path in names.values()):
        raise InputError(f"expected {' or '.join(names)} in {folder}, found neither; take the model's tokenizer.")
    held = read_json(names["tokenizer.json"], TOKENIZER_BYTES) if names["tokenizer.json"].is_file() else None
    try:
        settings = _settings(folder)
        added = _added(_all_added(folder, held, settings))
        if held is not None and not held["model"].get("byte_fallback"):
            vocabulary = _byte_level(held, added, size, names["tokenizer.json"])
        else:
            vocabulary = _sentencepiece(held, names["tokenizer.model"], settings, added, size)
        return _with_settings(vocabulary, held, settings, folder)
    except MISREAD as error:
        raise InputError(f"expected a tokenizer in {folder}, could not read it ({error!r}); take another.") from None


def prepare_text(vocabulary: Vocabulary, text: str, *, special: bool = True) -> str:
    """What to hand llama.cpp so that it tokenises as the tokenizer does.

    special: added tokens in the text are read as such; what a person typed has none.
    """
    parts = vocabulary.added.split(text) if special else [text]  # every other one is an added token
    if vocabulary.normal_form is not None:
        parts[::2] = [unicodedata.normalize(vocabulary.normal_form, part) for part in parts[::2]]
    if vocabulary.spaces == "always":
        parts[::2] = [_spaced(part) for part in parts[::2]]
    elif vocabulary.spaces == "first":
        parts[0] = _spaced(parts[0])
    return "".join(parts)


def made_special(vocabulary: Vocabulary, token: int) -> Vocabulary:
    """The same with `token` as a control token, which nothing that a person types becomes."""
    types = (*vocabulary.types[:token], int(TokenType.CONTROL), *vocabulary.types[token + 1 :])
    return replace(vocabulary, types=types)


def _spaced(part: str) -> str:
    return part if not part or part[0] in (" ", SPACE) else f" {part}"


def _added(entries: Iterable[tuple[Any, Mapping[str, Any]]]) -> dict[int, _Added]:
    """Added tokens by id; of several entries for one id the last counts. Raises ValueError where they contradict."""
    found: dict[int, _Added] = {}
    for key, token in entries:
        i, content = int(key), str(token["content"])
        if i in found and found[i].content != content:
            raise ValueError(f"the added token {i} is {found[i].content!r} and {content!r}")
        flags = [bool(token.get(name)) for name in ("special", "normalized", "single_word")]
        found[i] = _Added(content, flags[0], flags[1], bool(token.get("lstrip") or token.get("rstrip")), flags[2])
    lengths = [len(token.content) for token in found.values()]
    if sum(lengths) > MOST_ADDED or max(lengths, default=0) > LONGEST_PIECE:
        raise ValueError("the added tokens are too long")
    return found


def _all_added(
    folder: Path, held: Mapping[str, Any] | None, settings: Mapping[str, Any]
) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """From added_tokens.json, tokenizer_config.json and tokenizer.json, the later the more it knows."""
    named = {_content(settings.get(name)) for name in NAMES}
    named |= {_content(token) for token in settings.get("additional_special_tokens") or ()}
    path = folder / "added_tokens.json"
    for content, i in (read_json(path, SETTINGS_BYTES) if path.is_file() else {}).items():
        yield i, {"content": content, "special": content in named}
    yield from (settings.get("added_tokens_decoder") or {}).items()
    yield from ((token["id"], token) for token in (held["added_tokens"] if held is not None else ()))


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, Mapping) else token


def _reasons_of_added(added: Mapping[int, _Added]) -> dict[str, bool]:
    """HF takes the leftmost of overlapping tokens, llama.cpp the longest."""
    texts = {token.content for token in added.values()}
    heads: dict[str, list[str]] = {}
    for text in texts:
        for n in range(1, len(text)):
            known = heads.setdefault(text[:n], [])
            if len(known) < 2:  # enough to find one that is another
                known.append(text)
    pairs = ((a, b) for a in texts for n in range(1, len(a)) for b in heads.get(a[n:], ()))
    overlap = next((f"{a!r} and {b!r}" for a, b in pairs if a != b and len(set(a + b)) > 1), None)
    return {
        "a special token strips spaces": any(token.strips for token in added.values()),
        "an added token is one only as a word of its own": any(token.word for token in added.values()),
        f"the added tokens {overlap} can overlap": overlap is not None,
    }


def _fill(
    ids: dict[int, str], types: Mapping[int, int], added: Mapping[int, _Added], size: int, where: Path
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Tokens and types of all `size` ids. An unused token's name has a space, which no text keeps on its way."""
    other = [f"{i} ({ids[i]!r}, {t.content!r})" for i, t in added.items() if ids.get(i, t.content) != t.content]
    if other:
        raise ValueError(f"added tokens stand in the place of others: {', '.join(other[:5])}")
    ids = ids | {i: token.content for i, token in added.items()}
    if ids and not 0 <= min(ids) <= max(ids) < size:
        raise InputError(f"expected token ids below {size} in {where}, found up to {max(ids)}; set the vocabulary.")
    kinds = dict.fromkeys(added, TokenType.USER_DEFINED)
    kinds |= {i: TokenType.CONTROL for i, t in added.items() if t.special or LOOKS_SPECIAL.fullmatch(t.content)}
    kinds |= {i: TokenType.UNKNOWN for i in added if types.get(i) == TokenType.UNKNOWN}
    rest = {i: types.get(i, TokenType.NORMAL) for i in ids if i not in added}
    every = [kinds.get(i, rest.get(i, TokenType.UNUSED)) for i in range(size)]
    return tuple(ids.get(i, f"[unused {i}]") for i in range(size)), tuple(map(int, every))


def _byte_level(held: Mapping[str, Any], added: Mapping[int, _Added], size: int, where: Path) -> Vocabulary:
    model, form = held["model"], held.get("normalizer")
    refuse(where, {"its model is not BPE": model["type"] != "BPE"})
    ids = {int(i): str(token) for token, i in model["vocab"].items()}
    merges = [tuple(m.split(" ") if isinstance(m, str) else map(str, m)) for m in model["merges"]]
    # Letters before a sign, or two signs before letters, are in no word of any layout: no text gives such a token.
    ended = [i for i, text in ids.items() if text in MADE_SPECIAL and i not in added]
    tokens, types = _fill({i: text for i, text in ids.items() if i not in ended}, {}, added, size, where)
    known, whole = set(ids.values()), bool(model.get("ignore_merges"))
    steps = tuple(_steps(held["pre_tokenizer"]))
    pre = next((name for name, layout in PRE_TOKENIZERS.items() if layout == (steps, whole)), None)
    special = {text for text, kind in zip(tokens, types, strict=True) if kind == TokenType.CONTROL}
    typed = {text for text in special if whole and _is_word(text)} | (special & {"".join(m) for m in merges})
    refuse(
        where,
        {
            "it has a normalizer other than NFC": form is not None and form != {"type": "NFC"},
            "its pre-tokenizer is not one of " + ", ".join(PRE_TOKENIZERS): pre is None,
            "it has dropout, byte fallback or affixes": any(map(model.get, (*UNKNOWN_TO_LLAMA_CPP, "byte_fallback"))),
            "two tokens share an id": len(ids) != len(model["vocab"]),
            "a byte has no token": not known.issuperset(pre_tokenizers.ByteLevel.alphabet()),
            "its merges are not pairs of tokens that make a token, each once": len(set(merges)) != len(merges)
            or not all(len(m) == 2 and {*m, "".join(m)} <= known for m in merges),
            f"typed text becomes the special token {min(typed, default='')!r}": bool(typed),
            **_reasons_of_added(added),
        },
    )
    notes = tuple(f"The token {i} is unused: no text gives {ids[i]!r}, and llama.cpp would end on it." for i in ended)
    return Vocabulary(
        tokens,
        types,
        tuple(map(" ".join, merges)),
        pre=str(pre),
        normal_form="NFC" if form is not None else None,
        notes=notes,
    )


def _steps(step: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    """What a pre-tokenizer does, in the terms of PRE_TOKENIZERS; anything more makes it another."""
    if step["type"] == "Sequence":
        for inner in step["pretokenizers"]:
            yield from _steps(inner)
    elif step["type"] == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        yield "Split", step["pattern"].get("Regex")
    elif step["type"] == "ByteLevel" and not step["add_prefix_space"]:
        yield "ByteLevel", step.get("use_regex", True)
    else:
        yield step["type"], step.get("individual_digits")


def _is_word(text: str) -> bool:
    """Whether typed text that LLaMA 3 does not split has these byte letters."""
    typed = text.replace("Ġ", " ")
    return typed.isascii() and len(_LLAMA3_SPLIT.pre_tokenize_str(typed)) == 1


def _sentencepiece(
    held: Mapping[str, Any] | None,
    model: Path,
    settings: Mapping[str, Any],
    added: Mapping[int, _Added],
    size: int,
) -> Vocabulary:
    pieces = read_model(model) if model.is_file() or held is None else from_merges(held, model.with_suffix(".json"))
    spaces = pieces.spaces
    if held is not None:
        spaces = _spaces(held, model.with_suffix(".json"))
    elif spaces == "each" and settings.get("legacy") is False:
        spaces = "first"  # as transformers then converts it, and Vicuna has it
    if held is not None and any(pieces.tokens.get(i) != text for text, i in held["model"]["vocab"].items()):
        raise ValueError("tokenizer.model and tokenizer.json hold different tokens")
    symbols = {i: kind for i, kind in pieces.types.items() if kind in (TokenType.CONTROL, TokenType.USER_DEFINED)}
    own = {i: _Added(pieces.tokens[i], kind == TokenType.CONTROL, *[False] * 3) for i, kind in symbols.items()}
    whole = own | dict(added)
    tokens, types = _fill(pieces.tokens, pieces.types, whole, size, model)
    reached = ways(tokens).keys()
    silent = (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.BYTE, TokenType.UNUSED)
    typed = [t for t, kind in zip(tokens, types, strict=True) if kind in silent and t in reached]
    missing = {f"<0x{i:02X}>" for i in range(256)} - {pieces.tokens[i] for i, k in pieces.types.items() if k == 6}
    refuse(
        model,
        {
            "a byte has no token": bool(missing),
            f"typed text becomes {', '.join(map(repr, typed[:3]))}": bool(typed),
            "its added tokens are looked for in normalized text": held is not None
            and held.get("normalizer") is not None
            and any(token.normalized for token in added.values()),
            **_reasons_of_added(whole),
        },
    )
    scores = tuple(pieces.scores.get(i, UNUSED_SCORE) for i in range(size))
    unknown = next((i for i, kind in pieces.types.items() if kind == TokenType.UNKNOWN), None)
    return Vocabulary(
        tokens,
        types,
        scores=scores,
        pre="default",
        spaces=spaces,
        bos=pieces.bos,
        unknown=unknown,
        add_bos=held is None,
    )


def _spaces(held: Mapping[str, Any], where: Path) -> Spaces:
    form, step = held.get("normalizer"), held.get("pre_tokenizer")
    found: Spaces | None = None
    if form is None and step is not None and (step["type"], step.get("split")) == ("Metaspace", False):
        schemes: dict[object, Spaces] = {"never": "none", "first": "first", "always": "always"}
        found = schemes.get(step.get("prepend_scheme")) if step["replacement"] == SPACE else None
    elif form is not None and step is None:
        forms = form["normalizers"] if form["type"] == "Sequence" else [form]
        replace_, prepend = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}, {"type": "Prepend"}
        found = "none" if forms == [replace_] else "each" if forms == [prepend | {"prepend": SPACE}, replace_] else None
    refuse(where, {"it treats spaces otherwise than LLaMA's tokenizers": found is None})
    return found or "none"


def _settings(folder: Path) -> dict[str, Any]:
    held: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            held |= read_json(folder / name, SETTINGS_BYTES)
    return held


def _with_settings(
    vocabulary: Vocabulary, held: Mapping[str, Any] | None, settings: Mapping[str, Any], folder: Path
) -> Vocabulary:
    """BOS, EOS and PAD, and which of them go around a text: the settings' word, else the post-processor's."""
    ids = {token: i for i, token in enumerate(vocabulary.tokens)}
    names = {name: _content(settings.get(name)) for name in NAMES}
    strange = [f"{name} {content!r}" for name, content in names.items() if content is not None and content not in ids]
    if strange:
        raise InputError(f"expected special tokens of the tokenizer in {folder}, found {', '.join(strange)}; add them.")
    bos, eos, pad = (ids.get(names[name]) for name in NAMES[:3])
    template = _template(held) if held is not None else (vocabulary.add_bos, vocabulary.add_eos)
    adds = [settings.get(name) for name in ("add_bos_token", "add_eos_token")]
    add_bos, add_eos = (said if isinstance(said, bool) else done for said, done in zip(adds, template, strict=True))
    bos = vocabulary.bos if bos is None else bos
    return replace(vocabulary, bos=bos, eos=eos, pad=pad, add_bos=add_bos, add_eos=add_eos)


def _template(held: Mapping[str, Any]) -> tuple[bool, bool]:
    step = held.get("post_processor") or {}
    for part in step.get("processors", [step]):
        if part.get("type") == "TemplateProcessing":
            return "SpecialToken" in part["single"][0], "SpecialToken" in part["single"][-1]
    return False, False
