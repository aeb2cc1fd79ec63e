"""Every graph in every precision: same inputs and outputs, close enough, and the worst products left as they were."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from needs import recordings, tensorrt_rtx
from small_graphs import draw_inputs, transformer
from uniecg_device.errors import InputError
from uniecg_export.calibration import CALIBRATORS, Calibrator, run_graph
from uniecg_export.graph_precision import GRAPH_PRECISIONS, GraphPrecision, Reduced, reduce_graph
from uniecg_export.open_graph import Inputs, read_graph
from uniecg_export.sensitivity import worst_sqnr
from uniecg_export.tensorrt_build import Precision, build_plan
from uniecg_runtime.backends.onnx import Graph
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.manifest import Role

ROLES: tuple[Role, ...] = ("encoder", "condition", "denoiser", "decoder")
REDUCED: tuple[GraphPrecision, ...] = GRAPH_PRECISIONS[1:]
# What each is to TensorRT; int8_dynamic is for CPUs alone.
IN_TENSORRT: dict[GraphPrecision, Precision] = {"float16": "fp16", "int8_qdq": "int8", "int4_weights": "fp32"}


def golden_inputs(bundle: Bundle, role: Role) -> Inputs:
    arrays = bundle.golden()
    return {tensor.name: arrays[f"{role}.in.{tensor.name}"] for tensor in bundle.manifest.artifact(role).inputs}


@pytest.fixture(scope="module")
def reduced(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[Role, GraphPrecision], Reduced]:
    """uniecg-nano's graphs, calibrated with their golden inputs; 4 bits without, which spares the second moments."""
    folder = tmp_path_factory.mktemp("reduced")
    return {
        (role, precision): reduce_graph(
            bundle.path(role),
            folder / f"{role}.{precision}.onnx",
            precision,
            [] if precision == "int4_weights" else [golden_inputs(bundle, role)],
            target=20,
        )
        for role in ROLES
        for precision in GRAPH_PRECISIONS
    }


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("precision", GRAPH_PRECISIONS)
def test_the_runtime_opens_a_reduced_graph_as_it_does_the_float32_one(
    bundle: Bundle, reduced: dict[tuple[Role, GraphPrecision], Reduced], role: Role, precision: GraphPrecision
) -> None:
    found, inputs = reduced[role, precision], golden_inputs(bundle, role)
    assert found.size == found.path.stat().st_size <= bundle.path(role).stat().st_size
    outputs = Graph(found.path, bundle.manifest.artifact(role)).run(**inputs)
    measured = worst_sqnr(run_graph(read_graph(bundle.path(role)), [inputs]), [outputs])
    assert measured > {"float32": 100, "float16": 60}.get(precision, 16)
    if found.sqnr is not None and math.isfinite(found.sqnr):
        assert measured == pytest.approx(found.sqnr, abs=0.5)


def test_float32_is_the_file_as_it_was(bundle: Bundle, reduced: dict[tuple[Role, GraphPrecision], Reduced]) -> None:
    found = reduced["condition", "float32"]
    assert found.path.read_bytes() == bundle.path("condition").read_bytes()
    assert (found.share, found.sqnr) == (0, math.inf)


@pytest.mark.parametrize("role", ["encoder", "condition", pytest.param("denoiser", marks=pytest.mark.slow), "decoder"])
@pytest.mark.parametrize("precision", IN_TENSORRT)
def test_tensorrt_takes_a_reduced_graph_for_three_architectures(
    reduced: dict[tuple[Role, GraphPrecision], Reduced], role: Role, precision: GraphPrecision
) -> None:
    tensorrt_rtx()
    path = reduced[role, precision].path
    plan = build_plan(
        path,
        path.with_suffix(".plan"),
        sms=(86, 89, 121),
        precision=IN_TENSORRT[precision],
        flavour="tensorrt_rtx",
    )
    assert plan.warnings == () and plan.size > 0


@pytest.mark.parametrize("precision", REDUCED)
def test_the_same_inputs_give_the_same_file(tmp_path: Path, precision: GraphPrecision) -> None:
    source, calls = transformer(tmp_path / "g.onnx"), draw_inputs(4)
    first, second = (reduce_graph(source, tmp_path / name, precision, calls) for name in ("a", "b"))
    assert first.path.read_bytes() == second.path.read_bytes()
    assert (first.sqnr, first.left, first.damage) == (second.sqnr, second.left, second.damage)


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_a_planted_outlier_is_left_in_float32_and_the_target_is_reached(tmp_path: Path, calibrator: Calibrator) -> None:
    calls = draw_inputs(8)
    found = reduce_graph(
        transformer(tmp_path / "g.onnx", layers=4, outlier=2), tmp_path / "q.onnx", "int8_qdq", calls,
        calibrator=calibrator, target=30,
    )  # fmt: skip
    assert found.left == ("down2",) and next(iter(found.damage)) == "down2"
    assert found.damage["down2"] < 15 < 30 <= (found.sqnr or 0)
    assert (found.calibrator, found.share) == (calibrator, pytest.approx(7 / 8))


def test_the_target_holds_on_inputs_that_were_not_seen(tmp_path: Path) -> None:
    source, fresh = transformer(tmp_path / "g.onnx", layers=3), draw_inputs(8, seed=9)
    exact = run_graph(read_graph(source), fresh)
    for target in (30, 36, 40):
        found = reduce_graph(source, tmp_path / "q.onnx", "int8_qdq", draw_inputs(64), target=target)
        assert worst_sqnr(exact, run_graph(read_graph(found.path), fresh)) > target - 1


def test_more_is_left_in_float32_the_higher_the_target(tmp_path: Path) -> None:
    source, calls = transformer(tmp_path / "g.onnx", layers=3), draw_inputs(4)
    shares = [
        reduce_graph(source, tmp_path / "q.onnx", "int8_qdq", calls, target=target).share
        for target in (20, 40, 42, 200)
    ]
    assert shares[0] == 1 and shares[-1] == 0 and shares == sorted(shares, reverse=True)
    assert len(set(shares)) > 2


@pytest.mark.parametrize("precision", REDUCED)
def test_calibration_inputs_that_do_not_fit_are_refused(tmp_path: Path, precision: GraphPrecision) -> None:
    source = transformer(tmp_path / "g.onnx")
    for calibration, said in (
        ([{"x": np.full((1, 8, 64), np.nan, np.float32)}], "finite"),
        ([{"z": np.zeros((1, 8, 64), np.float32)}], "expected calibration inputs"),
    ):
        with pytest.raises(InputError, match=said):
            reduce_graph(source, tmp_path / "q.onnx", precision, calibration)
    assert not (tmp_path / "q.onnx").exists()


def test_qdq_needs_calibration_inputs_and_the_others_say_that_they_were_not_measured(tmp_path: Path) -> None:
    source = transformer(tmp_path / "g.onnx")
    with pytest.raises(InputError, match="expected calibration inputs, found none"):
        reduce_graph(source, tmp_path / "q.onnx", "int8_qdq")
    for precision in ("float16", "int8_dynamic", "int4_weights"):
        found = reduce_graph(source, tmp_path / "q.onnx", precision)
        assert found.sqnr is None and found.left == ()
        assert found.share == 1


def test_a_weight_that_half_cannot_hold_is_told_as_left_in_float32_and_what_half_loses_is_measured(
    tmp_path: Path,
) -> None:
    model = onnx.load(transformer(tmp_path / "g.onnx"))
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "wd1")
    huge = onnx.numpy_helper.to_array(tensor).copy()
    huge[0, 0] = 1e5
    tensor.CopyFrom(onnx.numpy_helper.from_array(huge, "wd1"))
    onnx.save(model, tmp_path / "g.onnx")
    calls = draw_inputs(4)
    found = reduce_graph(tmp_path / "g.onnx", tmp_path / "h.onnx", "float16_weights", calls)
    assert (found.left, found.share) == (("down1",), pytest.approx(3 / 4))
    assert found.notes == ("25% of the weights in products stay in float32, in 1 products.",)
    exact, halved = (run_graph(read_graph(tmp_path / name), calls) for name in ("g.onnx", "h.onnx"))
    assert found.sqnr == worst_sqnr(exact, halved) > 40
    again = reduce_graph(found.path, tmp_path / "again.onnx", "float16_weights")
    assert (again.left, again.sqnr) == (("down1",), None)


def test_a_graph_without_products_is_written_as_it_is(tmp_path: Path) -> None:
    from onnx import helper

    from small_graphs import write_graph

    source = write_graph(tmp_path / "g.onnx", [helper.make_node("Relu", ["x"], ["y"])], {})
    for precision in REDUCED:
        found = reduce_graph(source, tmp_path / "q.onnx", precision, draw_inputs(1))
        assert found.share == 0 and found.left == ()
        onnx.checker.check_model(str(found.path))


@pytest.mark.slow
def test_the_ecg_coca_tower_reaches_its_figures(tmp_path: Path) -> None:
    """At the real shape, with weights drawn by the golden rule, calibrated on folds 1-8, measured on fold 9."""
    torch = pytest.importorskip("torch", reason="needs the extra `export`")
    from golden import Golden
    from ptbxl_windows import read_windows
    from uniecg_export.checkpoint import read_checkpoint
    from uniecg_export.onnx_graphs import export_graph

    drawn = {name: torch.from_numpy(value) for name, value in Golden("ecg_coca").weights().items()}
    torch.save({"state_dict": drawn}, tmp_path / "tower.pth")
    read = read_checkpoint(tmp_path / "tower.pth", "ecg_coca")
    source = tmp_path / "float32.onnx"
    export_graph(read.sources[0], source, read.name)
    assert read.preprocessing is not None
    calibration = read_windows(recordings(), read.preprocessing, range(1, 9), 8)
    fresh = read_windows(recordings(), read.preprocessing, (9,), 8)
    exact = run_graph(read_graph(source), fresh)
    for precision, promised, share in (("int8_dynamic", 25, 0.99), ("int8_qdq", 28, 0.9)):
        found = reduce_graph(source, tmp_path / "reduced.onnx", precision, calibration)
        found_outputs = run_graph(read_graph(found.path), fresh)
        assert worst_sqnr(exact, found_outputs) >= promised
        assert found.share > share and found.size < 0.3 * source.stat().st_size
