"""The doctor reports what is there and what is wrong, and never fails itself."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from cuda_fakes import FakeDriver, FakeTensorRt, add_plans
from uniecg_runtime import doctor, machine
from uniecg_runtime.backends.graphs import BACKENDS
from uniecg_runtime.bundle import Bundle, read_manifest
from uniecg_runtime.doctor import Check, examine
from uniecg_runtime.jetson import Jetson
from uniecg_runtime.signing import generate_keys, read_private_key, sign_bundle


def find(checks: list[Check], topic: str, name: str) -> Check:
    return next(check for check in checks if (check.topic, check.name) == (topic, name))


def test_a_good_bundle_is_reported_with_what_runs_it(bundle: Bundle) -> None:
    checks = examine(str(bundle.folder))
    assert find(checks, "bundle", str(bundle.folder)).status == "ok"
    cpu = find(checks, "backends", "cpu")
    assert cpu.status == "ok" and cpu.found.startswith("CPUExecutionProvider, tried with the ")
    assert "no key is required" in find(checks, "bundle", "signature").found
    assert find(checks, "modules", "uniecg_device._native").status == "ok"
    assert "MiB" in find(checks, "machine", "memory").found
    assert "swap" in find(checks, "machine", "available").found


def test_a_bundle_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    checks = examine(str(tmp_path / "none"))
    assert find(checks, "bundle", str(tmp_path / "none")).status == "problem"
    assert not [check for check in checks if check.name in BACKENDS]


def test_a_module_that_does_not_load_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    check = find(examine(str(tmp_path)), "modules", "llama_cpp")
    assert check.status == "problem" and "does not load" in check.found


def test_a_backend_that_does_not_run_here_is_a_note_with_the_reason_and_a_problem_where_it_was_asked_for(
    bundle: Bundle, driver: FakeDriver
) -> None:
    driver.devices = 0
    checks = examine(str(bundle.folder))
    assert find(checks, "backends", "tensorrt").status == "note"
    assert "expected an NVIDIA GPU and its driver" in find(checks, "backends", "tensorrt").found
    assert (
        find(checks, "gpu", "TensorRT").status == "note" and "nvidia-jetpack" in find(checks, "gpu", "TensorRT").found
    )
    asked = examine(str(bundle.folder), backend="tensorrt")
    assert find(asked, "backends", "tensorrt").status == "problem"
    assert find(asked, "backends", "cpu").status == "ok"


def test_a_machine_that_runs_plans_says_which_gpu_and_which_tensorrt(copied: Bundle, trt: FakeTensorRt) -> None:
    missing = find(examine(str(copied.folder)), "backends", "tensorrt")
    assert missing.status == "note" and "found none; run `uniecg build-engine" in missing.found
    add_plans(trt, copied)
    checks = examine(str(copied.folder), backend="tensorrt")
    assert find(checks, "backends", "tensorrt").found.startswith("tensorrt 10.13.3.9, fp32, on RTX 4090 (SM 89), tr")
    assert find(checks, "gpu", "NVIDIA GPU").found.startswith("RTX 4090, SM 89, driver for CUDA")
    assert find(checks, "gpu", "TensorRT").found == "tensorrt 10.13.3.9, builds plans"


@pytest.mark.parametrize(("visible", "shown"), [(None, "not set"), ("", "''")])
def test_a_driver_that_sees_no_gpu_is_told_from_no_driver(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str | None, shown: str
) -> None:
    driver.devices = 0
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = find(examine(str(tmp_path)), "gpu", "NVIDIA GPU")
    assert found.status == "note" and f"sees none; CUDA_VISIBLE_DEVICES is {shown}" in found.found


def test_a_jetson_says_its_releases_and_which_devices_it_may_not_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "find_jetson", lambda: Jetson("39.2.0", "7.2"))
    monkeypatch.setattr(doctor, "gpu_nodes", lambda jetson: ["/dev/nvmap", "/dev/zero"])
    monkeypatch.setattr(doctor, "readable", lambda path: path != "/dev/nvmap")
    checks = examine(str(tmp_path))
    assert find(checks, "gpu", "Jetson").found == "Jetson Linux 39.2.0, nvidia-jetpack 7.2"
    closed = find(checks, "gpu", "permission")
    assert closed.found == "none for /dev/nvmap; run: sudo usermod -aG video $USER, then log in again"
    monkeypatch.setattr(doctor, "find_jetson", lambda: Jetson("39.2.0", None))
    assert "sudo apt install nvidia-jetpack" in find(examine(str(tmp_path)), "gpu", "Jetson").found


def test_onnx_runtime_under_its_other_name_is_not_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def version(name: str) -> str:
        if name == "onnxruntime":
            raise metadata.PackageNotFoundError(name)
        return "1.31.0"

    monkeypatch.setattr(doctor.metadata, "version", version)
    assert find(examine(str(tmp_path)), "versions", "onnxruntime").found == "1.31.0 (onnxruntime-gpu)"


def test_too_little_memory_for_the_weights_is_told(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable:    10240 kB\nSwapTotal:   2048 kB\n")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    checks = examine(str(bundle.folder))
    assert find(checks, "machine", "available").found == "10 MiB, swap 2 MiB"
    assert find(checks, "bundle", "memory").found.startswith("10 MiB are available, the weights take")


def test_a_bundle_that_is_not_signed_as_it_must_be_is_a_problem(copied: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("nacl", reason="NO PYNACL: pip install 'uniecg-edge[signing]' to run this test")
    key = generate_keys(tmp_path / "maker")
    name, pub = str(copied.folder), tmp_path / "maker.pub"
    refused = find(examine(name, public_key=pub), "bundle", name)
    assert refused.status == "problem" and "found no manifest.sig" in refused.found
    sign_bundle(copied.folder, read_manifest(copied.folder), read_private_key(tmp_path / "maker.key"))
    assert find(examine(name, public_key=pub), "bundle", "signature").found == f"by the key {key.id}"
    assert find(examine(name), "bundle", "signature").found == "there is one; no key is required"


def test_without_what_everything_rests_on_the_rest_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "msgspec", None)
    checks = examine(str(tmp_path))
    assert find(checks, "modules", "msgspec").status == "problem"
    assert {check.topic for check in checks} == {"versions", "modules", "machine", "serial"}


def test_ports_are_listed_with_their_permissions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine, other = tmp_path / "ttyUSB0", tmp_path / "ttyUSB1"
    mine.touch()
    other.touch()
    monkeypatch.setattr(doctor, "SERIAL_GLOBS", (str(tmp_path / "ttyUSB*"),))
    monkeypatch.setattr(doctor.os, "access", lambda path, _: path == str(mine))
    checks = examine(str(tmp_path))
    assert find(checks, "serial", str(mine)).status == "ok"
    refused = find(checks, "serial", str(other))
    assert refused.status == "problem" and "usermod -aG" in refused.found


def test_no_port_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "SERIAL_GLOBS", (str(tmp_path / "none*"),))
    assert find(examine(str(tmp_path)), "serial", "ports").status == "note"
