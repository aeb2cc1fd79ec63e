"""The training loop: killed and resumed runs end where an uninterrupted one does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from torch import Tensor, nn  # noqa: E402

from uniecg_export.training import loop  # noqa: E402
from uniecg_export.training.loop import run_stage  # noqa: E402

STEPS = 120


class Killed(Exception):
    """The process ends here."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that goes on by `step` seconds whenever it is read."""
    held = SimpleNamespace(now=0.0, step=10.0)

    def monotonic() -> float:
        held.now += held.step
        return held.now

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=monotonic))
    return held


def modules(seed: int) -> dict[str, nn.Module]:
    """Two small modules, one with the running statistics of batch norm; weights follow from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {"first": nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8)), "second": nn.Linear(8, 1)}


def fitting(parts: Mapping[str, nn.Module], until: int | None = None) -> Callable[[int], Mapping[str, Tensor]]:
    """A loss that follows from the step alone; from step `until` on the process is killed."""

    def loss(step: int) -> Mapping[str, Tensor]:
        if step == until:
            raise Killed
        x = torch.randn(16, 5, generator=torch.Generator().manual_seed(step))
        y = parts["second"](torch.tanh(parts["first"](x)))
        return {"fit": (y.float()[:, 0] - x.sum(1)).square().mean(), "size": 0.01 * y.float().square().mean()}

    return loss


def train(work: Path, seed: int, until: int | None = None, average: float = 0.9) -> dict[str, Tensor]:
    parts = modules(seed)
    run_stage(
        "stage",
        parts,
        fitting(parts, until),
        steps=STEPS,
        learning_rate=1e-2,
        work=work,
        slower={"first": 0.5},
        average=average,
    )
    return {f"{key}.{name}": value for key, module in parts.items() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_killed_run_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path: Path, average: float) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = train(tmp_path / "whole", seed=0, average=average)
    for until in (40, 85):
        with pytest.raises(Killed):
            train(tmp_path / "killed", seed=0, until=until, average=average)
        saved = torch.load(tmp_path / "killed" / "stage.pt", weights_only=True)
        assert 0 < saved["step"] <= until
        assert not saved["finished"]
    resumed = train(tmp_path / "killed", seed=99, average=average)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_a_finished_stage_gives_its_weights_back_and_takes_no_step(tmp_path: Path) -> None:
    final = train(tmp_path, seed=0)
    before = (tmp_path / "stage.pt").read_bytes()
    again = train(tmp_path, seed=1, until=0)
    assert all(torch.equal(value, again[name]) for name, value in final.items())
    assert (tmp_path / "stage.pt").read_bytes() == before


def test_training_lowers_the_loss_and_logs_it_every_50_steps(tmp_path: Path) -> None:
    train(tmp_path, seed=0)
    lines = [json.loads(line) for line in (tmp_path / "stage.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [50, 100]
    assert lines[1]["fit"] < 0.8 * lines[0]["fit"]
    assert {path.name for path in tmp_path.iterdir()} == {"stage.pt", "stage.jsonl"}


def test_averaged_weights_are_not_the_last_ones(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    last, averaged = train(tmp_path / "a", seed=0, average=0.0), train(tmp_path / "b", seed=0, average=0.9)
    assert not torch.equal(last["second.weight"], averaged["second.weight"])
    torch.testing.assert_close(last["second.weight"], averaged["second.weight"], rtol=0, atol=0.5)


def test_a_time_limit_ends_the_stage_and_counts_the_time_before_a_restart(
    tmp_path: Path, clock: SimpleNamespace
) -> None:
    parts, taken = modules(0), []

    def loss(step: int) -> Mapping[str, Tensor]:
        taken.append(step)
        if step == 30 and taken.count(30) == 1:
            raise Killed
        return fitting(parts)(step)

    def run() -> None:
        run_stage("stage", parts, loss, steps=10_000, learning_rate=1e-2, work=tmp_path, seconds=1000.0)

    with pytest.raises(Killed):
        run()
    run()
    saved = torch.load(tmp_path / "stage.pt", weights_only=True)
    assert saved["finished"]
    assert saved["spent"] == pytest.approx(1000, abs=50)
    assert len(taken) < 1000 / clock.step


def test_frozen_parameters_stay_as_they_are(tmp_path: Path) -> None:
    parts = modules(0)
    parts["second"].requires_grad_(False)
    before = parts["second"].state_dict()["weight"].clone()
    run_stage("stage", parts, fitting(parts), steps=20, learning_rate=1e-2, work=tmp_path)
    assert torch.equal(parts["second"].state_dict()["weight"], before)


def test_the_score_is_taken_in_evaluation_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = modules(0)

    def score() -> Mapping[str, float]:
        assert not any(module.training for module in parts.values())
        assert not torch.is_grad_enabled()
        return {"good": 0.75}

    run_stage("stage", parts, fitting(parts), steps=10, learning_rate=1e-2, work=tmp_path, score=score)
    assert 'stage final {"good": 0.75}' in capsys.readouterr().out
