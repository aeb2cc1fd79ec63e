"""DiffuSETS: published names and outputs in torch, the exact folds, and the graphs through to a drawn ECG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from exported_graph import opened
from golden import FLOAT32, Golden
from uniecg_device.errors import InputError
from uniecg_export.families import diffusets, diffusets_unet, diffusets_vae
from uniecg_export.families.diffusets import Diffusets, DiffusetsConfig, FoldedCondition, FoldedUNet, sources
from uniecg_export.families.diffusets_unet import UNet, UNetConfig
from uniecg_export.families.diffusets_vae import Decoder, Encoder, VaeConfig
from uniecg_export.onnx_graphs import Source
from uniecg_runtime.backends.onnx import Graph
from uniecg_runtime.manifest import Schedule
from uniecg_runtime.schedule import ddpm_step

ONNX = 2e-4  # largest absolute difference from the published code, one call
FOLD = 1e-5  # between the folded and the published network
WIDTHS = (1536, 8192)
SCHEDULE = Schedule(train_steps=1000, beta_start=0.00085, beta_end=0.012, clip=1.0)
STANDARD = {
    *("Add", "Concat", "Conv", "ConvTranspose", "Div", "Gather", "Gemm", "InstanceNormalization", "LayerNormalization"),
    *("MatMul", "Mul", "Reshape", "Resize", "Sigmoid", "Softmax", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze"),
}
SMALL = UNetConfig(
    text_width=24,
    channels=8,
    levels=4,
    kernel=5,
    bottleneck_inner=8,
    steps=50,
    time_width=16,
    time_hidden=24,
    length=32,
)

Array = NDArray[np.float32]


@pytest.fixture(autouse=True)
def one_thread() -> Iterable[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load(module: nn.Module, golden: Golden) -> None:
    module.load_state_dict({name: torch.from_numpy(value) for name, value in golden.weights().items()}, strict=True)
    module.eval()


@cache
def published(width: int) -> Diffusets:
    unet, decoder = Golden(f"diffusets_unet_{width}"), Golden("diffusets_vae_decoder")
    shapes = {f"{part}.{name}": s for part, g in (("unet", unet), ("decoder", decoder)) for name, s in g.shapes.items()}
    model = Diffusets(diffusets.config_from(shapes))
    load(model.unet, unet)
    load(model.decoder, decoder)
    return model


def export(source: Source, folder: Path) -> Graph:
    return opened(source, folder / f"{source.role}.onnx", "diffusets")


@pytest.fixture(scope="module", params=WIDTHS)
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def folder(width: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(f"diffusets_{width}")


@pytest.fixture(scope="module")
def graphs(width: int, folder: Path) -> dict[str, Graph]:
    return {source.role: export(source, folder) for source in sources(published(width))}


def condition_inputs(golden: Golden, prefix: str) -> tuple[Array, Array]:
    """Text (1,1,D) and scalars (1,3), in raw units."""
    scalars = [golden.arrays[f"{prefix}{name}"].reshape(1, 1) for name in ("sex", "age", "hr")]
    return golden.arrays[f"{prefix}text"], np.concatenate(scalars, 1)


def unet_cases(width: int) -> list[tuple[Golden, str, int]]:
    golden = Golden(f"diffusets_unet_{width}")
    return [(golden, case, step) for case in ("rand", "unit") for step in (999, 37)]


@pytest.mark.parametrize(
    ("name", "part"),
    [("unet_1536", UNet), ("unet_8192", UNet), ("vae_decoder", Decoder), ("vae_encoder", Encoder)],
)
def test_names_and_shapes_are_the_published_ones(name: str, part: type[nn.Module]) -> None:
    shapes = Golden(f"diffusets_{name}").shapes
    read = diffusets_unet.config_from if part is UNet else diffusets_vae.config_from
    with torch.device("meta"):
        built = part(read(shapes))
    assert {name: tuple(value.shape) for name, value in built.state_dict().items()} == shapes


def test_the_published_constructors_are_the_defaults() -> None:
    assert published(1536).config == DiffusetsConfig()
    assert published(8192).config == DiffusetsConfig(unet=UNetConfig(text_width=8192))
    assert diffusets_vae.config_from(Golden("diffusets_vae_encoder").shapes) == VaeConfig()


def test_the_frozen_table_of_steps_is_the_published_one() -> None:
    table = UNet(SMALL).bottelneck.time_emb.embeddings
    assert table.shape == (50, 16) and not table.requires_grad
    whole = diffusets_unet.TimeEmbedding(UNetConfig(), 4).embeddings
    np.testing.assert_allclose(
        whole.numpy(), Golden("diffusets_unet_1536").arrays["const.time_table"], rtol=0, atol=2e-6
    )


def test_mish_is_what_it_is_elsewhere_and_nowhere_overflows() -> None:
    x = torch.tensor([-1e4, -100, -20, -3, -0.5, 0, 1e-3, 0.7, 5, 30, 100, 1e4])
    torch.testing.assert_close(diffusets_unet.mish(x), nn.functional.mish(x), rtol=1e-6, atol=1e-6)


def test_the_published_noise_comes_out(width: int) -> None:
    for golden, case, step in unet_cases(width):
        text, scalars = condition_inputs(golden, f"in.{case}.")
        inputs = (golden.arrays[f"in.{case}.x"], np.array([step]), text, scalars)
        with torch.inference_mode():
            noise = published(width).unet(*map(torch.from_numpy, inputs)).numpy()
        assert golden.difference(noise, f"out.{case}.eps_t{step}") < FLOAT32, (case, step)


@pytest.mark.parametrize("case", ["rand", "latent"])
def test_the_published_leads_come_out(case: str) -> None:
    golden = Golden("diffusets_vae_decoder")
    latent = torch.from_numpy(golden.arrays[f"in.{case}.z"])
    before = latent.clone()
    with torch.inference_mode():
        leads = published(1536).decoder(latent)
    assert golden.difference(leads.transpose(1, 2).numpy(), f"out.{case}.ecg") < FLOAT32
    assert torch.equal(latent, before)  # the published decoder scales its argument in place


@pytest.mark.parametrize("case", ["rand", "ecg"])
def test_the_published_latents_come_out_of_the_encoder(case: str) -> None:
    golden = Golden("diffusets_vae_encoder")
    encoder = Encoder(diffusets_vae.config_from(golden.shapes))
    load(encoder, golden)
    leads = torch.from_numpy(golden.arrays[f"in.{case}.x"]).transpose(1, 2)
    with torch.inference_mode():
        mean, log_variance = encoder(leads)
        z = encoder.latent(leads, torch.from_numpy(golden.arrays[f"in.{case}.noise"]))
    for name, found in (("mean", mean), ("log_variance", log_variance), ("z", z)):
        assert golden.difference(found.numpy(), f"out.{case}.{name}") < FLOAT32, name


@pytest.mark.parametrize("config", [SMALL, UNetConfig()])
def test_folding_changes_nothing(config: UNetConfig) -> None:
    unet = published(1536).unet if config == UNetConfig() else randomised(UNet(config))
    rng = np.random.default_rng(1)
    text = torch.from_numpy(rng.standard_normal((1, 1, config.text_width), np.float32) * 0.1)
    latent = torch.from_numpy(rng.standard_normal((1, config.channels, config.length), np.float32))
    with torch.inference_mode():
        folded, condition = FoldedUNet(unet), FoldedCondition(unet)
        for step, scalars in ((0, (1.0, 20.0, 45.0)), (config.steps - 1, (0.0, 91.0, 130.0))):
            time, raw = torch.tensor([step]), torch.tensor([scalars])
            found, expected = folded(latent, time, condition(text, raw)), unet(latent, time, text, raw)
            assert float((found - expected).abs().max()) < FOLD


def test_the_condition_is_one_vector_per_block_and_heeds_every_scalar() -> None:
    condition = FoldedCondition(published(1536).unet)
    assert condition.widths == [6, 12, 24, 48, 96, 192, 256, 192, 160, 80, 40, 20, 10]
    text = torch.randn(1, 1, 1536, generator=torch.Generator().manual_seed(0)) / 1536**0.5
    raw = torch.tensor([[1.0, 60.0, 70.0]])
    with torch.inference_mode():
        plain = condition(text, raw)
        assert plain.shape == (1, 1136)
        moved = [condition(text, raw + change) for change in torch.eye(3)]
    assert all(float((other - plain).abs().max()) > 1e-4 for other in moved)


def test_a_half_precision_text_map_leaves_the_scalars_alone() -> None:
    condition = FoldedCondition(published(1536).unet)
    assert condition.scalars.weight.shape == (1136, 3)
    assert condition.text.weight.shape == (1136, 1536)
    expected = torch.cat([b.cross_attention.value_combiner.weight for b in diffusets.blocks_of(published(1536).unet)])
    assert torch.equal(torch.cat([condition.text.weight, condition.scalars.weight], 1), expected)


@pytest.mark.slow
def test_graphs_have_fixed_names_and_shapes_and_plain_operators(
    graphs: dict[str, Graph], folder: Path, width: int
) -> None:
    said = {
        role: ({t.name: (t.shape, t.dtype) for t in g.artifact.inputs}, {t.name: t.shape for t in g.artifact.outputs})
        for role, g in graphs.items()
    }
    latent = ((1, 4, 128), "float32")
    assert said == {
        "condition": (
            {"text": ((1, 1, width), "float32"), "scalars": ((1, 3), "float32")},
            {"condition": (1, 1136)},
        ),
        "denoiser": (
            {"latent": latent, "time": ((1,), "int64"), "condition": ((1, 1136), "float32")},
            {"noise": (1, 4, 128)},
        ),
        "decoder": ({"latent": latent}, {"leads": (1, 12, 1024)}),
    }
    assert set[str]().union(*(operators(folder / f"{role}.onnx") for role in graphs)) <= STANDARD


@pytest.mark.slow
def test_the_graphs_give_the_published_noise(graphs: dict[str, Graph], width: int) -> None:
    for golden, case, step in unet_cases(width):
        text, scalars = condition_inputs(golden, f"in.{case}.")
        (condition,) = graphs["condition"].run(text=text, scalars=scalars)
        latent = golden.arrays[f"in.{case}.x"]
        (noise,) = graphs["denoiser"].run(latent=latent, time=np.array([step]), condition=condition)
        assert golden.difference(noise, f"out.{case}.eps_t{step}") < ONNX, (case, step)


@pytest.mark.slow
def test_the_decoder_graph_gives_the_published_leads(graphs: dict[str, Graph]) -> None:
    golden = Golden("diffusets_vae_decoder")
    for case in ("rand", "latent"):
        (leads,) = graphs["decoder"].run(latent=golden.arrays[f"in.{case}.z"])
        assert golden.difference(leads.transpose(0, 2, 1), f"out.{case}.ecg") < ONNX


@pytest.mark.slow
@pytest.mark.parametrize("case", ["full5", "first5_of_1000", "last5_of_1000"])
def test_the_published_drawing_comes_out_of_the_graphs(graphs: dict[str, Graph], width: int, case: str) -> None:
    golden = Golden(f"diffusets_sampling_{width}")
    text, scalars = condition_inputs(golden, "in.")
    (condition,) = graphs["condition"].run(text=text, scalars=scalars)
    steps = 5 if case == "full5" else 1000
    latent, latents = golden.arrays["in.x_T"], []
    for t, drawn in zip(golden.arrays[f"timesteps.{case}"].tolist(), golden.arrays["in.noise"], strict=True):
        (noise,) = graphs["denoiser"].run(latent=latent, time=np.array([t]), condition=condition)
        latent = ddpm_step(SCHEDULE, steps, t, latent, noise, drawn)
        latents.append(latent)
    (leads,) = graphs["decoder"].run(latent=latent)
    assert golden.difference(np.concatenate(latents), f"out.{case}.latents") < 1e-4
    assert golden.difference(leads.transpose(0, 2, 1), f"out.{case}.ecg") < 5e-4


@pytest.mark.slow
def test_the_folded_graph_is_the_published_graph_in_fewer_operators(tmp_path: Path) -> None:
    """Also exports the published network as it is, the condition inside."""
    unet = published(1536).unet
    whole = Source("denoiser", unet, whole_inputs, ("noise",))
    unfolded = export(whole, tmp_path)
    before = operators(tmp_path / "denoiser.onnx")
    condition, folded = (export(source, tmp_path) for source in sources(published(1536))[:2])
    assert operators(tmp_path / "denoiser.onnx").total() < 0.6 * before.total()
    inputs = whole_inputs(np.random.default_rng(5))
    (bias,) = condition.run(text=inputs["text"], scalars=inputs["scalars"])
    (found,) = folded.run(latent=inputs["latent"], time=inputs["time"], condition=bias)
    (expected,) = unfolded.run(**inputs)
    assert float(np.abs(found - expected).max()) < FOLD


def test_a_small_geometry_is_read_from_its_shapes() -> None:
    shapes = {name: tuple(value.shape) for name, value in UNet(SMALL).state_dict().items()}
    assert diffusets_unet.config_from(shapes) == replace(SMALL, length=128)
    small = VaeConfig(leads=8, latent_channels=6, widths=(32, 64, 96))
    for part in (Encoder(small), Decoder(small)):
        shapes = {name: tuple(value.shape) for name, value in part.state_dict().items()}
        assert diffusets_vae.config_from(shapes) == small


@pytest.mark.parametrize("name", ["unet.bottelneck.bottleneck_conv1.weight", "decoder.15.conv_1.weight"])
def test_a_missing_or_misshapen_tensor_is_named(name: str) -> None:
    shapes = {key: tuple(value.shape) for key, value in published(1536).state_dict().items()}
    said = rf"expected the tensor {name.partition('.')[2]} with 3 dimensions"
    with pytest.raises(InputError, match=f"{said}.*found none among"):
        diffusets.config_from({key: shape for key, shape in shapes.items() if key != name})
    for shape in [(4,), (4, 0, 5)]:
        with pytest.raises(InputError, match=f"{said}.*found one of shape"):
            diffusets.config_from(shapes | {name: shape})


def test_a_combiner_too_narrow_for_a_text_is_named() -> None:
    shapes = {name: tuple(value.shape) for name, value in UNet(SMALL).state_dict().items()}
    name = next(name for name in shapes if name.endswith("value_combiner.weight"))
    with pytest.raises(InputError, match="to take a text embedding and 3 scalars, found 3 columns"):
        diffusets_unet.config_from(shapes | {name: (shapes[name][0], 3)})


def whole_inputs(rng: np.random.Generator) -> dict[str, Array]:
    return {
        "latent": rng.standard_normal((1, 4, 128), np.float32),
        "time": np.array([613]),
        "text": rng.standard_normal((1, 1, 1536), np.float32) / np.float32(1536**0.5),
        "scalars": np.array([[1, 72, 64]], np.float32),
    }


def randomised(unet: UNet) -> UNet:
    """Biases and norms away from what they start at, so that a fold that loses one shows."""
    generator = torch.Generator().manual_seed(0)
    for value in unet.parameters():
        if value.ndim == 1:
            value.data += 0.2 * torch.randn(value.shape, generator=generator)
    return unet.eval()


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)
