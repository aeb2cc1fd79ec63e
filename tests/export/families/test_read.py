"""From a published file to a bundle that runs: small random models in each family's published layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from torch import nn  # noqa: E402

from uniecg_device.errors import BundleError, InputError  # noqa: E402
from uniecg_device.parametric import ParametricEcg, simulate  # noqa: E402
from uniecg_device.signals import LEADS, Recording  # noqa: E402
from uniecg_export.bundle import export_checkpoint  # noqa: E402
from uniecg_export.checkpoint import read_checkpoint  # noqa: E402
from uniecg_export.families import ecg_coca, ecg_fm, ecgfounder, merl  # noqa: E402
from uniecg_export.families.diffusets_unet import UNet, UNetConfig  # noqa: E402
from uniecg_export.families.diffusets_vae import Decoder, VaeConfig  # noqa: E402
from uniecg_runtime.assistant import Assistant  # noqa: E402
from uniecg_runtime.bundle import Bundle  # noqa: E402
from uniecg_runtime.verify import verify_bundle  # noqa: E402

FM = ecg_fm.EcgFmConfig(
    convolutions=((16, 2),) * 4, width=48, position_kernel=8, position_groups=4, layers=1, feed_forward=32, labels=3
)
COCA = ecg_coca.EcgCocaConfig(width=64, layers=1, feed_forward=64, embedding=16)
FOUNDER = ecgfounder.EcgFounderConfig(
    leads=1,
    base=16,
    stages=(ecgfounder.StageConfig(1, 16, 16, 1, 8), ecgfounder.StageConfig(1, 32, 32, 2, 16)),
    labels=4,
)


def saved(module: nn.Module, path: Path, nest: str | None, prefix: str = "") -> Path:
    torch.manual_seed(0)
    state: dict[str, Any] = {f"{prefix}{name}": value for name, value in module.state_dict().items()}
    torch.save({nest: state, "epoch": 20} if nest else state, path)
    return path


def fm(folder: Path) -> Path:
    return saved(ecg_fm.EcgFm(FM), folder / "finetuned.pt", "model")


AS_READ: dict[str, Any] = {"precisions": ("float32",)}


def coca(folder: Path) -> Path:
    return saved(ecg_coca.EcgTower(COCA), folder / "cpt_wfep_epoch_20.pt", "state_dict", "module.ecg.")


@pytest.fixture(scope="module")
def recording() -> Recording:
    return simulate(ParametricEcg(heart_rate=72.0), 10.0, 500.0, 1)


def exported(checkpoint: Path, family: str, **options: Any) -> Assistant:
    bundle = export_checkpoint(checkpoint, checkpoint.parent / "bundle", family=family, **AS_READ, **options)
    opened = Bundle.open(bundle.folder)
    assert all(check.ok for check in verify_bundle(opened))
    assert opened.manifest.provenance.family == family
    assert "not a medical device" in opened.manifest.intended_use
    return Assistant(opened, threads=1)


def test_a_classifier_alone_is_a_bundle_and_names_its_labels(tmp_path: Path, recording: Recording) -> None:
    labels = tmp_path / "tasks.txt"
    labels.write_text("sinus rhythm\natrial fibrillation\t0.3\npaced\n")
    assistant = exported(fm(tmp_path), "ecg_fm", labels=labels)
    assert assistant.bundle.manifest.classification is not None
    assert assistant.bundle.manifest.classification.thresholds == (0.5, 0.3, 0.5)
    reading = assistant.interpret(recording)
    assert reading.text == "" and reading.statements.keys() == {"sinus rhythm", "atrial fibrillation", "paced"}
    encoded = assistant.encode(recording)
    assert {name: array.shape for name, array in encoded.items()} == {
        "logits": (3,),
        "tokens": (156, 48),
        "features": (48,),
    }
    p = 1 / (1 + np.exp(-encoded["logits"].astype(np.float64)))
    np.testing.assert_allclose(list(reading.statements.values()), p, atol=1e-6)
    with pytest.raises(InputError, match="no language model"):
        assistant.interpret(recording, question="Is it normal?")
    with pytest.raises(BundleError, match="language model"):
        assistant.chat(recording)
    with pytest.raises(BundleError, match="generation part"):
        assistant.generate("atrial fibrillation")


def test_an_encoder_of_embeddings_gets_millivolts_in_its_own_lead_order(tmp_path: Path, recording: Recording) -> None:
    assistant = exported(coca(tmp_path), "ecg_coca")
    pre = assistant.bundle.manifest.preprocessing
    assert pre is not None and pre.leads == (*LEADS[:4], "aVF", "aVL", *LEADS[6:])
    encoded = assistant.encode(recording)
    assert encoded["tokens"].shape == (101, 64) and encoded["embedding"].shape == (16,)
    assert assistant.interpret(recording).statements == {}


def test_a_classifier_of_one_lead_takes_it_from_twelve(tmp_path: Path, recording: Recording) -> None:
    path = saved(ecgfounder.EcgFounder(FOUNDER), tmp_path / "1_lead_ECGFounder.pth", "state_dict")
    assistant = exported(path, "ecgfounder")
    pre = assistant.bundle.manifest.preprocessing
    assert pre is not None and (pre.leads, pre.notch_hz, pre.median_seconds) == (("I",), 50.0, 0.4)
    assert list(assistant.interpret(recording).statements) == [f"label {n}" for n in range(4)]
    assert assistant.encode(recording)["features"].shape == (32,)


def test_a_generator_alone_draws_from_an_embedding_and_what_it_must_be_told(tmp_path: Path) -> None:
    unet = UNetConfig(text_width=24)
    saved(UNet(unet), tmp_path / "unet_all.pth", None)
    torch.save({"encoder": {}, "decoder": Decoder(VaeConfig()).state_dict()}, tmp_path / "vae_model.pth")
    assistant = Assistant(
        Bundle.open(export_checkpoint(tmp_path, tmp_path / "out", family="diffusets", **AS_READ).folder), threads=1
    )
    text = np.random.default_rng(0).standard_normal(24).astype(np.float32)
    told = {"sex": "male", "age": 60.0, "heart_rate": 75.0}

    def draw(**options: Any) -> Recording:
        return assistant.generate("sinus rhythm", embedding=text, steps=2, **(told | options)).recording

    drawn = draw(seed=1)
    assert drawn.signal.shape == (12, 1024) and drawn.fs == 102.4 and drawn.leads == LEADS and drawn.synthetic
    np.testing.assert_array_equal(draw(seed=1).signal, drawn.signal)
    assert not np.array_equal(draw(seed=2).signal, drawn.signal)
    assert not np.array_equal(draw(seed=1, heart_rate=150.0).signal, drawn.signal)
    with pytest.raises(InputError, match="found no heart_rate"):
        draw(heart_rate=None)
    with pytest.raises(InputError, match="embedding of 24 finite numbers"):
        assistant.generate("sinus rhythm", **told)


def test_what_is_missing_and_what_is_too_much_is_listed_and_nothing_written(tmp_path: Path) -> None:
    state = ecg_fm.EcgFm(FM).state_dict()
    state["encoder.spare"] = state.pop("proj.bias")
    path = tmp_path / "half.pt"
    torch.save({"model": state}, path)
    with pytest.raises(InputError, match=r"(?s)missing \(1\): proj.bias.*unexpected \(1\): encoder.spare"):
        export_checkpoint(path, tmp_path / "bundle", family="ecg_fm")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("family", ["ecg_coca", "ecgfounder", "merl"])
def test_a_checkpoint_of_another_family_is_refused(tmp_path: Path, family: str) -> None:
    with pytest.raises(InputError, match="expected"):
        read_checkpoint(fm(tmp_path), family)


def test_a_family_must_be_known_and_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the family with --family"):
        read_checkpoint(fm(tmp_path))
    with pytest.raises(InputError, match="in --family, found 'resnet'"):
        read_checkpoint(fm(tmp_path), "resnet")


EVIDENCE = Path("uniecg-evil")


class Evil:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (Path.touch, (EVIDENCE,))  # type: ignore[return-value]


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pt"
    torch.save({"model": Evil()}, path)
    with pytest.raises(InputError, match="could run code"):
        read_checkpoint(path, "ecg_fm")
    assert not EVIDENCE.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04rubbish", b"\x80\x04rubbish", b"x" * 100])
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected"):
        read_checkpoint(path, "ecg_fm")


HUGE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "ecg_coca": (lambda: ecg_coca.EcgTower(replace(COCA, width=1 << 22)), "module.ecg."),
    "ecgfounder": (lambda: ecgfounder.EcgFounder(replace(FOUNDER, labels=1 << 40)), ""),
    "merl": (lambda: merl.make(merl.MerlConfig(projection=merl.ProjectionConfig(hidden=1 << 40))), ""),
    "ecg_fm": (lambda: ecg_fm.EcgFm(replace(FM, feed_forward=1 << 40)), ""),
}


@pytest.mark.parametrize("family", HUGE)
def test_a_small_file_that_claims_a_huge_model_takes_no_memory(tmp_path: Path, family: str) -> None:
    make, prefix = HUGE[family]
    with torch.device("meta"):
        state = make().state_dict()
    ones = {kind: torch.ones((), dtype=kind) for kind in (torch.float32, torch.int64)}
    path = tmp_path / "small.pt"
    torch.save({prefix + name: ones[t.dtype].expand(t.shape) for name, t in state.items()}, path)
    with pytest.raises(InputError, match=r"bytes of tensors in .*small\.pt"):
        read_checkpoint(path, family)


@pytest.mark.parametrize("change", ["groups", "time"])
def test_a_generator_of_a_geometry_that_cannot_be_is_one_clear_error(tmp_path: Path, change: str) -> None:
    with torch.device("meta"):
        unet, decoder = UNet(UNetConfig(text_width=24)).state_dict(), Decoder(VaeConfig()).state_dict()
    if change == "groups":  # what is normalised in 32 groups
        decoder = {name: torch.empty(100, *t.shape[1:]) if len(t.shape) == 3 else t for name, t in decoder.items()}
    else:
        unet |= {name: t[:, :2] for name, t in unet.items() if name.endswith("time_emb.fc1.weight")}
    for state in (unet, decoder):
        state |= {name: torch.zeros(1).expand(t.shape) for name, t in state.items()}
    torch.save(unet, tmp_path / "unet_all.pth")
    torch.save({"encoder": {}, "decoder": decoder}, tmp_path / "vae_model.pth")
    with pytest.raises(InputError, match="expected a geometry"):
        read_checkpoint(tmp_path, "diffusets")


@pytest.mark.parametrize("text", ["one\ntwo\n", "a\nb\nb\n", "a\t2\nb\nc\n", "a\tx\nb\nc\n"])
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, text: str) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text(text)
    with pytest.raises(InputError, match="label"):
        read_checkpoint(fm(tmp_path), "ecg_fm", labels)
