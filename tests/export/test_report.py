"""The report says what is in the bundle, what was refused and why, and that it is no medical device."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `export`")

from PIL import Image
from rich.console import Console

from uniecg_device.signals import LEADS, Recording
from uniecg_export.bundle import Exported
from uniecg_export.report import write_report
from uniecg_export.speed import Speed
from uniecg_export.sweep import trial_table
from uniecg_export.targets import find_target
from uniecg_export.trial_set import TrialSet
from uniecg_export.trials import Trial
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.manifest import Artifact, Gate, Override

ONE = Recording(np.zeros((12, 10), np.float32), 500.0, LEADS)
TRIED = TrialSet((ONE,), (ONE, ONE), "3 of 9 recordings below clinic", ("AFIB",))


def artifact(precision: str, size: int) -> Artifact:
    return Artifact("encoder", f"encoder.{precision}.onnx", "0" * 64, size, "onnxruntime", precision)


SLOW = Trial(
    "encoder",
    "int8_dynamic",
    artifact("int8_dynamic", 250_000),
    1_000_000,
    (
        Gate("encoder.size", "size", 0.25, 1.0),
        Gate("encoder.speed", "time", 1.6, 1.05),
        Gate("encoder.cosine", "tokens", 0.3, 0.005),
    ),
    Speed(1.0, 1.6, 1.6, 1.7),
)
KEPT = Trial(
    "encoder",
    "float16_weights",
    artifact("float16_weights", 500_000),
    1_000_000,
    (Gate("encoder.size", "size", 0.5, 1.0), Gate("encoder.cosine", "tokens", 0.007, 0.005)),
    Speed(1.0, 1.01, 1.01, 1.02),
)
BROKEN = Trial("encoder", "int4_weights", None, 1_000_000, failed="expected weights, found none")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    parity = (Gate("encoder.parity", "outputs", 1e-6, 1e-4),)
    override = Override("encoder.cosine", "only triage")
    files = write_report(
        tmp_path, "nano", find_target("cpu"), TRIED, parity, (SLOW, BROKEN, KEPT), (KEPT,), (override,)
    )
    assert files == ("report.json", "report.md", "report.png")
    return tmp_path


def test_programs_find_every_trial_with_its_gates(folder: Path) -> None:
    held = json.loads((folder / "report.json").read_text())
    assert (held["recordings"], held["measured_on"], held["calibrated_on"]) == (TRIED.source, 2, 1)
    trials = {trial["precision"]: trial for trial in held["trials"]}
    assert [trials[name]["chosen"] for name in ("int8_dynamic", "int4_weights", "float16_weights")] == [0, 0, 1]
    assert trials["int8_dynamic"]["speed"]["ratio"] == 1.6 and not trials["int8_dynamic"]["ok"]
    assert trials["int4_weights"]["failed"] and trials["int4_weights"]["size"] is None
    assert held["overrides"] == [{"gate": "encoder.cosine", "reason": "only triage"}]


def test_people_read_what_was_refused_and_what_was_let_pass(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    rows = {line.split("|")[2].strip(): line for line in text.splitlines() if line.startswith("| encoder |")}
    assert "refused" in rows["int8_dynamic"] and "could not be made" in rows["int4_weights"]
    assert rows["float16_weights"].rstrip("| ").endswith("yes")
    assert "overridden: only triage" in text and "3 of 9 recordings below clinic; measured on 2" in text
    assert "expected weights, found none" in text and "not a medical device" in text


def test_only_what_is_in_the_bundle_was_overridden(folder: Path) -> None:
    verdicts = {
        trial["precision"]: {gate["gate"]: gate["verdict"] for gate in trial["gates"]}
        for trial in json.loads((folder / "report.json").read_text())["trials"]
    }
    assert verdicts["float16_weights"]["encoder.cosine"] == "overridden: only triage"
    assert verdicts["int8_dynamic"]["encoder.cosine"] == "refused"
    assert "| encoder.cosine (int8_dynamic) | 0.3 | 0.005 | refused |" in (folder / "report.md").read_text()


def test_a_report_without_recordings_measured_nothing_on_them(tmp_path: Path) -> None:
    none = TrialSet((), (), "none were read, this model takes none")
    write_report(tmp_path, "nano", find_target("cpu"), none, (), (KEPT,), (KEPT,), ())
    text = (tmp_path / "report.md").read_text()
    assert "Recordings: none were read, this model takes none. Each" in text and "measured on" not in text


def test_the_figure_is_a_picture(folder: Path) -> None:
    with Image.open(folder / "report.png") as picture:
        assert picture.width > 400 and picture.height > 100


def test_the_table_marks_what_is_in_the_bundle_and_what_is_beaten_by_none() -> None:
    shown = io.StringIO()
    Console(width=200, file=shown).print(trial_table((SLOW, BROKEN, KEPT), (KEPT,)))
    rows = {line.split("│")[2].strip(): line for line in shown.getvalue().splitlines() if "encoder" in line}
    assert ">" in rows["float16_weights"] and ">" not in rows["int8_dynamic"]
    assert "speed" in rows["int8_dynamic"] and "could not be made" in rows["int4_weights"]


def test_the_report_of_a_bundle_is_hashed_with_it(bundle_q8: Exported) -> None:
    opened = Bundle.open(bundle_q8.folder)
    assert [item.file for item in opened.manifest.report] == ["report.json", "report.md", "report.png"]
    held = json.loads((bundle_q8.folder / "report.json").read_text())
    assert {trial["role"] for trial in held["trials"]} == {item.role for item in opened.manifest.artifacts}
    assert "simulated" in held["recordings"]
