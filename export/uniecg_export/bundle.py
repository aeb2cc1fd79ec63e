"""From a checkpoint to a bundle for a kind of machine, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from uniecg_device.errors import InputError
from uniecg_export.checkpoint import read_checkpoint
from uniecg_export.gates import GateError, decide, read_overrides
from uniecg_export.gguf_writer import Precision, quantize
from uniecg_export.graph_precision import GRAPH_PRECISIONS, GraphPrecision, reduce_graph
from uniecg_export.importance import read_texts, write_importance
from uniecg_export.reference import GOLDEN_FILE, describe_artifact, sha256, write_reference
from uniecg_export.report import write_report
from uniecg_export.role_inputs import role_inputs
from uniecg_export.role_metrics import Reference
from uniecg_export.staging import staged
from uniecg_export.targets import GGUF_PRECISIONS, find_target, read_precisions
from uniecg_export.trial_set import MOST, read_trial_set
from uniecg_export.trials import Bench, Make, Trial, file_of
from uniecg_runtime import manifest
from uniecg_runtime.assistant import Assistant
from uniecg_runtime.bundle import MANIFEST, Bundle
from uniecg_runtime.machine import usable_cpus
from uniecg_runtime.manifest import Artifact, Gate, Golden, Manifest, Override, Role
from uniecg_runtime.verify import verify_bundle

K_QUANTS = ("q6_k", "q5_k_m", "q4_k_m")

Shown = Callable[[Role, str], None]


@dataclass(frozen=True)
class Texts:
    """Lines of the domain, and the file that they are from."""

    file: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Exported:
    """A bundle that was written, and what its gates measured.

    parity: of the reference with the checkpoint. trials: all that was tried; chosen: what is in the bundle.
    """

    folder: Path
    manifest: Manifest
    parity: tuple[Gate, ...]
    trials: tuple[Trial, ...]
    chosen: tuple[Trial, ...]


def export_checkpoint(
    checkpoint: Path,
    out: Path,
    *,
    family: str | None = None,
    labels: Path | None = None,
    tower: Path | None = None,
    generator: Path | None = None,
    delineator: Path | None = None,
    with_image: bool = False,
    target: str = "cpu",
    precisions: Sequence[str] = (),
    recordings: Path | None = None,
    truth: Path | None = None,
    texts: Path | None = None,
    most: int = MOST,
    sweep: bool = False,
    overrides: Iterable[str] = (),
    shown: Shown = lambda role, precision: None,
) -> Exported:
    """Export `checkpoint` to the bundle folder `out`; a bundle that is already there is replaced.

    family: of `checkpoint.FAMILIES`, where the checkpoint does not name its own. labels, tower, generator, delineator,
    with_image: see `checkpoint.read_checkpoint`. target: of `targets.TARGETS`; each role gets the best of the target's
    precisions that pass every gate. precisions: `[ROLE=]PRECISION` instead of the target's; what its gates refuse is
    then refused. recordings, truth, most: see `trial_set.read_trial_set`. texts: a file of texts of the domain, one a
    line, whose importance matrix the language model's k-quants are then made with. sweep: try every precision of every
    role. overrides: `gate=reason` for gates that may say no. shown: is told what is being tried.
    Everything is written beside `out`, measured, opened and replayed through the runtime, and only then moved there.
    Raises InputError for a checkpoint or option that cannot be used, GateError where an artifact is too far from the
    checkpoint or loses more than its gates allow; `out` is then as it was.
    """
    goal, accepted = find_target(target), read_overrides(overrides)
    domain = None if texts is None else Texts(texts.name, read_texts(texts))
    aside = {"tower": tower, "generator": generator, "delineator": delineator}
    read = read_checkpoint(checkpoint, family, labels, **aside, with_image=with_image)
    wanted = read_precisions(tuple(precisions), read.roles)
    names: dict[Role, Sequence[str]] = {
        role: (wanted[role],) if role in wanted else goal.candidates(role, read.parameters.get(role, 0))
        for role in read.roles
    }
    if domain is not None:
        _check_use(names.get("language_model", ()), sweep)
    tried = read_trial_set(recordings, read.preprocessing, truth, most)
    with staged(out) as folder, tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=folder.parent) as work:
        reference = write_reference(read, Path(work), accepted)
        bench = Bench(Reference(Assistant(reference.bundle, threads=1), tried), goal.is_here)
        chosen, trials = [], []
        for artifact in reference.bundle.manifest.artifacts:
            role = artifact.role
            others = tuple(p for p in _all_precisions(role) if p not in names[role]) if sweep else ()
            one, found = bench.choose(role, names[role], _maker(bench, artifact, domain, shown), accepted, others)
            chosen.append(one)
            trials += found
        used = decide([gate for trial in chosen for gate in trial.gates], accepted)
        described = _assemble(folder, reference.bundle, chosen, (*reference.overrides, *used))
        files = write_report(folder, described.name, goal, tried, reference.parity, trials, chosen, described.overrides)
        described = _seal(folder, described, files)
    return Exported(out, described, reference.parity, tuple(trials), tuple(chosen))


def _all_precisions(role: Role) -> Sequence[str]:
    return GGUF_PRECISIONS if role == "language_model" else GRAPH_PRECISIONS


def _check_use(names: Collection[str], sweep: bool) -> None:
    """Raises InputError where none of the language model's precisions would use texts. names: without a sweep's."""
    if not names or not (sweep or set(K_QUANTS) & set(names)):
        raise InputError(
            f"expected a language model to make in one of {', '.join(K_QUANTS)} with --texts, found "
            f"{' or '.join(names) or 'none'}; ask for one with --precision, or drop --texts."
        )


def _maker(bench: Bench, reference: Artifact, texts: Texts | None, shown: Shown) -> Make:
    """What writes an artifact of a precision beside the reference's."""
    role, folder = reference.role, bench.bundle.folder

    def make(precision: str) -> Artifact:
        shown(role, precision)
        path = folder / file_of(role, precision)
        if precision == reference.precision:
            return reference
        if role == "language_model":
            notes = _quantize(bench.bundle.path(role), path, cast(Precision, precision), texts)
        else:
            notes = _reduce(bench, role, path, cast(GraphPrecision, precision))
        return describe_artifact(role, path, precision, reference.inputs, reference.outputs, notes)

    return make


def _quantize(source: Path, path: Path, precision: Precision, texts: Texts | None) -> tuple[str, ...]:
    """Write the language model in another precision; notes on it."""
    if texts is None or precision not in K_QUANTS:
        return quantize(source, path, precision).notes
    matrix = source.with_name("importance.gguf")
    if not matrix.exists():
        write_importance(source, texts.lines, matrix, threads=usable_cpus())
    notes = quantize(source, path, precision, matrix).notes
    return (*notes, f"Quantized with an importance matrix of the texts in {texts.file}.")


def _reduce(bench: Bench, role: Role, path: Path, precision: GraphPrecision) -> tuple[str, ...]:
    """Write the role's graph in another precision; notes on it. Raises InputError where nothing of it can have it."""
    source = bench.bundle.path(role)
    if precision not in ("float32", "float16_weights"):  # what is not reduced is then stored in half
        source = reduce_graph(source, path.with_name(file_of(role, "float16_weights").name), "float16_weights").path
    reduced = reduce_graph(source, path, precision, role_inputs(bench.reference, role))
    if reduced.share == 0 and precision.startswith("int"):
        raise InputError(f"expected weights in the {role} that {precision} holds well enough, found none; use another.")
    return reduced.notes


def _assemble(folder: Path, reference: Bundle, chosen: Sequence[Trial], overrides: Sequence[Override]) -> Manifest:
    """Move what was chosen into the bundle's folder, under its role's name; the reference is no bundle any more."""
    artifacts = []
    for trial in chosen:
        held = trial.artifact
        if held is None:
            raise ValueError(f"expected an artifact for {trial.role}")
        path = folder / f"{trial.role}{Path(held.file).suffix}"
        os.replace(reference.folder / held.file, path)
        artifacts.append(msgspec.structs.replace(held, file=path.name))
    os.replace(reference.folder / GOLDEN_FILE, folder / GOLDEN_FILE)
    return msgspec.structs.replace(
        reference.manifest,
        artifacts=tuple(artifacts),
        gates=tuple(gate for trial in chosen for gate in trial.gates),
        overrides=tuple(dict.fromkeys(overrides)),
    )


def _seal(folder: Path, described: Manifest, files: Sequence[str]) -> Manifest:
    """Write the manifest, replay the golden through the runtime, and write it again with tolerances around that.

    What an artifact may lose is its gates' to say; the golden is there to tell whether it still computes the same.
    """
    report = tuple(manifest.File(file=name, sha256=sha256(folder / name)) for name in files)
    described = msgspec.structs.replace(described, report=report)
    (folder / MANIFEST).write_bytes(manifest.encode(described))
    checks = {check.role: check for check in verify_bundle(Bundle.open_unsigned(folder))}
    replays = [Gate(f"{role}.golden", "replay, relative error", check.error, 1.0) for role, check in checks.items()]
    if not all(gate.ok for gate in replays):
        raise GateError(replays, final=True)
    golden = tuple(Golden(role=g.role, tolerance=max(g.tolerance, 2 * checks[g.role].error)) for g in described.golden)
    described = msgspec.structs.replace(described, golden=golden)
    (folder / MANIFEST).write_bytes(manifest.encode(described))
    return described
