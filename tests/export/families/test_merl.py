"""MERL: one set of names from three kinds of file, the published outputs, and graphs with and without an embedding."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from exported_graph import opened
from golden import FLOAT32, Golden
from uniecg_device.errors import InputError
from uniecg_export.families.merl import (
    ENCODER,
    Merl,
    MerlConfig,
    ProjectedMerl,
    ProjectionConfig,
    config_from,
    make,
    sources,
    unpack,
)
from uniecg_export.families.merl_encoders import ResNetConfig, VitConfig
from uniecg_runtime.backends.onnx import Graph

PUBLISHED = {"merl_resnet18": MerlConfig(), "merl_vit_tiny": MerlConfig(VitConfig())}
ATTENTION = {"Add", "MatMul", "Mul", "Reshape", "Softmax", "Transpose"}
OPERATORS = {
    "merl_resnet18": ATTENTION | {"Concat", "Conv", "Pad", "Relu", "Slice"},
    "merl_vit_tiny": ATTENTION | {"Conv", "Gelu", "Gemm", "LayerNormalization", "ReduceMean", "Relu", "Split"},
}
SMALL_PROJECTION = ProjectionConfig(hidden=12, width=8, text_width=20)
SMALL = {
    "resnet": MerlConfig(ResNetConfig(3, 4, 5, 3, (4, 8, 8, 12), (1, 3, 1, 2), 2), SMALL_PROJECTION),
    "vit": MerlConfig(VitConfig(3, 20, 9, 24, 2, 128, 40), SMALL_PROJECTION, samples=180),
}


@pytest.fixture(scope="module", params=PUBLISHED)
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


@pytest.fixture(scope="module")
def weights(golden: Golden) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in golden.weights().items()}


@pytest.fixture(scope="module")
def model(weights: dict[str, Tensor]) -> ProjectedMerl:
    made = load(weights)
    assert isinstance(made, ProjectedMerl)
    return made


@pytest.fixture(scope="module")
def exported(model: ProjectedMerl, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Graph]:
    path = tmp_path_factory.mktemp("graph") / "encoder.onnx"
    return path, export(model, path)


def shapes_of(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def load(state: dict[str, Tensor]) -> Merl:
    tensors = unpack(state)
    with torch.device("meta"):
        made = make(config_from(shapes_of(tensors)))
    made.load_state_dict(tensors, strict=True, assign=True)
    return made.eval()


def export(model: Merl, path: Path) -> Graph:
    (source,) = sources(model)
    return opened(source, path, "merl")


def arrays(model: ProjectedMerl, golden: Golden, case: str) -> dict[str, NDArray[np.float32]]:
    """What torch says under the golden outputs' names."""
    signal = torch.from_numpy(golden.arrays[f"in.{case}.ecg"])
    with torch.inference_mode():
        features, embedding = model(signal)
        views = model.views(features)
    unit = embedding / embedding.norm(dim=1, keepdim=True)
    found = {"encoder": features, "proj": embedding, "proj_unit": unit, "ecg_emb1": views[0], "ecg_emb2": views[1]}
    if f"in.{case}.text_pooler" in golden.arrays:
        with torch.inference_mode():
            found["proj_text"] = model.proj_t(torch.from_numpy(golden.arrays[f"in.{case}.text_pooler"]))
    return {name: value.numpy() for name, value in found.items()}


def test_names_and_shapes_are_the_published_ones(golden: Golden) -> None:
    config = config_from(golden.shapes)
    assert config == PUBLISHED[golden.name]
    with torch.device("meta"):
        held = make(config).state_dict()
    assert shapes_of(held) == golden.shapes


@pytest.mark.parametrize("case", ["rand", "ecg"])
def test_published_outputs_are_reproduced_in_torch(golden: Golden, model: ProjectedMerl, case: str) -> None:
    found = arrays(model, golden, case)
    start = f"out.{case}."
    assert found.keys() == {name.removeprefix(start) for name in golden.facts["arrays"] if name.startswith(start)}
    for name, value in found.items():
        assert golden.difference(value, start + name) < FLOAT32, name


@pytest.mark.slow
@pytest.mark.parametrize("case", ["rand", "ecg"])
def test_published_outputs_are_reproduced_by_the_graph(golden: Golden, exported: tuple[Path, Graph], case: str) -> None:
    features, embedding = exported[1].run(signal=golden.arrays[f"in.{case}.ecg"])
    assert golden.difference(features, f"out.{case}.encoder") < 2e-4
    assert golden.difference(embedding, f"out.{case}.proj") < 2e-4


@pytest.mark.slow
def test_the_graph_holds_standard_operators_and_none_of_the_sentences_side(
    golden: Golden, model: ProjectedMerl, exported: tuple[Path, Graph]
) -> None:
    graph = onnx.load(exported[0]).graph
    used = Counter(node.op_type for node in graph.node)
    assert used.keys() == OPERATORS[golden.name]
    held = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
    absent = sum(p.numel() for part in (model.proj_t, model.linear1, model.linear2) for p in part.parameters())
    assert held <= sum(p.numel() for p in model.parameters()) - absent


@pytest.mark.slow
def test_the_encoder_s_file_gives_a_graph_of_features_alone(
    golden: Golden, weights: dict[str, Tensor], model: ProjectedMerl, tmp_path: Path
) -> None:
    alone = {name.removeprefix(ENCODER): value for name, value in weights.items() if name.startswith(ENCODER)}
    encoder = load(alone)
    assert encoder.config == MerlConfig(model.config.encoder, None)
    assert shapes_of(encoder.state_dict()) == {n: s for n, s in golden.shapes.items() if n.startswith(ENCODER)}
    graph = export(encoder, tmp_path / "encoder.onnx")
    (features,) = graph.run(signal=golden.arrays["in.rand.ecg"])
    assert golden.difference(features, "out.rand.encoder") < 2e-4


@pytest.mark.parametrize("kind", SMALL)
def test_a_changed_geometry_is_read_from_the_shapes(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = make(SMALL[kind]).eval()
    assert config_from(shapes_of(small.state_dict())) == SMALL[kind]
    (source,) = sources(small)
    graph = export(small, tmp_path / "small.onnx")
    inputs = source.draw(np.random.default_rng(1))
    assert inputs["signal"].min() == 0 and inputs["signal"].max() == 1
    for expected, value in zip(source.run(inputs), graph.run(**inputs), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("resnet", "ecg_encoder.conv1.weight"),
        ("resnet", "ecg_encoder.layer1.0.conv2.weight"),
        ("resnet", "att_pool_head.positional_embedding"),
        ("vit", "ecg_encoder.pos_embedding"),
        ("vit", "ecg_encoder.block0.ff.fn.net.0.weight"),
        ("vit", "proj_t.0.weight"),
    ],
)
def test_a_missing_or_misshapen_tensor_is_named(kind: str, name: str) -> None:
    shapes = small_shapes(kind)
    with pytest.raises(InputError, match=rf"expected the tensor {name}.*give the published file"):
        config_from({key: shape for key, shape in shapes.items() if key != name})
    for shape in [(4,), (4, 0, 5)]:
        with pytest.raises(InputError, match=rf"expected the tensor {name} with \d dimensions.*one of shape"):
            config_from(shapes | {name: shape})


@pytest.mark.parametrize(
    ("kind", "name", "shape", "said"),
    [
        ("resnet", "att_pool_head.positional_embedding", (1, 158, 8), "314 positions, found 158"),
        ("resnet", "proj_t.2.weight", (6, 12), "4 attention heads share, found 6"),
        ("resnet", "ecg_encoder.layer1.0.conv3.weight", (16, 4, 1), "found three"),
        ("vit", "ecg_encoder.block0.attn.fn.to_out.0.weight", (24, 96), "heads 64 wide .*, found 96"),
    ],
)
def test_what_this_code_does_not_build_is_refused(kind: str, name: str, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config_from(small_shapes(kind) | {name: shape})


def small_shapes(kind: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return shapes_of(make(SMALL[kind]).state_dict())


def test_three_kinds_of_file_are_unpacked_to_one_set_of_names() -> None:
    zero = torch.zeros(3)
    tensors = {"ecg_encoder.norm.bias": zero, "proj_t.0.bias": zero}
    text = {"lm_model.embeddings.position_ids": zero}
    assert unpack(tensors | text) == tensors
    trained = {f"module.{name}": value for name, value in (tensors | text).items()}
    assert unpack({"epoch": 3, "optimizer_state_dict": {}, "model_state_dict": trained}) == tensors
    assert unpack({"norm.bias": zero}) == {"ecg_encoder.norm.bias": zero}
    for state in ({"epoch": 3}, {}, text, {"model_state_dict": 3}, {"model_state_dict": tensors | {"epoch": 3}}):
        with pytest.raises(InputError, match=r"expected .*; give"):
            unpack(state)


def test_another_language_model_s_width_is_read() -> None:
    shapes = small_shapes("vit") | {"proj_t.0.weight": (12, 33)}
    projection = config_from(shapes).projection
    assert projection is not None and projection.text_width == 33
