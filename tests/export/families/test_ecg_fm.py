"""ECG-FM: the published names, the published outputs, and checkpoints in each form that they are published in."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from exported_graph import opened
from golden import FLOAT32, Golden
from uniecg_device.errors import InputError
from uniecg_export.families.ecg_fm import (
    EcgFm,
    EcgFmConfig,
    NormedConv,
    config_from,
    pool,
    sources,
    unpack,
)
from uniecg_runtime.backends.onnx import Graph

NORMED = "encoder.conv_pos.pos_conv.0.parametrizations.weight.original"
PUBLISHED = {"logits": "logits", "tokens": "tokens", "features": "pooled"}
OPERATORS = {
    *("Conv", "InstanceNormalization", "LayerNormalization", "Gelu", "Softmax", "MatMul", "Gemm", "Add", "Mul", "Div"),
    *("Sign", "Abs", "ReduceSum", "Reshape", "Transpose", "Slice"),
}
SMALL = EcgFmConfig(
    leads=8,
    samples=330,
    convolutions=((16, 3), (24, 2)),
    width=48,
    position_kernel=9,
    position_groups=4,
    layers=2,
    feed_forward=40,
    labels=5,
)


def random_model(config: EcgFmConfig) -> EcgFm:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EcgFm(config)
        for parameter in model.parameters():
            if parameter.dim() == 1:
                nn.init.normal_(parameter, 1, 0.1)
    return model.eval()


def shapes_of(model: EcgFm) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def pretrained(model: EcgFm) -> dict[str, Tensor]:
    """Its tensors as a pretraining run leaves them: under the encoder's own names, beside what pretraining needs."""
    own = {name.removeprefix("encoder."): value for name, value in model.state_dict().items() if name[:5] != "proj."}
    heads = ("quantizer.vars", "quantizer.weight_proj.weight", "project_q.weight", "final_proj.bias", "mask_emb")
    return own | {name: torch.zeros(2) for name in heads}


def export(model: EcgFm, path: Path) -> Graph:
    (source,) = sources(model)
    return opened(source, path, "ecg-fm")


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden("ecg_fm")


@pytest.fixture(scope="module")
def published(golden: Golden) -> EcgFm:
    with torch.device("meta"):
        model = EcgFm(config_from(golden.shapes))
    weights = {name: torch.from_numpy(value) for name, value in golden.weights().items()}
    model.load_state_dict(weights, assign=True)
    return model.eval()


@pytest.fixture(scope="module")
def published_graph(published: EcgFm, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return export(published, tmp_path_factory.mktemp("ecg_fm") / "encoder.onnx")


@pytest.fixture(scope="module")
def small() -> EcgFm:
    return random_model(SMALL)


def test_names_and_shapes_are_the_published_ones(golden: Golden) -> None:
    config = config_from(golden.shapes)
    assert config == EcgFmConfig()
    with torch.device("meta"):
        assert shapes_of(EcgFm(config)) == golden.shapes


@pytest.mark.slow
@pytest.mark.parametrize("case", ["rand", "ecg"])
def test_published_outputs_are_reproduced_in_torch(golden: Golden, published: EcgFm, case: str) -> None:
    with torch.inference_mode():
        found = published(torch.from_numpy(golden.arrays[f"in.{case}.ecg"]))
    for name, value in zip(PUBLISHED.values(), found, strict=True):
        assert golden.difference(value.numpy(), f"out.{case}.{name}") < FLOAT32, name


@pytest.mark.slow
@pytest.mark.parametrize("case", ["rand", "ecg"])
def test_published_outputs_are_reproduced_by_the_graph(golden: Golden, published_graph: Graph, case: str) -> None:
    assert [tensor.name for tensor in published_graph.artifact.outputs] == list(PUBLISHED)
    found = published_graph.run(signal=golden.arrays[f"in.{case}.ecg"])
    for name, value in zip(PUBLISHED.values(), found, strict=True):
        assert golden.difference(value, f"out.{case}.{name}") < 2e-4, name


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, convolutions=((16, 3),), convolution_bias=True, position_kernel=8),
        replace(SMALL, layers=1, feed_forward=20, width=24, position_groups=2, labels=0),
    ],
    ids=["odd kernel", "one convolution, with bias", "no labels"],
)
def test_another_geometry_is_read_from_the_shapes_and_computes_the_same_as_a_graph(
    config: EcgFmConfig, tmp_path: Path
) -> None:
    model = random_model(config)
    # Samples are no tensor's shape.
    assert config_from(shapes_of(model)) == replace(config, samples=EcgFmConfig.samples)
    (source,) = sources(model)
    inputs = source.draw(np.random.default_rng(1))
    found = export(model, tmp_path / "encoder.onnx").run(**inputs)
    with torch.inference_mode():
        expected = model(torch.from_numpy(inputs["signal"]))
    for name, array, tensor in zip(source.outputs, found, expected, strict=True):
        np.testing.assert_allclose(array, tensor, atol=1e-5, err_msg=name)


def test_the_graph_is_of_operators_that_tensorrt_parses_and_holds_no_weight_norm(small: EcgFm, tmp_path: Path) -> None:
    export(small, tmp_path / "encoder.onnx")
    graph = onnx.load(tmp_path / "encoder.onnx").graph
    used = Counter(node.op_type for node in graph.node)
    assert used.keys() <= OPERATORS
    assert used["Conv"] == len(SMALL.convolutions) + 1
    assert used["Softmax"] == SMALL.layers
    weights = {tensor.name for tensor in graph.initializer}
    # Parsers want a convolution's weight as it is stored, not as the graph computes it.
    assert all(node.input[1] in weights for node in graph.node if node.op_type == "Conv")
    assert not any("original" in name for name in weights)


@pytest.mark.parametrize(
    "name",
    [
        "encoder.feature_extractor.conv_layers.0.0.weight",
        "encoder.post_extract_proj.weight",
        f"{NORMED}1",
        "encoder.encoder.layers.0.fc1.weight",
    ],
)
@pytest.mark.parametrize("shape", [None, (), (48, 0, 9)])
def test_a_needed_tensor_that_is_absent_or_of_no_use_is_named(
    small: EcgFm, name: str, shape: tuple[int, ...] | None
) -> None:
    shapes = {key: value for key, value in shapes_of(small).items() if key != name}
    if shape is not None:
        shapes[name] = shape
    with pytest.raises(InputError, match=rf"expected .*{name}.*, found .*; give"):
        config_from(shapes)


@pytest.mark.parametrize("name,shape", [("encoder.post_extract_proj.weight", (50, 24)), (f"{NORMED}1", (48, 7, 9))])
def test_a_width_that_groups_or_heads_do_not_divide_is_refused(small: EcgFm, name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="divide, found"):
        config_from(shapes_of(small) | {name: shape})


def test_weight_norm_is_torchs_own_over_the_kernels_taps() -> None:
    torch.manual_seed(0)
    torchs = weight_norm(nn.Conv1d(8, 8, 6, padding=3, groups=2), dim=2)
    ours = NormedConv(8, 6, 2)
    state = torchs.state_dict()
    state["parametrizations.weight.original0"] = torch.rand(1, 1, 6) + 0.5
    torchs.load_state_dict(state)
    ours.load_state_dict(state)
    x = torch.randn(1, 8, 20)
    torch.testing.assert_close(ours(x), torchs(x))
    torch.testing.assert_close(ours.plain()(x), torchs(x))


def test_taking_weight_norm_off_copies_no_other_weight_and_leaves_the_model_as_it_was(small: EcgFm) -> None:
    before = shapes_of(small)
    (source,) = sources(small)
    assert shapes_of(small) == before
    own = {parameter.data_ptr() for parameter in small.parameters()}
    fresh = [name for name, value in source.module.named_parameters() if value.data_ptr() not in own]
    assert fresh == ["encoder.conv_pos.pos_conv.0.weight"]


def test_pooling_divides_by_the_elements_that_are_not_zero() -> None:
    tokens = torch.tensor([[[1.0, -2.0], [0.0, 4.0], [5.0, -5.0]]])
    assert pool(tokens).tolist() == [[3.0, -1.0]]


def test_a_fine_tuned_checkpoint_unpacks_to_what_the_model_loads(small: EcgFm) -> None:
    state = small.state_dict()
    for given in ({"model": state, "cfg": {}, "optimizer_history": []}, state):
        found = unpack(given)
        assert found.keys() == state.keys()


def test_the_older_spelling_of_weight_norm_is_taken(small: EcgFm) -> None:
    state = small.state_dict()
    old = dict(state)
    old["encoder.conv_pos.pos_conv.0.weight_g"] = old.pop(f"{NORMED}0")
    old["encoder.conv_pos.pos_conv.0.weight_v"] = old.pop(f"{NORMED}1")
    found = unpack({"model": old})
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    twice = unpack({"model": old | {f"{NORMED}0": state[f"{NORMED}0"]}})
    assert twice.keys() - state.keys() == {"encoder.conv_pos.pos_conv.0.weight_g"}


def test_a_pretrained_checkpoint_makes_a_model_without_labels(small: EcgFm) -> None:
    state = {"model": pretrained(small)}
    found = unpack(state)
    config = config_from({name: tuple(value.shape) for name, value in found.items()})
    assert config.labels == 0
    model = EcgFm(replace(config, samples=SMALL.samples))
    model.load_state_dict(found)
    (source,) = sources(model)
    (whole,) = sources(small)
    assert source.outputs == ("tokens", "features")
    inputs = source.draw(np.random.default_rng(0))
    for array, expected in zip(source.run(inputs), whole.run(inputs)[1:], strict=True):
        np.testing.assert_array_equal(array, expected)


def test_what_pretraining_needs_is_left_out_by_name_and_anything_else_is_not(small: EcgFm) -> None:
    state = {"model": pretrained(small) | {"input_quantizer.vars": torch.zeros(2)}}
    expected = {name for name in small.state_dict() if not name.startswith("proj.")}
    assert unpack(state).keys() - expected == {"encoder.input_quantizer.vars"}


@pytest.mark.parametrize("state", [{}, {"model": []}, {"model": {}}, {"model": {"proj.weight": 1.0}}, {"args": None}])
def test_what_holds_no_tensors_by_name_is_no_checkpoint(state: dict[str, object]) -> None:
    with pytest.raises(InputError, match="expected an ECG-FM checkpoint"):
        unpack(state)
