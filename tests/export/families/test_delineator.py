"""The delineator's network, its checkpoint, and the bundle it makes, alone or beside another model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from safetensors.torch import load_file, save_file  # noqa: E402

from uniecg_device.errors import InputError  # noqa: E402
from uniecg_device.parametric import ParametricEcg, simulate  # noqa: E402
from uniecg_export.bundle import Exported, export_checkpoint  # noqa: E402
from uniecg_export.checkpoint import read_checkpoint  # noqa: E402
from uniecg_export.families.delineator import Checkpoint, Delineator, load, save, source  # noqa: E402
from uniecg_runtime.backends.graphs import open_graph  # noqa: E402
from uniecg_runtime.bundle import Bundle  # noqa: E402
from uniecg_runtime.manifest import Figure  # noqa: E402
from uniecg_runtime.signal import delineator as runtime  # noqa: E402
from uniecg_runtime.signal.waves import find_waves  # noqa: E402
from uniecg_runtime.verify import verify_bundle  # noqa: E402

FIGURE = Figure("QRS onset, SD in ms", 7.5, "none", 1)


@pytest.fixture(scope="module")
def model() -> Delineator:
    torch.manual_seed(0)
    return Delineator((8, 12, 16, 24)).eval()


@pytest.fixture(scope="module")
def folder(model: Delineator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("delineator")
    save(Checkpoint(model, ("random weights",), (FIGURE,)), path)
    return path


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_checkpoint(
        folder, tmp_path_factory.mktemp("out") / "bundle", overrides=["delineator.speed=speed is no matter of a test"]
    )


@given(seed=st.integers(0, 100), leads=st.integers(1, 12))
@settings(max_examples=10)
def test_neither_the_order_of_the_leads_matters_nor_what_stands_in_absent_ones(
    model: Delineator, seed: int, leads: int
) -> None:
    random = np.random.default_rng(seed)
    inputs = source(model).draw(random)
    inputs["present"] = (np.arange(12) < leads).astype(np.float32)[None]
    order = random.permutation(12)
    (edges,) = source(model).run(inputs)
    turned = {name: value if name == "rr" else value[:, order] for name, value in inputs.items()}
    turned["shape"] = turned["shape"] + 3 * (1 - turned["present"])[:, :, None]
    (others,) = source(model).run(turned)
    held = turned["present"][0] > 0
    np.testing.assert_allclose(others[0][held], edges[0][order][held], atol=0.05)


@given(seed=st.integers(0, 100), unit=st.floats(1e-3, 1e4))
@settings(max_examples=10)
def test_the_unit_does_not_matter(model: Delineator, seed: int, unit: float) -> None:
    inputs = source(model).draw(np.random.default_rng(seed))
    (edges,) = source(model).run(inputs)
    (others,) = source(model).run(inputs | {"shape": inputs["shape"] * np.float32(unit)})
    np.testing.assert_allclose(others[:, :9], edges[:, :9], atol=0.05)


def test_without_any_lead_it_gives_numbers(model: Delineator) -> None:
    nothing = {name: np.zeros_like(value) for name, value in source(model).draw(np.random.default_rng(0)).items()}
    assert np.isfinite(source(model).run(nothing)[0]).all()


def test_a_checkpoint_is_read_as_it_was_saved(model: Delineator, folder: Path) -> None:
    read = load(folder)
    assert read.trained_on == ("random weights",) and read.figures == (FIGURE,)
    assert read.model.widths == model.widths
    for name, value in model.state_dict().items():
        assert torch.equal(read.model.state_dict()[name], value.half().float())


@pytest.mark.parametrize("spoilt", ["head.weight", "down.0.first.weight", "up.1.shared.bias"])
def test_a_checkpoint_that_lacks_a_tensor_is_refused(folder: Path, tmp_path: Path, spoilt: str) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    tensors = load_file(folder / "model.safetensors")
    del tensors[spoilt]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=spoilt):
        read_checkpoint(tmp_path)


def test_figures_that_are_none_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"family": "delineator", "figures": [{"name": 3}]}))
    with pytest.raises(InputError, match="figures"):
        read_checkpoint(tmp_path)


def test_alone_it_is_a_bundle_that_finds_waves_as_the_network_does(exported: Exported) -> None:
    bundle = Bundle.open(exported.folder)
    assert [artifact.role for artifact in bundle.manifest.artifacts] == ["delineator"]
    assert bundle.manifest.figures == (FIGURE,)
    assert {gate.name for gate in bundle.manifest.gates} >= {"delineator.edges", "delineator.size"}
    assert all(check.ok for check in verify_bundle(bundle))
    recording = simulate(ParametricEcg(heart_rate=70), 6.0, 500.0, 3)
    waves = find_waves(recording, runtime.Delineator(open_graph(bundle, "delineator")))
    assert (waves.leads["V2"][1:-1, 3:6] >= 0).all()


def test_it_goes_beside_another_checkpoint_but_not_beside_itself(checkpoint: Path, folder: Path) -> None:
    read = read_checkpoint(checkpoint, delineator=folder)
    assert set(read.roles) == {"encoder", "language_model", "condition", "denoiser", "decoder", "delineator"}
    assert "random weights (delineator)" in read.trained_on and FIGURE in read.figures
    assert len(read.files) == 2 and read.parameters["delineator"] > 1000
    with pytest.raises(InputError, match="--delineator"):
        read_checkpoint(folder, delineator=folder)
