"""A uniecg-nano checkpoint as tests look at it: the whole model in torch, and its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer

from uniecg_export.families.uniecg_nano import UniEcgNano


@dataclass(frozen=True, eq=False)
class Opened:
    """The model in float32 and eval mode."""

    model: UniEcgNano
    tokenizer: Tokenizer

    def tokenize(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)
