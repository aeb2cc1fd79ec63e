"""Opening a bundle, and everything that keeps one closed."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uniecg_device.errors import BundleError
from uniecg_runtime import bundle as module
from uniecg_runtime import manifest
from uniecg_runtime.bundle import BUILT_IN, MANIFEST, Bundle

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(bundle.folder, tmp_path / "bundle"))


def rewrite(folder: Path, change: Change) -> None:
    fields = json.loads((folder / MANIFEST).read_bytes())
    change(fields)
    (folder / MANIFEST).write_text(json.dumps(fields))


def artifact(fields: dict[str, Any], role: str) -> dict[str, Any]:
    return next(item for item in fields["artifacts"] if item["role"] == role)


def test_a_bundle_opens_by_its_folder(folder: Path) -> None:
    opened = Bundle.open(folder)
    assert opened.manifest.name
    assert opened.path("encoder").is_file()
    assert {a.role for a in opened.manifest.artifacts} >= {"encoder", "language_model"}


def test_the_built_in_bundle_opens_by_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.rename(folder.parent / BUILT_IN)
    monkeypatch.setattr(module, "_BUILT_IN_FOLDER", folder.parent)
    assert Bundle.open(BUILT_IN).folder == (folder.parent / BUILT_IN).resolve()


def test_golden_arrays_belong_to_the_artifacts_tensors(bundle: Bundle) -> None:
    golden = bundle.golden()
    for item in bundle.manifest.golden:
        assert any(name.startswith(f"{item.role}.in.") for name in golden)
        assert any(name.startswith(f"{item.role}.out.") for name in golden)
    for artifact in bundle.manifest.artifacts:
        for tensor in artifact.outputs:
            name = f"{artifact.role}.out.{tensor.name}"
            assert name not in golden or golden[name].shape == tensor.shape


def test_no_folder_is_an_error_that_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="found nothing; give a folder that holds"):
        Bundle.open(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="found a file"):
        Bundle.open(tmp_path / "file")


def test_what_the_file_system_refuses_is_a_bundle_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BundleError, match="check the path, and the permissions"):
        Bundle.open("x" * 300)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # root, who may run these tests, is denied nothing

    opened = Bundle.open(folder)
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(BundleError, match=r"cannot be \(Permission denied\)"):
        Bundle.open(folder)
    with pytest.raises(BundleError, match="expected arrays"):
        opened.golden()


def test_a_folder_without_a_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"expected manifest\.json .* found nothing"):
        Bundle.open(tmp_path)


def test_one_changed_byte_is_noticed(folder: Path) -> None:
    file = Bundle.open(folder).path("decoder")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleError, match=r"expected decoder\S* to have SHA-256 .* tampered"):
        Bundle.open(folder)
    assert Bundle.open(folder, verify=False).manifest.name


def test_golden_vectors_are_hashed_too(folder: Path) -> None:
    file = folder / Bundle.open(folder).manifest.golden_file
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(BundleError, match="SHA-256"):
        Bundle.open(folder)


def test_a_wrong_hash_in_the_manifest_is_noticed(folder: Path) -> None:
    rewrite(folder, lambda fields: artifact(fields, "encoder").update(sha256="0" * 64))
    with pytest.raises(BundleError, match="SHA-256 0000000000000000"):
        Bundle.open(folder)


def test_a_file_cut_short_is_noticed_without_hashing(folder: Path) -> None:
    file = Bundle.open(folder).path("language_model")
    size = file.stat().st_size
    os.truncate(file, size - 1)
    with pytest.raises(BundleError, match=f"{size} bytes, found {size - 1}"):
        Bundle.open(folder, verify=False)


def test_a_missing_file_is_named(folder: Path) -> None:
    file = Bundle.open(folder).path("denoiser")
    file.unlink()
    with pytest.raises(BundleError, match=f"expected {file.name} .* found nothing"):
        Bundle.open(folder)


@pytest.mark.parametrize("version", [manifest.SCHEMA_VERSION + 1, 999, 10**30])
def test_a_newer_manifest_asks_for_an_update(folder: Path, version: int) -> None:
    rewrite(folder, lambda fields: fields.update(schema_version=version))
    with pytest.raises(BundleError, match=f"version {version}, .* reads {manifest.SCHEMA_VERSION}; update uniecg-edge"):
        Bundle.open(folder)


@pytest.mark.parametrize("version", [0, 1, None, "2", True, [2]])
def test_a_manifest_of_no_known_version_is_refused(folder: Path, version: object) -> None:
    rewrite(folder, lambda fields: fields.update(schema_version=version))
    with pytest.raises(BundleError, match="export"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "", ".hidden", "a\0b", "c:\\x"])
def test_a_file_name_that_leads_elsewhere_is_refused(folder: Path, bundle: Bundle, name: str) -> None:
    (folder.parent / "secret").write_bytes(b"x")
    rewrite(folder, lambda fields: artifact(fields, "encoder").update(file=name))
    with pytest.raises(BundleError, match="does not fit its schema"):
        Bundle.open(folder)
    shutil.copy(bundle.folder / MANIFEST, folder)
    rewrite(folder, lambda fields: fields.update(golden_file=name))
    with pytest.raises(BundleError, match="does not fit its schema"):
        Bundle.open(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    file = Bundle.open(folder).path("encoder")
    outside = folder.parent / "outside"
    file.rename(outside)
    file.symlink_to(outside)
    with pytest.raises(BundleError, match="found a link to"):
        Bundle.open(folder)
    (folder / MANIFEST).rename(folder.parent / MANIFEST)
    (folder / MANIFEST).symlink_to(folder.parent / MANIFEST)
    with pytest.raises(BundleError, match="found a link to"):
        Bundle.open(folder)


def test_links_to_nowhere_and_to_themselves_are_missing_files(folder: Path) -> None:
    file = Bundle.open(folder).path("encoder")
    file.unlink()
    file.symlink_to(folder / "nowhere")
    with pytest.raises(BundleError, match="found nothing"):
        Bundle.open(folder)
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(BundleError, match="found nothing"):
        Bundle.open(folder)


def test_a_pipe_does_not_hang(folder: Path) -> None:
    file = Bundle.open(folder).path("encoder")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(BundleError, match="to be a file"):
        Bundle.open(folder)


def test_a_link_to_the_folder_itself_is_followed(folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert Bundle.open(link).folder == folder.resolve()


def test_an_oversized_manifest_is_not_read(folder: Path) -> None:
    os.truncate(folder / MANIFEST, module.MAX_MANIFEST_BYTES + 1)
    with pytest.raises(BundleError, match=f"at most {module.MAX_MANIFEST_BYTES} bytes"):
        Bundle.open(folder)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 10**6, b'{"a":' * 10**5])
def test_a_manifest_that_is_no_json_object_is_refused(folder: Path, data: bytes) -> None:
    (folder / MANIFEST).write_bytes(data)
    with pytest.raises(BundleError, match="manifest"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(surprise=1), "unknown field"),
        (lambda m: m.pop("licence"), "licence"),
        (lambda m: m["artifacts"].append(m["artifacts"][0]), "each role once"),
        (lambda m: m["artifacts"][0].update(backend="llama.cpp"), "backend"),
        (lambda m: m["artifacts"][0].update(size=-1), "does not fit"),
        (lambda m: m["preprocessing"].update(leads=["I", "II", "V9"]), "leads"),
        (lambda m: m["preprocessing"].update(fs=1), "50 to 10000"),
        (lambda m: m["preprocessing"].update(samples=10**9), "shorter window"),
        (lambda m: m["preprocessing"].update(lowpass_hz=400), "below half the rate"),
        (lambda m: m["prompt"].update(context=10**9), "context of at most"),
        (lambda m: m["prompt"].update(max_new_tokens=10**6), "shorter than the context"),
        (lambda m: m["generation"].update(token_count=10**6), "drawing tokens"),
        (lambda m: m["generation"].update(token=None), "a token with its count"),
        (lambda m: m["generation"].update(token_count=None), "a token with its count"),
        (lambda m: m["prompt"]["features"][0].update(decimals=-1), "does not fit"),
        (lambda m: m["prompt"]["features"][0].update(decimals=10**8), "does not fit"),
        (lambda m: m["generation"].update(steps=10**6), "steps"),
        (lambda m: m["generation"].update(guidance=-1), "guidance"),
        (lambda m: m["generation"].update(leads=["I"]), "generated leads"),
        (lambda m: m["generation"].update(latent_shape=[3, 3]), "inputs"),
        (lambda m: m["generation"].update(scalars=["sex"]), "inputs"),
        (lambda m: artifact(m, "decoder")["outputs"][0].update(shape=[1, 12, 1280]), "samples"),
        (lambda m: artifact(m, "encoder")["inputs"][0].update(name="ecg"), "inputs"),
        (lambda m: artifact(m, "encoder")["inputs"][0].update(dtype="float16"), "float32"),
        (lambda m: artifact(m, "encoder")["outputs"][0].update(shape=[1, 256]), r"tokens \(1, n, width\)"),
        (lambda m: artifact(m, "encoder")["outputs"][0].update(shape=[1, 10**6, 10**6]), "smaller tensors"),
        (lambda m: artifact(m, "encoder")["outputs"][0].update(shape=[1, -1, 256]), "smaller tensors"),
        (lambda m: artifact(m, "encoder")["outputs"][0].update(shape=[]), "smaller tensors"),
        (lambda m: artifact(m, "condition").update(outputs=[]), "one output"),
        (lambda m: artifact(m, "delineator")["inputs"][0].update(shape=[1, 12, 500]), "inputs"),
        (lambda m: artifact(m, "delineator")["outputs"][0].update(shape=[1, 12, 3]), "edges"),
        (lambda m: m.update(artifacts=[a for a in m["artifacts"] if a["role"] != "denoiser"]), "denoiser"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(folder: Path, change: Change, says: str) -> None:
    rewrite(folder, change)
    with pytest.raises(BundleError, match=says):
        Bundle.open(folder)


def test_a_bundle_without_a_role_says_what_it_holds(folder: Path) -> None:
    def drop(fields: dict[str, Any]) -> None:
        fields["generation"] = None
        fields["artifacts"] = [a for a in fields["artifacts"] if a["role"] != "decoder"]

    rewrite(folder, drop)
    with pytest.raises(BundleError, match="has no 'decoder'; it holds: encoder"):
        Bundle.open(folder).path("decoder")


def golden_from(data: bytes, folder: Path) -> None:
    (folder / "golden.npz").write_bytes(data)
    rewrite(folder, lambda fields: fields.update(golden_file="golden.npz"))
    Bundle.open(folder, verify=False).golden()


def test_golden_files_are_never_unpickled(folder: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, evil=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BundleError, match="expected arrays"):
        golden_from(buffer.getvalue(), folder)


def test_a_golden_file_that_would_fill_memory_is_refused(folder: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.npy", bytes(module.MAX_GOLDEN_BYTES + 1))
    with pytest.raises(BundleError, match="unpacks to"):
        golden_from(buffer.getvalue(), folder)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), at=st.integers(0, 10**6))
def test_damaged_golden_files_are_bundle_errors(folder: Path, bundle: Bundle, data: bytes, at: int) -> None:
    whole = (bundle.folder / bundle.manifest.golden_file).read_bytes()
    at %= len(whole)
    try:
        golden_from(whole[:at] + data + whole[at + len(data) :], folder)
    except BundleError as error:
        assert "expected arrays" in str(error)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60), at=st.integers(0, 10**6))
def test_damaged_manifests_are_bundle_errors_or_still_fit(folder: Path, bundle: Bundle, data: bytes, at: int) -> None:
    whole = (bundle.folder / MANIFEST).read_bytes()
    at %= len(whole)
    (folder / MANIFEST).write_bytes(whole[:at] + data + whole[at + len(data) :])
    try:
        Bundle.open(folder, verify=False)
    except BundleError as error:
        assert str(error).count(";") >= 1


def test_what_is_written_is_what_is_read(bundle: Bundle) -> None:
    assert manifest.decode(manifest.encode(bundle.manifest)) == bundle.manifest


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ({"train_steps": 1000, "beta_start": 0.5, "beta_end": 1.5}, "betas that rise"),
        ({"train_steps": 1000, "beta_start": 0.02, "beta_end": 0.01}, "betas that rise"),
        ({"train_steps": 10, "beta_start": 0.01, "beta_end": 0.02}, "as many training steps"),
        ({"train_steps": 1000, "beta_start": 0.01, "beta_end": 0.02}, "int64 time"),
    ],
)
def test_a_schedule_that_no_diffusion_has_is_refused(folder: Path, schedule: dict[str, float], says: str) -> None:
    rewrite(folder, lambda fields: fields["generation"].update(sampler="ddim", schedule=schedule))
    with pytest.raises(BundleError, match=says):
        Bundle.open(folder)
