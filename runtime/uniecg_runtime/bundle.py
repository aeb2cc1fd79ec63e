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
from uniecg_runtime.manifest import Artifact, Generation, Manifest, Role

BUILT_IN: Final = "uniecg-nano"
MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 4 << 20
MAX_GOLDEN_BYTES: Final = 64 << 20
MAX_CONTEXT: Final = 1 << 17
MAX_ELEMENTS: Final = 1 << 24  # of one tensor; a 12-lead minute at 500 Hz has 360,000
_BUILT_IN_FOLDER: Final = Path(__file__).parent / "bundles"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. `open` checks it; the constructor does not."""

    folder: Path
    manifest: Manifest

    @staticmethod
    def open(source: str | Path, *, verify: bool = True) -> Bundle:
        """Open the folder `source`, or the built-in bundle where `source` is "uniecg-nano".

        Checks the manifest, then that every file lies inside the folder and has the recorded size and
        SHA-256. verify=False leaves out the hashes, for a bundle that was verified before.
        Raises BundleError saying what was expected, what was found and what to do.
        """
        folder = _BUILT_IN_FOLDER / BUILT_IN if source == BUILT_IN else Path(source)
        if not folder.is_dir():
            raise BundleError(
                f"expected a bundle folder at {folder}, found {'a file' if folder.exists() else 'nothing'}; "
                f'give a folder that holds {MANIFEST}, or the name "{BUILT_IN}".'
            )
        manifest = schema.decode(_read_manifest(folder))
        _check_fields(manifest)
        for artifact in manifest.artifacts:
            _check_file(folder, artifact.file, artifact.size, artifact.sha256 if verify else None)
        _check_file(folder, manifest.golden_file, None, manifest.golden_sha256 if verify else None)
        return Bundle(folder.resolve(), manifest)

    def path(self, role: Role) -> Path:
        """The file that plays `role`. Raises BundleError where the bundle has none."""
        return self.folder / self.manifest.artifact(role).file

    def golden(self) -> dict[str, NDArray[np.generic]]:
        """Golden inputs and outputs: `<role>.in.<tensor>` and `<role>.out.<tensor>`. Raises BundleError."""
        data = (self.folder / self.manifest.golden_file).read_bytes()
        try:
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


def _read_manifest(folder: Path) -> bytes:
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
    pre, prompt, generation = manifest.preprocessing, manifest.prompt, manifest.generation
    _expect(pre.leads == LEADS, "the twelve leads in their order", " ".join(pre.leads))
    _expect(50 <= pre.fs <= 10_000, "a sampling rate of 50 to 10000 Hz", pre.fs)
    _expect(pre.samples * len(LEADS) <= MAX_ELEMENTS, "a shorter window", f"{pre.samples} samples")
    _expect(pre.highpass_hz < pre.lowpass_hz <= pre.fs / 2, "a band below half the rate", f"{pre.lowpass_hz} Hz")
    _expect(prompt.context <= MAX_CONTEXT, f"a context of at most {MAX_CONTEXT} tokens", prompt.context)
    _expect(prompt.max_new_tokens < prompt.context, "answers shorter than the context", prompt.max_new_tokens)
    graphs = {artifact.role: artifact for artifact in manifest.artifacts}
    if "encoder" in graphs:
        leads = len(pre.leads)
        _check_graph(graphs["encoder"], signal=(1, leads, pre.samples), lead_facts=(1, leads, 3))
    if generation is not None:
        _check_generation(generation, graphs)


def _check_generation(generation: Generation, graphs: dict[Role, Artifact]) -> None:
    _expect(generation.leads == INDEPENDENT_LEADS, "generated leads I II V1..V6", " ".join(generation.leads))
    _expect(generation.token_count <= 256, "at most 256 drawing tokens", generation.token_count)
    _expect(generation.steps <= 1000, "at most 1000 steps", generation.steps)
    _expect(0 <= generation.guidance <= 20, "guidance from 0 to 20", generation.guidance)
    missing = {"condition", "denoiser", "decoder"} - graphs.keys()
    _expect(not missing, "condition, denoiser and decoder, for it has a generation part", f"none of {sorted(missing)}")
    latent = (1, *generation.latent_shape)
    condition = graphs["condition"]
    _expect(len(condition.outputs) == 1, "one output of condition", len(condition.outputs))
    width = next((t.shape[-1] for t in condition.inputs if t.name == "states" and t.shape), 0)
    _check_graph(condition, states=(1, generation.token_count, width), scalars=(1, len(generation.scalars)))
    shape = condition.outputs[0].shape
    _check_graph(graphs["denoiser"], latent=latent, time=(1,), condition=shape, guidance=(1,))
    _expect(graphs["denoiser"].outputs[0].shape == latent, "a velocity shaped as the latent", f"{latent}")
    _check_graph(graphs["decoder"], latent=latent)
    drawn = graphs["decoder"].outputs[0].shape
    _expect(len(drawn) == 3 and drawn[:2] == (1, len(generation.leads)), "leads (1, 8, samples)", f"{drawn}")


def _check_graph(artifact: Artifact, **inputs: tuple[int, ...]) -> None:
    """The inputs the runtime will give, by name, and one output; all float32."""
    found = {tensor.name: tensor.shape for tensor in artifact.inputs}
    _expect(found == inputs, f"inputs {inputs} of {artifact.role}", f"{found}")
    _expect(len(artifact.outputs) == 1, f"one output of {artifact.role}", len(artifact.outputs))
    dtypes = {tensor.dtype for tensor in (*artifact.inputs, *artifact.outputs)}
    _expect(dtypes == {"float32"}, f"float32 in {artifact.role}", ", ".join(sorted(dtypes)))


def _elements(shape: tuple[int, ...]) -> int:
    """How many numbers a tensor has; too many where a dimension is not fixed."""
    return math.prod(shape) if shape and all(0 < n <= MAX_ELEMENTS for n in shape) else MAX_ELEMENTS + 1


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise BundleError(f"{MANIFEST}: expected {expected}, found {found}; export the bundle again.")
