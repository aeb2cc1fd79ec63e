"""The assistant: a recording in, words out; words in, a recording out; and conversations of both."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime import drawing, sampler
from uniecg_runtime.backends.graphs import RoleGraph, check_backend, open_graph, open_language_model
from uniecg_runtime.backends.llama import LanguageModel
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.conversation import Dialogue, OnText, Speech, read_words
from uniecg_runtime.drawing import Scalars
from uniecg_runtime.evidence import Claim, Facts, check, gather
from uniecg_runtime.formats.picture import prepare_picture
from uniecg_runtime.machine import usable_cpus
from uniecg_runtime.manifest import Generation, Role, need
from uniecg_runtime.reading import Asked, Seen
from uniecg_runtime.results import DISCLAIMER, Generated, Interpretation, Reply
from uniecg_runtime.signal.delineator import Delineator
from uniecg_runtime.signal.edges import edges_of
from uniecg_runtime.signal.measure import measure, prompt_text
from uniecg_runtime.signal.quality import Quality, assess
from uniecg_runtime.signal.window import prepare_window
from uniecg_runtime.stopwatch import Stopwatch

__all__ = ["DISCLAIMER", "Assistant", "Conversation", "Generated", "Interpretation", "Reply"]

MAX_THREADS: Final = 4  # by default; more do not help models of this size
DRAWING: Final[tuple[Role, ...]] = ("condition", "denoiser", "decoder")


class Assistant:
    """A bundle at work. Weights are loaded when first needed.

    backend: "cpu", "cuda" (both ONNX Runtime) or "tensorrt" (plans of `uniecg build-engine`); what cannot run there is
    a BackendError when it is loaded. threads: CPU threads that each part may use; by default those of this process, at
    most 4. Calls from several threads wait for each other; `on_text` must not call back into the assistant.
    """

    def __init__(self, bundle: Bundle, *, backend: str = "cpu", threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise InputError(f"expected at least 1 thread, found {threads}; leave it out to use those there are.")
        self.bundle, self.backend = bundle, check_backend(backend)
        self.threads = min(MAX_THREADS, usable_cpus()) if threads is None else threads
        self._graphs: dict[Role, RoleGraph] = {}
        self._dialogue: Dialogue | None = None
        self._lock = threading.Lock()

    def load(self, *roles: Role) -> None:
        """Load the graphs of `roles`, and the language model where there is one, now instead of when first needed."""
        with self._lock:
            for role in roles:
                if role != "language_model":
                    self.graph(role)
            if self.bundle.manifest.prompt is not None:
                self.fresh_dialogue()

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

        A bundle that holds an encoder and no language model writes no text: its classifier's labels, with their
        probabilities, are the statements. question: asked instead of the bundle's own. on_text: called with each
        piece of text as it is written. max_new_tokens: fewer than the bundle's own limit. Raises InputError for a
        recording that cannot be used, ContextError for a question that does not fit.
        """
        manifest = self.bundle.manifest
        if manifest.prompt is None and question is not None:
            raise InputError("expected no question, for this bundle has no language model; use a bundle that has one.")
        limit = 0 if manifest.prompt is None else self._limit(max_new_tokens)
        with self._lock:
            watch = Stopwatch()
            with watch.apart("load"):
                dialogue = None if manifest.prompt is None else self.fresh_dialogue(*self.looking)
                self.graph("encoder")
            seen = self.look(recording, start, watch)
            text, statements, ending = "", self._classified(seen.encoded), tuple[str, ...]()
            if dialogue is not None:
                speech, statements = Asked(dialogue, seen, question).answer(limit, on_text, watch)
                text, ending = speech.text.strip(), _about_ending(speech, limit)
            with watch.lap("quality"):
                quality = assess(seen.window.recording)
            with watch.lap("claims"):
                claims = check(text, self._facts(seen, quality)) if text else ()
            ran = self._ran(*self.looking, *(("language_model",) if dialogue is not None else ()))
            return Interpretation(
                record=recording.name,
                text=text,
                measurements={n: {"value": v.value, "unit": v.unit} for n, v in seen.measured.values.items()},
                findings={finding: list(leads) for finding, leads in seen.measured.findings.items()},
                quality=_plain_quality(quality),
                statements=statements,
                claims=claims,
                timing_ms=watch.read(),
                notes=(*quality.warnings, *seen.window.notes, *ending, *ran.remarks),
                start=start,
                synthetic=recording.synthetic,
                model=manifest.name,
                version=manifest.version,
                backend=ran.backend,
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
        embedding: NDArray[np.float32] | None = None,
        on_text: OnText | None = None,
    ) -> Generated:
        """Draw the 12-lead ECG that `text` asks for; the same seed draws the same signal on the same machine.

        embedding: of the text, float32 (width,), for a bundle whose generator takes one in place of a language model's
        hidden states. sex ("male" or "female"), age (years, 0..120) and heart_rate (/min, 20..300) win over what the
        model reads in the text. seed 0, and the bundle's own steps and guidance, by default.
        Raises InputError for anything out of range, ContextError for a text that does not fit.
        """
        given = drawing.check_scalars(sex, age, heart_rate)
        how = self._how(steps, seed, guidance)
        if embedding is not None or self._generation().token_count is None:
            return self._generate_from(embedding, text, given, how)
        with self._lock:
            watch = Stopwatch()
            with watch.apart("load"):
                dialogue = self.fresh_dialogue(*DRAWING)
            prompt = dialogue.prompt
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
            what = "close its drawing line" if prompt.draw_prefix else "ask for a drawing"
            forced = f"the model did not {what}; the drawing was made all the same"
            notes = () if speech.ending == "drawing" else (forced,)
            ran = self._ran("language_model", *DRAWING)
            return self._generated(recording, line.strip(), request, scalars, how, watch, notes, ran)

    def _generate_from(self, embedding: NDArray[np.float32] | None, text: str, given: Scalars, how: _How) -> Generated:
        """Draw from a text's embedding, with no language model."""
        inputs = {tensor.name: tensor.shape for tensor in self.bundle.manifest.artifact("condition").inputs}
        width = inputs.get("text", (0,))[-1]
        found = "none" if embedding is None else f"one of {embedding.size} numbers"
        if not width:
            raise InputError("expected no embedding, for this bundle's language model reads the text; leave it out.")
        if embedding is None or embedding.size != width or not np.isfinite(embedding).all():
            raise InputError(
                f"expected the text's embedding of {width} finite numbers, which this bundle has no language model to "
                f"make, found {found}; give it as a NumPy file with --embedding."
            )
        with self._lock:
            watch = Stopwatch()
            with watch.apart("load"):
                for role in DRAWING:
                    self.graph(role)
            with watch.lap("draw"):
                states = {"text": embedding.astype(np.float32).reshape(1, 1, width)}
                recording = self._drawn(states, given, "", text, how)
            return self._generated(recording, "", text, given, how, watch, (), self._ran(*DRAWING))

    def _generated(
        self,
        recording: Recording,
        line: str,
        request: str,
        scalars: Scalars,
        how: _How,
        watch: Stopwatch,
        notes: tuple[str, ...],
        ran: Ran,
    ) -> Generated:
        return Generated(
            recording=recording,
            text=line,
            request=request,
            scalars=dict(vars(scalars)),
            seed=how.seed,
            steps=how.steps,
            guidance=how.guidance,
            timing_ms=watch.read(),
            notes=(*notes, *ran.remarks),
            model=self.bundle.manifest.name,
            version=self.bundle.manifest.version,
            backend=ran.backend,
        )

    def encode(self, recording: Recording, *, start: float = 0.0) -> dict[str, NDArray[np.float32]]:
        """What the encoder gives for the window at `start` seconds, by name, without the batch axis.

        Soft tokens, features, an embedding or logits: whatever the bundle's encoder has. Raises InputError for a
        recording that cannot be used, BundleError for a bundle without an encoder.
        """
        with self._lock:
            return self.look(recording, start, Stopwatch(), pictured=False).encoded

    def chat(self, recording: Recording | None = None, *, start: float = 0.0, seed: int = 0) -> Conversation:
        """A conversation, about the window of `recording` at `start` where one is given.

        seed: of the first drawing; each later one takes the next. Raises InputError for an unusable recording.
        """
        sampler.check_options(1, seed, 1.0)
        with self._lock:
            shared = self.fresh_dialogue()
            dialogue = Dialogue(shared.model.another(), shared.words, shared.prompt, shared.generation)
            seen = None if recording is None else self.look(recording, start, Stopwatch())
        return Conversation(self, dialogue, seen, seed)

    @property
    def looking(self) -> tuple[Role, ...]:
        """The roles that look at a recording: the encoder, an image encoder where there is one, and a delineator where
        there is one and a text to be checked."""
        manifest = self.bundle.manifest
        held = {artifact.role for artifact in manifest.artifacts}
        pictures: tuple[Role, ...] = () if manifest.picture is None else ("image_encoder",)
        checks: tuple[Role, ...] = ("delineator",) if manifest.prompt is not None and "delineator" in held else ()
        return ("encoder", *pictures, *checks)

    def look(self, recording: Recording, start: float, watch: Stopwatch, *, pictured: bool = True) -> Seen:
        """The window at `start` seconds as the encoders write it. pictured: let an image encoder look too.

        For who runs the parts one by one, as the exporter's gates do; takes no lock.
        """
        manifest = self.bundle.manifest
        with watch.lap("preprocess"):
            window = prepare_window(recording, need(manifest.preprocessing, "an encoder"), start)
            measured = measure(window.recording)
        with watch.lap("encode"):
            encoder = self.graph("encoder")
            outputs = encoder.run(**window.inputs(encoder.artifact))
        names = (tensor.name for tensor in encoder.artifact.outputs)
        encoded = {name: array[0] for name, array in zip(names, outputs, strict=True)}
        text = "" if manifest.prompt is None else prompt_text(measured, manifest.prompt)
        seen = Seen(window, measured, encoded, text)
        if not pictured or manifest.picture is None:
            return seen
        with watch.lap("picture"):
            image = prepare_picture(window.recording, manifest.picture)
            return replace(seen, pictured=self.graph("image_encoder").run(image=image)[0][0])

    def _facts(self, seen: Seen, quality: Quality) -> Facts:
        """What a text about a recording is held against."""
        find_edges = Delineator(self.graph("delineator")) if "delineator" in self.looking else edges_of
        return gather(seen.window.recording, seen.measured, quality, find_edges)

    def _classified(self, encoded: dict[str, NDArray[np.float32]]) -> dict[str, float]:
        """P(label) by the encoder's own classifier; empty where it has none."""
        classes = self.bundle.manifest.classification
        if classes is None:
            return {}
        p = 0.5 * (1 + np.tanh(encoded["logits"].astype(np.float64) / 2))  # the logistic function without overflow
        return {label: float(value) for label, value in zip(classes.labels, p, strict=True)}

    def _draw(
        self, dialogue: Dialogue, line: str, given: Scalars, request: str, how: _How
    ) -> tuple[Recording, Scalars]:
        """Feed the drawing tokens after `line` and run the generator."""
        said = drawing.read_line(line) if dialogue.prompt.draw_prefix else drawing.read_request(request)
        scalars = given.over(said)
        return self._drawn({"states": dialogue.draw()}, scalars, line, request, how), scalars

    def _drawn(
        self, given: dict[str, NDArray[np.float32]], scalars: Scalars, line: str, request: str, how: _How
    ) -> Recording:
        """Run the generator on the condition's inputs; the recording says what it is."""
        generation = self._generation()
        signal = drawing.draw(
            self.graph, generation, given, scalars, steps=how.steps, seed=how.seed, guidance=how.guidance
        )
        manifest = self.bundle.manifest
        comments = (
            f"SYNTHETIC: drawn by {manifest.name} {manifest.version}, not recorded from a person",
            f"request: {' '.join(request.split())}",
            *([f"line: {' '.join(line.split())}"] if line else []),
            f"seed {how.seed}, steps {how.steps}, guidance {how.guidance:g}",
            DISCLAIMER,
        )
        return Recording(
            signal=signal,
            fs=generation.fs,
            leads=LEADS,
            name="generated",
            age=scalars.age,
            sex=scalars.sex,
            synthetic=True,
            comments=comments,
        )

    def _how(self, steps: int | None, seed: int, guidance: float | None) -> _How:
        generation = self._generation()
        steps = generation.steps if steps is None else steps
        if guidance is not None and generation.guidance is None:
            raise InputError("expected no guidance, for this bundle's generator takes none; leave it out.")
        guidance = sampler.guidance_of(generation) if guidance is None else guidance
        sampler.check_options(steps, seed, guidance)
        return _How(steps, seed, guidance)

    def _generation(self) -> Generation:
        return need(self.bundle.manifest.generation, "a generation part")

    def _limit(self, max_new_tokens: int | None) -> int:
        most = need(self.bundle.manifest.prompt, "a language model").max_new_tokens
        if max_new_tokens is not None and max_new_tokens < 1:
            raise InputError(f"expected at least 1 new token, found {max_new_tokens}; the bundle allows {most}.")
        return most if max_new_tokens is None else min(most, max_new_tokens)

    def graph(self, role: Role) -> RoleGraph:
        """The graph of a role, loaded when first asked for. Raises BackendError where it cannot run here."""
        if role not in self._graphs:
            self._graphs[role] = open_graph(self.bundle, role, self.backend, self.threads)
        return self._graphs[role]

    def fresh_dialogue(self, *roles: Role) -> Dialogue:
        """The assistant's own dialogue, what was said before forgotten; the graphs of `roles` loaded."""
        for role in roles:
            self.graph(role)
        if self._dialogue is None:
            manifest = self.bundle.manifest
            prompt = need(manifest.prompt, "a language model")
            model = open_language_model(self.bundle, self.backend, self.threads)
            self._dialogue = Dialogue(model, read_words(model, manifest), prompt, manifest.generation)
        self._dialogue.model.reset()
        return self._dialogue

    def _ran(self, *roles: Role) -> Ran:
        """What ran `roles`, all of which are loaded."""
        loaded: dict[Role, RoleGraph | LanguageModel] = {**self._graphs}
        if self._dialogue is not None:
            loaded["language_model"] = self._dialogue.model
        parts = {role: loaded[role] for role in roles}
        remarks = tuple(remark for part in parts.values() for remark in part.remarks)
        return Ran({role: part.provider for role, part in parts.items()}, remarks)


class Conversation:
    """Turns that build on each other; the language model keeps what was said. Made by `Assistant.chat`."""

    def __init__(self, assistant: Assistant, dialogue: Dialogue, seen: Seen | None, seed: int) -> None:
        self._assistant, self._dialogue, self._seen, self._seed = assistant, dialogue, seen, seed
        self._notes = () if seen is None else seen.window.notes
        self._facts: Facts | None = None

    def ask(self, text: str, on_text: OnText | None = None) -> Reply:
        """Say `text`; the model answers in words or with a drawing, as it decides.

        Raises InputError for an empty text and ContextError where the conversation has no room for it;
        the conversation is as before then.
        """
        with self._assistant._lock:
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
        with watch.lap("claims"):
            claims = () if recording is not None else self._claims(speech.text.strip())
        manifest = self._assistant.bundle.manifest
        looked, drew = self._assistant.looking if self._seen else (), DRAWING if recording else ()
        ran = self._assistant._ran("language_model", *looked, *drew)
        return Reply(
            route="text" if recording is None else "ecg",
            text=speech.text.strip(),
            recording=recording,
            claims=claims,
            timing_ms=watch.read(),
            notes=(*self._notes, *_about_ending(speech, self._dialogue.prompt.max_new_tokens), *ran.remarks),
            model=manifest.name,
            version=manifest.version,
            backend=ran.backend,
        )

    def _claims(self, text: str) -> tuple[Claim, ...]:
        """What an answer states of the recording that was attached, held against it."""
        if self._seen is None or not text:
            return ()
        if self._facts is None:
            self._facts = self._assistant._facts(self._seen, assess(self._seen.window.recording))
        return check(text, self._facts)

    def _turn(self, text: str) -> NDArray[np.float32]:
        prompt, seen = self._dialogue.prompt, self._seen
        if self._dialogue.model.position > 0:
            return self._dialogue.turn(prompt.next_turn, text)
        if seen is None:
            return self._dialogue.turn(prompt.first_turn, text)
        return self._dialogue.turn(
            prompt.first_turn_with_signal, text, signal=seen.soft_tokens, measurements=seen.measurements
        )


class Ran(NamedTuple):
    """By role, what ran it; and what of that is less than was asked for."""

    backend: dict[str, str]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _How:
    steps: int
    seed: int
    guidance: float


def _plain_quality(quality: Quality) -> dict[str, Any]:
    leads = {lead: list(reasons) for lead, reasons in quality.leads.items()}
    return {**asdict(quality), "leads": leads}


def _about_ending(speech: Speech, limit: int) -> tuple[str, ...]:
    if speech.ending == "length":
        return (f"the text was cut after {limit} tokens",)
    return ()
