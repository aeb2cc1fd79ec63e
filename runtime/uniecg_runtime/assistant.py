"""The assistant: a recording in, words out; words in, a recording out; and conversations of both."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import BundleError, InputError
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime import drawing, sampler
from uniecg_runtime.backends.llama import LanguageModel
from uniecg_runtime.backends.onnx import Graph
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.conversation import Dialogue, OnText, Speech, read_words
from uniecg_runtime.drawing import Scalars
from uniecg_runtime.machine import usable_cpus
from uniecg_runtime.manifest import Generation, Role
from uniecg_runtime.results import DISCLAIMER, Generated, Interpretation, Reply
from uniecg_runtime.signal.measure import Measurements, measure, prompt_text
from uniecg_runtime.signal.quality import Quality, assess
from uniecg_runtime.signal.window import Window, prepare_window
from uniecg_runtime.stopwatch import Stopwatch

__all__ = ["DISCLAIMER", "Assistant", "Conversation", "Generated", "Interpretation", "Reply"]

MAX_THREADS: Final = 4  # by default; more do not help models of this size


class Assistant:
    """A bundle at work. Weights are loaded when first needed.

    threads: CPU threads that each part may use; by default those of this process, at most 4.
    Calls from several threads wait for each other; `on_text` must not call back into the assistant.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise InputError(f"expected at least 1 thread, found {threads}; leave it out to use those there are.")
        self.bundle = bundle
        self.threads = min(MAX_THREADS, usable_cpus()) if threads is None else threads
        self._graphs: dict[Role, Graph] = {}
        self._dialogue: Dialogue | None = None
        self._lock = threading.Lock()

    def load(self, *roles: Role) -> None:
        """Load the language model and the graphs of `roles` now instead of when first needed."""
        with self._lock:
            self._fresh_dialogue(*roles)

    def interpret(
        self,
        recording: Recording,
        *,
        question: str | None = None,
        start: float = 0.0,
        on_text: OnText | None = None,
        max_new_tokens: int | None = None,
    ) -> Interpretation:
        """Interpret the window of `recording` that begins `start` seconds in.

        question: asked instead of the bundle's own. on_text: called with each piece of text as it is written.
        max_new_tokens: fewer than the bundle's own limit. Raises InputError for a recording that cannot be
        used, ContextError for a question that does not fit.
        """
        limit = self._limit(max_new_tokens)
        with self._lock:
            watch = Stopwatch()
            with watch.apart("load"):
                dialogue = self._fresh_dialogue("encoder")
            seen = self._look(recording, start, watch)
            asked = _Asked(dialogue, seen, question)
            speech, statements = asked.answer(limit, on_text, watch)
            with watch.lap("quality"):
                quality = assess(seen.window.recording)
            return Interpretation(
                record=recording.name,
                text=speech.text.strip(),
                measurements={n: {"value": v.value, "unit": v.unit} for n, v in seen.measured.values.items()},
                findings={finding: list(leads) for finding, leads in seen.measured.findings.items()},
                quality=_plain_quality(quality),
                statements=statements,
                timing_ms=watch.read(),
                notes=(*seen.window.notes, *_about_quality(quality), *_about_ending(speech, limit)),
                start=start,
                synthetic=recording.synthetic,
                model=self.bundle.manifest.name,
                version=self.bundle.manifest.version,
            )

    def generate(
        self,
        text: str,
        *,
        sex: str | None = None,
        age: float | None = None,
        heart_rate: float | None = None,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        on_text: OnText | None = None,
    ) -> Generated:
        """Draw the 12-lead ECG that `text` asks for; the same seed draws the same signal on the same machine.

        sex ("male" or "female"), age (years, 0..120) and heart_rate (/min, 20..300) win over what the model
        reads in the text. seed 0, and the bundle's own steps and guidance, by default.
        Raises InputError for anything out of range, ContextError for a text that does not fit.
        """
        given = drawing.check_scalars(sex, age, heart_rate)
        how = self._how(steps, seed, guidance)
        with self._lock:
            watch = Stopwatch()
            with watch.apart("load"):
                dialogue = self._fresh_dialogue("condition", "denoiser", "decoder")
            prompt = self.bundle.manifest.prompt
            request = f"{text.strip()}, {given.words()}" if given != Scalars() and text.strip() else text
            with watch.lap("prefill"):
                logits = dialogue.turn(prompt.first_turn, request, forced=prompt.draw_prefix)
            if on_text is not None:
                on_text(prompt.draw_prefix)
            with watch.lap("text"):
                speech = dialogue.speak(logits).run(on_text)
            line = prompt.draw_prefix + speech.text
            with watch.lap("draw"):
                recording, scalars = self._draw(dialogue, line, given, request, how)
            forced = "the model did not close its drawing line; the drawing was made all the same"
            return Generated(
                recording=recording,
                text=line.strip(),
                request=request,
                scalars=dict(vars(scalars)),
                seed=how.seed,
                steps=how.steps,
                guidance=how.guidance,
                timing_ms=watch.read(),
                notes=() if speech.ending == "drawing" else (forced,),
                model=self.bundle.manifest.name,
                version=self.bundle.manifest.version,
            )

    def chat(self, recording: Recording | None = None, *, start: float = 0.0, seed: int = 0) -> Conversation:
        """A conversation, about the window of `recording` at `start` where one is given.

        seed: of the first drawing; each later one takes the next. Raises InputError for an unusable recording.
        """
        sampler.check_options(1, seed, 1.0)
        with self._lock:
            shared = self._fresh_dialogue()
            dialogue = Dialogue(shared.model.another(), shared.words, shared.manifest)
            seen = None if recording is None else self._look(recording, start, Stopwatch())
        return Conversation(self, dialogue, seen, seed)

    def _look(self, recording: Recording, start: float, watch: Stopwatch) -> _Seen:
        manifest = self.bundle.manifest
        with watch.lap("preprocess"):
            window = prepare_window(recording, manifest.preprocessing, start)
            measured = measure(window.recording)
        with watch.lap("encode"):
            tokens = self._graph("encoder").run(signal=window.signal[None], lead_facts=window.lead_facts[None])[0]
        return _Seen(window, measured, tokens[0], prompt_text(measured, manifest.prompt))

    def _draw(
        self, dialogue: Dialogue, line: str, given: Scalars, request: str, how: _How
    ) -> tuple[Recording, Scalars]:
        """Feed the drawing tokens after `line` and run the generator."""
        scalars = given.over(drawing.read_line(line))
        states = dialogue.draw()
        generation = self._generation()
        signal = drawing.draw(
            self._graph, generation, states, scalars, steps=how.steps, seed=how.seed, guidance=how.guidance
        )
        manifest = self.bundle.manifest
        comments = (
            f"SYNTHETIC: drawn by {manifest.name} {manifest.version}, not recorded from a person",
            f"request: {' '.join(request.split())}",
            f"line: {' '.join(line.split())}",
            f"seed {how.seed}, steps {how.steps}, guidance {how.guidance:g}",
            DISCLAIMER,
        )
        recording = Recording(
            signal=signal,
            fs=generation.fs,
            leads=LEADS,
            name="generated",
            age=scalars.age,
            sex=scalars.sex,
            synthetic=True,
            comments=comments,
        )
        return recording, scalars

    def _how(self, steps: int | None, seed: int, guidance: float | None) -> _How:
        generation = self._generation()
        steps = generation.steps if steps is None else steps
        guidance = generation.guidance if guidance is None else guidance
        sampler.check_options(steps, seed, guidance)
        return _How(steps, seed, guidance)

    def _generation(self) -> Generation:
        if self.bundle.manifest.generation is None:
            raise BundleError(
                f"expected a bundle that can draw, {self.bundle.manifest.name!r} has no generation part; "
                f"use another bundle."
            )
        return self.bundle.manifest.generation

    def _limit(self, max_new_tokens: int | None) -> int:
        most = self.bundle.manifest.prompt.max_new_tokens
        if max_new_tokens is not None and max_new_tokens < 1:
            raise InputError(f"expected at least 1 new token, found {max_new_tokens}; the bundle allows {most}.")
        return most if max_new_tokens is None else min(most, max_new_tokens)

    def _graph(self, role: Role) -> Graph:
        if role not in self._graphs:
            artifact = self.bundle.manifest.artifact(role)
            self._graphs[role] = Graph(self.bundle.path(role), artifact, threads=self.threads)
        return self._graphs[role]

    def _fresh_dialogue(self, *roles: Role) -> Dialogue:
        """The assistant's own dialogue, what was said before forgotten; the graphs of `roles` loaded."""
        for role in roles:
            if role != "language_model":
                self._graph(role)
        if self._dialogue is None:
            manifest = self.bundle.manifest
            model = LanguageModel(
                self.bundle.path("language_model"), context=manifest.prompt.context, threads=self.threads
            )
            _check_widths(self.bundle, model.width)
            self._dialogue = Dialogue(model, read_words(model, manifest), manifest)
        self._dialogue.model.reset()
        return self._dialogue


class Conversation:
    """Turns that build on each other; the language model keeps what was said. Made by `Assistant.chat`."""

    def __init__(self, assistant: Assistant, dialogue: Dialogue, seen: _Seen | None, seed: int) -> None:
        self._assistant, self._dialogue, self._seen, self._seed = assistant, dialogue, seen, seed
        self._notes = () if seen is None else seen.window.notes

    def ask(self, text: str, on_text: OnText | None = None) -> Reply:
        """Say `text`; the model answers in words or with a drawing, as it decides.

        Raises InputError for an empty text and ContextError where the conversation has no room for it;
        the conversation is as before then.
        """
        watch = Stopwatch()
        before = self._dialogue.model.position
        try:
            reply = self._ask(text, on_text, watch)
        except BaseException:
            self._dialogue.model.rewind(before)
            raise
        self._notes = ()
        return reply

    def _ask(self, text: str, on_text: OnText | None, watch: Stopwatch) -> Reply:
        with watch.lap("prefill"):
            logits = self._turn(text)
        with watch.lap("text"):
            speech = self._dialogue.speak(logits).run(on_text, lambda: watch.mark("first_token"))
        recording = None
        if speech.ending == "drawing":
            with watch.lap("draw"):
                how = self._assistant._how(None, self._seed, None)
                recording, _ = self._assistant._draw(self._dialogue, speech.text, Scalars(), text, how)
            self._seed = (self._seed + 1) % (sampler.MAX_SEED + 1)
        manifest = self._assistant.bundle.manifest
        return Reply(
            route="text" if recording is None else "ecg",
            text=speech.text.strip(),
            recording=recording,
            timing_ms=watch.read(),
            notes=(*self._notes, *_about_ending(speech, manifest.prompt.max_new_tokens)),
            model=manifest.name,
            version=manifest.version,
        )

    def _turn(self, text: str) -> NDArray[np.float32]:
        prompt, seen = self._dialogue.manifest.prompt, self._seen
        if self._dialogue.model.position > 0:
            return self._dialogue.turn(prompt.next_turn, text)
        if seen is None:
            return self._dialogue.turn(prompt.first_turn, text)
        return self._dialogue.turn(
            prompt.first_turn_with_signal, text, signal=seen.tokens, measurements=seen.measurements
        )


@dataclass(frozen=True)
class _How:
    steps: int
    seed: int
    guidance: float


@dataclass(frozen=True, eq=False)
class _Seen:
    """A window as the language model gets it: soft tokens (n, width) and the measurements' text."""

    window: Window
    measured: Measurements
    tokens: NDArray[np.float32]
    measurements: str


@dataclass(frozen=True, eq=False)
class _Asked:
    """An interpretation to be written."""

    dialogue: Dialogue
    seen: _Seen
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
                _Asked(self.dialogue, self.seen, None)._turn(limit)
                statements = self.dialogue.statements()
        return speech, statements

    def _turn(self, limit: int) -> NDArray[np.float32]:
        prompt = self.dialogue.manifest.prompt
        return self.dialogue.turn(
            prompt.first_turn_with_signal,
            prompt.interpret_question if self.question is None else self.question,
            signal=self.seen.tokens,
            measurements=self.seen.measurements,
            answer=limit,
        )


def _check_widths(bundle: Bundle, width: int) -> None:
    """The encoder writes into, and the condition reads from, the language model's space."""
    for artifact in bundle.manifest.artifacts:
        tensors = {"encoder": artifact.outputs, "condition": artifact.inputs}.get(artifact.role, ())
        for tensor in tensors:
            if tensor.name != "scalars" and "facts" not in tensor.name and tensor.shape[-1] != width:
                raise BundleError(
                    f"expected {artifact.role} to be {width} wide as the language model, found {tensor.name} "
                    f"{tensor.shape}; export the bundle again."
                )


def _plain_quality(quality: Quality) -> dict[str, Any]:
    leads = {lead: list(reasons) for lead, reasons in quality.leads.items()}
    return {"score": quality.score, "acceptable": quality.acceptable, "leads": leads}


def _about_quality(quality: Quality) -> tuple[str, ...]:
    if quality.acceptable:
        return ()
    reasons = "; ".join(f"{lead}: {', '.join(why)}" for lead, why in quality.leads.items() if why)
    return (f"signal quality is not acceptable ({reasons or f'score {quality.score:.2f}'})",)


def _about_ending(speech: Speech, limit: int) -> tuple[str, ...]:
    if speech.ending == "length":
        return (f"the text was cut after {limit} tokens",)
    return ()
