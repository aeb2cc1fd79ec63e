"""Which nodes compute in fp16, and that the casts around them leave inputs and outputs as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from small_graphs import WIDTH, draw_inputs, transformer, write_graph
from uniecg_export.calibration import largest_seen, run_graph
from uniecg_export.float16 import convert, half_nodes
from uniecg_export.open_graph import OpenGraph, read_graph
from uniecg_export.sensitivity import sqnr


@pytest.fixture
def graph(tmp_path: Path) -> OpenGraph:
    return read_graph(transformer(tmp_path / "g.onnx"))


def test_products_and_sums_compute_in_fp16_and_norms_do_not(graph: OpenGraph) -> None:
    written = convert(graph, half_nodes(graph, {}))
    for node in written.nodes:
        kinds = {written.types[name] for name in (*node.input, *node.output)}
        if node.op_type != "Cast":
            assert kinds == {TensorProto.FLOAT if node.op_type == "LayerNormalization" else TensorProto.FLOAT16}
    assert {value.type.tensor_type.elem_type for value in (*written.inputs, *written.outputs)} == {TensorProto.FLOAT}
    onnx.checker.check_model(written.model(), full_check=True)
    calls = draw_inputs(2)
    for [exact], [found] in zip(run_graph(graph, calls), run_graph(written, calls), strict=True):
        assert 50 < sqnr(exact, found) < 100


def test_weights_are_stored_in_half_the_space(graph: OpenGraph) -> None:
    kinds = {
        tensor.name: tensor.data_type for tensor in convert(graph, half_nodes(graph, {})).model().graph.initializer
    }
    assert kinds["wu0.half"] == TensorProto.FLOAT16 and "wu0" not in kinds
    assert kinds["gamma0"] == TensorProto.FLOAT


def test_no_tensor_is_cast_twice_the_same_way(graph: OpenGraph) -> None:
    casts = [node.output[0] for node in convert(graph, half_nodes(graph, {})).nodes if node.op_type == "Cast"]
    assert len(casts) == len(set(casts))


def test_a_value_near_fp16s_end_keeps_its_nodes_in_float32(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "large"], ["a"], "grow"),
        helper.make_node("Mul", ["a", "small"], ["b"], "shrink"),
        helper.make_node("MatMul", ["b", "w"], ["y"], "product"),
    ]
    weights = {"large": np.float32(6e4), "small": np.float32(1e-3), "w": np.eye(WIDTH, dtype=np.float32)}
    graph = read_graph(write_graph(tmp_path / "g.onnx", nodes, weights))
    calls = draw_inputs(2)
    assert half_nodes(graph, {}) == {"shrink", "product"}, "a constant's range is known"
    seen = largest_seen(graph, ["x", "a", "b", "y"], calls)
    assert half_nodes(graph, seen) == {"product"}
    [[found]] = run_graph(convert(graph, half_nodes(graph, seen)), calls[:1])
    assert sqnr(60 * calls[0]["x"], found) > 60


def test_a_value_below_fp16s_normal_numbers_keeps_its_nodes_in_float32(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "small"], ["a"], "shrink"),
        helper.make_node("Mul", ["a", "large"], ["y"], "grow"),
    ]
    graph = read_graph(write_graph(tmp_path / "g.onnx", nodes, {"small": np.float32(1e-6), "large": np.float32(100)}))
    assert half_nodes(graph, largest_seen(graph, ["x", "a", "y"], draw_inputs(1))) == frozenset()


def test_a_sines_argument_is_computed_in_float32(tmp_path: Path) -> None:
    """As at a diffusion's step 999: in fp16 the argument would be wrong by up to 0.25."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "before"),
        helper.make_node("Mul", ["a", "far"], ["b"], "far_off"),
        helper.make_node("Slice", ["b", "from", "to", "axis"], ["c"], "cut"),
        helper.make_node("Sin", ["c"], ["s"], "sine"),
        helper.make_node("MatMul", ["s", "w"], ["y"], "behind"),
    ]
    cut = {"from": np.array([0]), "to": np.array([WIDTH]), "axis": np.array([2])}
    weights = {"w": np.eye(WIDTH, dtype=np.float32), "far": np.float32(200), **cut}
    graph = read_graph(write_graph(tmp_path / "g.onnx", nodes, weights))
    assert half_nodes(graph, {}) == {"before", "behind"}


def test_an_output_that_is_also_taken_inside_is_given_out_in_float32(tmp_path: Path) -> None:
    graph = read_graph(transformer(tmp_path / "g.onnx"))
    value = helper.make_tensor_value_info("s0", TensorProto.FLOAT, (1, 8, WIDTH))
    two = OpenGraph(graph.nodes, graph.constants, graph.inputs, (*graph.outputs, value), graph.opset)
    calls = draw_inputs(1)
    [exact], [found] = run_graph(two, calls), run_graph(convert(two, half_nodes(two, {})), calls)
    assert all(array.dtype == np.float32 for array in found)
    assert min(map(sqnr, exact, found)) > 50
