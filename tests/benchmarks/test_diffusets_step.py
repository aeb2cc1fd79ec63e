"""The step's benchmark compares two graphs that compute the same, and draws with the bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `export`")

import diffusets_step


@pytest.mark.slow
def test_it_measures_both_graphs_and_a_drawing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "result.json"
    diffusets_step.main(["--width", "1536", "--runs", "5", "--drawings", "1", "--threads", "1", "--json", str(file)])
    result = json.loads(file.read_text())
    (found,) = result["widths"]
    assert found["largest_difference"] < 1e-5
    runs = {name: each["runs"] for name, each in found["ms"].items()}
    assert runs == {"folded": 5, "unfolded": 5, "condition": 1, "decoder": 1, "drawing": 1}
    ratio = found["unfolded_by_folded"]
    assert ratio["low"] <= ratio["value"] <= ratio["high"]
    said = capsys.readouterr().out
    assert "unfolded / folded" in said and "asked 1.5" in said and "asked below 155" in said
