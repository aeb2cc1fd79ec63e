"""Parity: does the reference compute what the checkpoint computes in torch?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from uniecg_export.gguf_vocabulary import Vocabulary, prepare_text
from uniecg_export.language import Forward
from uniecg_export.onnx_graphs import Source
from uniecg_runtime import manifest
from uniecg_runtime.backends.llama import LanguageModel
from uniecg_runtime.backends.onnx import Graph
from uniecg_runtime.manifest import Gate
from uniecg_runtime.verify import relative_error

GRAPH_LIMIT = 1e-4  # float32 arithmetic in another order
TOP1_LIMIT = 0.01  # top-1 token, per position
STATE_LIMIT = 0.01  # logits and hidden states, relative

# What the model reads and writes, and what people type; no part of any training text.
TEXTS = (
    "Interpret this ECG.",
    "HR 72 PR 160 QRS 92 QT 400 QTc 420 axis 45 RRSD 30; ST elevation V2 V3; T inversion V5 V6",
    "HR 143 PR - QRS 88 QT 290 QTc - axis -30 RRSD 112",
    "Heart rate 72 bpm (normal), RR intervals regular. PR interval 160 ms (normal). QRS 92 ms (normal). "
    "QT 400 ms, QTc 420 ms (normal). Axis 45 degrees (normal). Conclusion: sinus rhythm; normal ECG.",
    "Heart rate 131 bpm (fast), RR intervals irregular. PR interval not measurable. QRS 148 ms (wide). "
    "ST depression in V4, V5 and V6. Conclusion: atrial fibrillation; complete left bundle branch block.",
    "Generate an ECG with atrial fibrillation, heart rate 110, male, 70 years",
    "Drawing: atrial fibrillation | rate 110 | sex male | age 70[ECG][ECG][ECG][ECG]",
    "What's the QT interval? I'd say it isn't prolonged: 0.42 s, i.e. 420 ms @ 25 mm/s, 10 mm/mV (±0.05 mV).",
    "<s><|user|>Is there a left bundle branch block?<|assistant|>No.</s><|user|>Draw one.<|assistant|>",
    "Zeichne mir bitte ein EKG: Vorhofflimmern, 95/min, weiblich, 81 Jahre. Größe 1,72 m\n\n\tDanke!",
    "心电图显示什么？ Что показывает ЭКГ? ΗΚΓ; ECG 🫀 naïve café 12½ µV 1e-5  trailing spaces   \r\n",  # noqa: RUF001
    "a1b22c333 V1-V6 aVR/aVL (aVF) II,III;;...!!! __init__ $%&*",
)


def graph_parity(source: Source, path: Path, artifact: manifest.Artifact, draws: int = 4) -> Gate:
    """The graph in the runtime against torch on random inputs; the largest relative error of all outputs."""
    graph = Graph(path, artifact)
    errors = []
    for seed in range(draws):
        inputs = source.draw(np.random.default_rng(seed))
        pairs = zip(graph.run(**inputs), source.run(inputs), strict=True)
        errors += [relative_error(found, expected) for found, expected in pairs]
    return Gate(f"{source.role}.parity", "outputs, relative error", float(np.max(errors)), GRAPH_LIMIT)


def tokenizer_parity(tokenizer: Tokenizer, vocabulary: Vocabulary, model: LanguageModel, draws: int = 300) -> Gate:
    """Token for token on `TEXTS` and random mixtures of them; the share of texts that differ."""
    rng = random.Random(0)
    letters = "".join(TEXTS) + "0123456789 .,;:|/-+()\n"
    words = [word for text in TEXTS for word in text.split(" ")]
    mixed = ["".join(rng.choices(letters, k=rng.randint(1, 60))) for _ in range(draws // 2)]
    mixed += [" ".join(rng.choices(words, k=rng.randint(1, 20))) for _ in range(draws // 2)]
    texts = [*TEXTS, *mixed]
    expected = (encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False))
    found = (model.tokenize(prepare_text(vocabulary, text)) for text in texts)
    differ = sum(a != b for a, b in zip(found, expected, strict=True))
    return Gate("language_model.tokenizer", f"share of {len(texts)} texts that differ", differ / len(texts), 0.0)


def language_model_parity(
    reference: Forward,
    found: Forward,
    passages: Sequence[Sequence[int]],
    soft_tokens: NDArray[np.float32] | None,
) -> tuple[Gate, Gate]:
    """The artifact against its reference, position by position, and again with soft tokens in front.

    passages: tokens. soft_tokens: float32 (n, width). Gives the share of positions whose likeliest next token differs,
    and the relative error of logits and hidden states over all positions, the larger of the two.
    """
    differ: list[bool] = []
    apart, largest = np.zeros(2), np.full(2, np.finfo(np.float32).tiny)  # of logits and of states
    for prefix in (None,) if soft_tokens is None else (None, soft_tokens):
        for ids in passages if prefix is None else passages[1:5]:
            pairs = list(zip(found([], prefix, ids), reference([], prefix, ids), strict=True))
            differ += list(pairs[0][0].argmax(1) != pairs[0][1].argmax(1))
            apart = np.maximum(apart, [np.abs(a - b).max() for a, b in pairs])
            largest = np.maximum(largest, [np.abs(b).max() for _, b in pairs])
    error = float((apart / largest).max())
    share = f"share of {len(differ)} top-1 tokens that differ"
    return (
        Gate("language_model.parity_top1", share, float(np.mean(differ)), TOP1_LIMIT),
        Gate("language_model.parity_states", "logits and states, relative error", error, STATE_LIMIT),
    )


def passages(tokenizer: Tokenizer, vocabulary: int, most: int) -> list[list[int]]:
    """`TEXTS` as tokens, and two of tokens at random; each at most `most` long."""
    rng = np.random.default_rng(0)
    texts = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    return [ids[:most] for ids in (*texts, *(rng.integers(0, vocabulary, 64).tolist() for _ in range(2)))]
