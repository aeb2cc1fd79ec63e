"""A graph taken apart and put together again: the same function, the same stored weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from small_graphs import WIDTH, draw_inputs, transformer, write_graph
from uniecg_device.errors import BackendError, InputError
from uniecg_export.calibration import run_graph
from uniecg_export.open_graph import read_graph, rewrite
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.manifest import Role

ROLES: tuple[Role, ...] = ("encoder", "condition", "denoiser", "decoder")


@pytest.mark.parametrize("role", ROLES)
def test_an_exported_graph_that_is_written_again_is_the_same_and_no_larger(
    bundle: Bundle, role: Role, tmp_path: Path
) -> None:
    graph, arrays = read_graph(bundle.path(role)), bundle.golden()
    again = tmp_path / "again.onnx"
    onnx.save(graph.model(), again)
    assert again.stat().st_size < 1.01 * bundle.path(role).stat().st_size
    inputs = {name: arrays[f"{role}.in.{name}"] for name in graph.signature}
    [found] = run_graph(graph, [inputs])
    for value, array in zip(graph.outputs, found, strict=True):
        np.testing.assert_allclose(array, arrays[f"{role}.out.{value.name}"], rtol=1e-4, atol=1e-5)


def test_a_weight_kept_as_fp16_and_scaled_is_one_float32_constant_until_it_is_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    half, scale = rng.normal(size=(WIDTH, WIDTH)).astype(np.float16), rng.normal(size=WIDTH).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["h"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "s"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
    ]
    graph = read_graph(write_graph(tmp_path / "g.onnx", nodes, {"h": half, "s": scale}))
    [product] = graph.products
    assert (product.name, product.size, product.output_axis) == ("product", WIDTH**2, 1)
    np.testing.assert_array_equal(graph.constants[product.weight], half.astype(np.float32) * scale)
    written = graph.model().graph
    assert {tensor.name: tensor.data_type for tensor in written.initializer} == {
        "h": TensorProto.FLOAT16,
        "s": TensorProto.FLOAT,
    }
    assert [node.op_type for node in written.node] == ["Cast", "Mul", "MatMul"]


@pytest.mark.parametrize("turned", [False, True])
def test_gemm_becomes_a_product_and_a_sum(tmp_path: Path, turned: bool) -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(WIDTH, WIDTH)).astype(np.float32), rng.normal(size=WIDTH).astype(np.float32)
    shapes = {"flat": np.array([-1, WIDTH]), "back": np.array([1, -1, WIDTH])}
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["r"]),
        helper.make_node("Gemm", ["r", "w", "b"], ["p"], "gemm", transB=int(turned)),
        helper.make_node("Reshape", ["p", "back"], ["y"]),
    ]
    graph = read_graph(write_graph(tmp_path / "g.onnx", nodes, {"w": weight, "b": bias, **shapes}))
    assert [node.op_type for node in graph.nodes] == ["Reshape", "MatMul", "Add", "Reshape"]
    inputs = draw_inputs(1)
    [[found]] = run_graph(graph, inputs)
    np.testing.assert_allclose(found, inputs[0]["x"] @ (weight.T if turned else weight) + bias, rtol=1e-4, atol=1e-5)


def test_a_gemm_that_scales_stays_one(tmp_path: Path) -> None:
    shapes = {"flat": np.array([-1, WIDTH]), "back": np.array([1, -1, WIDTH])}
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["r"]),
        helper.make_node("Gemm", ["r", "w"], ["p"], alpha=0.5),
        helper.make_node("Reshape", ["p", "back"], ["y"]),
    ]
    graph = read_graph(write_graph(tmp_path / "g.onnx", nodes, {"w": np.eye(WIDTH, dtype=np.float32), **shapes}))
    assert graph.products == ()
    assert "Gemm" in {node.op_type for node in graph.nodes}


def test_nodes_without_names_or_with_one_name_get_their_own(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "same"),
        helper.make_node("Relu", ["a"], ["b"], "same"),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    graph = read_graph(write_graph(tmp_path / "g.onnx", nodes, {}))
    assert len({node.name for node in graph.nodes}) == 3


def test_constants_that_nothing_takes_are_not_written(tmp_path: Path) -> None:
    graph = read_graph(transformer(tmp_path / "g.onnx"))
    smaller = rewrite(
        graph, {"up0": [helper.make_node("MatMul", ["n0", "other"], ["u0"], "up0")]}, {"other": np.ones(1)}
    )
    names = {tensor.name for tensor in smaller.model().graph.initializer}
    assert "other" in names and "wu0" not in names


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "g.onnx"
    for content in (None, b"", b"not a graph", b"\x08\x09"):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(InputError, match=r"expected an ONNX file|expected a graph"):
            read_graph(file)


def test_a_graph_of_another_domain_is_refused(tmp_path: Path) -> None:
    model = onnx.load(transformer(tmp_path / "g.onnx"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(InputError, match="standard operators"):
        read_graph(tmp_path / "m.onnx")


def test_what_onnx_runtime_does_not_run_says_so(tmp_path: Path) -> None:
    graph = read_graph(transformer(tmp_path / "g.onnx"))
    broken = rewrite(graph, {"up0": [helper.make_node("MatMul", ["n0", "nowhere"], ["u0"], "up0")]}, {})
    with pytest.raises(BackendError, match="ONNX Runtime"):
        broken.session()
