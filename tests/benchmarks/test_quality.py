"""The built-in bundle is as good as its model card says, within what fewer records can tell."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the labels of PTB-XL are read by the extra `export`")
pytest.importorskip("wfdb", reason="needs the extra `files`")

import quality
from needs import recordings
from uniecg_runtime.assistant import Assistant
from uniecg_runtime.bundle import Bundle

PHRASINGS = Path(quality.__file__).parent / "routing_validation.json"


@pytest.fixture(scope="module")
def assistant(bundle: Bundle) -> Assistant:
    return Assistant(bundle, threads=1)


@pytest.mark.slow
def test_validation_records_are_read_as_well_as_the_model_card_says(
    assistant: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings("ptbxl/records500")
    some = list(islice(quality.fold_nine(), 60))
    monkeypatch.setattr(quality, "fold_nine", lambda: iter(some))
    figures = {figure.name: figure.value for figure in quality.accuracy(assistant)}
    assert figures["superclass macro-AUROC"] > 0.85
    assert figures["stated heart rate within 5 bpm of XQRS on II"] > 0.85


@pytest.mark.slow
def test_the_model_chooses_its_road(assistant: Assistant) -> None:
    items = [item for item in json.loads(PHRASINGS.read_text(encoding="utf-8"))["items"] if not item["signal"]][::3]
    right = [quality.first_choice(assistant, item["text"], None) == item["route"] for item in items]
    assert len(right) > 80 and sum(right) / len(right) > 0.93


@pytest.mark.slow
def test_figures_that_are_measured_again_replace_those_of_their_name(
    assistant: Assistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = [{"name": "AUROC", "value": 1.0, "split": "a", "n": 1}, {"name": "rate", "value": 0.0, "split": "b", "n": 1}]
    (tmp_path / "config.json").write_text(json.dumps({"family": "uniecg_nano", "figures": old}))
    monkeypatch.setattr(quality, "generation", lambda _: [quality.Figure(name="rate", value=0.5, split="b", n=2)])
    monkeypatch.setattr("sys.argv", ["quality.py", "--only", "generation", "--write", str(tmp_path)])
    quality.main()
    written = json.loads((tmp_path / "config.json").read_text())
    assert [(f["name"], f["value"]) for f in written["figures"]] == [("AUROC", 1.0), ("rate", 0.5)]
    assert written["family"] == "uniecg_nano" and "rate" in capsys.readouterr().out
