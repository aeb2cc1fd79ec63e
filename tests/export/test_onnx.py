"""Graphs: names, shapes, operators, what is stored, and that they compute what torch does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

from opened import Opened
from uniecg_export.bundle import Exported
from uniecg_export.families.uniecg_nano_roles import sources
from uniecg_export.onnx_graphs import fold_batch_norms, halve_weights
from uniecg_runtime.manifest import Role

SIGNATURES: dict[Role, tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]] = {
    "encoder": ({"signal": (1, 12, 1280), "lead_facts": (1, 12, 3)}, {"tokens": (1, 41, 64)}),
    "condition": ({"states": (1, 8, 64), "scalars": (1, 6)}, {"condition": (1, 66)}),
    "denoiser": (
        {"latent": (1, 20, 80), "time": (1,), "condition": (1, 66), "guidance": (1,)},
        {"velocity": (1, 20, 80)},
    ),
    "decoder": ({"latent": (1, 20, 80)}, {"leads": (1, 8, 1280)}),
}


def graph_of(bundle: Exported, role: str) -> onnx.ModelProto:
    return onnx.load(bundle.folder / f"{role}.onnx")


@pytest.mark.parametrize("role", SIGNATURES)
def test_a_graph_has_the_names_and_fixed_shapes_that_its_role_promises(bundle_f16: Exported, role: Role) -> None:
    artifact = bundle_f16.manifest.artifact(role)
    inputs, outputs = SIGNATURES[role]
    assert {t.name: t.shape for t in artifact.inputs} == inputs
    assert {t.name: t.shape for t in artifact.outputs} == outputs
    assert {t.dtype for t in (*artifact.inputs, *artifact.outputs)} == {"float32"}


@pytest.mark.parametrize("role", SIGNATURES)
def test_a_graph_is_one_file_of_standard_operators_that_tells_nothing_of_its_maker(
    bundle_f16: Exported, role: str
) -> None:
    model = graph_of(bundle_f16, role)
    assert {opset.domain for opset in model.opset_import} == {""}
    assert model.opset_import[0].version >= 17
    assert not model.functions
    assert {item.key: item.value for item in model.metadata_props} == {"role": role, "name": "uniecg-nano"}
    assert all(tensor.data_location == TensorProto.DEFAULT for tensor in model.graph.initializer)
    assert b"/" + b"site-packages" not in model.SerializeToString()
    assert str(Path.home()).encode() not in model.SerializeToString()


def test_operators_are_native_and_batch_norm_is_folded(bundle_f16: Exported) -> None:
    used = Counter(node.op_type for role in SIGNATURES for node in graph_of(bundle_f16, role).graph.node)
    assert used["LayerNormalization"] and used["Gelu"] and used["Softmax"]
    assert not used.keys() & {"BatchNormalization", "Erf", "If", "Loop", "Scan", "Shape", "Identity", "Dropout"}


@pytest.mark.parametrize("role", SIGNATURES)
def test_most_weights_are_stored_in_half(bundle_q8: Exported, role: str) -> None:
    held = Counter[int]()
    for tensor in graph_of(bundle_q8, role).graph.initializer:
        held[tensor.data_type] += int(np.prod(tensor.dims))
    assert held[TensorProto.FLOAT16] > 10 * held[TensorProto.FLOAT]


def test_big_weights_that_half_precision_can_hold_are_halved() -> None:
    exact = np.linspace(-2, 2, 2048).astype(np.float16).astype(np.float32)
    weights = {"exact": exact, "inexact": exact + np.float32(1e-5), "huge": exact * 1e6, "small": exact[:8]}
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    output = onnx.helper.make_tensor_value_info("exact", TensorProto.FLOAT, [2048])
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [output], initializers))
    assert halve_weights(model) == {"exact", "inexact"}
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types == {
        "exact.fp16": TensorProto.FLOAT16,
        "inexact.fp16": TensorProto.FLOAT16,
        "huge": TensorProto.FLOAT,
        "small": TensorProto.FLOAT,
    }
    casts = [(node.op_type, *node.input, *node.output) for node in model.graph.node]
    assert casts == [("Cast", f"{name}.fp16", name) for name in ("exact", "inexact")]


def test_folding_keeps_the_encoder_and_leaves_the_original_alone(opened: Opened) -> None:
    encoder = opened.model.encoder
    folded = fold_batch_norms(encoder)
    assert any(isinstance(module, nn.BatchNorm1d) for module in encoder.modules())
    assert not any(isinstance(module, nn.BatchNorm1d) for module in folded.modules())
    signal, facts = torch.randn(1, 12, 1280), torch.randn(1, 12, 3)
    with torch.inference_mode():
        torch.testing.assert_close(folded(signal, facts), encoder(signal, facts), rtol=1e-4, atol=1e-5)


def test_guidance_inside_the_graph_moves_from_the_unconditional_velocity(opened: Opened) -> None:
    denoiser = next(source for source in sources(opened.model) if source.role == "denoiser")
    inputs = denoiser.draw(np.random.default_rng(3))
    velocity = [denoiser.run(inputs | {"guidance": np.array([g], np.float32)})[0] for g in (0.0, 1.0, 3.0)]
    np.testing.assert_allclose(velocity[2], velocity[0] + 3 * (velocity[1] - velocity[0]), atol=1e-5)
    assert np.abs(velocity[1] - velocity[0]).max() > 1e-4
