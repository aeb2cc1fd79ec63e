"""Turns with the language model: what is written to it, and what it writes back.

Nothing here decides what an answer is about. The model writes words, or writes the token that asks
for a drawing; this module only says which of the two it did.
"""

from __future__ import annotations

import codecs
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import BundleError, ContextError, InputError
from uniecg_runtime.backends.llama import LanguageModel
from uniecg_runtime.manifest import Generation, Manifest, Prompt, need

OnText = Callable[[str], None]
Ending = Literal["end", "drawing", "length"]
LONGEST_TOKEN = 32  # characters; a text of more than so many per token of context is not even tokenised
_PLACE = re.compile(r"(\{question\}|\{signal\}|\{measurements\})")


@dataclass(frozen=True, eq=False)
class Words:
    """The tokens with a meaning of their own, and which tokens an answer may hold.

    special: all special tokens by name. barred: -inf for every token that is neither text, nor the end, nor the
    drawing token; shape (vocabulary,).
    """

    end: int
    drawing: int | None
    yes: int | None
    no: int | None
    statements: dict[str, int]
    special: dict[str, int]
    barred: NDArray[np.float32]

    def read(self, template: str) -> Iterator[str | int]:
        """Text and special tokens of a template, in their order."""
        names = sorted((name for name in self.special if name in template), key=len, reverse=True)
        for piece in re.split(f"({'|'.join(map(re.escape, names)) or '(?!)'})", template):
            if piece:
                yield self.special.get(piece, piece)


def read_words(model: LanguageModel, manifest: Manifest) -> Words:
    """Look up the manifest's tokens. Raises BundleError where one is not a single special token."""

    def one(text: str) -> int:
        ids = model.tokenize(text)
        if len(ids) != 1 or not model.is_special(ids[0]):
            raise BundleError(
                f"expected {text!r} to be one special token of the language model, found {len(ids)} tokens; "
                f"export the bundle again."
            )
        return ids[0]

    generation, statements = manifest.generation, manifest.statements
    end = one(need(manifest.prompt, "a language model").end_token)
    drawing = None if generation is None or generation.token is None else one(generation.token)
    allowed = np.array([model.is_text(i) or i in (end, drawing) for i in range(model.vocabulary)])
    return Words(
        end=end,
        drawing=drawing,
        yes=None if statements is None else one(statements.yes_token),
        no=None if statements is None else one(statements.no_token),
        statements={} if statements is None else {item.label: one(item.token) for item in statements.items},
        special=model.special_tokens(),
        barred=np.where(allowed, 0, -np.inf).astype(np.float32),
    )


class Speech:
    """An answer as the model writes it: iterate for its pieces of text, each yielded before its token is fed.

    So a consumer may branch from the prompt at the first piece. Greedy: the most probable token each time.
    ending: why it stopped, known when the iteration is over: "end", "drawing" or "length".
    """

    def __init__(self, dialogue: Dialogue, logits: NDArray[np.float32], limit: int) -> None:
        self._dialogue, self._logits, self._limit = dialogue, logits, limit
        self.text = ""
        self.ending: Ending = "length"

    def __iter__(self) -> Iterator[str]:
        model, words = self._dialogue.model, self._dialogue.words
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        for _ in range(self._limit):
            token = int(np.argmax(self._logits + words.barred))
            if token == words.end and words.drawing is not None and self._drawing_begun:
                token = words.drawing  # a drawing line has one way to end
            if token in (words.end, words.drawing):
                self.ending = "end" if token == words.end else "drawing"
                break
            yield self._said(decode(model.piece(token)))
            self._logits = model.feed_tokens([token])
        if rest := decode(b"", final=True):
            yield self._said(rest)

    @property
    def _drawing_begun(self) -> bool:
        """Whether the model chose to draw, by opening its answer as drawing lines open."""
        prefix = self._dialogue.prompt.draw_prefix
        return bool(prefix) and self.text.startswith(prefix)

    def _said(self, piece: str) -> str:
        self.text += piece
        return piece

    def run(self, on_text: OnText | None, on_first: Callable[[], None] | None = None) -> Speech:
        """Let the model write to the end, showing each piece; `on_first` runs once, after the first is shown."""
        for piece in self:
            if on_text is not None and piece:
                on_text(piece)
            if on_first is not None:
                on_first()
                on_first = None
        if on_first is not None:
            on_first()
        return self


class Dialogue:
    """A language model's conversation in a bundle's own form of turns."""

    def __init__(self, model: LanguageModel, words: Words, prompt: Prompt, generation: Generation | None) -> None:
        self.model, self.words, self.prompt, self.generation = model, words, prompt, generation

    def turn(
        self,
        template: str,
        question: str,
        *,
        signal: NDArray[np.float32] | None = None,
        measurements: str = "",
        forced: str = "",
        answer: int | None = None,
    ) -> NDArray[np.float32]:
        """Write one turn; logits of the answer's first token.

        question: as typed; names of special tokens in it are plain characters. signal: soft tokens
        (n, width). forced: how the answer begins. answer: tokens that must be left for the answer.
        Raises InputError for an empty question, ContextError where turn and answer do not fit, BundleError where the
        bundle has no such turn; the conversation is as before then.
        """
        if not template:
            raise BundleError("expected a bundle whose prompt has this turn, found none; it was not made for this use.")
        question = question.strip()
        if not question:
            raise InputError("expected a question or a request, found an empty text; write one.")
        if len(question) > LONGEST_TOKEN * self.model.context:
            raise ContextError(
                f"expected a text that fits {self.model.context} tokens, found {len(question)} characters; shorten it."
            )
        parts = self._parts(template + forced, question, signal, measurements)
        self._check_room(sum(map(len, parts)), len(self._tokens(question)), answer)
        for part in _joined(parts):
            logits = self.model.feed_embeddings(part) if isinstance(part, np.ndarray) else self.model.feed_tokens(part)
        return logits

    def _parts(
        self, template: str, question: str, signal: NDArray[np.float32] | None, measurements: str
    ) -> list[list[int] | NDArray[np.float32]]:
        """Tokens and soft tokens. What is typed is tokenised with the words around it, as their tokenizer would."""
        pieces: list[str | int | NDArray[np.float32]] = []
        for piece in _PLACE.split(template):
            if piece == "{signal}":
                if signal is None:
                    raise BundleError("expected no {signal} in a turn without one; export the bundle again.")
                pieces.append(signal)
            elif piece in ("{question}", "{measurements}"):
                pieces.append(question if piece == "{question}" else measurements)
            else:
                pieces += self.words.read(piece)
        parts: list[list[int] | NDArray[np.float32]] = []
        for is_text, run in itertools.groupby(pieces, lambda piece: isinstance(piece, str)):
            if is_text:
                parts.append(self._tokens("".join(map(str, run))))
            else:
                parts += [[piece] if isinstance(piece, int) else piece for piece in run if not isinstance(piece, str)]
        return parts

    def _tokens(self, text: str) -> list[int]:
        """Of text in which the names of special tokens are plain characters."""
        form = self.prompt.normal_form
        return self.model.tokenize(text if form is None else unicodedata.normalize(form, text), special=False)

    def _check_room(self, tokens: int, question: int, answer: int | None) -> None:
        drawing = (self.generation.token_count or 0) if self.generation else 0
        reserved = (self.prompt.max_new_tokens if answer is None else answer) + drawing
        over = self.model.position + tokens + reserved - self.model.context
        if over > 0:
            raise ContextError(
                f"expected a text of at most {max(0, question - over)} tokens (the context holds "
                f"{self.model.context}: {self.model.position} are used, {tokens - question} go with the text, "
                f"{reserved} are kept for the answer), found {question}; shorten the text or start a new conversation."
            )

    def speak(self, logits: NDArray[np.float32], limit: int | None = None) -> Speech:
        """The model's answer, at most `limit` tokens; the manifest's own limit by default."""
        return Speech(self, logits, self.prompt.max_new_tokens if limit is None else limit)

    def statements(self) -> dict[str, float]:
        """P(label) for each label the model was taught, asked as a continuation of what stands now.

        Softmax over the yes and no tokens' logits right after the label's own token.
        """
        words = self.words
        if words.yes is None or words.no is None:
            return {}
        logits = self.model.branch(list(words.statements.values()))
        difference = (logits[:, words.no] - logits[:, words.yes]).astype(np.float64)
        p = 0.5 * (1 - np.tanh(difference / 2))  # the logistic function without overflow
        return {label: float(value) for label, value in zip(words.statements, p, strict=True)}

    def draw(self) -> NDArray[np.float32]:
        """Feed the drawing tokens; their hidden states, (1, token_count, width)."""
        count = need(self.generation, "a generation part").token_count or 1
        drawing = need(self.words.drawing, "a language model that draws")
        return self.model.feed_states([drawing] * count)[1][None]


def _joined(parts: list[list[int] | NDArray[np.float32]]) -> Iterator[list[int] | NDArray[np.float32]]:
    """The same with neighbouring runs of tokens put together, so that each is decoded at once."""
    run: list[int] = []
    for part in parts:
        if isinstance(part, np.ndarray):
            if run:
                yield run
            yield part
            run = []
        else:
            run = run + part
    if run:
        yield run
