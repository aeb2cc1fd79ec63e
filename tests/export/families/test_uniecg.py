"""UniECG: from `[ECG]` states to the generator's condition, every unknown a field of config.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from torch import Tensor, nn  # noqa: E402

from exported_graph import opened  # noqa: E402
from uniecg_device.errors import InputError  # noqa: E402
from uniecg_export.families import gem, parts  # noqa: E402
from uniecg_export.families.ecg_coca import EcgCocaConfig  # noqa: E402
from uniecg_export.families.gem import GemConfig  # noqa: E402
from uniecg_export.families.uniecg import (  # noqa: E402
    AlignedCondition,
    Pooling,
    UniEcgConfig,
    alignment,
    config_from,
    differences,
    sources,
    table,
    token_id,
)

SMALL = UniEcgConfig(
    gem=GemConfig(
        tower=EcgCocaConfig(leads=3, samples=60, patch=10, width=64, layers=1, feed_forward=96, embedding=24),
        mm_hidden_size=40,
        hidden_size=48,
        num_hidden_layers=2,
    ),
    token_count=3,
    pooling="mean",
    layers=(32, "gelu", 20),
)
GENERATION: dict[str, Any] = {"token_count": 3, "pooling": "mean", "layers": [32, "gelu", 20]}
FIELDS: dict[str, Any] = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_hidden_size": 40,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "ecg_generation": GENERATION,
}


class Stand(nn.Module):
    """In the place of a generator's condition: text (1,1,20) and scalars (1,3) -> two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(23, 7)
        self.second = nn.Linear(23, 5)

    def forward(self, text: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        combined = torch.cat([text, scalars[:, None] / 100], 2)
        return self.first(combined), self.second(combined)


def with_pooling(pooling: Pooling) -> UniEcgConfig:
    return UniEcgConfig(SMALL.gem, SMALL.token_count, pooling, SMALL.layers)


def tower_shapes() -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(t.shape) for name, t in gem.Encoder(SMALL.gem).ecg_tower.state_dict().items()}


@pytest.mark.parametrize("pooling", ["mean", "last", "concat"])
def test_states_become_one_text_vector_for_the_generator(pooling: Pooling, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = with_pooling(pooling)
    aligned = AlignedCondition(config, alignment(config), Stand()).eval()
    encoder, condition = sources(gem.Encoder(config.gem).eval(), aligned, ("first", "second"))
    assert (encoder.role, condition.role) == ("encoder", "condition")
    inputs = condition.draw(np.random.default_rng(1))
    states, scalars = map(torch.from_numpy, inputs.values())
    pooled = {"mean": states.mean(1), "last": states[:, 2], "concat": states.reshape(1, 144)}[pooling]
    with torch.inference_mode():
        expected = aligned.condition(aligned.align(pooled).reshape(1, 1, 20), scalars)
    graph = opened(condition, tmp_path / "condition.onnx", "uniecg")
    assert [(t.name, t.shape) for t in graph.artifact.inputs] == [("states", (1, 3, 48)), ("scalars", (1, 3))]
    assert [(t.name, t.shape) for t in graph.artifact.outputs] == [("first", (1, 1, 7)), ("second", (1, 1, 5))]
    for found, wanted in zip(graph.run(**inputs), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ((20,), ["0.weight", "0.bias"]),
        ((32, "silu", 24, "relu", 20), ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]),
    ],
)
def test_the_aligning_layers_are_those_of_the_list(layers: tuple[int | str, ...], names: list[str]) -> None:
    made = alignment(UniEcgConfig(SMALL.gem, 3, "concat", layers))
    assert list(made.state_dict()) == names
    assert made(torch.zeros(1, 144)).shape == (1, 20)


def test_every_unknown_is_read_from_config_json() -> None:
    assert config_from(FIELDS, tower_shapes()) == SMALL
    other = {"token_count": 1, "pooling": "last", "layers": [20], "token": "<ecg_gen>", "prefix": "align."}
    config = config_from({**FIELDS, "ecg_generation": other}, tower_shapes())
    assert config == UniEcgConfig(SMALL.gem, 1, "last", (20,), "<ecg_gen>", "align.")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token_count", None),
        ("token_count", 10**6),
        ("pooling", "max"),
        ("pooling", ["mean"]),
        ("layers", None),
        ("layers", []),
        ("layers", [20, "gelu"]),
        ("layers", [20, "swish", 20]),
        ("layers", [10**9]),
        ("layers", "gelu"),
        ("layers", [True]),
        ("prefix", 3),
    ],
)
def test_a_field_that_cannot_be_is_named(field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"'{field}'"):
        config_from({**FIELDS, "ecg_generation": {**GENERATION, field: value}}, tower_shapes())


def test_without_the_generation_fields_it_is_a_gem() -> None:
    with pytest.raises(InputError, match="ecg_generation"):
        config_from({**FIELDS, "ecg_generation": None}, tower_shapes())


def test_a_missing_tensor_of_the_tower_is_named() -> None:
    shapes = tower_shapes()
    del shapes["positional_embedding"]
    with pytest.raises(InputError, match="positional_embedding"):
        config_from(FIELDS, shapes)


@pytest.mark.parametrize("prefix", ["model.ecg_gen_projector.", "model.layers_of_ecg.", "align."])
def test_a_whole_checkpoint_is_sorted_with_nothing_left(prefix: str) -> None:
    config = UniEcgConfig(SMALL.gem, SMALL.token_count, SMALL.pooling, SMALL.layers, prefix=prefix)
    with torch.device("meta"):
        encoder = gem.Encoder(config.gem).state_dict()
    names = [
        *(f"model.{name.replace('ecg_tower.', 'ecg_tower.ecg_tower.', 1)}" for name in encoder),
        *parts.language_model_names(2, parts.LLAMA_LAYER),
        *(prefix + name for name in alignment(config).state_dict()),
    ]
    sorted_ = parts.split(dict.fromkeys(names, 0), None, table(prefix))
    assert differences(sorted_, config) == {"missing": [], "unexpected": []}
    assert list(sorted_.alignment) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    names.remove(f"{prefix}2.bias")
    sorted_ = parts.split(dict.fromkeys([*names, f"{prefix}4.bias"], 0), None, table(prefix))
    assert differences(sorted_, config) == {"missing": [f"{prefix}2.bias"], "unexpected": [f"{prefix}4.bias"]}


def test_the_token_must_be_known_to_tokenizer_and_model() -> None:
    assert token_id(SMALL, {"[ECG]": 32000}, (32001, 4096)) == 32000
    with pytest.raises(InputError, match="no such token"):
        token_id(SMALL, {}, (32001, 4096))
    with pytest.raises(InputError, match="token 32000 and 32000 rows"):
        token_id(SMALL, {"[ECG]": 32000}, (32000, 4096))
