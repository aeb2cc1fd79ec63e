"""GEM that also looks at a picture of the ECG: its images' tower, from published names to a bundle that reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("PIL.Image", reason="extra `plot` is not installed")

from torch import Tensor  # noqa: E402
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM  # noqa: E402

from checkpoints import GEM, MM, SIZES, TEXT, WIDTH, diffusets_folder, drawn, save_shards, vicuna_tokenizer  # noqa: E402
from uniecg_device.errors import BundleError, InputError  # noqa: E402
from uniecg_device.parametric import ParametricEcg, simulate  # noqa: E402
from uniecg_device.signals import Recording  # noqa: E402
from uniecg_export.bundle import Exported, export_checkpoint  # noqa: E402
from uniecg_export.checkpoint import read_checkpoint  # noqa: E402
from uniecg_export.families import gem, uniecg  # noqa: E402
from uniecg_runtime.assistant import Assistant  # noqa: E402
from uniecg_runtime.bundle import Bundle  # noqa: E402
from uniecg_runtime.formats.picture import prepare_picture  # noqa: E402
from uniecg_runtime.manifest import need  # noqa: E402
from uniecg_runtime.signal.window import prepare_window  # noqa: E402
from uniecg_runtime.verify import verify_bundle  # noqa: E402

SIDE, PATCH, IMAGE_WIDTH, LAYERS = 6, 14, 128, 3
CLIP = CLIPVisionConfig(
    hidden_size=IMAGE_WIDTH,
    intermediate_size=96,
    num_hidden_layers=LAYERS,
    num_attention_heads=2,
    image_size=SIDE * PATCH,
    patch_size=PATCH,
)
INSIDE = "model.vision_tower.vision_tower.vision_model."
Change = Callable[[dict[str, Tensor], dict[str, Any]], object]


def unchanged(tensors: dict[str, Tensor], fields: dict[str, Any]) -> None:
    """Leave the checkpoint as it is."""


def folder_with_image(folder: Path, change: Change = unchanged, drawing: bool = False) -> Path:
    """GEM as published with its images' tower in the shards; UniECG, where it is also to draw."""
    folder.mkdir()
    vicuna_tokenizer(folder, ("[ECG]",) if drawing else ())
    config = replace(GEM, mm_hidden_size=IMAGE_WIDTH)
    encoder = drawn(gem.Encoder(config))
    tensors = {f"model.{n.replace('ecg_tower.', 'ecg_tower.ecg_tower.', 1)}": t for n, t in encoder.items()}
    clip = {name.removeprefix("vision_model."): t for name, t in drawn(CLIPVisionModel(CLIP)).items()}
    tensors |= {INSIDE + name: tensor for name, tensor in clip.items()}
    tensors[INSIDE + "embeddings.position_ids"] = torch.arange(SIDE * SIDE + 1)[None]  # as old releases saved it
    tensors |= {"model.image_newline": torch.zeros(WIDTH)} | drawn(LlamaForCausalLM(LlamaConfig(**SIZES)))
    fields: dict[str, Any] = {**LlamaConfig(**SIZES).to_dict(), "model_type": "llava_llama", **MM}
    fields |= {"mm_hidden_size": IMAGE_WIDTH, "mm_vision_select_layer": -2, "image_aspect_ratio": "ori"}
    if drawing:
        aligned = uniecg.UniEcgConfig(config, 1, "mean", (TEXT,))
        tensors |= {aligned.prefix + name: tensor for name, tensor in drawn(uniecg.alignment(aligned)).items()}
        fields["ecg_generation"] = {"token_count": 1, "pooling": "mean", "layers": [TEXT]}
    change(tensors, fields)
    return save_shards(folder, tensors, fields)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return simulate(ParametricEcg(heart_rate=72.0), 10.0, 500.0, 1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_with_image(tmp_path_factory.mktemp("gem") / "GEM-7B")


@pytest.fixture(scope="module")
def made(checkpoint: Path) -> Exported:
    overrides = [f"image_encoder.{kind}=random weights" for kind in ("cosine", "speed", "size")]
    options: dict[str, Any] = {"overrides": overrides, "most": 16}
    precisions = ("encoder=float32", "image_encoder=int8_qdq", "f16")
    out = checkpoint.parent / "bundle"
    return export_checkpoint(checkpoint, out, family="gem", with_image=True, precisions=precisions, **options)


@pytest.mark.parametrize("taken", [-2, -1, -4, 2])
def test_the_tokens_are_transformers_hidden_states_through_the_shared_projector(tmp_path: Path, taken: int) -> None:
    folder = folder_with_image(tmp_path / "gem", lambda _, fields: fields.update(mm_vision_select_layer=taken))
    read = read_checkpoint(folder, "gem", with_image=True)
    assert [source.role for source in read.sources] == ["encoder", "image_encoder"]
    encoder, seeing = read.sources
    clip = CLIPVisionModel(CLIP).eval()
    clip.load_state_dict({name: tensor.float() for name, tensor in drawn(clip).items()})
    image = torch.from_numpy(seeing.draw(np.random.default_rng(0))["image"])
    assert image.shape == (1, 3, SIDE * PATCH, SIDE * PATCH)
    with torch.inference_mode():
        states = clip(image, output_hidden_states=True).hidden_states[taken][:, 1:]
        expected = encoder.module.mm_projector(states)
        found = seeing.module(image)
    assert found.shape == (1, SIDE * SIDE, WIDTH)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_layers_behind_the_state_that_is_taken_are_not_shipped(checkpoint: Path) -> None:
    (_, seeing) = read_checkpoint(checkpoint, "gem", with_image=True).sources
    names = seeing.module.state_dict()
    assert any("layers.1." in name for name in names)
    assert not [name for name in names if "layers.2." in name or "post_layernorm" in name]


def test_a_bundle_with_image_reads_a_recording_by_both(made: Exported, recording: Recording) -> None:
    bundle = Bundle.open(made.folder)
    assert {check.role for check in verify_bundle(bundle) if check.ok} == {"encoder", "image_encoder", "language_model"}
    assert bundle.manifest.artifact("image_encoder").outputs[0].shape == (1, SIDE * SIDE, WIDTH)
    picture = need(bundle.manifest.picture, "a picture")
    assert (picture.size, picture.dpi, picture.layout) == (SIDE * PATCH, 200, "rows")
    assistant = Assistant(bundle, threads=1)
    reading = assistant.interpret(recording, max_new_tokens=3)
    assert reading.timing_ms["picture"] > 0
    assert set(reading.backend) == {"encoder", "image_encoder", "language_model"}
    seen = assistant.chat(recording)._seen
    assert seen is not None and seen.pictured is not None
    window = prepare_window(recording, need(bundle.manifest.preprocessing, "preprocessing"))
    image = prepare_picture(window.recording, picture)
    np.testing.assert_array_equal(seen.pictured, assistant.graph("image_encoder").run(image=image)[0][0])
    np.testing.assert_array_equal(seen.soft_tokens, [*seen.encoded["tokens"], *seen.pictured])
    assert assistant.encode(recording)["tokens"].shape == (101, WIDTH)


def test_what_eight_bits_lose_is_gated_on_pictures_of_recordings(made: Exported) -> None:
    assert made.manifest.artifact("image_encoder").precision == "int8_qdq"  # calibrated on pictures of others
    gate = next(gate for gate in made.manifest.gates if gate.name == "image_encoder.cosine")
    assert gate.what == "tokens: 1 - cosine, mean of 4 pictures of recordings" and 0 < gate.measured < 0.1
    assert made.manifest.provenance.parameters["image_encoder"] > 0


def test_without_the_option_the_tower_is_set_aside(checkpoint: Path) -> None:
    read = read_checkpoint(checkpoint, "gem")
    assert [source.role for source in read.sources] == ["encoder"] and read.picture is None


def test_uniecg_looks_at_images_as_gem_does(tmp_path: Path) -> None:
    folder, generator = folder_with_image(tmp_path / "u", drawing=True), diffusets_folder(tmp_path / "generator")
    read = read_checkpoint(folder, "uniecg", generator=generator, with_image=True)
    roles = ["encoder", "condition", "denoiser", "decoder", "image_encoder"]
    assert [source.role for source in read.sources] == roles and read.picture is not None


def without_tower(tensors: dict[str, Tensor], fields: dict[str, Any]) -> None:
    """As GEM's shards are where the tower was left to its own repository."""
    fields["mm_vision_tower"] = "openai/clip-vit-large-patch14-336"
    for name in [name for name in tensors if name.startswith(INSIDE)]:
        del tensors[name]


def square(tensors: dict[str, Tensor], fields: dict[str, Any]) -> None:
    """One position too many."""
    name = INSIDE + "embeddings.position_embedding.weight"
    tensors[name] = torch.zeros(SIDE * SIDE + 2, IMAGE_WIDTH)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_tower, r"tower \(model\.vision_tower\.vision_tower\.\*\).*names 'openai/clip-vit-large-patch14-336'"),
        (square, f"{SIDE * SIDE + 2} positions"),
        (lambda t, f: t.pop(INSIDE + "pre_layrnorm.bias"), r"missing \(1\): vision_tower\.pre_layrnorm\.bias"),
        (lambda t, f: t.update({INSIDE + "spare": torch.zeros(1)}), r"unexpected \(1\): vision_tower\.spare"),
        (lambda t, f: t.pop(INSIDE + "embeddings.patch_embedding.weight"), "patch_embedding"),
        (lambda t, f: f.update(image_aspect_ratio="anyres"), "found 'anyres'"),
        (lambda t, f: f.update(mm_vision_select_feature="cls_patch"), "and 'cls_patch'"),
        (lambda t, f: f.update(mm_vision_select_layer=-5), "mm_vision_select_layer.*found -5"),
        (lambda t, f: f.update(mm_vision_select_layer="-2"), "mm_vision_select_layer.*found '-2'"),
    ],
)
def test_images_that_cannot_be_exported_are_one_clear_error(tmp_path: Path, change: Change, reason: str) -> None:
    folder = folder_with_image(tmp_path / "gem", change)
    with pytest.raises(InputError, match=reason):
        read_checkpoint(folder, "gem", with_image=True)
    assert read_checkpoint(folder, "gem").picture is None


def test_a_family_without_images_refuses_the_option(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="expected no --with-image, for a language_model"):
        read_checkpoint(checkpoint, "language_model", with_image=True)


def test_a_bundle_whose_picture_and_encoder_do_not_fit_does_not_open(made: Exported, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made.folder, tmp_path / "bundle"))
    whole = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for change, reason in (
        ({"picture": None}, "expected a picture"),
        ({"picture": {**whole["picture"], "size": 70}}, "inputs .*70"),
        ({"picture": {**whole["picture"], "dpi": 3000}}, "at most 4000000 dots"),
        ({"picture": {**whole["picture"], "page_inches": [1000.0, 8.5]}}, "a page of"),
        ({"artifacts": [a for a in whole["artifacts"] if a["role"] != "image_encoder"]}, "expected an image encoder"),
    ):
        (folder / "manifest.json").write_text(json.dumps(whole | change), encoding="utf-8")
        with pytest.raises(BundleError, match=reason):
            Bundle.open(folder)
