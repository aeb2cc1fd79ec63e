"""Plans on the GPU. No GPU runs here: what is tested is the order of calls, and that every failure is named."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cuda_fakes import DOUBLING, ERRORS, GPU, PLAN, FakeDriver, FakeRtx, FakeTensorRt, Plan, Tensors
from uniecg_device.errors import BackendError
from uniecg_runtime.backends.tensorrt import Engine, find_tensorrt, kernel_path
from uniecg_runtime.engines import AHEAD_OF_TIME, PlanKey, builder_flags, write_plan
from uniecg_runtime.manifest import Artifact, Tensor

X = Tensor(name="x", shape=(1, 3), dtype="float32")
Y = Tensor(name="y", shape=(1, 3), dtype="float32")
ARTIFACT = Artifact(
    role="encoder",
    file="encoder.onnx",
    sha256="a" * 64,
    size=1,
    backend="onnxruntime",
    precision="float32",
    inputs=(X,),
    outputs=(Y,),
)
ONES = np.ones((1, 3), np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    key = PlanKey(ARTIFACT.sha256, "tensorrt", FakeTensorRt.__version__, GPU.name, (GPU.sm,), "fp32", ())
    write_plan(tmp_path / "encoder.plan", PLAN, key)
    return tmp_path / "encoder.plan"


@pytest.fixture
def rtx_path(tmp_path: Path) -> Path:
    flags = builder_flags("tensorrt_rtx", "fp32")
    key = PlanKey(ARTIFACT.sha256, "tensorrt_rtx", FakeRtx.__version__, AHEAD_OF_TIME, (86, 89), "fp32", flags)
    write_plan(tmp_path / "encoder.plan", PLAN, key)
    return tmp_path / "encoder.plan"


def test_a_plan_answers_like_a_graph(trt: FakeTensorRt, path: Path) -> None:
    engine = Engine(path, ARTIFACT)
    for scale in (1, 3):
        (y,) = engine.run(x=scale * ONES)
        np.testing.assert_array_equal(y, 2 * scale * ONES)
    assert engine.provider == "tensorrt 10.13.3.9, fp32, on RTX 4090 (SM 89)"
    assert engine.remarks == []


def test_outputs_are_the_callers_own(trt: FakeTensorRt, path: Path) -> None:
    engine = Engine(path, ARTIFACT)
    (first,) = engine.run(x=ONES)
    engine.run(x=5 * ONES)
    np.testing.assert_array_equal(first, 2 * ONES)


def test_a_recorded_call_is_one_launch_and_takes_no_memory(trt: FakeTensorRt, path: Path, driver: FakeDriver) -> None:
    engine = Engine(path, ARTIFACT)
    mark = len(driver.calls)
    engine.run(x=ONES)
    assert driver.since(mark) == ["cuCtxSetCurrent", "cuGraphLaunch", "cuStreamSynchronize"]


def test_a_plan_runs_once_before_it_is_recorded_and_the_recording_before_it_is_used(
    trt: FakeTensorRt, path: Path, driver: FakeDriver
) -> None:
    Engine(path, ARTIFACT)
    one_call = ["cuMemcpyHtoDAsync_v2", "execute_async_v3", "cuMemcpyDtoHAsync_v2"]
    order = driver.since(driver.calls.index("cuMemcpyHtoDAsync_v2"))
    assert order[: 2 * len(one_call) + 7] == [
        *one_call,
        "cuStreamSynchronize",
        "cuStreamBeginCapture_v2",
        *one_call,
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphDestroy",
        "cuGraphLaunch",
        "cuStreamSynchronize",
    ]


def test_without_a_cuda_graph_each_call_is_enqueued(trt: FakeTensorRt, path: Path, driver: FakeDriver) -> None:
    engine = Engine(path, ARTIFACT, cuda_graph=False)
    mark = len(driver.calls)
    np.testing.assert_array_equal(engine.run(x=ONES)[0], 2 * ONES)
    assert driver.since(mark)[1:4] == ["cuMemcpyHtoDAsync_v2", "execute_async_v3", "cuMemcpyDtoHAsync_v2"]
    assert "cuStreamBeginCapture_v2" not in driver.calls


@pytest.mark.parametrize(
    ("function", "status"), [("cuStreamEndCapture", 901), ("cuGraphInstantiateWithFlags", 2), ("cuGraphLaunch", 700)]
)
def test_a_recording_that_fails_is_remarked_upon_and_calls_are_enqueued(
    trt: FakeTensorRt, path: Path, driver: FakeDriver, function: str, status: int
) -> None:
    driver.failing[function] = status
    if function == "cuStreamEndCapture":
        driver._cuStreamBeginCapture_v2 = lambda *_: 0  # type: ignore[method-assign]
    engine = Engine(path, ARTIFACT)
    assert len(engine.remarks) == 1
    assert "the encoder runs without a CUDA graph" in engine.remarks[0]
    assert ERRORS[status].decode() in engine.remarks[0]
    np.testing.assert_array_equal(engine.run(x=ONES)[0], 2 * ONES)


def test_a_plan_that_fails_while_it_is_recorded_leaves_the_stream_usable(
    trt: FakeTensorRt, path: Path, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trt.execute
    monkeypatch.setattr(trt, "execute", lambda *call: driver.recording is None and real(*call))
    engine = Engine(path, ARTIFACT)
    assert "expected TensorRT to run the encoder" in engine.remarks[0]
    assert driver.recording is None
    np.testing.assert_array_equal(engine.run(x=ONES)[0], 2 * ONES)


def test_memory_and_handles_are_given_back(trt: FakeTensorRt, path: Path, driver: FakeDriver) -> None:
    engine = Engine(path, ARTIFACT)
    assert len(driver.memory) == 4
    mark = len(driver.calls)
    del engine
    gc.collect()
    assert driver.memory == {}
    given = driver.since(mark)
    assert given[:2] == ["cuCtxSetCurrent", "cuGraphExecDestroy"]
    assert given[-1] == "cuStreamDestroy_v2"


def test_what_was_taken_before_a_failure_is_given_back(trt: FakeTensorRt, path: Path, driver: FakeDriver) -> None:
    driver.failing["cuMemHostAlloc"] = 2
    with pytest.raises(BackendError, match=r"cuMemHostAlloc to succeed, found CUDA_ERROR_OUT_OF_MEMORY \(2\)"):
        Engine(path, ARTIFACT)
    gc.collect()
    assert driver.memory == {}
    assert driver.calls[-1] == "cuStreamDestroy_v2"


@pytest.mark.parametrize("function", ["cuStreamSynchronize", "cuGraphLaunch", "cuCtxSetCurrent"])
def test_an_error_of_the_gpu_is_named_and_never_an_old_answer(
    trt: FakeTensorRt, path: Path, driver: FakeDriver, function: str
) -> None:
    engine = Engine(path, ARTIFACT)
    driver.failing[function] = 700
    with pytest.raises(BackendError, match=rf"{function} to succeed, found CUDA_ERROR_ILLEGAL_ADDRESS \(700\)"):
        engine.run(x=ONES)


def test_a_plan_that_tensorrt_will_not_run_is_an_error_with_its_reason(trt: FakeTensorRt, path: Path) -> None:
    engine = Engine(path, ARTIFACT, cuda_graph=False)
    trt.runs = False
    with pytest.raises(BackendError, match=r"expected TensorRT to run the encoder, it refused \(a kernel is missing\)"):
        engine.run(x=ONES)


def test_a_plan_that_does_not_load_is_an_error_with_tensorrts_reason(trt: FakeTensorRt, path: Path) -> None:
    trt.loads = False
    with pytest.raises(BackendError, match=r"refused \(Version tag does not match\. Note: a plan of elsewhere\); run"):
        Engine(path, ARTIFACT)


def test_too_little_memory_on_the_gpu_is_an_error(trt: FakeTensorRt, path: Path) -> None:
    trt.fits = False
    with pytest.raises(BackendError, match=r"expected GPU memory for encoder\.plan, .*\(out of memory\)"):
        Engine(path, ARTIFACT)


@pytest.mark.parametrize(
    "tensors",
    [
        {"x": ("INPUT", (1, 3), "FLOAT", "DEVICE")},
        {"x": ("INPUT", (1, 300), "FLOAT", "DEVICE"), "y": ("OUTPUT", (1, 3), "FLOAT", "DEVICE")},
        {"x": ("INPUT", (1, 3), "HALF", "DEVICE"), "y": ("OUTPUT", (1, 3), "FLOAT", "DEVICE")},
        {"x": ("OUTPUT", (1, 3), "FLOAT", "DEVICE"), "y": ("INPUT", (1, 3), "FLOAT", "DEVICE")},
        {"x": ("INPUT", (1, 3), "FLOAT", "HOST"), "y": ("OUTPUT", (1, 3), "FLOAT", "DEVICE")},
    ],
    ids=["missing", "shape", "dtype", "direction", "on the host"],
)
def test_a_plan_of_other_tensors_than_its_graph_is_refused(trt: FakeTensorRt, path: Path, tensors: Tensors) -> None:
    trt.plans[PLAN] = Plan(tensors, DOUBLING.compute)
    with pytest.raises(BackendError, match="to have tensors"):
        Engine(path, ARTIFACT)


def test_a_plan_for_another_machine_is_refused_before_tensorrt_reads_it(trt: FakeTensorRt, path: Path) -> None:
    trt.__version__ = "10.3.0.30"  # type: ignore[misc]
    with pytest.raises(
        BackendError, match=r"expected a plan with version 10\.3\.0\.30, found one with .* 10\.13\.3\.9"
    ):
        Engine(path, ARTIFACT)
    assert trt.log is None


def test_a_plan_of_another_precision_than_the_graphs_is_refused_unless_asked_for(trt: FakeTensorRt, path: Path) -> None:
    with pytest.raises(BackendError, match="precision tf32, flags TF32, found one with precision fp32, flags none"):
        Engine(path, ARTIFACT, precision="tf32")


def test_no_gpu_is_an_error_that_says_what_to_do(trt: FakeTensorRt, path: Path, driver: FakeDriver) -> None:
    driver.devices = 0
    with pytest.raises(BackendError, match="expected an NVIDIA GPU and its driver for TensorRT, found none; run on"):
        Engine(path, ARTIFACT)


@pytest.mark.parametrize(
    "inputs",
    [{}, {"y": ONES}, {"x": ONES, "y": ONES}, {"x": ONES[0]}, {"x": ONES.astype(np.float64)}],
    ids=["none", "wrong name", "too many", "shape", "dtype"],
)
def test_inputs_unlike_the_manifest_are_refused_before_they_run(
    trt: FakeTensorRt, path: Path, inputs: dict[str, np.ndarray]
) -> None:
    with pytest.raises(ValueError, match="expected"):
        Engine(path, ARTIFACT).run(**inputs)


def test_inputs_in_any_layout_are_taken(trt: FakeTensorRt, path: Path) -> None:
    wide = np.arange(6, dtype=np.float32).reshape(1, 6)
    np.testing.assert_array_equal(Engine(path, ARTIFACT).run(x=wide[:, ::2])[0], [[0, 4, 8]])


def test_numbers_that_are_not_finite_do_not_pass_silently(trt: FakeTensorRt, path: Path) -> None:
    with pytest.raises(BackendError, match="finite"):
        Engine(path, ARTIFACT).run(x=np.array([[1, np.inf, 1]], np.float32))


def test_threads_that_call_together_get_their_own_answers(trt: FakeTensorRt, path: Path) -> None:
    engine = Engine(path, ARTIFACT)
    trt.seconds = 0.002  # in which others could overwrite the input
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: engine.run(x=n * ONES)[0], range(50)))
    for n, answer in enumerate(answers):
        np.testing.assert_array_equal(answer, 2 * n * ONES)


def test_kernels_compiled_for_rtx_are_kept_beside_the_plan(rtx: FakeRtx, rtx_path: Path) -> None:
    np.testing.assert_array_equal(Engine(rtx_path, ARTIFACT).run(x=ONES)[0], 2 * ONES)
    assert kernel_path(rtx_path).read_bytes() == b"compiled here"
    kernel_path(rtx_path).write_bytes(b"compiled before")
    Engine(rtx_path, ARTIFACT)
    assert rtx.kernels == b"compiled before"


def test_kernels_of_another_driver_are_compiled_again(rtx: FakeRtx, rtx_path: Path) -> None:
    kernel_path(rtx_path).write_bytes(b"not for this driver")
    Engine(rtx_path, ARTIFACT)
    assert kernel_path(rtx_path).read_bytes() == b"compiled here"


def test_kernels_that_cannot_be_kept_are_remarked_upon(rtx: FakeRtx, rtx_path: Path) -> None:
    kernel_path(rtx_path).mkdir()
    engine = Engine(rtx_path, ARTIFACT)
    assert "kernels of the encoder are compiled at every start" in engine.remarks[0]


def test_a_plan_that_cannot_be_recorded_is_remarked_upon(rtx: FakeRtx, rtx_path: Path, driver: FakeDriver) -> None:
    rtx.capturable = False
    engine = Engine(rtx_path, ARTIFACT)
    assert engine.remarks == ["the encoder runs without a CUDA graph, for its plan cannot be recorded"]
    np.testing.assert_array_equal(engine.run(x=ONES)[0], 2 * ONES)


def test_what_tensorrt_for_rtx_finds_wrong_with_a_plan_is_named(rtx: FakeRtx, rtx_path: Path) -> None:
    rtx.validity = (rtx.EngineValidity.INVALID, int(rtx.EngineInvalidityDiagnostics.OLD_CUDA_DRIVER))
    with pytest.raises(BackendError, match="TensorRT for RTX says OLD_CUDA_DRIVER; update the NVIDIA driver"):
        Engine(rtx_path, ARTIFACT)
    rtx.validity = (rtx.EngineValidity.SUBOPTIMAL, 0)
    assert "slower here" in Engine(rtx_path, ARTIFACT).remarks[0]


def test_without_tensorrt_the_error_says_which_package_and_how_to_install_it(driver: FakeDriver) -> None:
    with pytest.raises(BackendError) as caught:
        find_tensorrt()
    said = str(caught.value)
    for part in ("tensorrt or tensorrt_rtx", "nvidia-jetpack", "--system-site-packages", "uniecg-edge[tensorrt]"):
        assert part in said
    with pytest.raises(BackendError) as caught:
        find_tensorrt("tensorrt_rtx")
    assert "nvidia-jetpack" not in str(caught.value)


def test_a_tensorrt_that_is_too_old_is_an_error(trt: FakeTensorRt) -> None:
    trt.__version__ = "8.6.1"  # type: ignore[misc]
    with pytest.raises(BackendError, match=r"tensorrt is 8\.6\.1, older than 10\.0"):
        find_tensorrt("tensorrt")


def test_a_tensorrt_that_breaks_on_import_is_an_error_with_its_reason(
    trt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt.__version__ = "unknown"  # type: ignore[misc]
    with pytest.raises(BackendError, match=r"tensorrt does not load \(invalid literal"):
        find_tensorrt("tensorrt")


def test_tensorrt_goes_before_tensorrt_for_rtx_and_each_has_one_log(trt: FakeTensorRt, rtx: FakeRtx) -> None:
    assert find_tensorrt().flavour == "tensorrt"
    api = find_tensorrt("tensorrt_rtx")
    assert (api.flavour, api.version) == ("tensorrt_rtx", "1.7.1.116")
    assert find_tensorrt("tensorrt_rtx").log is api.log
    for severity, text in ((2, "slow"), (3, "chatter"), (2, "slow"), (1, "first\n  error"), (1, "second")):
        api.log.log(severity, text)
    assert api.warnings() == ("slow",)
    assert api.reason() == "first error"
