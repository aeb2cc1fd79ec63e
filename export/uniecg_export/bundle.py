"""From a checkpoint to a bundle, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_export.checkpoint import read_checkpoint
from uniecg_export.exportable import Exportable
from uniecg_export.gguf_writer import Precision, quantize
from uniecg_export.language import Forward, InLlama, Language
from uniecg_export.onnx_graphs import export_graph
from uniecg_export.parity import (
    GRAPH_LIMIT,
    STATE_LIMITS,
    TEXTS,
    Parity,
    decide,
    graph_parity,
    language_model_parity,
    passages,
    read_overrides,
    tokenizer_parity,
)
from uniecg_runtime import manifest
from uniecg_runtime.bundle import MANIFEST, Bundle
from uniecg_runtime.manifest import Artifact, Golden, Manifest
from uniecg_runtime.verify import verify_bundle

GOLDEN_FILE = "golden.npz"
GOLDEN_SEED = 20260101
PARITY_CONTEXT = 1024  # tokens; a comparison needs no more, and a large model's cache is large

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Exported:
    """A bundle that was written, and what its gates measured."""

    folder: Path
    manifest: Manifest
    parities: tuple[Parity, ...]


def export_checkpoint(
    checkpoint: Path,
    out: Path,
    *,
    family: str | None = None,
    labels: Path | None = None,
    tower: Path | None = None,
    generator: Path | None = None,
    precision: Precision = "q8_0",
    overrides: Iterable[str] = (),
) -> Exported:
    """Export `checkpoint` to the bundle folder `out`; a bundle that is already there is replaced.

    family: of `checkpoint.FAMILIES`, where the checkpoint does not name its own. labels, tower, generator: see
    `checkpoint.read_checkpoint`. precision: of the language model's matrices. overrides: `gate=reason` for gates that
    may say no.
    Everything is written beside `out`, measured against the checkpoint, opened and replayed through the runtime,
    and only then moved there. Raises InputError for a checkpoint or option that cannot be used, GateError
    where an artifact is too far from it; `out` is then as it was.
    """
    if precision not in get_args(Precision):
        raise InputError(f"expected a precision of {', '.join(get_args(Precision))}, found {precision!r}.")
    accepted = read_overrides(overrides)
    read = read_checkpoint(checkpoint, family, labels, tower=tower, generator=generator)
    with staged(out) as folder:
        made, parities = _write_artifacts(read, folder, precision)
        used = decide(parities, accepted)
        golden = _write_golden(read, folder, precision, parities)
        if precision != "f16":
            _full(folder, precision).unlink(missing_ok=True)
        described = _describe(read, folder, made, golden, used)
        (folder / MANIFEST).write_bytes(manifest.encode(described))
        checks = verify_bundle(Bundle.open(folder))
        replayed = [Parity("golden", f"{c.role} replayed", c.error, c.tolerance) for c in checks]
        decide(replayed, ())
    return Exported(out, described, (*parities, *replayed))


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A fresh folder beside `out` that takes its place when the block ends well and vanishes when it does not.

    Raises InputError where `out` is there and is not a bundle.
    """
    out = out.absolute()
    if out.exists() and not (out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))):
        raise InputError(
            f"expected a new folder or a bundle to replace at {out}, found something else; choose another."
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise InputError(f"expected to be able to write beside {out}: {error}; choose another place.") from None
    try:
        yield folder
        folder.chmod(0o755)
        _replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(folder: Path, out: Path) -> None:
    """Move `folder` to `out`; folders cannot be exchanged in one step, so the old one waits aside."""
    if not out.exists():
        os.rename(folder, out)
        return
    aside = folder.with_name(f"{folder.name}.old")
    os.rename(out, aside)
    try:
        os.rename(folder, out)
    except OSError:
        os.rename(aside, out)
        raise
    shutil.rmtree(aside)


def _write_artifacts(read: Exportable, folder: Path, precision: Precision) -> tuple[list[Artifact], list[Parity]]:
    made, parities = [], []
    for source in read.sources:
        path = folder / f"{source.role}.onnx"
        inputs, outputs = export_graph(source, path, read.name)
        artifact = _artifact(source.role, path, "onnxruntime", "float32", inputs, outputs)
        made.append(artifact)
        parities.append(graph_parity(source, path, artifact))
    if read.language is not None:
        path = _write_language_model(read.language, folder, precision, read.name)
        made.append(_artifact("language_model", path, "llama.cpp", precision))
        parities += _language_parities(read, read.language, path, precision)
    return made, parities


def _language_parities(read: Exportable, language: Language, path: Path, precision: Precision) -> list[Parity]:
    context = min(language.prompt.context, PARITY_CONTEXT)
    soft_tokens = _soft_tokens(read, np.random.default_rng(1))
    found = InLlama(path, context)
    reference = language.reference(_full(path.parent, precision), context)
    most = context - (0 if soft_tokens is None else len(soft_tokens))
    texts = passages(language.tokenizer, len(language.vocabulary.tokens), most)
    parities = language_model_parity(reference, found, texts, soft_tokens, precision)
    return [tokenizer_parity(language.tokenizer, language.vocabulary, found.model), *parities]


def _soft_tokens(read: Exportable, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """What the encoder writes for a plausible input, (n, width); None where there is none."""
    encoder = next((source for source in read.sources if source.role == "encoder"), None)
    if encoder is None:
        return None
    return encoder.run(encoder.draw(rng))[encoder.outputs.index("tokens")][0]


def _artifact(
    role: manifest.Role,
    path: Path,
    backend: Literal["onnxruntime", "llama.cpp"],
    precision: str,
    inputs: tuple[manifest.Tensor, ...] = (),
    outputs: tuple[manifest.Tensor, ...] = (),
) -> Artifact:
    return Artifact(
        role=role,
        file=path.name,
        sha256=sha256(path),
        size=path.stat().st_size,
        backend=backend,
        precision=precision,
        inputs=inputs,
        outputs=outputs,
    )


def _full(folder: Path, precision: Precision) -> Path:
    """The language model in f16, which a stored one is held against; it stays until all is measured."""
    return folder / ("language_model.gguf" if precision == "f16" else "language_model.f16.gguf")


def _write_language_model(language: Language, folder: Path, precision: Precision, name: str) -> Path:
    path, full = folder / "language_model.gguf", _full(folder, precision)
    language.write(full, name)
    if precision != "f16":
        quantize(full, path, precision)
    return path


def _write_golden(
    read: Exportable, folder: Path, precision: Precision, parities: Sequence[Parity]
) -> tuple[Golden, ...]:
    """Write golden.npz with the reference's outputs, torch's in float32 for a graph; the tolerance of each role.

    A role whose gate was overridden gets a tolerance around the error that was accepted.
    """
    rng = np.random.default_rng(GOLDEN_SEED)
    arrays: Arrays = {}
    golden = []
    for source in read.sources:
        inputs = source.draw(rng)
        arrays |= {f"{source.role}.in.{name}": value for name, value in inputs.items()}
        outputs = zip(source.outputs, source.run(inputs), strict=True)
        arrays |= {f"{source.role}.out.{name}": value for name, value in outputs}
        golden.append(Golden(role=source.role, tolerance=_tolerance(GRAPH_LIMIT, source.role, parities)))
    if read.language is not None:
        context = min(read.language.prompt.context, PARITY_CONTEXT)
        reference = read.language.reference(_full(folder, precision), context)
        arrays |= _golden_conversation(read, read.language, reference, arrays.get("encoder.out.tokens"))
        limit = _tolerance(STATE_LIMITS[precision], "language_model_states", parities)
        golden.append(Golden(role="language_model", tolerance=limit))
    np.savez_compressed(folder / GOLDEN_FILE, **arrays)  # type: ignore[arg-type]
    return tuple(golden)


def _tolerance(limit: float, gate: str, parities: Sequence[Parity]) -> float:
    return max([limit, *(2 * p.error for p in parities if p.gate == gate and not p.ok)])


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
