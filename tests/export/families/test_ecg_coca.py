"""The ECG-CoCa tower: published names, published outputs, and the same from ONNX."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from exported_graph import opened  # noqa: E402
from golden import FLOAT32, Golden  # noqa: E402
from uniecg_device.errors import InputError  # noqa: E402
from uniecg_export.families.ecg_coca import PREFIX, EcgCocaConfig, EcgTower, config_from, sources  # noqa: E402
from uniecg_export.onnx_graphs import export_graph  # noqa: E402
from uniecg_runtime.backends.onnx import Graph  # noqa: E402

GOLDEN = Golden("ecg_coca")
SMALL = EcgCocaConfig(leads=3, samples=60, patch=10, width=128, layers=2, feed_forward=96, embedding=24)
CASES = ("rand", "ecg")


def shapes_of(tower: EcgTower) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tower.state_dict().items()}


def published() -> dict[str, tuple[int, ...]]:
    return {name.removeprefix(PREFIX): shape for name, shape in GOLDEN.shapes.items()}


@pytest.fixture(scope="module")
def tower() -> EcgTower:
    """The published tower with the golden weights."""
    with torch.device("meta"):
        made = EcgTower(config_from(published()))
    weights = {name: torch.from_numpy(value) for name, value in GOLDEN.weights(prefix=False).items()}
    made.load_state_dict(weights, strict=True, assign=True)
    return made.eval()


@pytest.fixture(scope="module")
def graph(tower: EcgTower, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    """The published tower as ONNX; the file is large and goes afterwards."""
    path = tmp_path_factory.mktemp("ecg_coca") / "encoder.onnx"
    yield opened(sources(tower)[0], path, "ecg_coca")
    path.unlink()


def test_a_fresh_tower_has_the_published_names_and_shapes() -> None:
    config = config_from(published())
    assert config == EcgCocaConfig()
    assert config.tokens == 101
    with torch.device("meta"):
        assert shapes_of(EcgTower(config)) == published()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_torch_gives_what_the_published_code_gave(tower: EcgTower, case: str) -> None:
    with torch.inference_mode():
        stream = tower(torch.from_numpy(GOLDEN.arrays[f"in.{case}.ecg"]))
        pooled = tower.pooled(stream)
    assert GOLDEN.difference(stream.numpy(), f"out.{case}.last_layer") < FLOAT32
    assert GOLDEN.difference(pooled.numpy(), f"out.{case}.pooled512") < FLOAT32


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_onnx_gives_what_the_published_code_gave(graph: Graph, case: str) -> None:
    stream, pooled = graph.run(signal=GOLDEN.arrays[f"in.{case}.ecg"])
    assert GOLDEN.difference(stream, f"out.{case}.last_layer") < 2e-4
    assert GOLDEN.difference(pooled, f"out.{case}.pooled512") < 2e-4


def test_another_geometry_is_read_from_its_shapes_and_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tower = EcgTower(SMALL).eval()
    assert config_from(shapes_of(tower)) == SMALL
    (source,) = sources(tower)
    graph = opened(source, tmp_path / "encoder.onnx", "ecg_coca")
    inputs = source.draw(np.random.default_rng(1))
    for found, expected in zip(graph.run(**inputs), source.run(inputs), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [tensor.shape for tensor in graph.artifact.outputs] == [(1, 7, 128), (1, 24)]


def test_the_graph_has_only_operators_that_every_runtime_takes(tmp_path: Path) -> None:
    export_graph(sources(EcgTower(SMALL).eval())[0], tmp_path / "encoder.onnx", "ecg_coca")
    used = {node.op_type for node in onnx.load(tmp_path / "encoder.onnx").graph.node}
    assert {"Conv", "MatMul", "Softmax", "LayerNormalization", "Gelu"} <= used
    assert not used & {"Shape", "Expand", "GatherND", "Identity", "If", "Loop", "Where", "Mod"}


def test_attention_is_that_of_multiheadattention() -> None:
    torch.manual_seed(0)
    attention = EcgTower(SMALL).transformer["resblocks"][0].attn
    other = torch.nn.MultiheadAttention(SMALL.width, SMALL.width // SMALL.head_width, batch_first=True)
    other.load_state_dict(attention.state_dict(), strict=True)
    x = torch.randn(2, 7, SMALL.width)
    with torch.inference_mode():
        torch.testing.assert_close(attention(x), other(x, x, x, need_weights=False)[0])


@pytest.mark.parametrize("name", ["conv1.weight", "proj", "transformer.resblocks.0.mlp.c_fc.weight"])
def test_a_tensor_that_is_missing_or_of_another_kind_is_named(name: str) -> None:
    with pytest.raises(InputError, match=re.escape(name)):
        config_from({key: shape for key, shape in published().items() if key != name})
    with pytest.raises(InputError, match=rf"expected the tensor {re.escape(name)} with \d dimensions"):
        config_from({**published(), name: (768,)})
    with pytest.raises(InputError, match=rf"expected the tensor {re.escape(name)} with \d dimensions"):
        config_from({**published(), name: (0,) * len(published()[name])})


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with torch.device("meta"):
        odd = EcgTower(replace(SMALL, width=96, head_width=32))
    with pytest.raises(InputError, match="multiple of 64"):
        config_from(shapes_of(odd))


def test_a_made_up_block_number_makes_no_blocks() -> None:
    config = config_from({**published(), "transformer.resblocks.999999999.ln_1.weight": (768,)})
    assert config.layers == 13


def test_drawn_signals_are_of_the_size_of_an_ecg() -> None:
    (source,) = sources(EcgTower(replace(SMALL, leads=12, samples=5000, patch=50)))
    signal = source.draw(np.random.default_rng(0))["signal"]
    assert signal.shape == (1, 12, 5000)
    assert signal.dtype == np.float32
    assert 0.3 < np.abs(signal).max() < 4
