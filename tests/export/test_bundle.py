"""A checkpoint becomes a bundle, whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from uniecg_device.errors import BundleError, InputError
from uniecg_export import bundle, cli, reference, staging
from uniecg_export.bundle import Exported, export_checkpoint
from uniecg_export.checkpoint import read_checkpoint
from uniecg_export.cli import export
from uniecg_export.families.uniecg_nano_prompt import LABELS
from uniecg_export.gates import GateError
from uniecg_export.staging import staged
from uniecg_export.trials import Trial
from uniecg_runtime import manifest
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.verify import relative_error, verify_bundle

AS_TRAINED = ("float32", "f16")
UNDECIDED = [
    f"language_model.{kind}=random weights" for kind in ("nll", "top1", "states", "agreement", "speed", "size")
]
ROLES = {"encoder", "language_model", "condition", "denoiser", "decoder"}


def test_the_runtime_opens_the_bundle_and_replays_its_golden(bundle_q8: Exported) -> None:
    opened = Bundle.open(bundle_q8.folder)
    checks = verify_bundle(opened)
    assert {check.role for check in checks} == ROLES
    assert all(check.ok and check.error <= check.tolerance for check in checks)
    assert opened.manifest == bundle_q8.manifest


def test_a_bundle_holds_its_artifacts_and_nothing_else(bundle_q8: Exported) -> None:
    files = {item.file for item in bundle_q8.manifest.artifacts} | {"golden.npz", "manifest.json"}
    files |= {"report.json", "report.md", "report.png"}
    assert {path.name for path in bundle_q8.folder.iterdir()} == files
    assert [path.name for path in bundle_q8.folder.parent.iterdir()] == ["bundle"]
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in bundle_q8.folder.iterdir())


def test_the_manifest_says_where_the_weights_came_from_and_what_was_overruled(
    bundle_q8: Exported, bundle_f16: Exported, checkpoint: Path
) -> None:
    held = bundle_q8.manifest
    assert "not a medical device" in held.intended_use
    weights = (checkpoint / "model.safetensors").read_bytes()
    assert held.provenance.checkpoint_sha256 == hashlib.sha256(weights).hexdigest()
    assert held.provenance.family == "uniecg_nano" and held.provenance.trained_on == ("random weights",)
    assert held.provenance.parameters.keys() == ROLES and min(held.provenance.parameters.values()) > 1000
    assert [item.label for item in held.statements.items] == list(LABELS)
    assert held.figures[0].name == "macro-AUROC"
    assert held.generation is not None and held.generation.latent_shape == (20, 80)
    assert not bundle_f16.manifest.overrides
    refused = {gate.name for gate in held.gates if not gate.ok}
    assert {item.gate for item in held.overrides} == refused


def test_the_golden_conversation_has_the_prompt_soft_tokens_and_drawing_tokens(bundle_f16: Exported) -> None:
    golden = Bundle.open(bundle_f16.folder).golden()
    assert golden["language_model.in.soft_tokens"].shape == (41, 64)
    after = golden["language_model.in.after"]
    assert list(after[-8:]) == [7] * 8
    assert golden["language_model.out.states"].shape == (len(after), 64)
    assert golden["language_model.out.logits"].shape == (512,)


def rehash(folder: Path, change: Callable[[dict[str, Any]], None]) -> Bundle:
    """Change golden arrays and make the hashes fit again, as a careful forger would."""
    golden = Bundle.open(folder).golden()
    changed: dict[str, Any] = dict(golden)
    change(changed)
    np.savez(folder / "golden.npz", **changed)
    held = manifest.decode((folder / "manifest.json").read_bytes())
    digest = hashlib.sha256((folder / "golden.npz").read_bytes()).hexdigest()
    (folder / "manifest.json").write_bytes(manifest.encode(msgspec.structs.replace(held, golden_sha256=digest)))
    return Bundle.open(folder)


@pytest.mark.parametrize("name", ["encoder.out.tokens", "language_model.out.states", "decoder.in.latent"])
def test_verify_says_which_role_computes_something_else(bundle_f16: Exported, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(bundle_f16.folder, tmp_path / "bundle")
    changed = rehash(folder, lambda arrays: arrays.update({name: arrays[name] * 1.5}))
    role = name.split(".")[0]
    assert {check.role for check in verify_bundle(changed) if not check.ok} == {role}


def test_verify_does_not_take_a_value_that_is_no_number_for_agreement(bundle_f16: Exported, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle_f16.folder, tmp_path / "bundle")
    nothing = rehash(folder, lambda a: a.update({"encoder.out.tokens": a["encoder.out.tokens"] * np.float32("nan")}))
    assert not next(check for check in verify_bundle(nothing) if check.role == "encoder").ok


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoder.in.signal", None),
        ("encoder.in.signal", np.zeros(3, np.float32)),
        ("encoder.in.signal", np.array(["text"])),
        ("language_model.in.before", np.array([10**6])),
        ("language_model.in.before", np.array([], np.int32)),
        ("language_model.in.soft_tokens", np.zeros((2, 3), np.float32)),
    ],
)
def test_golden_arrays_that_do_not_fit_are_one_clear_error(
    bundle_f16: Exported, tmp_path: Path, name: str, value: np.ndarray[Any, Any] | None
) -> None:
    def change(arrays: dict[str, Any]) -> None:
        arrays.pop(name)
        if value is not None:
            arrays[name] = value

    folder = shutil.copytree(bundle_f16.folder, tmp_path / "bundle")
    changed = rehash(folder, change)
    with pytest.raises(BundleError, match="golden arrays that fit"):
        verify_bundle(changed)


def test_relative_error_knows_shapes_scale_and_nan() -> None:
    b = np.array([0.0, 2.0], np.float32)
    assert relative_error(b + np.float32(0.5), b) == 0.25
    assert relative_error(np.zeros((1, 2), np.float32), b) == float("inf")
    assert np.isnan(relative_error(b, b * np.float32("nan")))


def test_a_failing_gate_writes_nothing_and_keeps_what_was_there(
    checkpoint: Path, bundle_f16: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out = shutil.copytree(bundle_f16.folder, tmp_path / "bundle")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    worse = manifest.Gate("decoder.parity", "outputs, relative error", 2e-4, 1e-4)
    monkeypatch.setattr(reference, "graph_parity", lambda source, path, artifact: worse)
    with pytest.raises(GateError, match=r"decoder\.parity: outputs, relative error 0\.0002"):
        export(checkpoint, out, precisions=AS_TRAINED, overrides=["encoder.parity=the wrong one"])
    assert "refused" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_interruption_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staged(tmp_path / "bundle") as folder:
        (folder / "half").write_text("written")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_bundle_is_replaced_as_a_whole(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    for content in ("old", "new"):
        with staged(out) as folder:
            (folder / "manifest.json").write_text(content)
            (folder / content).touch()
    assert {path.name for path in out.iterdir()} == {"manifest.json", "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_the_old_bundle_returns_where_the_new_one_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    with staged(out) as folder:
        (folder / "manifest.json").write_text("old")
    moved = staging.os.rename

    def fail_once(source: Path, target: Path) -> None:
        if (Path(source) / "manifest.json").read_text() == "new":
            raise OSError("disk gone")
        moved(source, target)

    monkeypatch.setattr(staging.os, "rename", fail_once)
    with pytest.raises(InputError, match="disk gone"), staged(out) as folder:
        (folder / "manifest.json").write_text("new")
    assert (out / "manifest.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_that_became_no_bundle_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    with pytest.raises(InputError, match="new folder or a bundle to replace"), staged(out) as folder:
        (folder / "manifest.json").touch()
        out.mkdir()
        (out / "thesis.tex").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["bundle", "bundle/thesis.tex"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_keeps_pointing_to_the_bundle_that_is_replaced(tmp_path: Path, there: bool) -> None:
    target, out = tmp_path / "releases" / "2", tmp_path / "current"
    if there:
        target.mkdir(parents=True)
        (target / "manifest.json").write_text("old")
    out.symlink_to(target)
    with staged(out) as folder:
        (folder / "manifest.json").write_text("new")
    assert out.is_symlink() and (target / "manifest.json").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"releases", "current"}
    assert [path.name for path in target.parent.iterdir()] == ["2"]


def test_what_cannot_be_moved_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(InputError, match="found something else"), staged(tmp_path / "round"):
        raise AssertionError
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(staging.os.path, "ismount", lambda path: Path(path) == tmp_path / "disk")
    with pytest.raises(InputError, match="found a mount point"), staged(tmp_path / "disk"):
        raise AssertionError


def test_a_folder_that_is_no_bundle_is_never_replaced(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="new folder or a bundle to replace"):
        export_checkpoint(checkpoint, tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_the_command_prints_its_gates_and_the_disclaimer(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(checkpoint, tmp_path / "bundle", precisions=AS_TRAINED)
    printed = capsys.readouterr().out
    assert "encoder" in printed and "not a medical device" in printed.replace("\n", " ")
    assert verify_bundle(Bundle.open(tmp_path / "bundle"))


def test_the_command_prints_names_and_reasons_as_they_are(
    bundle_f16: Exported, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = (manifest.Override("encoder.speed", "see [perf/12] and [/perf] :cat:"),)
    slow = manifest.Gate("encoder.speed", "time", 1.4, 1.05)
    described = msgspec.structs.replace(
        bundle_f16.manifest, name="nano [bold]", gates=(slow,), overrides=overrides, intended_use="research [/only]"
    )
    done = dataclasses.replace(bundle_f16, folder=Path("a[1]"), manifest=described)
    monkeypatch.setattr(cli, "export_checkpoint", lambda *_, **__: done)
    monkeypatch.setenv("COLUMNS", "200")
    export(Path("checkpoint"), Path("a[1]"))
    printed = capsys.readouterr().out
    assert "overridden: see [perf/12] and [/perf] :cat:" in printed
    assert "nano [bold]" in printed and "MB in a[1]" in printed and "research [/only]" in printed


def test_texts_give_the_k_quants_an_importance_matrix(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "domain.txt").write_text("Heart rate 72 bpm (normal).\n\nConclusion: sinus rhythm; normal ECG.\n")
    options: dict[str, Any] = {"precisions": ("float32", "q6_k"), "most": 16, "overrides": UNDECIDED}
    made = export_checkpoint(checkpoint, tmp_path / "bundle", texts=tmp_path / "domain.txt", **options)
    notes = made.manifest.artifact("language_model").notes
    assert any("importance matrix of the texts in domain.txt" in note for note in notes)
    assert not (made.folder / "importance.gguf").exists()


@pytest.mark.parametrize(
    ("file", "precision", "said"),
    [
        ("typo.txt", "q6_k", "could not read them"),
        ("typo.txt", "q8_0", "could not read them"),
        ("empty.txt", "q6_k", "expected a text a line"),
        ("domain.txt", "q8_0", r"q6_k, q5_k_m, q4_k_m with --texts, found q8_0"),
        ("domain.txt", "encoder=float32", r"with --texts, found q8_0 or f16"),
    ],
)
def test_texts_that_cannot_be_used_are_refused_before_anything_is_tried(
    checkpoint: Path, tmp_path: Path, file: str, precision: str, said: str
) -> None:
    (tmp_path / "domain.txt").write_text("Conclusion: sinus rhythm; normal ECG.\n")
    (tmp_path / "empty.txt").write_text("\n")
    shown: list[str] = []
    with pytest.raises(InputError, match=said):
        export_checkpoint(
            checkpoint,
            tmp_path / "bundle",
            texts=tmp_path / file,
            precisions=[precision],
            shown=lambda role, precision: shown.append(precision),
        )
    assert not shown and not (tmp_path / "bundle").exists()


def test_what_was_chosen_is_moved_and_not_on_the_disk_twice(bundle_f16: Exported, tmp_path: Path) -> None:
    work = Bundle.open(shutil.copytree(bundle_f16.folder, tmp_path / "work"))
    chosen = [Trial(item.role, item.precision, item, item.size) for item in work.manifest.artifacts]
    (tmp_path / "made").mkdir()
    described = bundle._assemble(tmp_path / "made", work, chosen, ())
    assert {item.file for item in described.artifacts} | {"golden.npz"} == set(os.listdir(tmp_path / "made"))
    assert not any((work.folder / item.file).exists() for item in work.manifest.artifacts)


def test_an_unknown_precision_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"q8_0, .*found 'int3'"):
        export(checkpoint, tmp_path / "bundle", precisions=["int3"])
    with pytest.raises(InputError, match="--target as one of"):
        export(checkpoint, tmp_path / "bundle", target="toaster")


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "copy")


def test_a_missing_folder_a_file_and_a_missing_part_are_named(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing"):
        read_checkpoint(tmp_path / "absent")
    with pytest.raises(InputError, match="found a file"):
        read_checkpoint(copied / "config.json", "uniecg_nano")
    (copied / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"missing: tokenizer\.json"):
        read_checkpoint(copied)


def test_pickles_are_refused_unopened(copied: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin: safetensors only"):
        read_checkpoint(copied)
    (copied.parent / "model.pt").touch()
    with pytest.raises(InputError, match="safetensors only"):
        read_checkpoint(copied.parent / "model.pt", "uniecg_nano")


def test_a_half_matching_checkpoint_gets_a_list(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    weights["decoder.extra"] = weights.pop("decoder.mean")
    weights["encoder.pool.bias"] = weights["encoder.pool.bias"][:3].clone()
    save_file(weights, copied / "model.safetensors")
    with pytest.raises(InputError) as caught:
        read_checkpoint(copied)
    message = str(caught.value)
    assert "missing (1): decoder.mean" in message
    assert "unexpected (1): decoder.extra" in message
    assert "other shape (1): encoder.pool.bias (3,) instead of (64,)" in message


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}", b"\xff" * 64, b"PK\x03\x04 a zip of pickles"])
def test_a_damaged_weights_file_is_one_clear_error(copied: Path, content: bytes) -> None:
    (copied / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors"):
        read_checkpoint(copied)


@pytest.mark.parametrize(
    "change",
    [
        {"family": "unheard-of"},
        {"surprise": 1},
        {"width": "256"},
        {"width": -8},
        {"width": 10**12},
        {"layers": 10**6},
        {"heads": 7},
        {"encoder_channels": [16, 0, 32]},
        {"encoder_channels": [16]},
        {"labels": ["NORM", "LOVE"]},
        {"labels": [["NORM"]]},
        {"figures": [{"name": "half"}]},
        {"fs": float("nan")},
    ],
    ids=str,
)
def test_a_configuration_that_no_model_can_have_is_one_clear_error(copied: Path, change: dict[str, Any]) -> None:
    held = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(held | change))
    with pytest.raises(InputError, match=r"config\.json"):
        read_checkpoint(copied)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"family": []}', "[" * 100_000, "\x80"])
def test_a_configuration_that_is_none_is_one_clear_error(copied: Path, text: str) -> None:
    (copied / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"config\.json"):
        read_checkpoint(copied)


def test_a_tokenizer_without_the_prompts_special_tokens_is_refused(copied: Path) -> None:
    text = (copied / "tokenizer.json").read_text(encoding="utf-8")
    (copied / "tokenizer.json").write_text(text.replace("<|stmt:WPW|>", "<|stmt:XYZ|>"), encoding="utf-8")
    with pytest.raises(InputError, match=r"missing: <\|stmt:WPW\|>"):
        read_checkpoint(copied)


def test_a_tokenizer_that_its_own_library_refuses_is_one_clear_error(copied: Path) -> None:
    held = json.loads((copied / "tokenizer.json").read_text(encoding="utf-8"))
    held["post_processor"] = {"type": "Unheard-of"}
    (copied / "tokenizer.json").write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(InputError, match=r"expected a tokenizer in .*tokenizer\.json"):
        read_checkpoint(copied)


def test_what_was_read_is_in_float32_and_ready_to_run(checkpoint: Path) -> None:
    language = read_checkpoint(checkpoint).language
    assert language is not None
    assert not language.model.training
    assert all(p.dtype.is_floating_point and p.element_size() == 4 for p in language.model.parameters())
