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
    "edges": 0.5,  # ms; a sample is 2 ms
    "frechet": 1.0,  # no further from the reference than another seed is
    "size": 1.0,
    "speed": 1.05,  # a twentieth is what two runs of the same file differ by on a busy machine
}
REFUSED = "refused"


class GateError(UniecgError):
    """An artifact that a gate refuses. `gates` holds all that was measured, `overrides` what was accepted beforehand.

    final: whether these gates take no override.
    """

    def __init__(self, gates: Sequence[Gate], overrides: Sequence[Override] = (), *, final: bool = False) -> None:
        self.gates, self.overrides = tuple(gates), tuple(overrides)
        left = refused(gates, overrides)
        what = "; ".join(f"{g.name}: {g.what} {g.measured:.3g}, at most {g.limit:.3g}" for g in left)
        ways = "Choose another --precision or mend the checkpoint"
        if not final and all(math.isfinite(g.measured) for g in left):
            accepted = " ".join(f"--override {g.name}=REASON" for g in left)
            ways += f", or accept it with a reason that the manifest carries: {accepted}"
        super().__init__(f"refused: {what}; nothing was written. {ways}.")


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


def share(gate: Gate) -> float:
    """What was measured, of what is allowed: above 1 is refused; inf where it is no number."""
    return math.inf if math.isnan(gate.measured) else gate.measured / gate.limit


def verdict(gate: Gate, overrides: Iterable[Override]) -> str:
    """What becomes of a gate: ok, overridden with the reason, or `REFUSED`.

    A figure that is no number cannot be overridden: nothing was measured.
    """
    if gate.ok:
        return "ok"
    reason = next((override.reason for override in overrides if override.gate == gate.name), None)
    return REFUSED if reason is None or not math.isfinite(gate.measured) else f"overridden: {reason}"


def refused(gates: Iterable[Gate], overrides: Sequence[Override]) -> list[Gate]:
    """The gates that say no in spite of the overrides."""
    return [gate for gate in gates if verdict(gate, overrides) == REFUSED]


def decide(gates: Sequence[Gate], overrides: Sequence[Override]) -> tuple[Override, ...]:
    """The overrides that were needed. Raises GateError where a gate says no in spite of them."""
    if refused(gates, overrides):
        raise GateError(gates, overrides)
    needed = {gate.name for gate in gates if not gate.ok}
    return tuple(override for override in overrides if override.gate in needed)
