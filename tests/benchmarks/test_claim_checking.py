"""What the claim-checking benchmark makes and counts."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

import claim_checking as bench
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_runtime.evidence import Facts, read_statements

TRUTH = bench.Truth(
    {"heart_rate": 72.0, "pr": 160.0, "qrs": 92.0, "qt": 390.0, "qtc": 427.0, "qtcf": 414.0, "axis": 45.0},
    "sinus",
    True,
    st=dict.fromkeys(("V2", "V3"), 0.4) | {"II": 0.0},
    t=dict.fromkeys(("V5", "V6"), -0.3),
    q={"III": True, "V4": False},
    low=False,
    lvh=False,
)


def made(truth: bench.Truth, seeds: int = 12) -> list[bench.Made]:
    return [made for seed in range(seeds) for made in bench.statements(truth, np.random.default_rng(seed))]


def test_every_statement_made_is_read_as_one_claim_of_its_kind() -> None:
    for statement in made(TRUTH):
        kinds = [found.kind for found in read_statements(statement.text)]
        assert kinds.count(statement.kind) == 1, statement


def test_true_and_false_ones_follow_from_the_truth() -> None:
    said = {(statement.text, statement.true) for statement in made(TRUTH)}
    assert ("PR interval 160 ms.", True) in said and ("PR interval 220 ms.", False) in said
    assert ("Normal axis.", True) in said and ("Left axis deviation.", False) in said
    assert ("No T-wave inversion in V5 and V6.", False) in said
    near = dataclasses.replace(TRUTH, values={"pr": 198.0})
    assert not {"long PR", "normal PR", "first-degree AV block"} & {statement.kind for statement in made(near)}


def test_what_is_not_judged_or_not_read_counts_as_wrong(capsys) -> None:  # type: ignore[no-untyped-def]
    assert bench.read(bench.Made("Sinus rhythm.", "sinus rhythm", True), Facts(values={})) == "not checkable"
    assert bench.read(bench.Made("Hello.", "sinus rhythm", True), Facts(values={})) == "not read"
    counts = Counter(
        {("pr", "true", "supported"): 2, ("pr", "true", "not checkable"): 1, ("pr", "false", "not read"): 1}
    )
    bench.report(counts)
    assert "judged right: 50.0 %" in capsys.readouterr().out


def test_a_clean_simulated_ecg_is_judged_right() -> None:
    parameters = ParametricEcg(heart_rate=75, pr=240.0, variation=0.2)
    facts = bench._facts(simulate(parameters, 10.0, 500.0, 1), bench.edges_of)
    for statement in bench.statements(bench._told(parameters), np.random.default_rng(0)):
        assert bench.read(statement, facts) == ("supported" if statement.true else "contradicted"), statement


def test_wilsons_interval_is_the_published_one() -> None:
    assert bench.share(98, 100) == "98.0 % (93.0 to 99.4), 98 of 100"
    assert bench.share(0, 0) == "none of 0"
