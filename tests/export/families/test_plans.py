"""The published families' graphs, at their real shapes, go through TensorRT's parser and builder; no GPU needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from golden import Golden  # noqa: E402
from needs import tensorrt_rtx  # noqa: E402
from uniecg_export.checkpoint import read_checkpoint  # noqa: E402
from uniecg_export.families import clip_vision, diffusets, ecg_r1, gem, uniecg  # noqa: E402
from uniecg_export.families.ecg_coca import EcgCocaConfig  # noqa: E402
from uniecg_export.onnx_graphs import Source, export_graph  # noqa: E402
from uniecg_export.tensorrt_build import build_plan  # noqa: E402

TARGETS = (86, 89, 121)
# Golden -> family and the key under which the published file nests its tensors.
PUBLISHED = {
    "ecg_coca": ("ecg_coca", "state_dict"),
    "ecgfounder_12lead": ("ecgfounder", "state_dict"),
    "ecgfounder_1lead": ("ecgfounder", "state_dict"),
    "merl_resnet18": ("merl", None),
    "merl_vit_tiny": ("merl", None),
    "ecg_fm": ("ecg_fm", "model"),
}


def weights(name: str) -> dict[str, Any]:
    return {tensor: torch.from_numpy(value) for tensor, value in Golden(name).weights().items()}


def published(name: str, folder: Path) -> tuple[Path, str]:
    """The checkpoint as its authors publish it, and its family."""
    if name.startswith("diffusets"):
        torch.save(weights(name), folder / "unet_all.pth")
        torch.save({"decoder": weights("diffusets_vae_decoder")}, folder / "vae_model.pth")
        return folder, "diffusets"
    family, nest = PUBLISHED[name]
    path = folder / f"{name}.pth"
    torch.save({nest: weights(name)} if nest else weights(name), path)
    return path, family


def beside_a_language_model(name: str) -> tuple[Source, ...]:
    """The graphs that GEM, ECG-R1 and UniECG have beside their language model, at published shapes."""
    if name == "gem":
        return gem.sources(gem.Encoder(gem.GemConfig()).eval())
    if name == "ecg_r1":
        return ecg_r1.sources(ecg_r1.Encoder(ecg_r1.EcgR1Config()).eval())
    if name == "uniecg_condition":
        config = uniecg.UniEcgConfig(token_count=8, layers=(4096, "gelu", 1536))
        drawing = diffusets.sources(diffusets.Diffusets(diffusets.DiffusetsConfig()).eval())[0]
        aligned = uniecg.AlignedCondition(config, uniecg.alignment(config), drawing.module).eval()
        small = gem.Encoder(gem.GemConfig(EcgCocaConfig(layers=1)))
        return uniecg.sources(small, aligned, drawing.outputs)[1:]
    # CLIP ViT-L/14-336 with two of its twenty-four equal layers
    seen = clip_vision.ClipVisionConfig(1024, 2, 4096, 14, 336, 2)
    return (clip_vision.source(clip_vision.ImageEncoder(seen, gem.projector("mlp2x_gelu", 1024, 4096)).eval()),)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gem", "ecg_r1", "uniecg_condition", "image_encoder"])
def test_what_stands_beside_a_language_model_builds_for_every_target(name: str, tmp_path: Path) -> None:
    build_all(beside_a_language_model(name), name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PUBLISHED, "diffusets_unet_1536", "diffusets_unet_8192"])
def test_the_graphs_build_for_every_target(name: str, tmp_path: Path) -> None:
    build_all(read_checkpoint(*published(name, tmp_path)).sources, name, tmp_path)


def build_all(sources: tuple[Source, ...], name: str, folder: Path) -> None:
    tensorrt_rtx()
    for source in sources:
        onnx, plan = folder / f"{source.role}.onnx", folder / f"{source.role}.plan"
        export_graph(source, onnx, name)
        built = build_plan(onnx, plan, sms=TARGETS, precision="fp32", flavour="tensorrt_rtx")
        assert built.key.sms == TARGETS
        assert plan.stat().st_size == built.size > 100_000
        onnx.unlink()
        plan.unlink()
