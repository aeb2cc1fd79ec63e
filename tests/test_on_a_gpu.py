"""What runs on a real GPU computes what the goldens say. Skipped, loudly, where there is none."""

from __future__ import annotations

import shutil

import numpy as np
import onnxruntime
import pytest

from uniecg_device.errors import BackendError, InputError
from uniecg_export.tensorrt_build import build_bundle
from uniecg_runtime.assistant import Assistant
from uniecg_runtime.backends.graphs import Backend, open_graph
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.engines import Gpu, find_gpu
from uniecg_runtime.verify import relative_error, verify_bundle

SAMPLING = 1e-2  # of a drawn ECG's largest value: a few float32 steps, each as far off as a golden may be


@pytest.fixture(scope="module")
def gpu() -> Gpu:
    found = find_gpu()
    if found is None:
        pytest.skip("NO NVIDIA GPU: this test runs graphs on one, with its driver")
    return found


@pytest.fixture(scope="module")
def planned(gpu: Gpu, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle with a plan of every graph for this GPU."""
    copied = Bundle.open(shutil.copytree(bundle.folder, tmp_path_factory.mktemp("bundles") / "copied"))
    try:
        build_bundle(copied)
    except (BackendError, InputError) as error:
        pytest.skip(f"NO TENSORRT FOR THIS GPU: {error}")
    return copied


def test_plans_reproduce_the_goldens(planned: Bundle) -> None:
    checks = verify_bundle(planned, backend="tensorrt")
    print(*checks, sep="\n")
    assert [check for check in checks if not check.ok] == []


def test_every_plan_is_recorded_and_answers_again_and_again(planned: Bundle) -> None:
    arrays = planned.golden()
    for artifact in planned.manifest.artifacts:
        if artifact.role != "language_model":
            engine = open_graph(planned, artifact.role, "tensorrt")
            assert engine.remarks == []
            inputs = {tensor.name: arrays[f"{artifact.role}.in.{tensor.name}"] for tensor in artifact.inputs}
            first = engine.run(**inputs)
            for again in (engine.run(**inputs), engine.run(**inputs)):
                assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_drawing_on_plans_is_the_one_on_the_cpu(planned: Bundle) -> None:
    _same_drawing(planned, "tensorrt")


def test_onnx_runtime_on_cuda_reproduces_the_goldens(gpu: Gpu, bundle: Bundle) -> None:
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("NO ONNX RUNTIME FOR CUDA: pip install onnxruntime-gpu in place of onnxruntime to run this test")
    checks = verify_bundle(bundle, backend="cuda")
    print(*checks, sep="\n")
    assert [check for check in checks if not check.ok] == []
    _same_drawing(bundle, "cuda")


def _same_drawing(bundle: Bundle, backend: Backend) -> None:
    here, there = (Assistant(bundle, backend=name).generate("normal ECG", steps=4, seed=3) for name in ("cpu", backend))
    assert relative_error(there.recording.signal, here.recording.signal) < SAMPLING
