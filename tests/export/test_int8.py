"""int8 codes and scales, and the products that are written with them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from small_graphs import draw_inputs, transformer
from uniecg_export.calibration import observe, run_graph, threshold
from uniecg_export.int8 import LARGEST, Codes, quantize_dynamic, quantize_static, quantize_weight, scale_of
from uniecg_export.open_graph import OpenGraph, read_graph
from uniecg_export.sensitivity import sqnr, worst_sqnr

WEIGHTS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=3, max_side=6),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)


@pytest.fixture
def graph(tmp_path: Path) -> OpenGraph:
    return read_graph(transformer(tmp_path / "g.onnx"))


@given(WEIGHTS, st.integers(0, 1))
def test_a_weight_comes_back_within_half_a_step_of_its_channel(weight: NDArray[np.float32], axis: int) -> None:
    codes, scale = quantize_weight(weight, axis)
    assert codes.dtype == np.int8 and codes.shape == weight.shape and scale.shape == (weight.shape[axis],)
    assert codes.min() >= -LARGEST and (scale > 0).all() and np.isfinite(1 / scale).all()
    step = np.expand_dims(scale.astype(np.float64), tuple(i for i in range(weight.ndim) if i != axis))
    assert (np.abs(codes * step - weight) <= step * (0.5 + 1e-4)).all()


@given(WEIGHTS)
def test_codes_are_symmetric(weight: NDArray[np.float32]) -> None:
    codes, scale = quantize_weight(weight, 0)
    negated, same = quantize_weight(-weight, 0)
    np.testing.assert_array_equal(codes, -negated)
    np.testing.assert_array_equal(scale, same)


@given(st.floats(0, 1e30))
def test_the_largest_code_stands_for_the_threshold(value: float) -> None:
    assert float(scale_of(value)) * LARGEST == pytest.approx(value, rel=1e-6, abs=2e-36)


def weights(graph: OpenGraph) -> dict[str, Codes]:
    return {p.weight: quantize_weight(graph.constants[p.weight], p.output_axis) for p in graph.products}


def dynamic(graph: OpenGraph, names: set[str]) -> OpenGraph:
    return quantize_dynamic(graph, names, weights(graph))


def test_rounding_that_knows_the_activations_loses_less_of_the_product() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(8, 200)) * np.geomspace(3, 0.1, 8)[:, None]  # channels that say much the same
    seen, fresh = (rng.normal(size=(500, 8)) @ mixing + 0.05 * rng.normal(size=(500, 200)) for _ in range(2))
    weight = rng.normal(size=(200, 40)).astype(np.float32)
    losses = []
    for moments in (None, seen.T @ seen):
        codes, scale = quantize_weight(weight, 1, moments)
        assert np.abs(codes).max() <= LARGEST
        losses.append(sqnr(fresh @ weight, fresh @ (codes * scale)))
    assert losses[1] > losses[0] + 6


def static(graph: OpenGraph, names: set[str]) -> OpenGraph:
    seen = observe(graph, (product.data for product in graph.products), draw_inputs(4))
    thresholds = {name: threshold(what, "minmax") for name, what in seen.items()}
    return quantize_static(graph, names, weights(graph), thresholds)


def test_static_quantization_is_what_tensorrt_takes(graph: OpenGraph) -> None:
    """Symmetric codes, float32 biases, and Q/DQ at both factors of each product and nowhere else."""
    written = static(graph, {"up0", "down0", "up1", "down1"})
    model = written.model()
    assert Counter(node.op_type for node in model.graph.node) == {
        "LayerNormalization": 2, "Gelu": 2, "Add": 2, "Sub": 2, "MatMul": 4, "QuantizeLinear": 4, "DequantizeLinear": 8,
    }  # fmt: skip
    held = written.constants
    zeros = [node.input[2] for node in model.graph.node if node.op_type.endswith("eLinear")]
    assert len(zeros) == 12 and all(held[name].dtype == np.int8 and not held[name].any() for name in zeros)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds["bu0.negative"] == onnx.TensorProto.FLOAT and "bu0" not in kinds


@pytest.mark.parametrize("way", ["static", "dynamic"])
def test_onnx_runtime_runs_every_product_in_int8(graph: OpenGraph, tmp_path: Path, way: str) -> None:
    """As the graph that it makes of the file says; a product that it did not recognise would be MatMul or Gemm."""
    names = {"up0", "down0", "up1", "down1"}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    model = (static if way == "static" else dynamic)(graph, names).model().SerializeToString()
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    ran = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert ran["MatMulIntegerToFloat"] + ran["DynamicQuantizeMatMul"] == 4
    assert not ran["MatMul"] + ran["Gemm"] + ran["DequantizeLinear"]


@pytest.mark.parametrize("way", ["static", "dynamic"])
def test_only_the_named_products_are_quantized_and_the_outputs_stay_close(graph: OpenGraph, way: str) -> None:
    calls = draw_inputs(3, seed=1)
    reference = run_graph(graph, calls)
    make = static if way == "static" else dynamic
    none, one, both = (make(graph, names) for names in (set(), {"down1"}, {"down1", "up0"}))
    assert [node.name for node in none.nodes] == [node.name for node in graph.nodes]
    names = {tensor.name for tensor in one.model().graph.initializer}
    assert "wd1.int8" in names and "wd1" not in names and {"wd0", "wu0", "wu1"} <= names
    losses = [worst_sqnr(reference, run_graph(one_of, calls)) for one_of in (one, both)]
    assert losses[0] > losses[1] > 30


def test_products_of_one_activation_share_its_quantization(tmp_path: Path, graph: OpenGraph) -> None:
    from onnx import helper

    from uniecg_export.open_graph import rewrite

    twice = helper.make_node("MatMul", ["n0", "wu0"], ["u0"], "up0")
    second = helper.make_node("MatMul", ["n0", "other"], ["o0"], "other0")
    double = rewrite(graph, {"up0": [twice, second]}, {"other": graph.constants["wu0"].copy()})
    for made, kind in ((static(double, {"up0", "other0"}), "QuantizeLinear"),
                       (dynamic(double, {"up0", "other0"}), "DynamicQuantizeLinear")):  # fmt: skip
        assert sum(node.op_type == kind for node in made.nodes) == 1
        made.session()
