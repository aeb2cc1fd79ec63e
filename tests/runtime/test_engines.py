"""Plans on disk: what a key holds, what is refused, and what CUDA's driver says of the GPU."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniecg_device.errors import BackendError
from uniecg_runtime import engines
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.engines import (
    AHEAD_OF_TIME,
    MAX_KEY_BYTES,
    SIGNATURES,
    CudaDriver,
    Gpu,
    PlanKey,
    builder_flags,
    check_plan,
    find_gpu,
    key_here,
    key_path,
    open_driver,
    plan_folders,
    plan_precision,
    plan_to_read,
    plan_to_write,
    read_key,
    read_plan,
    write_plan,
)

KEY = PlanKey("a" * 64, "tensorrt", "10.13.3", "Orin", (87,), "fp32", ())
PLAN = bytes(range(256)) * 40


def changed(key: PlanKey = KEY, **fields: object) -> PlanKey:
    return msgspec.structs.replace(key, **fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_plan(tmp_path / "encoder.plan", PLAN, KEY)
    return tmp_path / "encoder.plan"


def test_a_plan_is_read_back_where_its_key_is_the_one_wanted(path: Path) -> None:
    assert read_plan(path, KEY) == PLAN
    assert read_key(path).key == KEY
    assert sorted(file.name for file in path.parent.iterdir()) == ["encoder.plan", "encoder.plan.json"]


@pytest.mark.parametrize(
    ("field", "other", "shown"),
    [
        ("onnx_sha256", "b" * 64, "bbbbbbbbbbbbbbbb..."),
        ("flavour", "tensorrt_rtx", "tensorrt_rtx"),
        ("version", "10.3.0", "10.3.0"),
        ("gpu", "Xavier", "Xavier"),
        ("sms", (72,), "72"),
        ("precision", "fp16", "fp16"),
        ("flags", ("TF32",), "TF32"),
    ],
)
def test_each_field_that_differs_is_named_with_both_values(path: Path, field: str, other: object, shown: str) -> None:
    wanted = {"onnx_sha256": "aaaaaaaaaaaaaaaa...", "sms": "87", "flags": "none"}.get(field, str(getattr(KEY, field)))
    write_plan(path, PLAN, changed(**{field: other}))
    with pytest.raises(BackendError) as caught:
        read_plan(path, KEY)
    assert (
        f"expected a plan with {field} {wanted}, found one with {field} {shown}; run `uniecg build-engine BUNDLE`"
        in (str(caught.value))
    )


def test_every_field_of_a_key_is_compared() -> None:
    other = PlanKey("b" * 64, "tensorrt_rtx", "1.7.1", "RTX", (86,), "tf32", ("TF32",))
    with pytest.raises(BackendError) as caught:
        check_plan(other, KEY)
    found = str(caught.value).partition("found")[2]
    assert [name for name in PlanKey.__struct_fields__ if f"{name} " not in found] == []


def test_a_plan_built_ahead_of_time_fits_any_gpu_of_its_architectures_and_no_other() -> None:
    plan = changed(gpu=AHEAD_OF_TIME, sms=(86, 89))
    check_plan(plan, changed(gpu="RTX 4090", sms=(89,)))
    with pytest.raises(BackendError, match=r"expected a plan with sms 120, found one with sms 86, 89;"):
        check_plan(plan, changed(gpu="RTX 5090", sms=(120,)))
    with pytest.raises(BackendError, match="gpu ahead-of-time, found one with gpu Orin"):
        check_plan(KEY, changed(gpu=AHEAD_OF_TIME))


@pytest.mark.parametrize("data", [PLAN[:-1], PLAN + b"x", b"\1" + PLAN[1:]], ids=["cut short", "grown", "one bit"])
def test_a_plan_that_was_cut_short_or_changed_is_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(BackendError, match=r"it was cut short or changed, run `uniecg build-engine"):
        read_plan(path, KEY)


def test_an_empty_plan_is_refused(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(BackendError, match="expected a file of 1 to"):
        read_plan(path, KEY)


def test_a_missing_plan_or_key_is_refused(path: Path) -> None:
    key = key_path(path)
    held = key.read_bytes()
    key.unlink()
    with pytest.raises(BackendError, match=r"expected a file at .*plan\.json, it cannot be read"):
        read_plan(path, KEY)
    key.write_bytes(held)
    path.unlink()
    with pytest.raises(BackendError, match=r"expected a file at .*plan, it cannot be read"):
        read_plan(path, KEY)


def test_a_pipe_in_place_of_a_key_is_refused_and_not_waited_for(path: Path) -> None:
    key_path(path).unlink()
    os.mkfifo(key_path(path))
    with pytest.raises(BackendError, match="expected a file of"):
        read_plan(path, KEY)


def test_a_key_of_any_size_is_not_read_into_memory(path: Path) -> None:
    with key_path(path).open("wb") as file:
        file.truncate(1 << 40)  # takes no room on disk
    with pytest.raises(BackendError, match=f"expected a file of 1 to {MAX_KEY_BYTES} bytes"):
        read_plan(path, KEY)


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"\xff",
        b"[" * 60_000,
        b'{"key": 1, "size": 1, "sha256": "x"}',
        msgspec.json.encode({"key": KEY, "size": 0, "sha256": "0" * 64}),
        msgspec.json.encode({"key": KEY, "size": 1, "sha256": "0" * 63}),
        msgspec.json.encode({"key": KEY, "size": 1, "sha256": "0" * 64, "more": 1}),
        msgspec.json.encode({"key": msgspec.to_builtins(KEY) | {"gpu": "x" * 300}, "size": 1, "sha256": "0" * 64}),
        msgspec.json.encode({"key": msgspec.to_builtins(KEY) | {"sms": []}, "size": 1, "sha256": "0" * 64}),
    ],
)
def test_a_key_that_does_not_fit_its_schema_is_refused(path: Path, text: bytes) -> None:
    key_path(path).write_bytes(text)
    with pytest.raises(BackendError, match="expected a plan's key in"):
        read_plan(path, KEY)


@given(data=st.binary(min_size=1, max_size=200))
def test_no_bytes_in_place_of_a_key_do_more_than_be_refused(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.mktemp("key") / "encoder.plan"
    key_path(path).write_bytes(data)
    with pytest.raises(BackendError):
        read_key(path)


def test_a_key_is_for_one_graph_on_one_gpu(bundle: Bundle) -> None:
    artifact = bundle.manifest.artifact("encoder")
    key = key_here(artifact, "tensorrt_rtx", "1.7.1", "tf32", Gpu("RTX 4090", 89, 13000))
    assert key == PlanKey(
        artifact.sha256, "tensorrt_rtx", "1.7.1", "RTX 4090", (89,), "tf32", ("TF32", "REQUIRE_USER_ALLOCATION")
    )
    assert builder_flags("tensorrt", "fp32") == ()


def test_a_graphs_precision_is_its_plans(bundle: Bundle) -> None:
    artifact = bundle.manifest.artifact("encoder")
    assert plan_precision(artifact) == "fp32"
    assert plan_precision(msgspec.structs.replace(artifact, precision="int4_weights")) == "fp32"
    with pytest.raises(BackendError, match="found 'int8_dynamic' in the encoder"):
        plan_precision(msgspec.structs.replace(artifact, precision="int8_dynamic"))


def test_plans_lie_in_the_bundle_or_else_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, cache = tmp_path / "my-bundle", tmp_path / "cache"
    bundle.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    with pytest.raises(BackendError, match=r"expected a plan of the encoder at .*my-bundle/engines/encoder\.plan or"):
        plan_to_read(bundle, "encoder")
    assert plan_to_write(bundle, "encoder") == bundle / "engines" / "encoder.plan"
    (bundle / "engines").rmdir()
    (bundle / "engines").touch()  # a folder cannot be made here, for root neither
    kept = plan_to_write(bundle, "encoder")
    assert kept.is_relative_to(cache / "uniecg" / "engines")
    assert kept.parent.name.startswith("my-bundle-")
    kept.write_bytes(PLAN)
    assert plan_to_read(bundle, "encoder") == kept


def test_the_installed_package_is_not_written_to(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative, which counts as unset")
    built_in = Path(engines.__file__).parent / "bundles" / "uniecg-nano"
    assert [folder.is_relative_to(Path.home() / ".cache") for folder in plan_folders(built_in)] == [True]


class FakeDriver:
    """libcuda as far as naming a GPU goes, behind real C function pointers of SIGNATURES."""

    def __init__(self, init: int = 0) -> None:
        self.init = init
        for name, kinds in SIGNATURES.items():
            answer = getattr(self, f"_{name}", lambda *_: 0)
            setattr(self, name, ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(answer))

    def _cuInit(self, flags: int) -> int:
        return self.init

    def _cuGetErrorName(self, status: int, text: Any) -> int:
        names = {2: b"CUDA_ERROR_OUT_OF_MEMORY", 803: b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"}
        if status not in names:
            return 1
        text[0] = names[status]
        return 0

    def _cuDeviceGetName(self, name: int, length: int, device: int) -> int:
        assert length > len(b"Orin (nvgpu)")
        ctypes.memmove(name, b"Orin (nvgpu)\0", 13)
        return 0

    def _cuDriverGetVersion(self, version: Any) -> int:
        version[0] = 13000
        return 0

    def _cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:
        value[0] = {75: 8, 76: 7}[attribute]
        return 0

    def _cuMemAlloc_v2(self, address: Any, size: int) -> int:
        return 2


def load(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    def cdll(name: str) -> object:
        assert name == "libcuda.so.1"
        if isinstance(library, Exception):
            raise library
        return library

    monkeypatch.setattr(ctypes, "CDLL", cdll)


def test_a_gpu_is_named_with_its_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, FakeDriver())
    assert find_gpu() == Gpu("Orin (nvgpu)", 87, 13000)


@pytest.mark.parametrize("library", [OSError("no such file"), FakeDriver(init=100), FakeDriver(init=34), object()])
def test_no_driver_no_gpu_or_a_driver_too_old_is_no_gpu(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    load(monkeypatch, library)
    assert open_driver() is None
    assert find_gpu() is None


def test_a_broken_driver_is_an_error_and_not_a_missing_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, FakeDriver(init=803))
    with pytest.raises(BackendError, match=r"found CUDA_ERROR_SYSTEM_DRIVER_MISMATCH \(803\); restart this machine"):
        find_gpu()


def test_errors_of_the_gpu_are_named() -> None:
    driver = CudaDriver(FakeDriver())
    with pytest.raises(BackendError, match=r"GPU's cuMemAlloc_v2 to succeed, found CUDA_ERROR_OUT_OF_MEMORY \(2\)"):
        driver.call("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), 1)
    assert driver.error_name(12345) == "CUDA error (12345)"
