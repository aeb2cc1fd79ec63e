"""A bundle on disk: manifest.json and the files it names, opened only if they are what it says."""

from __future__ import annotations

import hashlib
import io
import math
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import BundleError
from uniecg_device.signals import INDEPENDENT_LEADS, LEADS
from uniecg_runtime import manifest as schema
from uniecg_runtime.manifest import Artifact, Generation, Manifest, Preprocessing, Prompt, Role
from uniecg_runtime.signal.bounds import AFTER, BEFORE
from uniecg_runtime.signing import SIGNATURE, PublicKey, read_signature, required_key

BUILT_IN: Final = "uniecg-nano"
MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 4 << 20
MAX_GOLDEN_BYTES: Final = 64 << 20
MAX_CONTEXT: Final = 1 << 17
MAX_ELEMENTS: Final = 1 << 24  # of one tensor; a 12-lead minute at 500 Hz has 360,000
LEAST_BETA: Final = 1e-8  # of a noise schedule; below it a step divides by what float64 rounds to 0
MAX_PAGE_DOTS: Final = 4_000_000  # drawn three times as fine, as a picture for the image encoder
_BUILT_IN_FOLDER: Final = Path(__file__).parent / "bundles"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. `open` checks it; the constructor does not. signed: whether it had to be, and is."""

    folder: Path
    manifest: Manifest
    signed: bool = False

    @staticmethod
    def open(source: str | Path, *, verify: bool = True, public_key: Path | None = None) -> Bundle:
        """Open the folder `source`, or the built-in bundle where `source` is "uniecg-nano".

        Checks the signature where a key is required, then the manifest, then that every file lies inside the folder
        and has the recorded size and SHA-256. verify=False leaves out the hashes, for a bundle that was verified
        before. public_key: a file of `uniecg keygen`; by default the one that $UNIECG_BUNDLE_KEY names. Where neither
        is given no signature is asked for. Raises BundleError saying what was expected, what was found and what to do;
        BackendError where a signature cannot be checked, InputError for a file that is no public key.
        """
        return _readable(source, verify, required_key(public_key))

    @staticmethod
    def open_unsigned(source: str | Path) -> Bundle:
        """As `open`, but no signature is asked for: for whoever makes and signs bundles."""
        return _readable(source, True, None)

    def path(self, role: Role) -> Path:
        """The file that plays `role`. Raises BundleError where the bundle has none."""
        return self.folder / self.manifest.artifact(role).file

    def golden(self) -> dict[str, NDArray[np.generic]]:
        """Golden inputs and outputs: `<role>.in.<tensor>` and `<role>.out.<tensor>`. Raises BundleError."""
        try:
            data = (self.folder / self.manifest.golden_file).read_bytes()
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                unpacked = sum(item.file_size for item in archive.infolist())
            if unpacked > MAX_GOLDEN_BYTES:
                raise ValueError(f"it unpacks to {unpacked} bytes, at most {MAX_GOLDEN_BYTES} are allowed")
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except Exception as error:  # zipfile, zlib and NumPy answer damaged bytes with a dozen kinds of error
            raise BundleError(
                f"expected arrays in {self.manifest.golden_file}, found a file that does not read as such ({error}); "
                f"export the bundle again."
            ) from None


def _readable(source: str | Path, verify: bool, key: PublicKey | None) -> Bundle:
    """`_open`, with what the file system refuses as a BundleError."""
    try:
        return _open(source, verify, key)
    except OSError as error:
        raise BundleError(
            f"expected a bundle that can be read at {source}, found one that cannot be ({error.strerror or error}); "
            f"check the path, and the permissions of the folder and its files."
        ) from None


def _open(source: str | Path, verify: bool, key: PublicKey | None) -> Bundle:
    folder = _BUILT_IN_FOLDER / BUILT_IN if source == BUILT_IN else Path(source)
    if not folder.is_dir():
        raise BundleError(
            f"expected a bundle folder at {folder}, found {'a file' if folder.exists() else 'nothing'}; "
            f'give a folder that holds {MANIFEST}, or the name "{BUILT_IN}".'
        )
    data = read_manifest(folder)
    if key is not None:
        _check_signature(folder, data, key)
    manifest = schema.decode(data)
    _check_fields(manifest)
    for artifact in manifest.artifacts:
        _check_file(folder, artifact.file, artifact.size, artifact.sha256 if verify else None)
    _check_file(folder, manifest.golden_file, None, manifest.golden_sha256 if verify else None)
    for item in manifest.report:
        _check_file(folder, item.file, None, item.sha256 if verify else None)
    return Bundle(folder.resolve(), manifest, signed=key is not None)


def _check_signature(folder: Path, manifest: bytes, key: PublicKey) -> None:
    """Raises BundleError unless the bundle is signed by `key`."""
    signature = read_signature(folder)
    if signature is None:
        raise BundleError(
            f"expected bundle {folder} to be signed by the key {key.id}, found no {SIGNATURE}; get a signed copy, or "
            f"sign it with `uniecg sign`."
        )
    key.check(manifest, signature)


def read_manifest(folder: Path) -> bytes:
    """The bytes of a bundle's manifest. Raises BundleError where there is none, or too much."""
    size = _regular_file(folder, MANIFEST)
    if size > MAX_MANIFEST_BYTES:
        raise BundleError(
            f"expected {MANIFEST} of at most {MAX_MANIFEST_BYTES} bytes, found {size}; this is no manifest that "
            f"uniecg wrote, export the bundle again."
        )
    with (folder / MANIFEST).open("rb") as file:
        return file.read(MAX_MANIFEST_BYTES)


def _regular_file(folder: Path, name: str) -> int:
    """Size of a file that lies in the folder. Refuses links that lead out of it, pipes and devices."""
    path = folder / name
    try:
        status = path.stat()
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # absent, or a link to itself
        raise BundleError(
            f"expected {name} in bundle {folder}, found nothing there; copy the whole folder again."
        ) from None
    if not inside:
        raise BundleError(
            f"expected {name} inside bundle {folder}, found a link to {path.resolve()}; put the file itself there."
        )
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"expected {name} in bundle {folder} to be a file, found something else; copy it again.")
    return status.st_size


def _check_file(folder: Path, name: str, size: int | None, sha256: str | None) -> None:
    found = _regular_file(folder, name)
    if size is None and found > MAX_GOLDEN_BYTES:
        raise BundleError(f"expected {name} of at most {MAX_GOLDEN_BYTES} bytes, found {found}; export again.")
    if size is not None and found != size:
        raise BundleError(
            f"expected {name} to have {size} bytes, found {found}; it was cut short or changed, copy the bundle again."
        )
    if sha256 is None:
        return
    with (folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise BundleError(
            f"expected {name} to have SHA-256 {sha256[:16]}..., found {digest[:16]}...; it was damaged or tampered "
            f"with, copy the bundle again from where it came."
        )


def _check_fields(manifest: Manifest) -> None:
    """What types alone cannot say: roles once each, known leads, sizes that memory can hold."""
    roles = [artifact.role for artifact in manifest.artifacts]
    _expect(len(set(roles)) == len(roles), "each role once", ", ".join(roles))
    for artifact in manifest.artifacts:
        backend = "llama.cpp" if artifact.role == "language_model" else "onnxruntime"
        _expect(artifact.backend == backend, f"backend {backend} for {artifact.role}", artifact.backend)
        for tensor in (*artifact.inputs, *artifact.outputs):
            _expect(_elements(tensor.shape) <= MAX_ELEMENTS, "smaller tensors", f"{tensor.name} {tensor.shape}")
    graphs = {artifact.role: artifact for artifact in manifest.artifacts}
    if "language_model" in graphs:
        _expect(manifest.prompt is not None, "a prompt, for there is a language model", "none")
    if manifest.prompt is not None:
        _check_prompt(manifest.prompt)
    if manifest.preprocessing is not None:
        _check_preprocessing(manifest.preprocessing)
    if "encoder" in graphs:
        _check_encoder(manifest, graphs["encoder"])
    if manifest.picture is not None or "image_encoder" in graphs:
        _check_picture(manifest, graphs)
    if manifest.generation is not None:
        _check_generation(manifest.generation, graphs)
    if "delineator" in graphs:
        _check_delineator(graphs["delineator"])


def _check_prompt(prompt: Prompt) -> None:
    _expect(prompt.context <= MAX_CONTEXT, f"a context of at most {MAX_CONTEXT} tokens", prompt.context)
    _expect(prompt.max_new_tokens < prompt.context, "answers shorter than the context", prompt.max_new_tokens)


def _check_preprocessing(pre: Preprocessing) -> None:
    known = len(set(pre.leads)) == len(pre.leads) and set(pre.leads) <= set(LEADS)
    _expect(known and bool(pre.leads), "one to twelve of the standard leads, each once", " ".join(pre.leads))
    _expect(50 <= pre.fs <= 10_000, "a sampling rate of 50 to 10000 Hz", pre.fs)
    _expect(pre.samples * len(LEADS) <= MAX_ELEMENTS, "a shorter window", f"{pre.samples} samples")
    low, high, notch, nyquist = pre.highpass_hz or 0, pre.lowpass_hz, pre.notch_hz, pre.fs / 2
    _expect(low < (high or nyquist) <= nyquist, "a band below half the rate", f"{low:g}..{high} Hz")
    _expect(notch is None or notch < nyquist, "a notch below half the rate", f"{notch} Hz")
    _expect((pre.median_seconds or 0) * pre.fs <= pre.samples, "a median within the window", f"{pre.median_seconds} s")


def _check_encoder(manifest: Manifest, encoder: Artifact) -> None:
    pre = manifest.preprocessing
    if pre is None:
        raise BundleError(f"{MANIFEST}: expected preprocessing, for there is an encoder, found none; export again.")
    facts = {} if pre.reference_mv is None else {"lead_facts": (1, len(pre.leads), 3)}
    _check_graph(encoder, None, signal=(1, len(pre.leads), pre.samples), **facts)
    shapes = {tensor.name: tensor.shape for tensor in encoder.outputs}
    if manifest.prompt is not None:
        tokens = shapes.get("tokens", ())
        _expect(len(tokens) == 3 and tokens[0] == 1, "an encoder that gives tokens (1, n, width)", f"{shapes}")
    if manifest.classification is not None:
        count = len(manifest.classification.labels)
        _expect(shapes.get("logits") == (1, count), f"logits (1, {count}) of the encoder", f"{shapes}")
        _expect(len(manifest.classification.thresholds) == count, "a threshold for each label", f"{count} labels")


def _check_picture(manifest: Manifest, graphs: dict[Role, Artifact]) -> None:
    picture, encoder = manifest.picture, graphs.get("image_encoder")
    if picture is None or encoder is None:
        missing = "an image encoder, for there is a picture" if encoder is None else "a picture for the image encoder"
        raise BundleError(f"{MANIFEST}: expected {missing}, found none; export again.")
    beside = manifest.prompt is not None and "encoder" in graphs
    _expect(beside, "an encoder and a language model beside the image encoder", ", ".join(graphs))
    width, height = picture.page_inches
    _expect(10.8 <= width <= 20 and 5 <= height <= 20, "a page of 10.8 by 5 to 20 by 20 inches", picture.page_inches)
    dots = width * height * picture.dpi**2
    _expect(picture.dpi >= 72 and dots <= MAX_PAGE_DOTS, f"a page of at most {MAX_PAGE_DOTS} dots", f"{dots:g}")
    _expect(picture.size <= 2048, "an image of at most 2048 pixels", picture.size)
    _check_graph(encoder, 1, image=(1, 3, picture.size, picture.size))
    (tokens,) = encoder.outputs
    written = tokens.name == "tokens" and len(tokens.shape) == 3 and tokens.shape[0] == 1
    _expect(written, "tokens (1, n, width) of the image encoder", f"{tokens.name} {tokens.shape}")


def _check_generation(generation: Generation, graphs: dict[Role, Artifact]) -> None:
    drawn_leads = (set(INDEPENDENT_LEADS), set(LEADS))
    known = set(generation.leads) in drawn_leads and len(generation.leads) == len(set(generation.leads))
    _expect(known, "generated leads I II V1..V6 or all twelve", " ".join(generation.leads))
    _expect((generation.token is None) == (generation.token_count is None), "a token with its count", generation.token)
    _expect((generation.token_count or 0) <= 256, "at most 256 drawing tokens", generation.token_count)
    _expect(generation.steps <= 1000, "at most 1000 steps", generation.steps)
    _expect(0 <= (generation.guidance or 0) <= 20, "guidance from 0 to 20", generation.guidance)
    diffusion = generation.sampler != "rectified_flow"
    _expect(diffusion == (generation.schedule is not None), "a schedule just for diffusion", generation.sampler)
    _expect(
        generation.schedule is None or generation.steps <= generation.schedule.train_steps <= 10_000,
        "at least as many training steps as steps, at most 10000",
        generation.schedule,
    )
    betas = generation.schedule
    rising = betas is None or LEAST_BETA <= betas.beta_start <= betas.beta_end < 1
    _expect(rising, f"betas that rise from {LEAST_BETA:g} or more and stay below 1", betas)
    missing = {"condition", "denoiser", "decoder"} - graphs.keys()
    _expect(not missing, "condition, denoiser and decoder, for it has a generation part", f"none of {sorted(missing)}")
    latent = (1, *generation.latent_shape)
    condition = graphs["condition"]
    _expect(len(condition.outputs) == 1, "one output of condition", len(condition.outputs))
    name, rows = ("text", 1) if generation.token_count is None else ("states", generation.token_count)
    width = next((t.shape[-1] for t in condition.inputs if t.name == name and t.shape), 0)
    _check_graph(condition, 1, **{name: (1, rows, width)}, scalars=(1, len(generation.scalars)))
    guidance = {} if generation.guidance is None else {"guidance": (1,)}
    shape = condition.outputs[0].shape
    _check_graph(graphs["denoiser"], 1, latent=latent, time=(1,), condition=shape, **guidance)
    time = next(tensor.dtype for tensor in graphs["denoiser"].inputs if tensor.name == "time")
    whole = "int64" if diffusion else "float32"
    _expect(time == whole, f"{whole} time of denoiser", time)
    _expect(graphs["denoiser"].outputs[0].shape == latent, "an output shaped as the latent", f"{latent}")
    _check_graph(graphs["decoder"], 1, latent=latent)
    drawn, count = graphs["decoder"].outputs[0].shape, len(generation.leads)
    _expect(len(drawn) == 3 and drawn[:2] == (1, count), f"leads (1, {count}, samples)", f"{drawn}")


def _check_delineator(delineator: Artifact) -> None:
    leads = len(LEADS)
    _check_graph(delineator, 1, shape=(1, leads, BEFORE + AFTER), present=(1, leads), rr=(1, 1))
    (edges,) = delineator.outputs
    _expect(edges.shape == (1, leads, 9), f"edges (1, {leads}, 9) of the delineator", f"{edges.name} {edges.shape}")


def _check_graph(artifact: Artifact, outputs: int | None, /, **inputs: tuple[int, ...]) -> None:
    """The inputs the runtime will give, by name, and so many outputs; float32, but for whole-numbered time."""
    found = {tensor.name: tensor.shape for tensor in artifact.inputs}
    _expect(found == inputs, f"inputs {inputs} of {artifact.role}", f"{found}")
    _expect(outputs in (None, len(artifact.outputs)), f"one output of {artifact.role}", len(artifact.outputs))
    dtypes = {tensor.dtype for tensor in (*artifact.inputs, *artifact.outputs) if tensor.name != "time"}
    _expect(dtypes == {"float32"}, f"float32 in {artifact.role}", ", ".join(sorted(dtypes)))


def _elements(shape: tuple[int, ...]) -> int:
    """How many numbers a tensor has; too many where a dimension is not fixed."""
    return math.prod(shape) if shape and all(0 < n <= MAX_ELEMENTS for n in shape) else MAX_ELEMENTS + 1


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise BundleError(f"{MANIFEST}: expected {expected}, found {found}; export the bundle again.")
