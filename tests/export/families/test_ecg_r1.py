"""ECG-R1: the projector from published outputs, the text stack as a plain Qwen3, tensors where they belong."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3VLConfig, Qwen3VLForConditionalGeneration  # noqa: E402

from exported_graph import opened  # noqa: E402
from golden import FLOAT32, Golden  # noqa: E402
from uniecg_device.errors import InputError  # noqa: E402
from uniecg_export.families import parts  # noqa: E402
from uniecg_export.families.ecg_coca import PREFIX, EcgCocaConfig  # noqa: E402
from uniecg_export.families.ecg_r1 import (  # noqa: E402
    END,
    PAD,
    START,
    TABLE,
    EcgR1Config,
    Encoder,
    config_from,
    differences,
    language_model_fields,
    sources,
    special_ids,
)
from uniecg_export.onnx_graphs import Source  # noqa: E402

GOLDEN = Golden("ecg_r1")
COCA = {name.removeprefix(PREFIX): shape for name, shape in Golden("ecg_coca").shapes.items()}
TEXT: dict[str, Any] = {
    "model_type": "qwen3_vl_text",
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 5000000,
    "rope_scaling": {"mrope_interleaved": True, "mrope_section": [6, 5, 5], "rope_type": "default"},
}
FIELDS: dict[str, Any] = {"model_type": "qwen3_vl", "text_config": TEXT, "ecg_token_id": 90}
SMALL = EcgR1Config(
    tower=EcgCocaConfig(leads=3, samples=60, patch=10, width=64, layers=2, feed_forward=96, embedding=24),
    hidden_size=48,
    num_hidden_layers=2,
    ecg_token_id=90,
)
CASES = ("rand", "ecg")


def text_and_images() -> Qwen3VLForConditionalGeneration:
    """A small Qwen3-VL of random weights."""
    images = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 48}
    torch.manual_seed(0)
    # A copy, for transformers writes into it.
    config = Qwen3VLConfig(text_config=deepcopy(TEXT), vision_config={**images, "deepstack_visual_indexes": [0]})
    return Qwen3VLForConditionalGeneration(config).eval()


def shards() -> dict[str, torch.Tensor]:
    """A whole small checkpoint."""
    return {**text_and_images().state_dict(), **{f"model.{n}": t for n, t in Encoder(SMALL).state_dict().items()}}


@pytest.fixture(scope="module")
def projector() -> torch.nn.Module:
    """The published projector with the golden weights."""
    with torch.device("meta"):
        made = Encoder(EcgR1Config()).ecg_projector
    held = parts.split(GOLDEN.weights(), None, TABLE).projectors
    weights = {name.removeprefix("ecg_projector."): v for name, v in held.items()}
    made.load_state_dict({name: torch.from_numpy(v) for name, v in weights.items()}, strict=True, assign=True)
    return made.eval()


def test_a_fresh_encoder_has_the_published_names_and_shapes() -> None:
    config = config_from({"text_config": {"hidden_size": 4096, "num_hidden_layers": 36}}, COCA)
    assert config == EcgR1Config()
    with torch.device("meta"):
        shapes = {f"model.{name}": tuple(t.shape) for name, t in Encoder(config).state_dict().items()}
    assert shapes == {f"model.ecg_tower.{name}": shape for name, shape in COCA.items()} | GOLDEN.shapes


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_projector_gives_what_the_published_code_gave(projector: torch.nn.Module, case: str) -> None:
    with torch.inference_mode():
        embeddings = projector(torch.from_numpy(GOLDEN.arrays[f"in.{case}.tower"]))
    assert GOLDEN.difference(embeddings.numpy(), f"out.{case}.embeddings") < FLOAT32


@pytest.mark.slow
def test_the_projector_in_onnx_gives_what_the_published_code_gave(projector: torch.nn.Module, tmp_path: Path) -> None:
    tower = GOLDEN.arrays["in.rand.tower"]
    path = tmp_path / "encoder.onnx"
    graph = opened(Source("encoder", projector, lambda rng: {"tower": tower}, ("tokens",)), path, "ecg_r1")
    for case in CASES:
        (found,) = graph.run(tower=GOLDEN.arrays[f"in.{case}.tower"])
        assert GOLDEN.difference(found, f"out.{case}.embeddings") < 2e-4
    path.unlink()


def test_a_small_encoder_exports_without_what_only_coca_needs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (source,) = sources(Encoder(SMALL).eval())
    graph = opened(source, tmp_path / "encoder.onnx", "ecg_r1")
    inputs = source.draw(np.random.default_rng(1))
    np.testing.assert_allclose(graph.run(**inputs)[0], source.run(inputs)[0], atol=1e-5)
    assert [(t.name, t.shape) for t in graph.artifact.outputs] == [("tokens", (1, 7, 48))]
    stored = [tuple(tensor.dims) for tensor in onnx.load(tmp_path / "encoder.onnx").graph.initializer]
    assert (SMALL.tower.width, SMALL.tower.embedding) not in stored


def test_geometry_is_read_from_config_json_and_shapes() -> None:
    with torch.device("meta"):
        tower = {name: tuple(t.shape) for name, t in Encoder(SMALL).ecg_tower.state_dict().items()}
    assert config_from(FIELDS, tower) == SMALL
    stated = {**FIELDS, "hidden_size": 56, "ecg_projector_type": "linear", "tie_word_embeddings": True}
    config = config_from(stated, tower)
    assert (config.hidden_size, config.ecg_projector_type, config.tie_word_embeddings) == (56, "linear", True)


@pytest.mark.parametrize("text", [None, [], {"hidden_size": 48}, {"num_hidden_layers": 2}])
def test_a_config_without_a_text_stack_is_refused(text: object) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        config_from({"text_config": text}, COCA)


def test_a_missing_tensor_of_the_tower_is_named() -> None:
    with pytest.raises(InputError, match=r"conv1\.weight"):
        config_from(FIELDS, {name: shape for name, shape in COCA.items() if name != "conv1.weight"})


def test_a_whole_checkpoint_is_sorted_with_nothing_left() -> None:
    held = parts.split(shards(), None, TABLE)
    assert differences(held, SMALL) == {"missing": [], "unexpected": []}
    assert held.vision_tower
    Encoder(SMALL).load_state_dict(held.encoder, strict=True)


def test_what_is_missing_and_what_is_unexpected_is_listed() -> None:
    whole = dict.fromkeys(shards(), 0)
    del whole["model.ecg_tower.proj"], whole["model.language_model.layers.1.self_attn.q_norm.weight"]
    whole |= {"model.layers.0.input_layernorm.weight": 0, "model.language_model.layers.2.mlp.up_proj.weight": 0}
    missing, unexpected = differences(parts.split(whole, None, TABLE), SMALL).values()
    assert missing == ["ecg_tower.proj", "model.layers.1.self_attn.q_norm.weight"]
    assert unexpected == ["model.layers.2.mlp.up_proj.weight", "model.layers.0.input_layernorm.weight"]


def test_without_images_the_text_stack_is_a_plain_qwen3() -> None:
    published = text_and_images()
    plain = Qwen3ForCausalLM(Qwen3Config(**language_model_fields(FIELDS))).eval()
    plain.load_state_dict(parts.split(published.state_dict(), None, TABLE).language_model, strict=True)
    ids, tokens = torch.tensor([[3, 5, 7, 11, 13, 17, 19, 23, 29, 31]]), torch.randn(1, 4, 48)
    with torch.inference_mode():
        embeddings = published.get_input_embeddings()(ids)
        embeddings[:, 2:6] = tokens
        torch.testing.assert_close(plain(input_ids=ids).logits, published(input_ids=ids).logits)
        expected = published(inputs_embeds=embeddings).logits
        torch.testing.assert_close(plain(inputs_embeds=embeddings).logits, expected)


def test_the_plain_fields_keep_what_text_needs() -> None:
    fields = language_model_fields({**FIELDS, "tie_word_embeddings": True})
    assert (fields["model_type"], fields["architectures"]) == ("qwen3", ["Qwen3ForCausalLM"])
    assert fields["rope_theta"] == 5000000
    assert fields["tie_word_embeddings"] is True
    assert "rope_scaling" not in fields
    stretched = {"rope_type": "yarn", "factor": 2.0, "mrope_section": [6, 5, 5]}
    kept = language_model_fields({"text_config": {**TEXT, "rope_scaling": stretched}})["rope_scaling"]
    assert kept == {"rope_type": "yarn", "factor": 2.0}


def test_the_three_ecg_tokens_have_ids_that_config_json_agrees_with() -> None:
    ids = {PAD: 90, START: 91, END: 92}
    assert special_ids(SMALL, {**ids, "a": 1}) == ids
    with pytest.raises(InputError, match=r"missing: <\|ecg_end\|>"):
        special_ids(SMALL, {PAD: 90, START: 91})
    with pytest.raises(InputError, match="token 90"):
        special_ids(SMALL, {**ids, PAD: 93})
