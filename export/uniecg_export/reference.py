"""The reference bundle: a checkpoint's graphs in float32 and its language model in f16, held against the checkpoint.

What a device is to run is later tried against it, through the runtime and one artifact at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_export.exportable import Exportable
from uniecg_export.gates import decide
from uniecg_export.language import Forward, InLlama, Language
from uniecg_export.onnx_graphs import export_graph
from uniecg_export.parity import (
    GRAPH_LIMIT,
    STATE_LIMIT,
    TEXTS,
    graph_parity,
    language_model_parity,
    passages,
    tokenizer_parity,
)
from uniecg_export.trials import file_of
from uniecg_runtime import manifest
from uniecg_runtime.bundle import MANIFEST, Bundle
from uniecg_runtime.manifest import Artifact, Gate, Golden, Manifest, Override

GOLDEN_FILE = "golden.npz"
GOLDEN_SEED = 20260101
PARITY_CONTEXT = 1024  # tokens; a comparison needs no more, and a large model's cache is large

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Written:
    """The reference bundle, and how far it is from the checkpoint. overrides: those that its parity needed."""

    bundle: Bundle
    parity: tuple[Gate, ...]
    overrides: tuple[Override, ...]


def write_reference(read: Exportable, folder: Path, overrides: Sequence[Override]) -> Written:
    """Write the reference bundle into the empty `folder`.

    Raises GateError where an artifact is further from the checkpoint than its gate and no override allows.
    """
    made, parity = [], []
    for source in read.sources:
        path = folder / file_of(source.role, "float32")
        inputs, outputs = export_graph(source, path, read.name)
        artifact = describe_artifact(source.role, path, "float32", inputs, outputs)
        made.append(artifact)
        parity.append(graph_parity(source, path, artifact))
    if read.language is not None:
        path = folder / file_of("language_model", "f16")
        read.language.write(path, read.name)
        made.append(describe_artifact("language_model", path, "f16"))
        parity += _language_parity(read, read.language, path)
    needed = decide(parity, overrides)
    golden = _write_golden(read, folder)
    described = _describe(read, folder, made, golden, needed)
    (folder / MANIFEST).write_bytes(manifest.encode(described))
    return Written(Bundle.open_unsigned(folder), tuple(parity), needed)


def _language_parity(read: Exportable, language: Language, path: Path) -> list[Gate]:
    context = min(language.prompt.context, PARITY_CONTEXT)
    soft_tokens = _soft_tokens(read, np.random.default_rng(1))
    found = InLlama(path, context)
    most = context - (0 if soft_tokens is None else len(soft_tokens))
    if most < 1:
        raise InputError(
            f"expected a context of more than the {context - most} soft tokens of a signal, found one of {context}; "
            f"export a checkpoint whose context or sliding window is longer."
        )
    texts = passages(language.tokenizer, len(language.vocabulary.tokens), most)
    parity = language_model_parity(language.reference(path, context), found, texts, soft_tokens)
    return [tokenizer_parity(language.tokenizer, language.vocabulary, found.model), *parity]


def _soft_tokens(read: Exportable, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """What the encoder writes for a plausible input, (n, width); None where there is none."""
    encoder = next((source for source in read.sources if source.role == "encoder"), None)
    if encoder is None:
        return None
    return encoder.run(encoder.draw(rng))[encoder.outputs.index("tokens")][0]


def describe_artifact(
    role: manifest.Role,
    path: Path,
    precision: str,
    inputs: tuple[manifest.Tensor, ...] = (),
    outputs: tuple[manifest.Tensor, ...] = (),
    notes: tuple[str, ...] = (),
) -> Artifact:
    """A file as the manifest names it."""
    backend: Literal["onnxruntime", "llama.cpp"] = "llama.cpp" if role == "language_model" else "onnxruntime"
    return Artifact(
        role=role,
        file=path.name,
        sha256=sha256(path),
        size=path.stat().st_size,
        backend=backend,
        precision=precision,
        inputs=inputs,
        outputs=outputs,
        notes=notes,
    )


def _write_golden(read: Exportable, folder: Path) -> tuple[Golden, ...]:
    """Write golden.npz with what the checkpoint computes, torch in float32 for a graph; a tolerance for each role."""
    rng = np.random.default_rng(GOLDEN_SEED)
    arrays: Arrays = {}
    golden = []
    for source in read.sources:
        inputs = source.draw(rng)
        arrays |= {f"{source.role}.in.{name}": value for name, value in inputs.items()}
        outputs = zip(source.outputs, source.run(inputs), strict=True)
        arrays |= {f"{source.role}.out.{name}": value for name, value in outputs}
        golden.append(Golden(role=source.role, tolerance=GRAPH_LIMIT))
    if read.language is not None:
        context = min(read.language.prompt.context, PARITY_CONTEXT)
        reference = read.language.reference(folder / file_of("language_model", "f16"), context)
        arrays |= _golden_conversation(read, read.language, reference, arrays.get("encoder.out.tokens"))
        golden.append(Golden(role="language_model", tolerance=STATE_LIMIT))
    np.savez_compressed(folder / GOLDEN_FILE, **arrays)  # type: ignore[arg-type]
    return tuple(golden)


def _golden_conversation(
    read: Exportable, language: Language, reference: Forward, tokens: NDArray[np.float32] | None
) -> Arrays:
    """A first turn, around soft tokens where there is an encoder, then `[ECG]` tokens: last logits and hidden states.

    tokens: what the encoder wrote, (1, n, width).
    """
    prompt, generation = language.prompt, read.generation
    soft_tokens = np.empty((0, language.width), np.float32) if tokens is None else tokens[0]
    turn = prompt.first_turn if tokens is None else prompt.first_turn_with_signal
    turn = turn.replace("{question}", prompt.interpret_question or TEXTS[0]).replace("{measurements}", TEXTS[1])
    before, *rest = (language.tokenize(part) for part in turn.split("{signal}"))
    if not rest:
        before, rest = before[:1], [before[1:]]
    after = rest[0] + language.tokenize((generation.token or "") * (generation.token_count or 0) if generation else "")
    logits, states = reference(before, soft_tokens if len(soft_tokens) else None, after)
    return {
        "language_model.in.before": np.array(before, np.int32),
        "language_model.in.soft_tokens": soft_tokens,
        "language_model.in.after": np.array(after, np.int32),
        "language_model.out.logits": logits[-1],
        "language_model.out.states": states,
    }


def _describe(
    read: Exportable,
    folder: Path,
    artifacts: Sequence[Artifact],
    golden: tuple[Golden, ...],
    overrides: tuple[manifest.Override, ...],
) -> Manifest:
    language = read.language
    return Manifest(
        schema_version=manifest.SCHEMA_VERSION,
        name=read.name,
        version=read.version,
        licence=read.licence,
        intended_use=read.intended_use,
        artifacts=tuple(artifacts),
        golden_file=GOLDEN_FILE,
        golden_sha256=sha256(folder / GOLDEN_FILE),
        golden=golden,
        preprocessing=read.preprocessing,
        picture=read.picture,
        prompt=None if language is None else language.prompt,
        statements=None if language is None else language.statements,
        classification=read.classification,
        generation=read.generation,
        figures=read.figures,
        overrides=overrides,
        provenance=manifest.Provenance(
            family=read.family,
            checkpoint_sha256=_sha256_of_all(read.files),
            trained_on=read.trained_on,
            parameters=read.parameters,
            tool=tool(),
            paper=read.paper,
            notes=() if language is None else language.notes,
        ),
    )


def _sha256_of_all(files: Sequence[Path]) -> str:
    """Of one file its own; of several that of their hashes in order, each as hexadecimal and a line feed."""
    hashes = [sha256(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(f"{h}\n" for h in hashes).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tool() -> str:
    """What wrote the bundle, with versions that matter."""
    parts = []
    for name in ("uniecg-edge", "torch", "onnx", "llama-cpp-python"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            parts.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(parts)
