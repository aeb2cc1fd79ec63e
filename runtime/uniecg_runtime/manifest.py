"""The bundle's manifest: the only contract between export and runtime.

Typed structs, one schema version, one JSON Schema generated from them. Export writes through
this module; the runtime reads through it and refuses what it does not understand.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from uniecg_device import typed
from uniecg_device.errors import BundleError

SCHEMA_VERSION = 3

T = TypeVar("T")
Role = Literal["encoder", "image_encoder", "language_model", "condition", "denoiser", "decoder", "delineator"]
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
    """A file that plays a role. notes: what in it is otherwise than its precision says, one sentence each."""

    role: Role
    file: FileName
    sha256: Sha256
    size: Count
    backend: Literal["onnxruntime", "llama.cpp"]
    precision: str
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    notes: tuple[str, ...] = ()


class Preprocessing(Plain, frozen=True):
    """From a recording to the encoder's input `signal`, float32 (1, leads, samples).

    Resample to `fs` and cut `samples`, zero-padded on the right. Filter with zero phase, each where it is given: a
    band `highpass_hz`..`lowpass_hz`, a notch of quality 30 at `notch_hz`, minus the running median over
    `median_seconds`. Then `scaling`: "lead" and "record" subtract the mean and divide by the standard deviation of each
    lead or of all together, "minmax" maps the record's smallest and largest value to 0 and 1, "none" leaves mV.
    leads: rows in the model's own order, one to twelve. missing_lead: by Einthoven's law, else zeros, with a note.
    reference_mv: given where the graph takes `lead_facts` (1, leads, 3): present (0/1), scale known (0/1),
    ln(standard deviation in mV / `reference_mv`).
    """

    fs: Positive
    samples: Count
    leads: tuple[str, ...]
    min_seconds: Positive
    missing_lead: Literal["derive_then_zero"] = "derive_then_zero"
    highpass_hz: Positive | None = None
    lowpass_hz: Positive | None = None
    notch_hz: Positive | None = None
    median_seconds: Positive | None = None
    scaling: Literal["lead", "record", "minmax", "none"] = "lead"
    reference_mv: Positive | None = None


class Picture(Plain, frozen=True):
    """From a recording to the image encoder's input `image`, float32 (1, 3, size, size), red, green and blue.

    First a page of `page_inches` (width, height) at `dpi`, drawn in `layout`: "rows" are twelve of 10 s, I on top and
    V6 below, and under them 10 s of lead II, unfiltered, at 25 mm/s and 10 mm/mV. Then its shortest edge is resized to
    `size` pixels, bicubic, and its centre cut out; values are divided by 255, less `mean`, over `std`.
    """

    size: Count
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    layout: Literal["rows"] = "rows"
    page_inches: tuple[Positive, Positive] = (11.0, 8.5)
    dpi: Count = 200


class Feature(Plain, frozen=True):
    """A measured value that the prompt carries as text: `name` in Measurements, `label` in the prompt."""

    name: str
    label: str
    decimals: Annotated[int, Meta(ge=0, le=6)] = 0


class Prompt(Plain, frozen=True):
    """How a turn is written. `{question}`, `{signal}` (soft tokens) and `{measurements}` are filled in.

    `first_turn_with_signal` opens a conversation about a recording, `first_turn` one without,
    `next_turn` continues either; a turn that the bundle cannot have is empty. Text on each side of the soft tokens is
    tokenised separately, and between two special tokens in one piece, brought to `normal_form` before: so the model
    sees the tokens of its own tokenizer. draw_prefix: how an answer that asks for a drawing begins; where it is empty,
    the model writes the drawing token whenever it chooses.
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
    normal_form: Literal["NFC"] | None = None


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


class Classification(Plain, frozen=True):
    """What the encoder's output `logits` (1, n) means: P(label) = sigmoid.

    thresholds: from where its authors call a label found. Results carry probabilities; whoever shows them compares.
    """

    labels: tuple[str, ...]
    thresholds: tuple[float, ...]


class Schedule(Plain, frozen=True):
    """Noise schedule of a diffusion model: betas on a line over `train_steps`, sampled every train_steps // steps.

    clip: the estimate of the clean latent is kept within -clip..clip at every step; None does not clip.
    """

    train_steps: Count
    beta_start: Positive
    beta_end: Positive
    clip: Positive | None = None


class Generation(Plain, frozen=True):
    """From `[ECG]` tokens to leads.

    token, token_count: whose hidden states the condition takes; None where it takes a text embedding instead.
    scalars: columns of the condition's input of that name. "sex" (male 1), "age" and "heart_rate" (both / 100), each
    with a "<name>_known"; or in plain units "age_years" and "heart_rate_bpm", which a request must then state.
    sampler, solver, schedule: the flow is integrated by euler or heun; ddpm and ddim follow `schedule`. guidance: None
    where the graph takes none. leads: what the decoder writes, at `fs` in Hz, in mV; the others follow from I and II.
    """

    scalars: tuple[str, ...]
    latent_shape: tuple[int, ...]
    sampler: Literal["rectified_flow", "ddpm", "ddim"]
    steps: Count
    fs: Positive
    leads: tuple[str, ...]
    token: str | None = None
    token_count: Count | None = None
    solver: Literal["euler", "heun"] = "euler"
    guidance: float | None = None
    schedule: Schedule | None = None


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


class Gate(Plain, frozen=True):
    """What an artifact was found to lose against what it replaces, and may lose: less is better.

    name: the role and the kind of figure, "encoder.speed". Kinds and their limits are the exporter's, `gates.LIMITS`.
    """

    name: str
    what: str
    measured: float
    limit: float

    @property
    def ok(self) -> bool:
        """Whether the gate lets it pass; a figure that is no number does not."""
        return self.measured <= self.limit


class Override(Plain, frozen=True):
    """A gate that said no and was told to let it pass."""

    gate: str
    reason: str


class File(Plain, frozen=True):
    """A file that plays no role, such as the report of the export."""

    file: FileName
    sha256: Sha256


class Provenance(Plain, frozen=True):
    """Where the weights came from. notes: what was made otherwise than the checkpoint says, one sentence each."""

    family: str
    checkpoint_sha256: Sha256
    trained_on: tuple[str, ...]
    parameters: dict[str, int]
    tool: str
    paper: str = ""
    notes: tuple[str, ...] = ()


class Manifest(Plain, frozen=True):
    """manifest.json. A part that no artifact plays is None: an encoder alone has no prompt and no generation."""

    schema_version: int
    name: str
    version: str
    licence: str
    intended_use: str
    artifacts: tuple[Artifact, ...]
    golden_file: FileName
    golden_sha256: Sha256
    golden: tuple[Golden, ...]
    provenance: Provenance
    preprocessing: Preprocessing | None = None
    picture: Picture | None = None
    prompt: Prompt | None = None
    statements: Statements | None = None
    classification: Classification | None = None
    generation: Generation | None = None
    figures: tuple[Figure, ...] = ()
    gates: tuple[Gate, ...] = ()
    overrides: tuple[Override, ...] = ()
    report: tuple[File, ...] = ()

    def artifact(self, role: Role) -> Artifact:
        """The artifact that plays `role`. Raises BundleError where there is none."""
        for item in self.artifacts:
            if item.role == role:
                return item
        held = ", ".join(item.role for item in self.artifacts)
        raise BundleError(f"bundle {self.name!r} has no {role!r}; it holds: {held}. Use a bundle that has one.")


def need(part: T | None, what: str) -> T:
    """A part of the manifest that the task at hand rests on. Raises BundleError where the bundle has none."""
    if part is None:
        raise BundleError(f"expected a bundle with {what}, this one has none; use a bundle made for that.")
    return part


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
        return typed.decode(data, Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError(f"manifest.json does not fit its schema: {error}; export the bundle again.") from None


def encode(manifest: Manifest) -> bytes:
    """Write manifest.json, indented."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of manifest.json."""
    return msgspec.json.schema(Manifest)
