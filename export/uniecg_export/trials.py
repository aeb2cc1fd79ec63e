"""Trying artifacts in the place of the one they would replace, and choosing the best that every gate lets pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from uniecg_device.errors import UniecgError
from uniecg_export.gates import GateError, gate, refused, share
from uniecg_export.role_metrics import (
    Cost,
    Reference,
    delineator_costs,
    encoder_costs,
    generator_costs,
    image_encoder_costs,
    language_model_costs,
)
from uniecg_export.speed import Speed, compare, memory_mb, open_role
from uniecg_runtime.assistant import Assistant
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.manifest import Artifact, Gate, Manifest, Override, Role

GAIN = 0.9  # what fewer bits must bring, and noise alone does not

Make = Callable[[str], Artifact]  # a precision -> an artifact of it, its file in the reference's folder


@dataclass(frozen=True)
class Trial:
    """One artifact beside its reference. speed: None where this machine says nothing about the target.

    failed: why there is no artifact, or none that runs; it has no gates then.
    """

    role: Role
    precision: str
    artifact: Artifact | None
    reference_size: int
    gates: tuple[Gate, ...] = ()
    speed: Speed | None = None
    memory_mb: float | None = None
    failed: str = ""

    @property
    def ok(self) -> bool:
        """Whether it runs and every gate lets it pass."""
        return not self.failed and all(gate.ok for gate in self.gates)

    @property
    def quality(self) -> tuple[Gate, ...]:
        """The gates on what it computes, without those on size and speed."""
        return tuple(gate for gate in self.gates if not gate.name.endswith((".size", ".speed")))


@dataclass(frozen=True, eq=False)
class Bench:
    """What trials need: the reference at work on recordings, and whether speed here counts."""

    reference: Reference
    is_target: bool
    threads: int = 1

    @property
    def bundle(self) -> Bundle:
        """The reference's; what is tried lies in its folder."""
        return self.reference.assistant.bundle

    def try_artifact(self, artifact: Artifact, *, memory: bool = False) -> Trial:
        """Measure `artifact`, whose file lies in the reference bundle's folder, in the place of its role's own."""
        role, bundle = artifact.role, self.bundle
        before = bundle.manifest.artifact(role)
        trial = Bundle(bundle.folder, swapped(bundle.manifest, artifact))
        gates = [gate(f"{role}.size", "size against the reference", artifact.size / before.size)]
        speed = None
        if self.is_target:
            speed = compare(open_role(bundle, role, self.threads), open_role(trial, role, self.threads))
            both = f"{speed.of_pairs:.2f} (pairs) and {speed.of_fastest:.2f} (fastest tenths)"
            gates += [gate(f"{role}.speed", f"time against the reference, lower of {both}", speed.ratio)]
        gates += [gate(cost.name, cost.what, cost.value) for cost in self._costs(role, trial)]
        used = memory_mb(trial, role) if memory else None
        return Trial(role, artifact.precision, artifact, before.size, tuple(gates), speed, used)

    def _costs(self, role: Role, trial: Bundle) -> list[Cost]:
        assistant = Assistant(trial, threads=self.threads)
        if role == "encoder":
            return encoder_costs(self.reference, assistant)
        if role == "image_encoder":
            return image_encoder_costs(self.reference, assistant)
        if role == "language_model":
            return language_model_costs(self.reference, assistant)
        if role == "delineator":
            return delineator_costs(self.reference, assistant)
        return generator_costs(role, self.reference, assistant)

    def try_precision(self, role: Role, precision: str, make: Make, *, memory: bool = False) -> Trial:
        """As `try_artifact`, making the artifact first; an artifact that cannot be made or run is a failed trial."""
        held = self.bundle.manifest.artifact(role)
        size = held.size
        try:
            if precision == held.precision and not memory:  # the reference itself loses nothing
                return Trial(role, precision, make(precision), size)
            return self.try_artifact(make(precision), memory=memory)
        except UniecgError as error:
            return Trial(role, precision, None, size, failed=str(error))

    def choose(
        self,
        role: Role,
        precisions: Sequence[str],
        make: Make,
        overrides: Sequence[Override],
        others: Sequence[str] = (),
    ) -> tuple[Trial, list[Trial]]:
        """Which precision is best, and all that were tried: `others` too, to be seen beside it.

        That is the first that passes. Of a graph whose speed counts here all are tried: the last that passes, which is
        the most exact, is best unless an earlier one has a tenth less of size times time. Raises GateError where none
        passes, UniecgError where the last could not be made.
        """
        tried: list[Trial] = []
        passed: list[Trial] = []
        for precision in precisions:
            tried.append(self.try_precision(role, precision, make, memory=bool(others)))
            passed += [tried[-1]] if _passes(tried[-1], overrides) else []
            if passed and (role == "language_model" or not self.is_target):
                break
        if not passed:
            last = tried[-1]
            raise UniecgError(last.failed) if last.failed else GateError(last.gates, overrides)
        chosen = passed[-1]
        for trial in reversed(passed):
            chosen = trial if _size_times_time(trial) < GAIN * _size_times_time(chosen) else chosen
        rest = [p for p in (*precisions, *others) if p not in {trial.precision for trial in tried}] if others else []
        tried += [self.try_precision(role, precision, make, memory=True) for precision in rest]
        return chosen, tried


def _size_times_time(trial: Trial) -> float:
    """Against the reference; 1 is the reference itself."""
    size = 1.0 if trial.artifact is None else trial.artifact.size / trial.reference_size
    return size * (1.0 if trial.speed is None else trial.speed.ratio)


def _passes(trial: Trial, overrides: Sequence[Override]) -> bool:
    """Whether it runs and every gate lets it pass, or may be overridden."""
    return not trial.failed and not refused(trial.gates, overrides)


def swapped(manifest: Manifest, artifact: Artifact) -> Manifest:
    """The manifest with another artifact in its role."""
    artifacts = tuple(artifact if item.role == artifact.role else item for item in manifest.artifacts)
    return msgspec.structs.replace(manifest, artifacts=artifacts)


def pareto(trials: Iterable[Trial]) -> set[int]:
    """Indices of the trials of one role that no other beats in size, time and worst gate at once."""
    points = [(i, _costs(trial)) for i, trial in enumerate(trials) if trial.artifact is not None]

    def beaten(point: tuple[float, ...]) -> bool:
        return any(other != point and all(a <= b for a, b in zip(other, point, strict=True)) for _, other in points)

    return {i for i, point in points if not beaten(point)}


def _costs(trial: Trial) -> tuple[float, ...]:
    size = trial.artifact.size if trial.artifact else 0
    time = trial.speed.trial_ms if trial.speed else 0.0
    return (float(size), time, max(map(share, trial.quality), default=0.0))


def file_of(role: Role, precision: str) -> Path:
    """What a tried artifact's file is called."""
    return Path(f"{role}.{precision}.{'gguf' if role == 'language_model' else 'onnx'}")
