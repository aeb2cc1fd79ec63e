"""Folders of random weights are what a published model's would be, and converting one is watched from outside."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `export`")

import gguf_memory
from uniecg_export.hf_language_model import open_language_model, read_tensor
from uniecg_runtime.backends.llama import LanguageModel

SIZES = {
    "vocab_size": 700,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TINY: dict[str, Any] = {**gguf_memory.PUBLISHED, **SIZES}


@pytest.fixture(autouse=True)
def small_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_memory, "BLOCK", 1 << 16)


def test_geometries_are_the_published_sizes() -> None:
    billions = {
        name: gguf_memory._count(gguf_memory._shapes({**gguf_memory.PUBLISHED, **sizes})) / 1e9
        for name, sizes in gguf_memory.MODELS.items()
    }
    assert billions == pytest.approx({"tinyllama-1.1b": 1.1, "vicuna-7b": 6.74}, abs=0.005)


def test_a_written_folder_is_a_language_model_in_shards(tmp_path: Path) -> None:
    parameters = gguf_memory.write_checkpoint(tmp_path, TINY, shard_bytes=600_000)
    model = open_language_model(tmp_path)
    assert len({place.path for place in model.tensors.values()}) > 3
    values = {name: read_tensor(place) for name, place in model.tensors.items()}
    assert sum(value.size for value in values.values()) == parameters
    for value in values.values():
        assert 0.01 < float(np.std(value.astype(np.float32))) < 0.03


def test_what_is_made_of_it_loads_in_llama_cpp(tmp_path: Path) -> None:
    gguf_memory.write_checkpoint(tmp_path, TINY)
    found = gguf_memory.make("f16", tmp_path, tmp_path / "f16.gguf")
    assert found["seconds"] > 0 and found["peak_gb"] >= found["imports_gb"] > 0
    model = LanguageModel(tmp_path / "f16.gguf", context=64, threads=1)
    assert (model.vocabulary, model.width) == (700, 256)
    gguf_memory.make("q4_k_m", tmp_path / "f16.gguf", tmp_path / "q4.gguf")
    assert (tmp_path / "q4.gguf").stat().st_size < 0.5 * (tmp_path / "f16.gguf").stat().st_size


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_own_memory_is_read_of_a_live_process_only() -> None:
    holding = "held = b'x' * 200_000_000; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", holding], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        assert 0.2 <= gguf_memory._anonymous_gb(process.pid) < 0.25
        process.communicate(b"\n")
    assert gguf_memory._anonymous_gb(process.pid) == 0.0


def test_too_small_a_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(SystemExit, match="free disk"):
        next(gguf_memory.measure(TINY, ["f16"], tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_each_precision_is_made_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gguf_memory, "MODELS", {"tiny": SIZES})
    folder, file = tmp_path / "large", tmp_path / "result.json"
    folder.mkdir()
    gguf_memory.main(["--models", "tiny", "--precisions", "q8_0", "--folder", str(folder), "--json", str(file)])
    results = json.loads(file.read_text())["results"]
    assert [found["precision"] for found in results] == ["f16", "q8_0"]
    assert all(0 < found["own_gb"] <= found["peak_gb"] for found in results)
    assert results[1]["file_gb"] < results[0]["file_gb"]
    assert "tiny q8_0" in capsys.readouterr().out
    assert not list(folder.iterdir())
