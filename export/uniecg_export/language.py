"""A language model to be exported, in memory or in a folder, and what its artifact is held against.

A model in memory is held against torch. One in a folder may be larger than memory, so it is never whole there: it is
written tensor by tensor to an f16 GGUF file, and what llama.cpp computes from that file is the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import TokenType
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import LlamaForCausalLM
from transformers.convert_slow_tokenizer import generate_merges

from uniecg_device.errors import InputError
from uniecg_export.gguf_vocabulary import SPACE, Vocabulary, read_vocabulary
from uniecg_export.gguf_writer import write_gguf, write_language_model
from uniecg_export.hf_language_model import HfLanguageModel
from uniecg_runtime import manifest
from uniecg_runtime.backends.llama import LanguageModel
from uniecg_runtime.machine import usable_cpus

CONTEXT = 4096  # tokens that a device keeps, where the model could take more

Rows = NDArray[np.float32]
# Of tokens, soft tokens (n, width) or None, and further tokens: logits after each of the last (n, vocabulary), and
# their hidden states (n, width).
Forward = Callable[[Sequence[int], "Rows | None", Sequence[int]], tuple[Rows, Rows]]


@dataclass(frozen=True, eq=False)
class Language:
    """A language model, its tokenizer twice, and what its turns look like.

    model: in float32 and eval mode, or where it lies. tokenizer: its own, which llama.cpp must agree with.
    """

    model: LlamaForCausalLM | HfLanguageModel
    tokenizer: Tokenizer
    vocabulary: Vocabulary
    prompt: manifest.Prompt
    statements: manifest.Statements | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is made otherwise than the checkpoint says, one sentence each."""
        stored = self.model.geometry.notes if isinstance(self.model, HfLanguageModel) else ()
        return (*stored, *self.vocabulary.notes)

    @property
    def width(self) -> int:
        """Of a hidden state."""
        return self.model.geometry.width if isinstance(self.model, HfLanguageModel) else self.model.config.hidden_size

    @property
    def parameters(self) -> int:
        """How many there are."""
        if isinstance(self.model, HfLanguageModel):
            return self.model.parameters
        return sum(p.numel() for p in self.model.parameters())

    def tokenize(self, text: str) -> list[int]:
        """Token ids, special tokens read as such, nothing added."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def write(self, path: Path, name: str) -> None:
        """Write an f16 GGUF file. Raises InputError for what it cannot hold; there is then no file."""
        if isinstance(self.model, HfLanguageModel):
            write_language_model(path, self.model, self.vocabulary, name)
            return
        tensors = self.model.state_dict()
        weights = {name: tensor.numpy() for name, tensor in tensors.items() if name != "lm_head.weight"}
        write_gguf(path, weights, self.model.config, self.vocabulary, name)

    def reference(self, full: Path, context: int) -> Forward:
        """What the model itself computes. full: the file that `write` wrote. context: most tokens at a time."""
        return InLlama(full, context) if isinstance(self.model, HfLanguageModel) else in_torch(self.model)


def in_torch(model: LlamaForCausalLM) -> Forward:
    """transformers, in float32."""

    def forward(before: Sequence[int], soft_tokens: Rows | None, after: Sequence[int]) -> tuple[Rows, Rows]:
        embed = model.get_input_embeddings()
        with torch.inference_mode():
            rows = [embed(torch.tensor([list(ids)], dtype=torch.long)) for ids in (before, after)]
            rows.insert(1, rows[0][:, :0] if soft_tokens is None else torch.from_numpy(soft_tokens)[None])
            states = model.model(inputs_embeds=torch.cat(rows, 1)).last_hidden_state[0, -len(after) :]
            logits: NDArray[Any] = model.lm_head(states).numpy()
        return logits, states.numpy()

    return forward


class InLlama:
    """llama.cpp, from a GGUF file, as the runtime runs it. context: most tokens at a time."""

    def __init__(self, path: Path, context: int) -> None:
        self.model = LanguageModel(path, context=context, threads=usable_cpus())

    def __call__(self, before: Sequence[int], soft_tokens: Rows | None, after: Sequence[int]) -> tuple[Rows, Rows]:
        self.model.reset()
        if before:
            self.model.feed_tokens(before)
        if soft_tokens is not None:
            self.model.feed_embeddings(soft_tokens)
        return self.model.feed_each(after)


def read_tokenizers(folder: Path, size: int) -> tuple[Tokenizer, Vocabulary]:
    """A Hugging Face folder's tokenizer twice: as the library `tokenizers` runs it, and as GGUF holds it.

    size: rows of the model's embedding. Raises InputError for one that llama.cpp could not follow.
    """
    vocabulary = read_vocabulary(folder, size)
    tokenizer = open_tokenizer(folder / "tokenizer.json", vocabulary)
    for i, kind in enumerate(vocabulary.types):  # those that lie in a file of their own
        token = vocabulary.tokens[i]
        if kind in (TokenType.CONTROL, TokenType.USER_DEFINED) and tokenizer.token_to_id(token) is None:
            tokenizer.add_tokens([AddedToken(token, normalized=False, special=kind == TokenType.CONTROL)])
            if tokenizer.token_to_id(token) != i:
                raise InputError(
                    f"expected {token!r} as token {i} in {folder}, its place is taken; mend the tokenizer."
                )
    return tokenizer, vocabulary


def open_tokenizer(path: Path, vocabulary: Vocabulary) -> Tokenizer:
    """tokenizer.json as the library `tokenizers` runs it, or where there is none, `vocabulary`. Raises InputError."""
    try:
        return Tokenizer.from_file(str(path)) if path.is_file() else _from_pieces(vocabulary)
    except Exception as error:  # the library raises Exception itself
        raise InputError(f"expected a tokenizer in {path}, could not read it ({error}); fetch it again.") from None


def _from_pieces(vocabulary: Vocabulary) -> Tokenizer:
    """A SentencePiece model as transformers runs it: merges by score, then characters, then bytes."""
    kinds = dict(zip(vocabulary.tokens, vocabulary.types, strict=True))
    ids = {t: i for i, t in enumerate(vocabulary.tokens) if kinds[t] != TokenType.UNUSED}
    scores = dict(zip(vocabulary.tokens, vocabulary.scores, strict=True))
    whole = [token for token, kind in kinds.items() if kind != TokenType.NORMAL]
    unknown = None if vocabulary.unknown is None else vocabulary.tokens[vocabulary.unknown]
    merges = generate_merges({t: i for t, i in ids.items() if kinds[t] == TokenType.NORMAL}, scores, skip_tokens=whole)
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    if vocabulary.spaces in ("first", "always"):
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme=vocabulary.spaces, split=False)
    else:
        steps = [normalizers.Prepend(SPACE)] if vocabulary.spaces == "each" else []
        tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    known = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
    added = [token for token, kind in kinds.items() if kind in known]
    for token in added:
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=kinds[token] != TokenType.USER_DEFINED)])
    return tokenizer
