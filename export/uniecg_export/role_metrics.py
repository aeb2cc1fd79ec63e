"""What replacing one artifact does to its role, on real recordings and through the runtime alone.

Two assistants differ in one artifact: the reference computes in float32 (f16 for the language model), the trial in
what is to be shipped. All figures are costs, so that less is better and 0 is no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from uniecg_device.signals import LEADS, Recording, Sex
from uniecg_export.training.encoder import auroc
from uniecg_export.training.simulated import simulated_record
from uniecg_export.trial_set import TrialSet
from uniecg_runtime import drawing
from uniecg_runtime.assistant import Assistant
from uniecg_runtime.conversation import Dialogue
from uniecg_runtime.drawing import Scalars
from uniecg_runtime.formats.picture import prepare_picture
from uniecg_runtime.manifest import Generation, Role, need
from uniecg_runtime.sampler import Denoiser
from uniecg_runtime.signal.delineator import Delineator
from uniecg_runtime.signal.measure import measure
from uniecg_runtime.signal.waves import Waves, find_waves
from uniecg_runtime.signal.window import prepare_window
from uniecg_runtime.stopwatch import Stopwatch

Floats = NDArray[np.float64]
Asked = Recording | str

PICTURES = 16  # recordings that are drawn for the image encoder
ANSWERS = 16  # recordings whose answers are scored token by token
ANSWER_TOKENS = 96
DRAWINGS = 24
MISSED_BPM = 60.0  # what a drawing without a measurable rate counts as
FEW = 2  # recordings of each kind that a label needs for an AUROC
BANDS = ((0.5, 4.0), (4.0, 8.0), (8.0, 15.0), (15.0, 25.0), (25.0, 40.0))  # Hz
SIMULATED = 8  # recordings for a delineator where there are none
QUESTIONS = (  # for a language model that takes no recording
    "What does an ECG measure?",
    "Which leads look at the inferior wall, and which artery supplies it?",
    "Explain how atrial fibrillation shows on an ECG.",
    "What is a prolonged QT interval, and why does it matter?",
    "List the steps of reading a 12-lead ECG.",
    "How do left and right bundle branch block differ in V1?",
)
DRAWN = ("sinus rhythm", "atrial fibrillation", "left bundle branch block", "normal ECG")


@dataclass(frozen=True)
class Cost:
    """One figure: what it is called, what was measured in words, and how much worse the trial is."""

    name: str
    what: str
    value: float


@dataclass(frozen=True, eq=False)
class Reference:
    """The reference at work on the recordings; what it says of them is found once, for any number of trials."""

    assistant: Assistant
    tried: TrialSet

    @cached_property
    def encoded(self) -> list[dict[str, NDArray[np.float32]]]:
        """What the encoder gives for each recording."""
        return [self.assistant.encode(r) for r in self.tried.measuring]

    @cached_property
    def pictured(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Pictures of the first recordings, and what the image encoder gives for each."""
        graph = self.assistant.graph("image_encoder")
        images = pictures(self.assistant, self.tried.measuring[:PICTURES])
        return [(image, graph.run(image=image)[0]) for image in images]

    @cached_property
    def waves(self) -> list[Waves]:
        """What the delineator finds in each recording."""
        return _waves(self.assistant, self.tried)

    @cached_property
    def probabilities(self) -> list[dict[str, float]]:
        """P(label) for each recording."""
        return _probabilities(self.assistant, self.tried)

    @cached_property
    def answers(self) -> list[tuple[Asked, NDArray[np.int64], NDArray[np.float32]]]:
        """What was asked, the tokens of the answer to it, and the logits before each of them."""
        takes = self.assistant.bundle.manifest.preprocessing is not None
        asked: Sequence[Asked] = self.tried.measuring[:ANSWERS] if takes else QUESTIONS
        return [(each, *_answer(self.assistant, each)) for each in asked]

    @cached_property
    def states(self) -> list[NDArray[np.float32]]:
        """Hidden states at the drawing tokens for each request."""
        return [_states(self.assistant, _request(k)) for k in range(DRAWINGS)]

    @cached_property
    def drawn(self) -> list[Recording]:
        """The ECGs of all requests."""
        return _drawings(self.assistant, self, 0)

    @cached_property
    def redrawn(self) -> list[Recording]:
        """The same from other seeds."""
        return _drawings(self.assistant, self, DRAWINGS)


def encoder_costs(reference: Reference, trial: Assistant) -> list[Cost]:
    """1 - cosine of tokens or of the worst other output, and what the task loses."""
    pairs = list(zip(reference.encoded, [trial.encode(r) for r in reference.tried.measuring], strict=True))
    worst, name = max((float(np.mean([_distance(a[k], b[k]) for a, b in pairs])), k) for k in pairs[0][0])
    costs = [Cost("encoder.cosine", f"{name}: 1 - cosine, mean of {len(pairs)} recordings", worst)]
    return costs + task_costs("encoder", reference, trial)


def image_encoder_costs(reference: Reference, trial: Assistant) -> list[Cost]:
    """1 - cosine of the tokens of pictures."""
    graph = trial.graph("image_encoder")
    lost = [_distance(tokens, graph.run(image=image)[0]) for image, tokens in reference.pictured]
    what = f"tokens: 1 - cosine, mean of {len(lost)} pictures of recordings"
    return [Cost("image_encoder.cosine", what, float(np.mean(lost)))]


def delineator_costs(reference: Reference, trial: Assistant) -> list[Cost]:
    """How far the edges of waves move."""
    recordings = delineated(reference.tried.measuring)
    apart = [
        np.abs(a.leads[lead] - b.leads[lead])[a.leads[lead] >= 0] * (1000.0 / recording.fs)
        for recording, a, b in zip(recordings, reference.waves, _waves(trial, reference.tried), strict=True)
        for lead in a.leads
    ]
    moved = np.concatenate(apart)
    what = f"mean distance of {moved.size} edges in {len(reference.waves)} recordings, ms"
    return [Cost("delineator.edges", what, float(moved.mean()) if moved.size else float("nan"))]


def delineated(recordings: Sequence[Recording]) -> Sequence[Recording]:
    """What a delineator is tried on: the recordings; simulated ones for a bundle of nothing that takes recordings."""
    return recordings or [simulated_record(seed)[0] for seed in range(SIMULATED)]


def _waves(assistant: Assistant, tried: TrialSet) -> list[Waves]:
    reader = Delineator(assistant.graph("delineator"))
    return [find_waves(recording, reader) for recording in delineated(tried.measuring)]


def pictures(assistant: Assistant, recordings: Sequence[Recording]) -> list[NDArray[np.float32]]:
    """What the image encoder is given for each recording, (1, 3, size, size)."""
    manifest = assistant.bundle.manifest
    how, picture = need(manifest.preprocessing, "an encoder"), need(manifest.picture, "an image encoder")
    return [prepare_picture(prepare_window(recording, how).recording, picture) for recording in recordings]


def task_costs(role: Role, reference: Reference, trial: Assistant) -> list[Cost]:
    """What the labels' macro-AUROC loses; nothing where the bundle has no labels.

    Where no truth is told, or of too few recordings, the reference's own decisions stand in for it, so that the figure
    says how well the trial agrees. Where it decides all alike, the figure is how far the probabilities move.
    """
    manifest, tried = trial.bundle.manifest, reference.tried
    if manifest.classification is None and manifest.statements is None:
        return []
    before, after = reference.probabilities, _probabilities(trial, tried)
    labels = list(before[0])
    p, q = (np.array([[row[label] for label in labels] for row in rows], np.float32) for rows in (before, after))
    classes = manifest.classification
    decided = p >= (0.5 if classes is None else np.array(classes.thresholds, np.float32))
    for name, against, truth in (
        ("auroc", "the truth", _truth(tried, labels)),
        ("agreement", "the reference's own decisions", decided.astype(np.float32)),
    ):
        areas = [(_area(t, a), _area(t, b)) for t, a, b in zip(truth.T, p.T, q.T, strict=True)]
        drops = [a - b for a, b in areas if np.isfinite([a, b]).all()]
        if drops:
            what = f"macro-AUROC over {len(drops)} labels and {len(p)} recordings against {against}: drop"
            return [Cost(f"{role}.{name}", what, float(np.mean(drops)))]
    what = (
        f"change of P(label), mean of {len(labels)} labels and {len(p)} recordings, too few of each kind for an AUROC"
    )
    return [Cost(f"{role}.probability", what, float(np.abs(p - q).mean()))]


def _truth(tried: TrialSet, labels: Sequence[str]) -> NDArray[np.float32]:
    """What is told of each recording and label, 0 or 1; NaN where nothing is."""
    truth = np.full((len(tried.measuring), len(labels)), np.nan, np.float32)
    for k, label in enumerate(labels):
        if tried.truth is not None and label in tried.labels:
            truth[:, k] = tried.truth[:, tried.labels.index(label)]
    return truth


def _probabilities(assistant: Assistant, tried: TrialSet) -> list[dict[str, float]]:
    return [dict(assistant.interpret(r, max_new_tokens=1).statements) for r in tried.measuring]


def _area(truth: NDArray[np.float32], score: NDArray[np.float32]) -> float:
    """AUROC where truth is known and both kinds occur often enough, else NaN."""
    use = np.isfinite(truth)
    positive = int((truth[use] > 0.5).sum())
    return auroc(truth[use], score[use]) if min(positive, int(use.sum()) - positive) >= FEW else float("nan")


def language_model_costs(reference: Reference, trial: Assistant) -> list[Cost]:
    """Teacher-forced on the reference's own answers: nats per token, top-1; then `[ECG]` states and the task."""
    increases, differ, likelihood = [], 0, []
    for asked, ids, expected in reference.answers:
        a, b = _log_softmax(expected), _log_softmax(_forced(trial, asked, ids))
        rows = np.arange(len(ids))
        increases.append(a[rows, ids] - b[rows, ids])
        likelihood.append(-a[rows, ids])
        differ += int((a.argmax(1) != b.argmax(1)).sum())
    increase, base = np.concatenate(increases), float(np.mean(np.concatenate(likelihood)))
    n, mean = len(increase), float(increase.mean())
    perplexity = f"perplexity {np.exp(base):.3f} to {np.exp(base + mean):.3f}"
    costs = [
        Cost("language_model.nll", f"nats a token over {n} of its own answers' tokens, {perplexity}", mean),
        Cost("language_model.top1", f"share of {n} tokens where another is likeliest", differ / n),
    ]
    generation = trial.bundle.manifest.generation
    if generation is not None and generation.token is not None:
        distances = [_distance(a, _states(trial, _request(k))) for k, a in enumerate(reference.states)]
        costs.append(
            Cost("language_model.states", f"1 - cosine of {generation.token} states", float(np.mean(distances)))
        )
    return costs + task_costs("language_model", reference, trial)


def generator_costs(role: Role, reference: Reference, trial: Assistant) -> list[Cost]:
    """The same requests and seeds: how much further from the asked rate, and Frechet distance of the ECGs.

    The distance is told as a share of that between two sets that the reference drew from different seeds.
    """
    drawn = _drawings(trial, reference, 0)
    off = [[_rate_error(r, _rate(k)) for k, r in enumerate(each)] for each in (reference.drawn, drawn)]
    before, after = (float(np.mean(errors)) for errors in off)
    what = f"mean error of {len(drawn)} drawn heart rates, bpm, {before:.2f} to {after:.2f}"
    sets = (reference.drawn, reference.redrawn, drawn)
    first, second, third = (np.stack([_features(reference.assistant, r) for r in each]) for each in sets)
    scale = np.concatenate([first, second]).std(0) + 1e-6
    apart, natural = frechet(first / scale, third / scale), frechet(first / scale, second / scale)
    share = f"Frechet distance of {len(drawn)} ECGs, as a share of {natural:.3g} between two seeds"
    return [
        Cost(f"{role}.heart_rate", what, after - before),
        Cost(f"{role}.frechet", share, apart / max(natural, 1e-9)),
    ]


def frechet(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Frechet distance of two sets (n, d) taken as normal distributions (Heusel et al., arXiv 1706.08500).

    |mean a - mean b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) of their covariances A and B; never below 0.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b)]
    root = _root(covariances[0])
    cross = np.linalg.eigvalsh(root @ covariances[1] @ root)
    mean = np.square(a.mean(0) - b.mean(0)).sum()
    spread = np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.sqrt(np.clip(cross, 0, None)).sum()
    return float(max(mean + spread, 0.0))


def _root(matrix: Floats) -> Floats:
    """The symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(matrix)
    root: Floats = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root


def _drawings(assistant: Assistant, told: Reference, first_seed: int) -> list[Recording]:
    """What an assistant's generator draws for each request."""
    return [draw_request(assistant.graph, told, k, first_seed + k) for k in range(DRAWINGS)]


def draw_request(graph: Callable[[Role], Denoiser], told: Reference, k: int, seed: int) -> Recording:
    """The ECG of request k. graph: gives a role's. told: whose language model, where there is one, reads it."""
    generation = need(told.assistant.bundle.manifest.generation, "a generation part")
    sex: Sex = "male" if k % 2 else "female"
    signal = drawing.draw(
        graph,
        generation,
        _given(told, generation, k),
        Scalars(sex=sex, age=25.0 + 3 * k % 60, heart_rate=_rate(k)),
        steps=generation.steps,
        seed=seed,
        guidance=1.0 if generation.guidance is None else generation.guidance,
    )
    return Recording(signal, generation.fs, LEADS, synthetic=True)


def _given(told: Reference, generation: Generation, k: int) -> dict[str, NDArray[np.float32]]:
    """What the condition takes: states of `[ECG]` tokens, or a random embedding of norm 1 where no model reads."""
    if generation.token_count is not None:
        return {"states": told.states[k]}
    inputs = told.assistant.bundle.manifest.artifact("condition").inputs
    width = next(tensor.shape[-1] for tensor in inputs if tensor.name == "text")
    text = np.random.default_rng(k).standard_normal((1, 1, width)).astype(np.float32)
    return {"text": text / np.linalg.norm(text)}


def _rate(k: int) -> float:
    """Beats per minute that request k asks for."""
    return 55.0 + 5 * (k % 13)


def _rate_error(recording: Recording, asked: float) -> float:
    rate = measure(recording).values["heart_rate"].value
    return MISSED_BPM if rate is None else min(abs(rate - asked), MISSED_BPM)


def _features(reference: Assistant, recording: Recording) -> Floats:
    """Of one ECG, for the Frechet distance: the encoder's mean token where there is one, else log band powers."""
    if reference.bundle.manifest.preprocessing is not None:
        encoded = reference.encode(recording)
        name = next((n for n in ("features", "embedding", "tokens") if n in encoded), next(iter(encoded)))
        rows = encoded[name].reshape(-1, encoded[name].shape[-1])
        return np.asarray(rows.mean(0), np.float64)
    spectrum = np.square(np.abs(np.fft.rfft(recording.signal.astype(np.float64), axis=1)))
    hz = np.fft.rfftfreq(recording.signal.shape[1], 1 / recording.fs)
    powers = [spectrum[:, (hz >= low) & (hz < high)].sum(1) for low, high in BANDS]
    return np.asarray(np.log(np.concatenate(powers) + 1e-9), np.float64)


def _request(k: int) -> str:
    return f"Generate an ECG with {DRAWN[k % len(DRAWN)]}, heart rate {_rate(k):g}, {25 + 3 * k % 60} years"


def _states(assistant: Assistant, text: str) -> NDArray[np.float32]:
    """Hidden states at the drawing tokens for a request, (1, token_count, width); the line itself is not written."""
    dialogue = assistant.fresh_dialogue()
    dialogue.turn(dialogue.prompt.first_turn, text, forced=dialogue.prompt.draw_prefix)
    return dialogue.draw()


def _answer(assistant: Assistant, asked: Asked) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Greedy tokens that the model answers with, and the logits that each was chosen by."""
    dialogue, logits = _turn(assistant, asked)
    ids, rows = list[int](), list[NDArray[np.float32]]()
    while len(ids) < ANSWER_TOKENS:
        token = int(np.argmax(logits + dialogue.words.barred))
        ids.append(token)
        rows.append(logits)
        if token in (dialogue.words.end, dialogue.words.drawing):
            break
        logits = dialogue.model.feed_tokens([token])
    return np.array(ids), np.stack(rows)


def _forced(assistant: Assistant, asked: Asked, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """The logits before each of `ids`, which the model is made to say."""
    dialogue, logits = _turn(assistant, asked)
    return np.stack([logits, *(dialogue.model.feed_tokens([int(token)]) for token in ids[:-1])])


def _turn(assistant: Assistant, asked: Asked) -> tuple[Dialogue, NDArray[np.float32]]:
    """A fresh dialogue that was asked to interpret a recording, or a question, and the logits of its first token."""
    dialogue = assistant.fresh_dialogue()
    prompt = dialogue.prompt
    if isinstance(asked, str):
        return dialogue, dialogue.turn(prompt.first_turn, asked, answer=ANSWER_TOKENS)
    seen = assistant.look(asked, 0.0, Stopwatch())
    return dialogue, dialogue.turn(
        prompt.first_turn_with_signal,
        prompt.interpret_question,
        signal=seen.soft_tokens,
        measurements=seen.measurements,
        answer=ANSWER_TOKENS,
    )


def _log_softmax(logits: NDArray[np.float32]) -> Floats:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def _distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """1 - cosine, the mean over rows (tokens)."""
    rows = [x.reshape(-1, x.shape[-1]).astype(np.float64) for x in (a, b)]
    lengths = [np.linalg.norm(x, axis=1) for x in rows]
    cosine = (rows[0] * rows[1]).sum(1) / np.maximum(lengths[0] * lengths[1], 1e-30)
    return float(1 - cosine.mean())
