"""What the assistant hands back: plain data, each with the marks that a result must carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from uniecg_device.signals import Recording
from uniecg_runtime.evidence import Claim

DISCLAIMER: Final = "Research use, unconfirmed. Not a medical device."

Route = Literal["text", "ecg"]


@dataclass(frozen=True)
class Interpretation:
    """What a recording shows. Every field is plain data.

    measurements: name -> {"value": number or None, "unit": str}. findings: finding -> leads.
    statements: label -> the language model's own probability. quality: score 0..1, acceptable, reasons per lead.
    claims: what the text states, each with its place and held against what was measured; the text is never changed.
    timing_ms: load (of weights, the first time), preprocess, encode, picture (of a bundle that looks at one), prefill,
    statements, text, quality and claims are durations; first_token and total count from the start, load left out.
    backend: by role, what ran it.
    """

    record: str
    text: str
    measurements: dict[str, dict[str, Any]]
    findings: dict[str, list[str]]
    quality: dict[str, Any]
    statements: dict[str, float]
    claims: tuple[Claim, ...]
    timing_ms: dict[str, float]
    notes: tuple[str, ...]
    start: float
    synthetic: bool
    model: str
    version: str
    backend: dict[str, str]
    route: Route = "text"
    disclaimer: str = DISCLAIMER

    def to_json(self) -> dict[str, Any]:
        """A dict that json.dumps takes."""
        claims = [claim.to_json() for claim in self.claims]
        return {**vars(self), "claims": claims, "notes": list(self.notes)}


@dataclass(frozen=True, eq=False)
class Generated:
    """A drawn recording: 12 leads in mV, synthetic. text: the drawing line that the model wrote.

    scalars: sex, age and heart rate as the generator got them, None where unknown. timing_ms: load, prefill,
    text, draw are durations; total counts all but load. backend: by role, what ran it.
    """

    recording: Recording
    text: str
    request: str
    scalars: dict[str, Any]
    seed: int
    steps: int
    guidance: float
    timing_ms: dict[str, float]
    notes: tuple[str, ...]
    model: str
    version: str
    backend: dict[str, str]
    disclaimer: str = DISCLAIMER

    def to_json(self) -> dict[str, Any]:
        """A dict that json.dumps takes; of the recording only what describes it."""
        return {**vars(self), "notes": list(self.notes), "recording": describe(self.recording)}


@dataclass(frozen=True, eq=False)
class Reply:
    """One answer of a conversation: words (route "text"), or a drawn recording after its line (route "ecg").

    claims: what the words state of the recording that the conversation is about, as in `Interpretation`; none without
    a recording. backend: by role, what ran it, from the recording's encoding on.
    """

    route: Route
    text: str
    recording: Recording | None
    claims: tuple[Claim, ...]
    timing_ms: dict[str, float]
    notes: tuple[str, ...]
    model: str
    version: str
    backend: dict[str, str]
    disclaimer: str = DISCLAIMER

    def to_json(self) -> dict[str, Any]:
        """A dict that json.dumps takes; of the recording only what describes it."""
        recording = None if self.recording is None else describe(self.recording)
        claims = [claim.to_json() for claim in self.claims]
        return {**vars(self), "claims": claims, "notes": list(self.notes), "recording": recording}


def describe(recording: Recording) -> dict[str, Any]:
    """A recording without its samples."""
    return {
        "name": recording.name,
        "fs": recording.fs,
        "leads": list(recording.leads),
        "seconds": recording.duration,
        "units": recording.units,
        "synthetic": recording.synthetic,
        "comments": list(recording.comments),
    }
