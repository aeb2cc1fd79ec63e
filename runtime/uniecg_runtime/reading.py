"""A window as the encoder wrote it, and the interpretation that is asked for about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniecg_runtime.conversation import Dialogue, OnText, Speech
from uniecg_runtime.signal.measure import Measurements
from uniecg_runtime.signal.window import Window
from uniecg_runtime.stopwatch import Stopwatch


@dataclass(frozen=True, eq=False)
class Seen:
    """A window as the encoder wrote it, soft tokens (n, width) among its outputs, and the measurements' text.

    pictured: the image encoder's soft tokens (m, width) of the same window, in a bundle that has one.
    """

    window: Window
    measured: Measurements
    encoded: dict[str, NDArray[np.float32]]
    measurements: str
    pictured: NDArray[np.float32] | None = None

    @property
    def soft_tokens(self) -> NDArray[np.float32]:
        """What stands for the recording in a turn: the encoder's, then the image encoder's."""
        tokens = self.encoded["tokens"]
        return tokens if self.pictured is None else np.concatenate([tokens, self.pictured])


@dataclass(frozen=True, eq=False)
class Asked:
    """An interpretation to be written."""

    dialogue: Dialogue
    seen: Seen
    question: str | None

    def answer(self, limit: int, on_text: OnText | None, watch: Stopwatch) -> tuple[Speech, dict[str, float]]:
        """The text, and the statements' probabilities.

        Statements continue the bundle's own question. Where that was the one asked, they branch off right
        after the first piece of text was shown; otherwise the question is put once more, after the text.
        """
        statements: dict[str, float] = {}

        def first_shown() -> None:
            watch.mark("first_token")
            if self.question is None:
                with watch.lap("statements", within="text"):
                    statements.update(self.dialogue.statements())

        with watch.lap("prefill"):
            logits = self._turn(limit)
        with watch.lap("text"):
            speech = self.dialogue.speak(logits, limit).run(on_text, first_shown)
        if self.question is not None:
            with watch.lap("statements"):
                self.dialogue.model.reset()
                Asked(self.dialogue, self.seen, None)._turn(limit)
                statements = self.dialogue.statements()
        return speech, statements

    def _turn(self, limit: int) -> NDArray[np.float32]:
        prompt = self.dialogue.prompt
        return self.dialogue.turn(
            prompt.first_turn_with_signal,
            prompt.interpret_question if self.question is None else self.question,
            signal=self.seen.soft_tokens,
            measurements=self.seen.measurements,
            answer=limit,
        )
