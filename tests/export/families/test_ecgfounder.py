"""ECGFounder: the published names, the published outputs, and a graph without the published code's noise."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from exported_graph import opened
from golden import FLOAT32, Golden
from uniecg_device.errors import InputError
from uniecg_export.families.ecgfounder import (
    Block,
    EcgFounder,
    EcgFounderConfig,
    StageConfig,
    config_from,
    same_pads,
    sources,
    unpack,
)
from uniecg_runtime.backends.onnx import Graph

OUTPUTS = ("logits", "features")
OPERATORS = {"Add", "Concat", "Conv", "Gemm", "MaxPool", "Mul", "Pad", "ReduceMean", "Sigmoid", "Unsqueeze"}
SMALL = EcgFounderConfig(
    leads=3,
    base=8,
    kernel=5,
    stages=(StageConfig(1, 8, 8, 2, 4), StageConfig(3, 13, 12, 3, 5)),
    labels=4,
    samples=501,
)


@pytest.fixture(scope="module", params=["ecgfounder_12lead", "ecgfounder_1lead"])
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


@pytest.fixture(scope="module")
def model(golden: Golden) -> EcgFounder:
    with torch.device("meta"):
        made = EcgFounder(config_from(golden.shapes))
    weights = {name: torch.from_numpy(value) for name, value in golden.weights(prefix=False).items()}
    made.load_state_dict(weights, strict=True, assign=True)
    return made.eval()


@pytest.fixture(scope="module")
def exported(model: EcgFounder, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Graph]:
    path = tmp_path_factory.mktemp("graph") / "encoder.onnx"
    return path, export(model, path)


def export(model: EcgFounder, path: Path) -> Graph:
    (source,) = sources(model)
    return opened(source, path, "ecgfounder")


def test_names_and_shapes_are_the_published_ones(golden: Golden) -> None:
    config = config_from(golden.shapes)
    assert config == EcgFounderConfig(leads=golden.shapes["first_conv.conv.weight"][1])
    with torch.device("meta"):
        held = EcgFounder(config).state_dict()
    assert {name: tuple(value.shape) for name, value in held.items()} == golden.shapes


@pytest.mark.parametrize("case", ["rand", "ecg"])
def test_published_outputs_are_reproduced_in_torch(golden: Golden, model: EcgFounder, case: str) -> None:
    (source,) = sources(model)
    found = source.run({"signal": golden.arrays[f"in.{case}.ecg"]})
    for name, value in zip(OUTPUTS, found, strict=True):
        assert golden.difference(value, f"out.{case}.{name}") < FLOAT32, name


@pytest.mark.slow
@pytest.mark.parametrize("case", ["rand", "ecg"])
def test_published_outputs_are_reproduced_by_the_graph(golden: Golden, exported: tuple[Path, Graph], case: str) -> None:
    found = exported[1].run(signal=golden.arrays[f"in.{case}.ecg"])
    for name, value in zip(OUTPUTS, found, strict=True):
        assert golden.difference(value, f"out.{case}.{name}") < 2e-4, name


@pytest.mark.slow
def test_the_graph_holds_convolutions_that_pad_themselves_and_nothing_unused(
    model: EcgFounder, exported: tuple[Path, Graph]
) -> None:
    graph = onnx.load(exported[0]).graph
    used = Counter(node.op_type for node in graph.node)
    assert used.keys() == OPERATORS
    blocks = sum(stage.blocks for stage in model.config.stages)
    assert used["Conv"] == 1 + 3 * blocks
    # Three stages widen; four begin at an odd length: 625, 313, 157, 79.
    assert (used["Pad"], used["Concat"], used["MaxPool"]) == (3, 4, len(model.config.stages))
    held = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
    norms = sum(p.numel() for m in model.modules() if isinstance(m, nn.BatchNorm1d) for p in m.parameters())
    zeros = 160 + 400  # behind an odd length, once per width
    assert held == sum(p.numel() for p in model.parameters()) - norms + zeros


def test_a_changed_geometry_is_read_from_the_shapes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = EcgFounder(SMALL).eval()
    found = config_from({name: tuple(value.shape) for name, value in small.state_dict().items()})
    assert found == EcgFounderConfig(
        leads=SMALL.leads, base=SMALL.base, kernel=SMALL.kernel, stages=SMALL.stages, labels=SMALL.labels
    )
    (source,) = sources(small)
    graph = export(small, tmp_path / "small.onnx")
    inputs = source.draw(np.random.default_rng(1))
    for expected, value in zip(source.run(inputs), graph.run(**inputs), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["first_conv.conv.weight", "stage_list.0.block_list.0.conv2.conv.weight", "dense.weight"]
)
def test_a_missing_or_misshapen_tensor_is_named(name: str) -> None:
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in EcgFounder(SMALL).state_dict().items()}
    with pytest.raises(InputError, match=rf"expected the tensor {name}.*give the published file"):
        config_from({key: shape for key, shape in shapes.items() if key != name})
    for shape in [(4,), (4, 0, 5)]:
        with pytest.raises(InputError, match=rf"expected the tensor {name} with \d dimensions.*one of shape"):
            config_from(shapes | {name: shape})


def test_unequal_groups_are_refused() -> None:
    name = "stage_list.0.block_list.0.conv2.conv.weight"
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in EcgFounder(SMALL).state_dict().items()}
    with pytest.raises(InputError, match="equal groups, found groups of 3"):
        config_from(shapes | {name: (8, 3, 5)})


def test_a_file_is_unpacked_with_and_without_its_training_state() -> None:
    tensors = {"dense.bias": torch.zeros(3)}
    assert unpack({"step": 7, "val_auroc": 0.9, "state_dict": tensors}) == tensors
    assert unpack(tensors) == tensors
    for state in ({"step": 7}, {}, {"state_dict": 3}, {"state_dict": tensors | {"optimizer": {}}}):
        with pytest.raises(InputError, match=r"expected .*; give"):
            unpack(state)


def test_pads_give_a_stride_s_share_rounded_up_with_the_odd_zero_on_the_right() -> None:
    assert same_pads(5000, 16, 2) == (7, 7)
    assert same_pads(625, 16, 2) == same_pads(5000, 16, 1) == (7, 8)
    assert same_pads(5000, 1, 1) == (0, 0)
    assert same_pads(8, 2, 4) == (0, 0)


@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("length", [9, 10, 11, 12])
def test_the_skip_pools_over_real_zeros(stride: int, length: int) -> None:
    """What published code gives by padding stride - 1 samples always."""
    block = Block(2, StageConfig(1, 5, 4, 1, 2), 3, stride, activate=True)
    x = -torch.rand(1, 2, length)
    left = (stride - 1) // 2
    pooled: Tensor = functional.max_pool1d(functional.pad(x, (left, stride - 1 - left)), stride)
    torch.testing.assert_close(block.skip(x), functional.pad(pooled, (0, 0, 1, 2)), rtol=0, atol=0)
