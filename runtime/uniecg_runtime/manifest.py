"""The bundle's manifest: the only contract between export and runtime.

Typed structs, one schema version, one JSON Schema generated from them. Export writes through
this module; the runtime reads through it and refuses what it does not understand.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from uniecg_device.errors import BundleError

SCHEMA_VERSION = 1

Role = Literal["encoder", "language_model", "condition", "denoiser", "decoder"]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=120)]


class Plain(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every struct here: immutable, unknown fields refused."""


class Tensor(Plain, frozen=True):
    """One input or output of a graph; shapes are fixed."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Artifact(Plain, frozen=True):
    """A file that plays a role."""

    role: Role
    file: FileName
    sha256: Sha256
    size: Count
    backend: Literal["onnxruntime", "llama.cpp"]
    precision: str
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()


class Preprocessing(Plain, frozen=True):
    """From a recording to the encoder's input.

    Resample to `fs`, band-pass `highpass_hz`..`lowpass_hz` (zero phase), cut `samples`, then per
    lead subtract the mean and divide by the standard deviation. The graph's second input has, per
    lead: present (0/1), scale known (0/1), ln(standard deviation in mV / `reference_mv`).
    """

    fs: Positive
    samples: Count
    leads: tuple[str, ...]
    highpass_hz: Positive
    lowpass_hz: Positive
    reference_mv: Positive
    min_seconds: Positive
    missing_lead: Literal["derive_then_zero"]


class Feature(Plain, frozen=True):
    """A measured value that the prompt carries as text: `name` in Measurements, `label` in the prompt."""

    name: str
    label: str
    decimals: int = 0


class Prompt(Plain, frozen=True):
    """How a turn is written. `{question}`, `{signal}` (soft tokens) and `{measurements}` are filled in.

    `first_turn_with_signal` opens a conversation about a recording, `first_turn` one without,
    `next_turn` continues either. Text on each side of the soft tokens is tokenised separately.
    """

    first_turn_with_signal: str
    first_turn: str
    next_turn: str
    interpret_question: str
    features: tuple[Feature, ...]
    findings: tuple[str, ...]
    draw_prefix: str
    end_token: str
    context: Count
    max_new_tokens: Count


class Statement(Plain, frozen=True):
    """A label the language model was trained on, asked as one token that continues the prompt."""

    label: str
    description: str
    token: str


class Statements(Plain, frozen=True):
    """P(label) = softmax over the `yes` and `no` tokens' logits right after the label's token."""

    yes_token: str
    no_token: str
    items: tuple[Statement, ...]


class Generation(Plain, frozen=True):
    """From `[ECG]` tokens to leads: token, how many, and the sampler of the denoiser."""

    token: str
    token_count: Count
    scalars: tuple[str, ...]
    latent_shape: tuple[int, ...]
    sampler: Literal["rectified_flow"]
    solver: Literal["euler", "heun"]
    steps: Count
    guidance: float
    fs: Positive
    leads: tuple[str, ...]


class Golden(Plain, frozen=True):
    """An input with its expected output, for `verify`. Arrays live in the golden file as
    `<role>.in.<tensor>` and `<role>.out.<tensor>`; error is max |a-b| / max |b|."""

    role: Role
    tolerance: Positive


class Figure(Plain, frozen=True):
    """A measured figure: what, on which split of how many, with a 95 % interval where it has one."""

    name: str
    value: float
    split: str
    n: int
    low: float | None = None
    high: float | None = None
    note: str = ""


class Override(Plain, frozen=True):
    """A gate that said no and was told to let it pass."""

    gate: str
    reason: str


class Provenance(Plain, frozen=True):
    """Where the weights came from."""

    family: str
    checkpoint_sha256: Sha256
    trained_on: tuple[str, ...]
    parameters: dict[str, int]
    tool: str
    paper: str = ""


class Manifest(Plain, frozen=True):
    """manifest.json."""

    schema_version: int
    name: str
    version: str
    licence: str
    intended_use: str
    preprocessing: Preprocessing
    prompt: Prompt
    statements: Statements
    generation: Generation | None
    artifacts: tuple[Artifact, ...]
    golden_file: FileName
    golden_sha256: Sha256
    golden: tuple[Golden, ...]
    provenance: Provenance
    figures: tuple[Figure, ...] = ()
    overrides: tuple[Override, ...] = ()

    def artifact(self, role: Role) -> Artifact:
        """The artifact that plays `role`. Raises BundleError where there is none."""
        for item in self.artifacts:
            if item.role == role:
                return item
        held = ", ".join(item.role for item in self.artifacts)
        raise BundleError(f"bundle {self.name!r} has no {role!r}; it holds: {held}. Use a bundle that has one.")


def decode(data: bytes) -> Manifest:
    """Read manifest.json. Raises BundleError for another version or any field that does not fit."""
    try:
        version = msgspec.json.decode(data, type=dict[str, Any]).get("schema_version")
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:  # deep nesting, bytes that are no text
        raise BundleError(f"manifest.json is not a JSON object ({error}); export the bundle again.") from None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"manifest.json has schema version {version!r}, this runtime reads {SCHEMA_VERSION}; "
            f"{'update uniecg-edge' if isinstance(version, int) and version > SCHEMA_VERSION else 'export again'}."
        )
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError(f"manifest.json does not fit its schema: {error}; export the bundle again.") from None


def encode(manifest: Manifest) -> bytes:
    """Write manifest.json, indented."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of manifest.json."""
    return msgspec.json.schema(Manifest)
