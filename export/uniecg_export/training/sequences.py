"""From turns to batches: token ids with places for soft tokens, targets, and who may see whom.

Statement tokens are lone continuations of the prompt: each sees the prompt and itself, never the
answer nor another statement. That is how the runtime asks them, in one batch over a shared prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaForCausalLM

from uniecg_export.families.uniecg_nano import NanoConfig
from uniecg_export.families.uniecg_nano_prompt import (
    ASSISTANT,
    BOS,
    ECG,
    ECG_CLOSE,
    ECG_OPEN,
    EOS,
    NO,
    SPECIAL_TOKENS,
    USER,
    YES,
    statement_token,
)
from uniecg_export.gguf_writer import SPLIT_PATTERN

SOFT, IGNORE = -1, -100


def train_tokenizer(corpus: Sequence[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE of the domain; special tokens take the first ids.

    Digits stand alone (SPLIT_PATTERN), so that numbers are copied digit by digit.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


@dataclass(frozen=True)
class Turn:
    """One question with its answer. `record` is a row of the signals, or None where no ECG is attached.

    cut: only so many of the answer's tokens are taught, and not where it ends; 0 is all of it.
    before: the turn that this one follows; the record, if any, was attached there and is named in both.
    """

    question: str
    answer: str
    record: int | None = None
    measurements: str = ""
    draws: bool = False
    statements: dict[str, bool] = field(default_factory=dict)
    cut: int = 0
    before: Turn | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Padded arrays: ids (B,T) with SOFT places, positions (B,T), targets (B,T), visible (B,1,T,T).

    first: where the answer's first token is read, which is the choice between words and a drawing.
    """

    ids: Tensor
    positions: Tensor
    targets: Tensor
    visible: Tensor
    statement: Tensor
    draw: Tensor
    first: Tensor


class Writer:
    """Turns text into ids the way the runtime does: each piece between special tokens on its own.

    merge_dropout: in training, the share of merges that the BPE leaves out of a question (BPE-dropout,
    arXiv 1910.13267), so that words which no question held are met as familiar pieces.
    """

    def __init__(self, tokenizer: Tokenizer, config: NanoConfig, merge_dropout: float = 0.0) -> None:
        self.tokenizer, self.config = tokenizer, config
        self._asked = Tokenizer.from_str(tokenizer.to_str())
        self._asked.model.dropout = merge_dropout or None
        self.special: dict[str, int] = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}  # type: ignore[misc]

    def text(self, text: str) -> list[int]:
        """Ids of plain text."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def question(self, text: str) -> list[int]:
        """Ids of what the user says."""
        ids: list[int] = self._asked.encode(text, add_special_tokens=False).ids
        return ids

    def prompt(self, turn: Turn) -> list[int]:
        """Ids up to where the answer begins."""
        s = self.special
        if turn.before is not None:
            said = self.prompt(turn.before) + self.answer(turn.before)
            return [*said, s[USER], *self.question(turn.question), s[ASSISTANT]]
        ids = [s[BOS], s[USER], *self.question(turn.question)]
        if turn.record is not None:
            ids += [s[ECG_OPEN], *[SOFT] * self.config.signal_tokens, s[ECG_CLOSE], *self.text(turn.measurements)]
        return [*ids, s[ASSISTANT]]

    def answer(self, turn: Turn) -> list[int]:
        """Ids of the answer with its end."""
        drawn = [self.special[ECG]] * self.config.ecg_tokens if turn.draws else []
        ids = [*self.text(turn.answer), *drawn, self.special[EOS]]
        return ids[: turn.cut or len(ids)]

    def batch(self, turns: Sequence[Turn]) -> Batch:
        """Collate turns; targets sit where their logits are read."""
        rows = [
            (self.prompt(t), self.answer(t), [self.special[statement_token(n)] for n in t.statements]) for t in turns
        ]
        length = max(len(p) + len(a) + len(s) for p, a, s in rows)
        shape = (len(turns), length)
        ids, positions = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        targets = torch.full(shape, IGNORE)
        statement, draw, first = (torch.zeros(shape, dtype=torch.bool) for _ in range(3))
        visible = torch.eye(length, dtype=torch.bool).repeat(len(turns), 1, 1)
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        for row, ((prompt, answer, asked), turn) in enumerate(zip(rows, turns, strict=True)):
            p, a = len(prompt), len(prompt) + len(answer)
            end = a + len(asked)
            ids[row, :end] = torch.tensor([*prompt, *answer, *asked])
            positions[row, :a] = torch.arange(a)
            positions[row, a:end] = p
            targets[row, p - 1 : a - 1] = torch.tensor(answer)
            first[row, p - 1] = True
            truth = [self.special[YES if value else NO] for value in turn.statements.values()]
            targets[row, a:end] = torch.tensor(truth, dtype=torch.long)
            statement[row, a:end] = True
            if turn.draws:
                draw[row, a - 1 - self.config.ecg_tokens : a - 1] = True
            visible[row, :a, :a] = causal[:a, :a]
            visible[row, a:end, :p] = True
        return Batch(ids, positions, targets, visible[:, None], statement, draw, first)


def hidden_states(language_model: LlamaForCausalLM, batch: Batch, soft: Tensor | None) -> Tensor:
    """Last hidden states (B,T,width); `soft` (n,41,width) in the order of the turns that have a record."""
    where = batch.ids.device
    embedded = language_model.model.embed_tokens(batch.ids.clamp(min=0))
    if soft is not None:
        embedded = embedded.masked_scatter((batch.ids == SOFT)[:, :, None], soft.to(embedded.dtype))
    blocked = torch.zeros(batch.visible.shape, dtype=embedded.dtype, device=where)
    blocked = blocked.masked_fill(~batch.visible, torch.finfo(embedded.dtype).min)
    out = language_model.model(
        inputs_embeds=embedded, attention_mask=blocked, position_ids=batch.positions, use_cache=False
    )
    states: Tensor = out.last_hidden_state
    return states


def to_device(batch: Batch, where: torch.device) -> Batch:
    """The batch's tensors on a device."""
    return Batch(**{each.name: getattr(batch, each.name).to(where) for each in fields(Batch)})
