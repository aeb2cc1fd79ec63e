"""A bundle on each backend: what was asked for is what runs, or it is an error that says what to do.

The GPU here is a stand-in whose plans compute what ONNX Runtime does; real plans run in tests/test_on_a_gpu.py.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import onnxruntime
import pytest

from cuda_fakes import FakeDriver, FakeTensorRt, add_plan, add_plans
from uniecg_device.errors import BackendError, InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import Recording
from uniecg_runtime.assistant import Assistant
from uniecg_runtime.backends import llama
from uniecg_runtime.backends.graphs import BACKENDS, open_graph, open_language_model
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.engines import plan_to_read
from uniecg_runtime.manifest import Manifest, Role

DRAWING: tuple[Role, ...] = ("condition", "denoiser", "decoder")
ON_GPU = "tensorrt 10.13.3.9, fp32, on RTX 4090 (SM 89)"
LEFT_BEHIND = "the language model runs on the CPU, for llama.cpp has no GPU support here"


@pytest.fixture(scope="module")
def recording() -> Recording:
    return simulate(ParametricEcg(heart_rate=72.0), 10.0, 500.0, 1)


@pytest.fixture
def no_offload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "sees_gpu", lambda: False)


def test_an_unknown_backend_is_refused_by_name(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="expected a backend of cpu, cuda, tensorrt, found 'gpu'"):
        Assistant(bundle, backend="gpu")


def test_onnx_runtime_without_cuda_is_an_error_and_not_the_cpu(
    bundle: Bundle, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        BackendError, match=r"with CUDAExecutionProvider, this installation has CPU.*onnxruntime-gpu.*backend cpu"
    ):
        Assistant(bundle, backend="cuda").interpret(recording)


def test_without_a_gpu_tensorrt_is_an_error_before_a_plan_is_looked_for(bundle: Bundle, driver: FakeDriver) -> None:
    driver.devices = 0
    with pytest.raises(BackendError, match="expected an NVIDIA GPU and its driver for TensorRT, found none; run on"):
        open_graph(bundle, "encoder", "tensorrt")


def test_a_plan_that_was_not_built_is_an_error_that_says_how_and_none_is_built(
    copied: Bundle, trt: FakeTensorRt
) -> None:
    before = sorted(copied.folder.rglob("*"))
    with pytest.raises(
        BackendError, match=r"expected a plan of the encoder at .*encoder\.plan.*, found none; run `uni"
    ):
        Assistant(copied, backend="tensorrt").load("encoder")
    assert sorted(copied.folder.rglob("*")) == before


def test_the_assistant_says_and_draws_on_plans_what_it_does_on_the_cpu(
    copied: Bundle, trt: FakeTensorRt, recording: Recording, no_offload: None
) -> None:
    add_plans(trt, copied)
    cpu, gpu = Assistant(copied, threads=1), Assistant(copied, backend="tensorrt", threads=1)
    here, there = (assistant.interpret(recording, max_new_tokens=4) for assistant in (cpu, gpu))
    assert (there.text, there.statements) == (here.text, here.statements)
    looked = ("encoder", "delineator")
    assert here.backend == {"language_model": "llama.cpp, CPU", **dict.fromkeys(looked, "CPUExecutionProvider")}
    assert there.backend == {"language_model": "llama.cpp, CPU", **dict.fromkeys(looked, ON_GPU)}
    assert LEFT_BEHIND in there.notes and LEFT_BEHIND not in here.notes
    here, there = (assistant.generate("normal ECG", steps=2) for assistant in (cpu, gpu))
    np.testing.assert_array_equal(there.recording.signal, here.recording.signal)
    assert there.to_json()["backend"] == {"language_model": "llama.cpp, CPU", **dict.fromkeys(DRAWING, ON_GPU)}
    assert there.notes == (*here.notes, LEFT_BEHIND)


def test_a_sampling_step_on_a_plan_is_one_launch(copied: Bundle, trt: FakeTensorRt, no_offload: None) -> None:
    add_plans(trt, copied)
    assistant = Assistant(copied, backend="tensorrt", threads=1)
    assistant.generate("normal ECG", steps=1)
    launches = []
    for steps in (1, 6):
        mark = len(trt.driver.calls)
        assistant.generate("normal ECG", steps=steps)
        made = trt.driver.since(mark)
        assert "execute_async_v3" not in made and "cuMemAlloc_v2" not in made
        launches.append(made.count("cuGraphLaunch"))
    per_step = 2 if copied.manifest.generation and copied.manifest.generation.solver == "heun" else 1
    assert launches[1] - launches[0] == 5 * per_step


def test_a_conversation_says_what_ran_it(
    copied: Bundle, trt: FakeTensorRt, recording: Recording, no_offload: None
) -> None:
    add_plans(trt, copied)
    reply = Assistant(copied, backend="tensorrt", threads=1).chat(recording).ask("What is the rhythm?")
    assert reply.backend["encoder"] == ON_GPU and reply.backend["language_model"] == "llama.cpp, CPU"
    assert LEFT_BEHIND in reply.notes


def test_what_is_less_than_was_asked_for_is_in_the_notes(
    copied: Bundle, trt: FakeTensorRt, recording: Recording, no_offload: None
) -> None:
    add_plans(trt, copied)
    trt.driver.failing["cuGraphInstantiateWithFlags"] = 901
    notes = Assistant(copied, backend="tensorrt", threads=1).interpret(recording, max_new_tokens=1).notes
    assert any(note.startswith("the encoder runs without a CUDA graph") for note in notes)


def test_a_plan_built_with_tf32_is_run_and_says_so(copied: Bundle, trt: FakeTensorRt) -> None:
    add_plans(trt, copied)
    add_plan(trt, copied, "encoder", precision="tf32", flags=("TF32",))
    engine = open_graph(copied, "encoder", "tensorrt")
    assert engine.provider == ON_GPU.replace("fp32", "tf32")
    assert engine.remarks == ["the encoder rounds the factors of its products to 10 bits (tf32)"]


def test_a_plan_of_the_other_tensorrt_needs_that_one(copied: Bundle, trt: FakeTensorRt) -> None:
    add_plans(trt, copied)
    add_plan(trt, copied, "encoder", flavour="tensorrt_rtx")
    with pytest.raises(
        BackendError, match="expected tensorrt_rtx in this Python, found that tensorrt_rtx does not load"
    ):
        open_graph(copied, "encoder", "tensorrt")


def test_a_bundle_that_was_exported_again_needs_new_plans(copied: Bundle, trt: FakeTensorRt) -> None:
    add_plans(trt, copied)
    again = replace(copied, manifest=_with_other_hash(copied, "encoder"))
    with pytest.raises(BackendError, match=r"expected a plan with onnx_sha256 0000.*; run `uniecg build-engine"):
        open_graph(again, "encoder", "tensorrt")
    assert plan_to_read(copied.folder, "encoder").is_file()


def _with_other_hash(bundle: Bundle, role: Role) -> Manifest:
    changed = tuple(
        msgspec.structs.replace(item, sha256="0" * 64) if item.role == role else item
        for item in bundle.manifest.artifacts
    )
    return msgspec.structs.replace(bundle.manifest, artifacts=changed)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_language_model_goes_to_the_gpu_only_when_a_gpu_was_asked_for(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr(llama, "sees_gpu", lambda: True)
    asked = []
    real = llama.api.llama_model_load_from_file
    monkeypatch.setattr(
        llama.api,
        "llama_model_load_from_file",
        lambda path, params: asked.append(params.n_gpu_layers) or real(path, params),
    )
    model = open_language_model(bundle, backend)  # type: ignore[arg-type]
    assert asked == [0 if backend == "cpu" else -1]
    assert model.provider == ("llama.cpp, CPU" if backend == "cpu" else "llama.cpp, GPU")
    assert model.remarks == []


def test_the_cpu_asks_nothing_of_a_gpu(bundle: Bundle, trt: FakeTensorRt) -> None:
    assert open_graph(bundle, "condition").provider == "CPUExecutionProvider"
    assert trt.driver.calls == []
