"""4-bit blocks: how far from the weight, and that GPTQ's rounding serves the activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from small_graphs import WIDTH, draw_inputs, transformer, write_graph
from uniecg_export.calibration import run_graph, second_moments
from uniecg_export.int4 import BLOCK, HIGHEST, LOWEST, products, quantize_blocks, quantize_weights
from uniecg_export.open_graph import read_graph
from uniecg_export.sensitivity import sqnr


def restored(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return codes * np.repeat(scales, BLOCK, 0)


@given(st.integers(0, 2**32 - 1), st.floats(-30, 30))
def test_a_weight_comes_back_within_its_blocks_step(seed: int, exponent: float) -> None:
    """Beyond half a step only where cutting the largest loses less than a coarser step would."""
    weight = (10**exponent * np.random.default_rng(seed).standard_t(4, (2 * BLOCK, 3))).astype(np.float32)
    codes, scales = quantize_blocks(weight)
    assert codes.min() >= LOWEST and codes.max() <= HIGHEST
    assert scales.shape == (2, 3) and (scales > 0).all()
    step = np.repeat(scales, BLOCK, 0)
    cut = np.abs(weight) > HIGHEST * step
    assert (np.abs(restored(codes, scales) - weight) <= step * 0.5001)[~cut].all()
    assert np.abs(weight).max() <= 1.01 * HIGHEST * step.max() / 0.6


def test_a_block_of_zeros_comes_back_as_zeros() -> None:
    codes, scales = quantize_blocks(np.zeros((BLOCK, 2), np.float32))
    assert not codes.any() and np.isfinite(scales).all()


def test_rounding_that_knows_the_activations_loses_less_of_the_product() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(8, WIDTH)) * np.geomspace(3, 0.1, 8)[:, None]  # channels that say much the same
    data = rng.normal(size=(500, 8)) @ mixing + 0.05 * rng.normal(size=(500, WIDTH))
    weight = rng.normal(size=(WIDTH, 40)).astype(np.float32)
    plain, informed = (restored(*quantize_blocks(weight, moments)) for moments in (None, data.T @ data))
    fresh = rng.normal(size=(500, 8)) @ mixing + 0.05 * rng.normal(size=(500, WIDTH))
    assert sqnr(fresh @ weight, fresh @ informed) > sqnr(fresh @ weight, fresh @ plain) + 6


def test_channels_that_are_always_zero_do_no_harm() -> None:
    data = np.random.default_rng(0).normal(size=(200, WIDTH))
    data[:, ::3] = 0
    weight = np.random.default_rng(1).normal(size=(WIDTH, 8)).astype(np.float32)
    for moments in (data.T @ data, np.zeros((WIDTH, WIDTH))):
        assert np.isfinite(restored(*quantize_blocks(weight, moments))).all()
    found = restored(*quantize_blocks(weight, data.T @ data))
    assert sqnr(data @ weight, data @ found) > 15


def test_the_graph_holds_packed_codes_and_computes_with_them(tmp_path: Path) -> None:
    graph = read_graph(transformer(tmp_path / "g.onnx"))
    calls = draw_inputs(4)
    moments = second_moments(graph, {product.data for product in graph.products}, calls)
    blocks = {p.weight: quantize_blocks(graph.constants[p.weight], moments[p.data]) for p in products(graph)}
    written = quantize_weights(graph, {"up0", "down0", "up1"}, blocks)
    model = written.model()
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == 21
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    assert held["wu0.int4"].data_type == onnx.TensorProto.INT4
    assert len(held["wu0.int4"].raw_data) == graph.constants["wu0"].size // 2
    assert "wu0" not in held and "wd1" in held
    for reference, found in zip(run_graph(graph, calls), run_graph(written, calls), strict=True):
        assert sqnr(reference[0], found[0]) > 20


def test_products_whose_inputs_are_no_whole_blocks_are_not_taken(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Slice", ["x", "from", "to", "axis"], ["s"]),
        helper.make_node("MatMul", ["s", "w"], ["y"], "odd"),
    ]
    cut = {"from": np.array([0]), "to": np.array([BLOCK + 1]), "axis": np.array([2])}
    weights = {"w": np.ones((BLOCK + 1, WIDTH), np.float32), **cut}
    graph = read_graph(write_graph(tmp_path / "g.onnx", nodes, weights))
    assert [p.name for p in graph.products] == ["odd"] and products(graph) == []
