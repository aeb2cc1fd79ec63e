"""With and without the matrix are measured on the same answers, against the same f16."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `export`")

import importance_matrix
from importance_matrix import Measured, Passage, compare, interval
from uniecg_export.families.uniecg_nano import load_config
from uniecg_export.training.records import Records, _save, load_simulated

CHECKPOINT = Path(__file__).parent.parent.parent / "checkpoints" / "uniecg-nano"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated records that stand in for training (folds 1-8) and validation (fold 9)."""
    folder = tmp_path_factory.mktemp("records")
    records = load_simulated(4, folder / "simulated.npz", load_config(CHECKPOINT))
    _save(replace(records, fold=np.array([1, 8, 9, 9])), folder / "records.npz")
    return folder / "records.npz"


def passage(answer: list[int]) -> Passage:
    return Passage([], np.empty((0, 1), np.float32), [], answer)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return np.asarray(logits - np.log(np.exp(logits).sum(1, keepdims=True)), np.float32)


def test_divergence_agreement_and_likelihood_are_those_of_the_answers() -> None:
    reference = log_softmax(np.array([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]]))
    other = log_softmax(np.array([[0.0, 2.0, 0.0], [0.0, 3.0, 0.0]]))
    found = compare([other], [reference], [passage([0, 1])])
    p, q = np.exp(reference.astype(float)), np.exp(other.astype(float))
    assert found.kl[0] == pytest.approx((p * np.log(p / q)).sum(), rel=1e-5)
    assert found.nll[0] == pytest.approx(-np.log(q[0, 0] * q[1, 1]), rel=1e-5)
    assert (found.agree[0], found.tokens[0]) == (1, 2)
    same = compare([reference], [reference], [passage([0, 1])])
    assert (same.kl[0], same.agree[0]) == (0, 2)


def test_the_interval_is_of_pairs() -> None:
    rng = np.random.default_rng(0)
    without = rng.exponential(1, 60)
    ones = np.ones(60)
    halves, noise = (Measured(ones, ones, ones, kl) for kl in (without / 2, rng.permutation(without)))
    base = Measured(ones, ones, ones, without)
    assert interval(halves, base) == pytest.approx((0.5, 0.5, 0.5))
    value, low, high = interval(noise, base)
    assert low < 1 < high and value == pytest.approx(1)


def test_texts_are_turns_of_training_records_without_soft_tokens(cache: Path) -> None:
    records: Records = importance_matrix.load_records(Path("nowhere"), cache, load_config(CHECKPOINT))
    texts = list(importance_matrix.taught(records, 30, 8))
    assert len(texts) == 30 and all(t.startswith("<s><|user|>") and t.endswith("</s>") for t in texts)
    assert sum("<|ecg|><|/ecg|>" in t for t in texts) == 10
    assert sum(t.endswith("[ECG]" * 8 + "</s>") for t in texts) == 10


@pytest.mark.slow
def test_every_precision_is_measured_with_and_without(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    shared = ["--cache", str(cache), "--texts", "6", "--json", str(file)]
    importance_matrix.main([str(CHECKPOINT), "--records", "2", *shared])
    result = json.loads(file.read_text())
    assert result["records"] == 2 and result["matrix_tokens"] > 100
    rows = {(row["precision"], row["matrix"]): row for row in result["rows"]}
    assert rows["f16", ""]["kl_millinats"] == 0 and rows["f16", ""]["top1"] == 1
    for precision in ("q6_k", "q5_k_m", "q4_k_m"):
        without, with_matrix = rows[precision, "without"], rows[precision, "with"]
        assert without["mb"] == pytest.approx(with_matrix["mb"], rel=0.01)
        assert 0 < without["kl_millinats"] != with_matrix["kl_millinats"] > 0
        assert not without["fallbacks"]  # its rows are 256 and 768 long
        assert len(with_matrix["kl_with_by_without"]) == 3
    said = capsys.readouterr().out
    assert "q4_k_m with" in said and "otherwise than asked: none" in said
