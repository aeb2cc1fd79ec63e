"""GEM: the fused encoder from published outputs, and a checkpoint's tensors sorted to where they belong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from exported_graph import opened  # noqa: E402
from golden import FLOAT32, Golden  # noqa: E402
from uniecg_device.errors import InputError  # noqa: E402
from uniecg_export.families import gem, parts  # noqa: E402
from uniecg_export.families.ecg_coca import PREFIX, EcgCocaConfig  # noqa: E402
from uniecg_export.families.gem import TABLE, Encoder, GemConfig, config_from, differences, sources  # noqa: E402
from uniecg_runtime.backends.onnx import Graph  # noqa: E402

GOLDEN, COCA = Golden("gem_multimodal"), Golden("ecg_coca")
FIELDS: dict[str, Any] = {**GOLDEN.facts["constructor"], "num_hidden_layers": 32}
SMALL = GemConfig(
    tower=EcgCocaConfig(leads=3, samples=60, patch=10, width=64, layers=2, feed_forward=96, embedding=24),
    ecg_projector_type="mlp3x_gelu",
    mm_hidden_size=40,
    hidden_size=48,
    num_hidden_layers=2,
)
CASES = ("rand", "ecg")
TOWER = {name.removeprefix(PREFIX): shape for name, shape in COCA.shapes.items()}


WHOLE: dict[str, list[str]] = {"missing": [], "unexpected": []}


def split(tensors: dict[str, str], tower: dict[str, str] | None = None) -> parts.Parts[str]:
    return parts.split(tensors, tower, TABLE)


def shards(config: GemConfig) -> dict[str, str]:
    """A whole checkpoint's names, each standing for its tensor."""
    with torch.device("meta"):
        encoder = Encoder(config).state_dict()
        llama = LlamaForCausalLM(LlamaConfig(num_hidden_layers=config.num_hidden_layers)).state_dict()
    names = [
        *(f"model.{name.replace('ecg_tower.', 'ecg_tower.ecg_tower.', 1)}" for name in encoder),
        *llama,
        "model.vision_tower.vision_tower.vision_model.embeddings.class_embedding",
        "model.image_newline",
    ]
    return {name: name for name in names}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """The published encoder with the golden weights of tower and projectors."""
    drawn = {f"model.ecg_tower.ecg_tower.{name}": value for name, value in COCA.weights(prefix=False).items()}
    held = parts.split(drawn | GOLDEN.weights(), None, TABLE)
    with torch.device("meta"):
        made = Encoder(config_from(FIELDS, {name: value.shape for name, value in held.tower.items()}))
    made.load_state_dict({n: torch.from_numpy(v) for n, v in held.encoder.items()}, strict=True, assign=True)
    return made.eval()


@pytest.fixture(scope="module")
def graph(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    """The published encoder as ONNX; the file is large and goes afterwards."""
    path = tmp_path_factory.mktemp("gem") / "encoder.onnx"
    yield opened(sources(encoder)[0], path, "gem")
    path.unlink()


def test_a_fresh_encoder_has_the_published_names_and_shapes() -> None:
    config = config_from(FIELDS, TOWER)
    assert config == GemConfig()
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in Encoder(config).state_dict().items()}
    tower = {f"ecg_tower.{name}": shape for name, shape in TOWER.items()}
    assert shapes == tower | {name.removeprefix("model."): shape for name, shape in GOLDEN.shapes.items()}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_projectors_give_what_the_published_code_gave(encoder: Encoder, case: str) -> None:
    with torch.inference_mode():
        projected = encoder.ecg_projector(torch.from_numpy(GOLDEN.arrays[f"in.{case}.tower"]))
        embeddings = encoder.mm_projector(projected)
    assert GOLDEN.difference(projected.numpy(), f"out.{case}.ecg_projector") < FLOAT32
    assert GOLDEN.difference(embeddings.numpy(), f"out.{case}.embeddings") < FLOAT32


@pytest.mark.slow
def test_signal_to_tokens_in_torch_is_the_published_chain(encoder: Encoder) -> None:
    with torch.inference_mode():
        tokens = encoder(torch.from_numpy(COCA.arrays["in.ecg.ecg"]))
    assert GOLDEN.difference(tokens.numpy(), "out.ecg.embeddings") < FLOAT32


@pytest.mark.slow
def test_signal_to_tokens_in_onnx_is_the_published_chain(graph: Graph) -> None:
    (tokens,) = graph.run(signal=COCA.arrays["in.ecg.ecg"])
    assert GOLDEN.difference(tokens, "out.ecg.embeddings") < 2e-4


def test_a_small_encoder_exports_without_what_only_coca_needs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (source,) = sources(Encoder(SMALL).eval())
    graph = opened(source, tmp_path / "encoder.onnx", "gem")
    inputs = source.draw(np.random.default_rng(1))
    np.testing.assert_allclose(graph.run(**inputs)[0], source.run(inputs)[0], atol=1e-5)
    assert [(t.name, t.shape) for t in graph.artifact.inputs] == [("signal", (1, 3, 60))]
    assert [(t.name, t.shape) for t in graph.artifact.outputs] == [("tokens", (1, 7, 48))]
    stored = {tensor.name: tuple(tensor.dims) for tensor in onnx.load(tmp_path / "encoder.onnx").graph.initializer}
    assert not [name for name in stored if "ln_post" in name or name.endswith("tower.proj")]
    assert (SMALL.tower.width, SMALL.tower.embedding) not in stored.values()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("linear", ["weight", "bias"]),
        ("mlp1x_gelu", ["0.weight", "0.bias"]),
        ("mlp3x_gelu", ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]),
    ],
)
def test_a_projector_is_named_by_its_type(kind: str, names: list[str]) -> None:
    made = gem.projector(kind, 3, 5)
    assert list(made.state_dict()) == names
    assert made(torch.zeros(1, 3)).shape == (1, 5)


@pytest.mark.parametrize("kind", ["identity", "mlp0x_gelu", "mlp2x_relu", "mlp999999999x_gelu", "linear "])
def test_another_kind_of_projector_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match=re.escape(repr(kind))):
        gem.projector(kind, 3, 5)


def test_types_that_config_json_does_not_state_are_linear() -> None:
    config = config_from({"mm_hidden_size": 8, "hidden_size": 16, "num_hidden_layers": 1}, TOWER)
    assert (config.ecg_projector_type, config.mm_projector_type) == ("linear", "linear")


@pytest.mark.parametrize(
    ("field", "value"),
    [("hidden_size", None), ("mm_hidden_size", "1024"), ("hidden_size", True), ("num_hidden_layers", 10**9)],
)
def test_a_number_that_cannot_be_is_named(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        config_from({**FIELDS, field: value}, TOWER)


def test_a_type_that_is_no_word_is_named() -> None:
    with pytest.raises(InputError, match="ecg_projector_type"):
        config_from({**FIELDS, "ecg_projector_type": ["linear"]}, TOWER)


def test_a_whole_checkpoint_is_sorted_with_nothing_left() -> None:
    held = split(shards(SMALL))
    assert differences(held, SMALL) == WHOLE
    assert held.encoder["ecg_tower.conv1.weight"] == "model.ecg_tower.ecg_tower.conv1.weight"
    assert held.encoder["ecg_projector.4.bias"] == "model.ecg_projector.4.bias"
    assert held.language_model["model.norm.weight"] == "model.norm.weight"
    assert list(held.vision_tower) == ["vision_model.embeddings.class_embedding"]
    assert list(held.image_newline) == ["image_newline"]


def test_a_tower_from_its_own_file_is_the_same_tower() -> None:
    whole = shards(SMALL)
    inside = "model.ecg_tower.ecg_tower."
    own = {name.removeprefix(inside): name for name in whole if name.startswith(inside)}
    bare = {name: name for name in whole if not name.startswith(inside)}
    held = split(bare, own)
    assert held.tower == split(whole).tower
    assert differences(held, SMALL) == WHOLE
    assert differences(split(bare), SMALL)["missing"][0] == "ecg_tower.class_embedding"
    with pytest.raises(InputError, match="one ECG tower"):
        split(whole, own)


def test_what_is_missing_and_what_is_unexpected_is_listed() -> None:
    whole = shards(SMALL)
    del whole["model.mm_projector.2.bias"], whole["model.layers.1.mlp.up_proj.weight"], whole["lm_head.weight"]
    whole |= dict.fromkeys(("model.layers.2.mlp.up_proj.weight", "model.ecg_projector.6.bias", "model.extra"), "x")
    missing, unexpected = differences(split(whole), SMALL).values()
    assert missing == ["mm_projector.2.bias", "model.layers.1.mlp.up_proj.weight", "lm_head.weight"]
    assert unexpected == ["ecg_projector.6.bias", "model.layers.2.mlp.up_proj.weight", "model.extra"]


def test_tied_embeddings_need_no_head_and_may_have_one() -> None:
    tied, whole = replace(SMALL, tie_word_embeddings=True), shards(SMALL)
    assert differences(split(whole), tied) == WHOLE
    del whole["lm_head.weight"]
    assert differences(split(whole), tied) == WHOLE
