"""Artifacts that are worse, slower or broken are refused by name when they are tried in another's place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `export`")

import onnx
from onnx import helper, numpy_helper

from uniecg_device.errors import UniecgError
from uniecg_export.bundle import Exported, sha256
from uniecg_export.gates import GateError, read_overrides
from uniecg_export.role_metrics import Reference
from uniecg_export.trial_set import read_trial_set
from uniecg_export.trials import Bench, Trial, pareto
from uniecg_runtime.assistant import Assistant
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.manifest import Artifact, Gate, Role

Change = Callable[[onnx.ModelProto], None]


@pytest.fixture(scope="module")
def bench(bundle_f16: Exported, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A bundle of random weights to replace artifacts of, on 12 simulated recordings."""
    folder = tmp_path_factory.mktemp("trials") / "bundle"
    shutil.copytree(bundle_f16.folder, folder)
    bundle = Bundle.open(folder)
    tried = read_trial_set(None, bundle.manifest.preprocessing, most=24)
    return Bench(Reference(Assistant(bundle, threads=1), tried), is_target=True)


def planted(bench: Bench, role: Role, precision: str, change: Change) -> Artifact:
    """The role's own graph with something changed, in a file beside it."""
    bundle = bench.bundle
    model = onnx.load(bundle.path(role))
    change(model)
    path = bundle.folder / f"{role}.{precision}.onnx"
    onnx.save(model, path)
    return described(bench, role, precision, path)


def described(bench: Bench, role: Role, precision: str, path: Path) -> Artifact:
    held = bench.bundle.manifest.artifact(role)
    return msgspec.structs.replace(
        held, file=path.name, sha256=sha256(path), size=path.stat().st_size, precision=precision
    )


def nothing(_: onnx.ModelProto) -> None:
    """Leave the graph as it is."""


def bad_scale(model: onnx.ModelProto) -> None:
    """A weight whose channels come out as if every other one had its neighbour's scale."""
    weights = [t for t in model.graph.initializer if len(t.dims) == 2 and t.dims[0] > 8] or [
        t for t in model.graph.initializer if len(t.dims) == 3
    ]
    for tensor in weights:
        value = numpy_helper.to_array(tensor).copy()
        value[::2] *= 4
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def slow(model: onnx.ModelProto) -> None:
    """The same numbers after work that no optimiser can leave out."""
    graph, size = model.graph, 768
    source = graph.input[0].name
    weight = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32) / size
    graph.initializer.extend(
        numpy_helper.from_array(v, n)
        for n, v in (("planted.w", weight), ("planted.axes", np.array([-1])), ("planted.zero", np.zeros(1, np.float32)))
    )
    nodes = [
        helper.make_node("Reshape", [source, "planted.axes"], ["planted.flat"]),
        helper.make_node("ReduceMean", ["planted.flat"], ["planted.mean"], keepdims=1),
        helper.make_node("Mul", ["planted.w", "planted.mean"], ["planted.0"]),
    ]
    nodes += [helper.make_node("MatMul", [f"planted.{k}", "planted.w"], [f"planted.{k + 1}"]) for k in range(6)]
    nodes += [
        helper.make_node("ReduceMean", ["planted.6"], ["planted.last"], keepdims=0),
        helper.make_node("Mul", ["planted.last", "planted.zero"], ["planted.nothing"]),
    ]
    output = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["planted.before" if name == output else name for name in node.output]
    graph.node.extend([*nodes, helper.make_node("Add", ["planted.before", "planted.nothing"], [output])])


def named(trial: Trial) -> set[str]:
    return {gate.name for gate in trial.gates if not gate.ok}


@pytest.mark.parametrize("role", ["encoder", "decoder", "language_model"])
def test_the_same_file_costs_nothing(bench: Bench, role: Role) -> None:
    held = bench.bundle.manifest.artifact(role)
    trial = bench.try_artifact(held)
    costs = {g.name: g.measured for g in trial.gates if not g.name.endswith((".speed", ".size"))}
    assert costs and all(abs(value) < 1e-6 for value in costs.values())
    assert trial.speed is not None and f"{role}.speed" in {g.name for g in trial.gates}


@pytest.mark.parametrize(("role", "gates"), [("encoder", {"encoder.cosine"}), ("decoder", {"decoder.frechet"})])
def test_a_bad_scale_is_refused_by_name(bench: Bench, role: Role, gates: set[str]) -> None:
    trial = bench.try_artifact(planted(bench, role, "bad_scale", bad_scale))
    assert not trial.ok and gates <= named(trial)


def test_a_slow_artifact_is_refused_by_name_and_an_override_lets_it_pass(bench: Bench) -> None:
    def make(precision: str) -> Artifact:
        return planted(bench, "decoder", precision, slow)

    with pytest.raises(GateError) as refused:
        bench.choose("decoder", ["slow"], make, ())
    assert "decoder.speed" in {g.name for g in refused.value.gates if not g.ok}
    accepted = read_overrides(["decoder.speed=planted", "decoder.size=planted"])
    chosen, tried = bench.choose("decoder", ["slow"], make, accepted)
    assert chosen.precision == "slow" and tried == [chosen]


def test_a_corrupted_file_is_a_failed_trial_that_says_why(bench: Bench) -> None:
    def make(precision: str) -> Artifact:
        path = bench.bundle.folder / f"encoder.{precision}.onnx"
        whole = bench.bundle.path("encoder").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        return described(bench, "encoder", precision, path)

    trial = bench.try_precision("encoder", "cut", make)
    assert not trial.ok and "encoder.cut.onnx" in trial.failed
    with pytest.raises(UniecgError, match=r"encoder\.cut\.onnx"):
        bench.choose("encoder", ["cut"], make, ())


def test_the_first_precision_that_passes_is_chosen_and_the_refused_are_reported(bench: Bench) -> None:
    changes = {"bad_scale": bad_scale, "same": nothing}
    overrides = read_overrides(["decoder.speed=this is not about speed"])
    chosen, tried = bench.choose(
        "decoder", list(changes), lambda name: planted(bench, "decoder", name, changes[name]), overrides
    )
    assert chosen.precision == "same" and [trial.precision for trial in tried] == ["bad_scale", "same"]


def test_speed_is_not_judged_on_a_machine_that_is_not_the_target(bench: Bench) -> None:
    elsewhere = Bench(bench.reference, is_target=False)
    trial = elsewhere.try_artifact(planted(bench, "decoder", "slow_elsewhere", slow))
    assert trial.speed is None and "decoder.speed" not in {g.name for g in trial.gates}


def test_pareto_keeps_what_nothing_beats_in_everything(bench: Bench) -> None:
    held = bench.bundle.manifest.artifact("encoder")

    def trial(size: int, cost: float) -> Trial:
        artifact = msgspec.structs.replace(held, size=size)
        return Trial("encoder", "x", artifact, 100, (Gate("encoder.cosine", "", cost, 1.0),))

    failed = Trial("encoder", "none", None, 100, failed="no")
    unknown = trial(20, float("nan"))
    assert pareto([trial(10, 0.5), trial(20, 0.5), trial(20, 0.1), failed, trial(5, 0.9), unknown]) == {0, 2, 4}
