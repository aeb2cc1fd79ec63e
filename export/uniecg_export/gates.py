"""Gates: what an artifact may lose, and the refusal of one that loses more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from uniecg_device.errors import InputError, UniecgError
from uniecg_runtime.manifest import Gate, Override

# Of `role_metrics` and `speed`, by what follows the role's name. Less is better.
LIMITS = {
    "cosine": 0.005,  # 23 dB
    "auroc": 0.005,
    "agreement": 0.02,  # no truth was given: the reference's own decisions, which are less certain
    "probability": 0.02,  # neither says anything of so few recordings
    "nll": 0.05,  # nats: five per cent more perplexity
    "top1": 0.05,
    "states": 0.02,
    "heart_rate": 1.0,  # beats per minute
    "frechet": 1.0,  # no further from the reference than another seed is
    "size": 1.0,
    "speed": 1.05,  # a twentieth is what two runs of the same file differ by on a busy machine
}


class GateError(UniecgError):
    """An artifact that a gate refuses. `gates` holds all that was measured."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        self.gates = tuple(gates)
        refused = [gate for gate in gates if not gate.ok]
        what = "; ".join(f"{g.name}: {g.what} {g.measured:.3g}, at most {g.limit:.3g}" for g in refused)
        super().__init__(
            f"refused: {what}; nothing was written. Choose another --precision, mend the checkpoint, or accept it with "
            f"a reason that the manifest carries: --override {refused[0].name}=REASON."
        )


def gate(name: str, what: str, measured: float) -> Gate:
    """A figure held against the limit of its kind."""
    return Gate(name=name, what=what, measured=measured, limit=LIMITS[name.rpartition(".")[2]])


def read_overrides(values: Iterable[str]) -> tuple[Override, ...]:
    """Parse `gate=reason`. Raises InputError for what is no such thing."""
    found = []
    for value in values:
        name, _, reason = (part.strip() for part in value.partition("="))
        if "." not in name or not reason:
            raise InputError(f"expected --override GATE=REASON with a gate such as encoder.speed, found {value!r}.")
        found.append(Override(gate=name, reason=reason))
    return tuple(found)


def decide(gates: Sequence[Gate], overrides: Sequence[Override]) -> tuple[Override, ...]:
    """The overrides that were needed. Raises GateError where a gate says no and none of them names it.

    A figure that is no number cannot be overridden: nothing was measured.
    """
    named = {override.gate for override in overrides}
    refused = [gate for gate in gates if not gate.ok]
    if any(gate.name not in named or not math.isfinite(gate.measured) for gate in refused):
        raise GateError(gates)
    needed = {gate.name for gate in refused}
    return tuple(override for override in overrides if override.gate in needed)
