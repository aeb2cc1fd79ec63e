"""Graphs in ONNX Runtime: what the manifest says is what runs, or it is an error."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from uniecg_device.errors import BackendError, BundleError
from uniecg_runtime.backends.onnx import Graph
from uniecg_runtime.manifest import Artifact, Tensor

X = Tensor(name="x", shape=(1, 3), dtype="float32")
Y = Tensor(name="y", shape=(1, 3), dtype="float32")
Z = Tensor(name="z", shape=(1, 3), dtype="float32")
ONES = np.ones((1, 3), np.float32)


def artifact(**changes: object) -> Artifact:
    fields = {
        "role": "encoder",
        "file": "graph.onnx",
        "sha256": "0" * 64,
        "size": 1,
        "backend": "onnxruntime",
        "precision": "fp32",
        "inputs": (X,),
        "outputs": (Y, Z),
    }
    return Artifact(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """y = log(x), z = x + x."""
    tensors = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xyz"}
    nodes = [helper.make_node("Log", ["x"], ["y"]), helper.make_node("Add", ["x", "x"], ["z"])]
    graph = helper.make_graph(nodes, "g", [tensors["x"]], [tensors["y"], tensors["z"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    file = tmp_path / "graph.onnx"
    onnx.save(model, file)
    return file


def test_outputs_come_in_the_manifests_order(path: Path) -> None:
    y, z = Graph(path, artifact()).run(x=ONES)
    np.testing.assert_array_equal(y, 0 * ONES)
    np.testing.assert_array_equal(z, 2 * ONES)
    z, y = Graph(path, artifact(outputs=(Z, Y))).run(x=ONES)
    np.testing.assert_array_equal(z, 2 * ONES)


def test_the_provider_in_use_is_told(path: Path) -> None:
    assert Graph(path, artifact()).provider == "CPUExecutionProvider"


def test_a_provider_that_is_not_installed_is_an_error(path: Path) -> None:
    with pytest.raises(BackendError, match=r"expected ONNX Runtime with NoSuchProvider, this installation has .*CPU"):
        Graph(path, artifact(), provider="NoSuchProvider")


def test_a_provider_that_onnx_runtime_silently_replaces_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = onnxruntime.InferenceSession

    def replaced(file: str, options: object, **asked: object) -> object:
        return real(file, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", replaced)
    with pytest.raises(BackendError, match="to run on CUDAExecutionProvider, ONNX Runtime chose CPU"):
        Graph(path, artifact(), provider="CUDAExecutionProvider")


def test_cuda_is_asked_for_float32_and_for_every_node(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = onnxruntime.InferenceSession, []

    class Cuda:
        """What a session on CUDA would answer, computed on the CPU."""

        def __init__(self, file: str, options: onnxruntime.SessionOptions, **chosen: object) -> None:
            asked.append((options.get_session_config_entry("session.disable_cpu_ep_fallback"), chosen))
            self._session = real(file, providers=["CPUExecutionProvider"])

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def __getattr__(self, name: str) -> object:
            return getattr(self._session, name)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Cuda)
    graph = Graph(path, artifact(), provider="CUDAExecutionProvider")
    chosen = {"providers": ["CUDAExecutionProvider"], "provider_options": [{"use_tf32": "0"}]}
    assert asked == [("1", chosen)]
    assert graph.provider == "CUDAExecutionProvider"
    np.testing.assert_array_equal(graph.run(x=ONES)[1], 2 * ONES)


def test_a_provider_that_fails_while_it_runs_is_an_error_with_its_reason(path: Path) -> None:
    graph = Graph(path, artifact())

    def lost(*_: object) -> None:
        raise RuntimeError("CUDA error 2: out of memory\n at line 1")

    graph._session = SimpleNamespace(run=lost)
    with pytest.raises(BackendError, match=r"encoder to run on CPU.*stopped \(CUDA error 2: out of memory\); run `uni"):
        graph.run(x=ONES)


def test_a_provider_that_leaves_nodes_to_the_cpu_is_an_error(path: Path) -> None:
    """The Azure provider, which PyPI's ONNX Runtime has, is there and takes no node of any graph."""
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("NO SECOND PROVIDER: this build of ONNX Runtime has none to ask for")
    with pytest.raises(BackendError, match=r"expected all of graph\.onnx to run on Azure.*ONNX Runtime refuses .*CPU"):
        Graph(path, artifact(), provider="AzureExecutionProvider")


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": (Tensor(name="other", shape=(1, 3), dtype="float32"),)},
        {"inputs": (Tensor(name="x", shape=(1, 4), dtype="float32"),)},
        {"inputs": (Tensor(name="x", shape=(1, 3), dtype="int64"),)},
        {"inputs": (X, Y)},
        {"outputs": (Y,)},
    ],
)
def test_a_graph_unlike_its_manifest_is_refused(path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(BundleError, match="as its manifest says"):
        Graph(path, artifact(**changes))


@pytest.mark.parametrize("data", [b"", b"not onnx", None])
def test_a_damaged_file_is_a_bundle_error_and_nothing_is_printed(
    path: Path, data: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    path.write_bytes(path.read_bytes()[:40] if data is None else data)
    with pytest.raises(BundleError, match=r"graph\.onnx, ONNX Runtime could not load it"):
        Graph(path, artifact())
    assert capfd.readouterr().err == ""


def test_a_missing_file_is_a_bundle_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="could not load it"):
        Graph(tmp_path / "none.onnx", artifact())


@pytest.mark.parametrize(
    "inputs",
    [{}, {"y": ONES}, {"x": ONES, "y": ONES}, {"x": ONES[0]}, {"x": ONES.astype(np.float64)}],
    ids=["none", "wrong name", "too many", "shape", "dtype"],
)
def test_inputs_unlike_the_manifest_are_refused_before_they_run(path: Path, inputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Graph(path, artifact()).run(**inputs)


def test_numbers_that_are_not_finite_do_not_pass_silently(path: Path) -> None:
    with pytest.raises(BackendError, match="finite"):
        Graph(path, artifact()).run(x=np.array([[1, 0, -1]], np.float32))
