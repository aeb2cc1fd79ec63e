"""Plans, built for real with TensorRT for RTX, which needs no GPU for that; they are run in tests/test_on_a_gpu.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from needs import tensorrt_rtx
from uniecg_device.errors import BackendError, InputError
from uniecg_export import tensorrt_build
from uniecg_export.tensorrt_build import Built, Step, build_bundle, build_plan, check_memory, find_tensorrt
from uniecg_runtime import machine
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.engines import (
    AHEAD_OF_TIME,
    Gpu,
    PlanFile,
    key_here,
    plan_to_read,
    read_key,
    read_plan,
)
from uniecg_runtime.manifest import Role

SMS = (86, 89, 121)  # an RTX 30, an RTX 40, a DGX Spark
GRAPHS: tuple[Role, ...] = ("encoder", "condition", "denoiser", "decoder", "delineator")
F32, F16 = TensorProto.FLOAT, TensorProto.FLOAT16
ONES = np.ones(32, np.float32)


@pytest.fixture(scope="module")
def rtx() -> str:
    """TensorRT for RTX's version."""
    return tensorrt_rtx()


@pytest.fixture(scope="module")
def copied(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle in a folder that can be written to."""
    folder = tmp_path_factory.mktemp("bundles") / "copied"
    shutil.copytree(bundle.folder, folder)
    return Bundle.open(folder)


@pytest.fixture(scope="module")
def steps() -> list[tuple[Role, Step]]:
    return []


@pytest.fixture(scope="module")
def built(rtx: str, copied: Bundle, steps: list[tuple[Role, Step]]) -> dict[str, Built]:
    """The plans of all graphs, for three architectures at once."""
    plans = build_bundle(
        copied, sms=SMS, flavour="tensorrt_rtx", progress=lambda role, step: steps.append((role, step))
    )
    return {plan.path.stem: plan for plan in plans}


def graph(
    path: Path, nodes: Iterable[onnx.NodeProto], weights: dict[str, np.ndarray], kind: int = F32, **changes: Any
) -> Path:
    """x (1, 8, 32) to y, of the same shape unless told otherwise."""
    changes = {"x": (1, 8, 32), "y": (1, 8, 32), "opset": 20} | changes
    x, y = (helper.make_tensor_value_info(name, kind, changes[name]) for name in "xy")
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    model = helper.make_model(
        helper.make_graph(list(nodes), "g", [x], [y], tensors),
        opset_imports=[helper.make_opsetid("", changes["opset"])],
        ir_version=9,
    )
    onnx.save(model, path)
    return path


def product(path: Path, kind: int = F32) -> Path:
    weight = np.eye(32, dtype=helper.tensor_dtype_to_np_dtype(kind))
    return graph(path, [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight}, kind)


def quantized(path: Path) -> Path:
    """A product of int8 factors, in the explicit form: symmetric, weights stored as int8."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
    ]
    weights = {"w": np.eye(32, dtype=np.int8), "scale": np.array(0.1, np.float32), "zero": np.array(0, np.int8)}
    return graph(path, nodes, weights)


def build(onnx_file: Path, **options: Any) -> Built:
    return build_plan(onnx_file, onnx_file.with_suffix(".plan"), **{"sms": (86,), "flavour": "tensorrt_rtx"} | options)


@pytest.mark.parametrize("role", GRAPHS)
def test_every_graph_of_the_bundle_is_taken_as_it_is_for_three_architectures(
    built: dict[str, Built], copied: Bundle, rtx: str, role: Role
) -> None:
    plan, artifact = built[role], copied.manifest.artifact(role)
    assert plan.path == plan_to_read(copied.folder, role) == copied.folder / "engines" / f"{role}.plan"
    assert plan.warnings == ()
    assert (plan.key.gpu, plan.key.sms, plan.key.version) == (AHEAD_OF_TIME, SMS, rtx)
    assert read_key(plan.path) == PlanFile(plan.key, plan.path.stat().st_size, read_key(plan.path).sha256)
    for sm in SMS:
        wanted = key_here(artifact, "tensorrt_rtx", rtx, "fp32", Gpu("RTX", sm, 13000))
        assert len(read_plan(plan.path, wanted)) == plan.size > artifact.size


def test_a_plan_is_not_for_an_architecture_it_was_not_built_for(built: dict[str, Built], copied: Bundle) -> None:
    plan = built["condition"]
    wanted = key_here(copied.manifest.artifact("condition"), "tensorrt_rtx", plan.key.version, "fp32", Gpu("A", 120, 0))
    with pytest.raises(BackendError, match="expected a plan with sms 120, found one with sms 86, 89, 121"):
        read_plan(plan.path, wanted)


def test_a_damaged_plan_is_refused(built: dict[str, Built], tmp_path: Path) -> None:
    plan = built["condition"]
    for file in plan.path.parent.glob("condition.plan*"):
        shutil.copy(file, tmp_path)
    copy = tmp_path / plan.path.name
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    with pytest.raises(BackendError, match="it was cut short or changed"):
        read_plan(copy, plan.key)
    copy.write_bytes(data[:1000])
    with pytest.raises(BackendError, match="it was cut short or changed"):
        read_plan(copy, plan.key)


def test_whoever_waits_sees_every_phase_of_every_graph(built: dict[str, Built], steps: list[tuple[Role, Step]]) -> None:
    assert tuple(dict.fromkeys(role for role, _ in steps)) == GRAPHS
    assert all(0 <= step.done <= step.steps for _, step in steps)
    whole = [step for role, step in steps if role == "denoiser" and step.parent is None]
    assert whole[0].done == 0
    assert whole[-1].done == whole[-1].steps > 1
    assert len({step.phase for role, step in steps if role == "denoiser"}) > 5


def test_what_the_callback_raises_stops_the_build_and_is_raised(rtx: str, tmp_path: Path) -> None:
    def stop(step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(product(tmp_path / "g.onnx"), progress=stop)
    assert [file.name for file in tmp_path.iterdir()] == ["g.onnx"]


def test_the_log_keeps_no_reason_of_an_earlier_build(rtx: str, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not onnx")
    with pytest.raises(InputError, match=r"refuses in bad\.onnx: the file \(MODEL_DESERIALIZE_FAILED"):
        build(tmp_path / "bad.onnx")
    assert build(product(tmp_path / "g.onnx")).warnings == ()
    assert find_tensorrt("tensorrt_rtx").reason() == "no reason given"


def test_every_node_that_is_refused_is_named_with_its_operator(rtx: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Unique", ["x"], ["a"], "first"),
        helper.make_node("Relu", ["x"], ["b"], "fine"),
        helper.make_node("Det", ["x"], ["y"], "second"),
    ]
    with pytest.raises(InputError) as caught:
        build(graph(tmp_path / "g.onnx", nodes, {}, x=(1, 8, 8), y=(1,)))
    said = str(caught.value)
    assert "refuses in g.onnx: Unique 'first' (UNSUPPORTED_NODE); Det 'second' (UNSUPPORTED_NODE). Export" in said
    assert "fine" not in said


def test_only_so_many_refused_nodes_are_named(rtx: str, tmp_path: Path) -> None:
    nodes = [helper.make_node("Unique", ["x"], [f"y{i}"], f"n{i}") for i in range(30)]
    with pytest.raises(InputError, match=r"'n19'.* and 10 more"):
        build(graph(tmp_path / "g.onnx", [*nodes, helper.make_node("Relu", ["x"], ["y"])], {}))


# What graphs of the published families use beside products: each is an operator of its own, or decomposed.
@pytest.mark.parametrize("kind", [F32, F16])
@pytest.mark.parametrize(
    ("operator", "opset", "weights", "attributes"),
    [
        ("Mish", 18, (), {}),
        ("Gelu", 20, (), {}),
        ("Gelu", 20, (), {"approximate": "tanh"}),
        ("LayerNormalization", 17, (ONES, ONES), {"axis": -1}),
        ("LayerNormalization", 20, (ONES,), {"axis": -1}),
        ("GroupNormalization", 18, (ONES[:4], ONES[:4]), {"num_groups": 4}),
        ("GroupNormalization", 21, (ONES[:8], ONES[:8]), {"num_groups": 4}),
        ("InstanceNormalization", 20, (ONES[:8], ONES[:8]), {}),
        ("RMSNormalization", 23, (ONES,), {}),
    ],
)
def test_operators_are_taken(
    rtx: str,
    tmp_path: Path,
    operator: str,
    opset: int,
    weights: tuple[np.ndarray, ...],
    attributes: dict[str, Any],
    kind: int,
) -> None:
    held = {f"w{i}": value.astype(helper.tensor_dtype_to_np_dtype(kind)) for i, value in enumerate(weights)}
    node = helper.make_node(operator, ["x", *held], ["y"], **attributes)
    file = graph(tmp_path / "g.onnx", [node], held, kind, opset=opset)
    assert build(file, precision="fp32" if kind == F32 else "fp16").size > 0


def test_precision_comes_from_the_graph_and_no_other_is_claimed(rtx: str, tmp_path: Path) -> None:
    single, half, int8 = product(tmp_path / "s.onnx"), product(tmp_path / "h.onnx", F16), quantized(tmp_path / "q.onnx")
    assert build(single).key.flags == ("REQUIRE_USER_ALLOCATION",)
    assert build(single, precision="tf32").key.flags == ("TF32", "REQUIRE_USER_ALLOCATION")
    assert build(half, precision="fp16").key.precision == "fp16"
    assert build(int8, precision="int8").key.precision == "int8"
    for file, precision, found in ((single, "fp16", "FLOAT"), (half, "fp32", "HALF"), (int8, "fp32", "FLOAT, INT8")):
        with pytest.raises(InputError, match=f"computes in {precision}, {file.name} computes in {found}; TensorRT"):
            build(file, precision=precision)


def test_float32_stays_float32_unless_tf32_is_asked_for(rtx: str, monkeypatch: pytest.MonkeyPatch) -> None:
    api = find_tensorrt("tensorrt_rtx")
    builder = api.module.Builder(api.log)
    tf32 = api.module.BuilderFlag.TF32
    assert builder.create_builder_config().get_flag(tf32), "TensorRT's own default"
    for precision in ("fp32", "tf32"):
        flags = tensorrt_build.builder_flags("tensorrt_rtx", precision)
        key = tensorrt_build.PlanKey("a" * 64, "tensorrt_rtx", rtx, AHEAD_OF_TIME, (86,), precision, flags)
        assert tensorrt_build._configure(api, builder, key).get_flag(tf32) == (precision == "tf32")


@pytest.mark.parametrize("change", [{"x": ("n", 8, 32)}, {"y": None}], ids=["an open shape", "no output"])
def test_a_graph_of_open_shapes_or_without_outputs_is_refused(rtx: str, tmp_path: Path, change: dict[str, Any]) -> None:
    file = tmp_path / "g.onnx"
    if "y" in change:
        file.write_bytes(onnx.ModelProto(ir_version=9).SerializeToString())
    else:
        graph(file, [helper.make_node("Relu", ["x"], ["y"])], {}, **change, y=("n", 8, 32))
    with pytest.raises(InputError, match="outputs and inputs of fixed shapes"):
        build(file)


def test_a_missing_or_empty_file_is_refused(rtx: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected an ONNX file"):
        build(tmp_path / "none.onnx")
    (tmp_path / "none.onnx").touch()
    with pytest.raises(InputError, match="expected an ONNX file"):
        build(tmp_path / "none.onnx")


def test_an_architecture_that_tensorrt_does_not_build_for_is_refused(rtx: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected architectures out of 75, .*, found 87; a Jetson Orin \(87\)"):
        build(product(tmp_path / "g.onnx"), sms=(86, 87))


def test_without_a_gpu_architectures_must_be_named(rtx: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_build, "find_gpu", lambda: None)
    with pytest.raises(InputError, match="expected architectures to build for, found none and no GPU here; name"):
        build(product(tmp_path / "g.onnx"), sms=())
    monkeypatch.setattr(tensorrt_build, "find_gpu", lambda: Gpu("RTX 4090", 89, 13000))
    assert build(product(tmp_path / "g.onnx"), sms=()).key.sms == (89,)


def test_a_build_that_could_exhaust_memory_is_refused_before_it_begins(
    rtx: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       8000000 kB\nMemAvailable:    200000 kB\n")
    monkeypatch.setattr(machine, "MEMINFO", meminfo)
    with pytest.raises(BackendError, match=r"expected 256 MiB of free memory to build .* found 195; close"):
        build(product(tmp_path / "g.onnx"))
    meminfo.write_text("MemAvailable:    2000000 kB\n")
    check_memory(1 << 20, "tensorrt")
    with pytest.raises(BackendError, match="expected 3136 MiB"):
        check_memory(200 << 20, "tensorrt")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "none")
    check_memory(1 << 40, "tensorrt")


def test_a_device_needs_neither_torch_nor_onnx_to_build() -> None:
    code = "import sys, uniecg_export.tensorrt_build; print({'torch', 'onnx', 'onnxruntime'} & sys.modules.keys())"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
