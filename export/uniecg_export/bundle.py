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
import torch
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_export.checkpoint import read_checkpoint
from uniecg_export.exportable import Exportable, Language
from uniecg_export.gguf_writer import Precision, quantize, write_gguf
from uniecg_export.onnx_graphs import export_graph
from uniecg_export.parity import (
    GRAPH_LIMIT,
    STATE_LIMITS,
    TEXTS,
    Parity,
    decide,
    graph_parity,
    language_model_parity,
    read_overrides,
    tokenizer_parity,
)
from uniecg_runtime import manifest
from uniecg_runtime.backends.llama import LanguageModel
from uniecg_runtime.bundle import MANIFEST, Bundle
from uniecg_runtime.manifest import Artifact, Golden, Manifest
from uniecg_runtime.verify import verify_bundle

GOLDEN_FILE = "golden.npz"
GOLDEN_SEED = 20260101

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
    precision: Precision = "q8_0",
    overrides: Iterable[str] = (),
) -> Exported:
    """Export `checkpoint` to the bundle folder `out`; a bundle that is already there is replaced.

    family: of `checkpoint.FAMILIES`, where the checkpoint does not name its own. labels: see `checkpoint.read_labels`.
    precision: of the language model's matrices. overrides: `gate=reason` for gates that may say no.
    Everything is written beside `out`, measured against torch, opened and replayed through the runtime,
    and only then moved there. Raises InputError for a checkpoint or option that cannot be used, GateError
    where an artifact is too far from torch; `out` is then as it was.
    """
    if precision not in get_args(Precision):
        raise InputError(f"expected a precision of {', '.join(get_args(Precision))}, found {precision!r}.")
    accepted = read_overrides(overrides)
    read = read_checkpoint(checkpoint, family, labels)
    with staged(out) as folder:
        made, parities = _write_artifacts(read, folder, precision)
        used = decide(parities, accepted)
        golden = _write_golden(read, folder, precision, parities)
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
        path = folder / "language_model.gguf"
        _write_language_model(read.language, path, precision, read.name)
        made.append(_artifact("language_model", path, "llama.cpp", precision))
        parities += _language_parities(read, read.language, path, precision)
    return made, parities


def _language_parities(read: Exportable, language: Language, path: Path, precision: Precision) -> list[Parity]:
    llama = LanguageModel(path, context=language.prompt.context, threads=1)
    soft_tokens = _soft_tokens(read, np.random.default_rng(1))
    parities = language_model_parity(language.model, language.tokenizer, llama, soft_tokens, precision)
    return [tokenizer_parity(language.tokenizer, llama), *parities]


def _soft_tokens(read: Exportable, rng: np.random.Generator) -> NDArray[np.float32]:
    """What the encoder writes for a plausible input, (n, width)."""
    encoder = next(source for source in read.sources if source.role == "encoder")
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


def _write_language_model(language: Language, path: Path, precision: Precision, name: str) -> None:
    tensors = language.model.state_dict()
    weights = {name: tensor.numpy() for name, tensor in tensors.items() if name != "lm_head.weight"}
    config = language.model.config
    if precision == "f16":
        write_gguf(path, weights, config, language.vocabulary, name)
        return
    full = path.with_suffix(".f16.gguf")
    write_gguf(full, weights, config, language.vocabulary, name)
    quantize(full, path, precision)
    full.unlink()


def _write_golden(
    read: Exportable, folder: Path, precision: Precision, parities: Sequence[Parity]
) -> tuple[Golden, ...]:
    """Write golden.npz with torch's float32 outputs; the tolerance of each role.

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
        arrays |= _golden_conversation(read.language, read.generation, arrays["encoder.out.tokens"][0])
        limit = _tolerance(STATE_LIMITS[precision], "language_model_states", parities)
        golden.append(Golden(role="language_model", tolerance=limit))
    np.savez_compressed(folder / GOLDEN_FILE, **arrays)  # type: ignore[arg-type]
    return tuple(golden)


def _tolerance(limit: float, gate: str, parities: Sequence[Parity]) -> float:
    return max([limit, *(2 * p.error for p in parities if p.gate == gate and not p.ok)])


def _golden_conversation(
    language: Language, generation: manifest.Generation | None, soft_tokens: NDArray[np.float32]
) -> Arrays:
    """An interpretation's prompt around soft tokens, then `[ECG]` tokens: last logits and hidden states."""
    prompt, llama = language.prompt, language.model
    parts = prompt.first_turn_with_signal.split("{signal}")
    before, after = (
        language.tokenize(part.format(question=prompt.interpret_question, measurements=TEXTS[1])) for part in parts
    )
    if generation is not None:
        after += language.tokenize((generation.token or "") * (generation.token_count or 0))
    embed = llama.get_input_embeddings()
    with torch.inference_mode():
        pieces = [embed(torch.tensor([before])), torch.from_numpy(soft_tokens)[None], embed(torch.tensor([after]))]
        states = llama.model(inputs_embeds=torch.cat(pieces, 1)).last_hidden_state[0, -len(after) :]
        logits = llama.lm_head(states[-1])
    return {
        "language_model.in.before": np.array(before, np.int32),
        "language_model.in.soft_tokens": soft_tokens,
        "language_model.in.after": np.array(after, np.int32),
        "language_model.out.logits": logits.numpy(),
        "language_model.out.states": states.numpy(),
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
