"""Claims: read out of free text, and held against facts."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS
from uniecg_runtime.cli.evidence import claim_lines
from uniecg_runtime.evidence import Facts, LeadFacts, Statement, check, gather, read_statements
from uniecg_runtime.signal.measure import measure
from uniecg_runtime.signal.quality import Quality, assess

FLAT = LeadFacts(st=0.0, j=0.0, error=0.005, r=0.8, s=0.5, q=0.0, q_ms=0.0, t_high=0.3, t_low=-0.01)
VALUES = {"heart_rate": 72.0, "rr": 833.0, "rr_sd": 15.0, "pr": 160.0, "qrs": 92.0, "qt": 390.0, "qtc": 427.0}
NORMAL = Facts(
    values={**VALUES, "qtcf": 414.0, "axis": 45.0},
    rr=(830.0, 840.0, 825.0, 838.0, 832.0, 830.0, 836.0),
    p_waves=True,
    leads=dict.fromkeys(LEADS, FLAT),
)
IRREGULAR = (600.0, 900.0, 710.0, 1100.0, 640.0, 830.0, 980.0, 560.0)


def having(facts: Facts = NORMAL, **values: float | None) -> Facts:
    """The same with other values."""
    return dataclasses.replace(facts, values={**facts.values, **values})


def having_leads(leads: str, **levels: float) -> Facts:
    """The normal one with other levels in some leads."""
    changed = {lead: dataclasses.replace(FLAT, **levels) for lead in leads.split()}
    return dataclasses.replace(NORMAL, leads={**NORMAL.leads, **changed})


def verdicts(text: str, facts: Facts) -> dict[str, str]:
    """Kind -> verdict."""
    return {claim.kind: claim.verdict for claim in check(text, facts)}


def one(text: str) -> Statement:
    (statement,) = read_statements(text)
    return statement


# Reading


@pytest.mark.parametrize(
    ("text", "kind", "low", "high"),
    [
        ("Heart rate 74 bpm.", "heart_rate", 74, 74),
        ("The ventricular rate is approximately 60\u201365 beats per minute.", "heart_rate", 60, 65),
        ("- **Heart Rate**: 85 bpm", "heart_rate", 85, 85),
        ("HR 72", "heart_rate", 72, 72),
        ("The PR interval is 210 ms", "pr", 210, 210),
        ("PR 0.16 s", "pr", 160, 160),
        ("a 210 ms PR interval", "pr", 210, 210),
        ("P-R interval: 168 ms", "pr", 168, 168),
        ("QTc 480", "qtc", 480, 480),
        ("QTcF of 431 ms", "qtcf", 431, 431),
        ("The corrected QT interval measures 455 milliseconds", "qtc", 455, 455),
        ("axis -45 degrees", "axis", -45, -45),
        ("QRS axis: \u221230°", "axis", -30, -30),
        ("PR > 200 ms", "pr", 200, float("inf")),
        ("QRS duration less than 120 ms", "qrs", float("-inf"), 120),
        ("PR interval (normal 120-200 ms) is 160 ms", "pr", 160, 160),
        ("PQ time 0,16 s", "pr", 160, 160),
        ("The heart beats 72 times per minute", "heart_rate", 72, 72),
        ("QRS is 88ms wide", "qrs", 88, 88),
        ("PR interval (ms): 150", "pr", 150, 150),
        ("An axis deviation of -45 degrees", "axis", -45, -45),
    ],
)
def test_a_number_is_read_with_its_quantity_and_unit(text: str, kind: str, low: float, high: float) -> None:
    statement = one(text)
    assert (statement.kind, statement.low, statement.high) == (kind, low, high)


def test_numbers_in_a_row_belong_to_the_quantities_in_the_same_places() -> None:
    found = {s.kind: s.low for s in read_statements("PR/QRS/QT 160/90/380 ms, QT/QTc 380/420 ms")}
    assert found == {"pr": 160, "qrs": 90, "qt": 380, "qtc": 420}


@pytest.mark.parametrize(
    "text",
    [
        "The normal range is 60 to 100.",
        "12-lead ECG at 25 mm/s, page 3",
        "First-degree AV block cannot be excluded.",
        "The atrial rate is 300 bpm.",
        "If the PR interval is prolonged, call me.",
        "I cannot tell that from this recording alone.",
        "A PR interval longer than 200 ms is called first-degree AV block.",
        "",
    ],
)
def test_what_states_nothing_of_this_ecg_is_no_claim(text: str) -> None:
    assert list(read_statements(text)) == []


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("No ST elevation.", {"ST elevation": True}),
        (
            "There is no ST elevation, T-wave inversion, or Q waves.",
            dict.fromkeys(("ST elevation", "T inversion", "Q wave"), True),
        ),
        ("No ST elevation, sinus rhythm.", {"ST elevation": True, "sinus rhythm": False}),
        ("No ST elevation and the axis is normal.", {"ST elevation": True, "normal axis": False}),
        ("Sinus rhythm without ST-T changes", {"sinus rhythm": False, "ST-T change": True}),
        ("The PR interval is not prolonged.", {"long PR": True}),
        ("No, atrial fibrillation is not seen.", {"atrial fibrillation": True}),
        ("Yes, sinus rhythm is present.", {"sinus rhythm": False}),
        ("P waves are absent.", {"P waves": True}),
        ("The ECG doesn't show ST depression", {"ST depression": True}),
        ("narrow rather than wide QRS", {"wide QRS": True}),
        ("Neither ST elevation nor ST depression", {"ST elevation": True, "ST depression": True}),
        ("ST elevation is not present in V1", {"ST elevation": True}),
        ("ST elevation in V1 is absent", {"ST elevation": True}),
        ("No axis deviation", {"normal axis": False}),
        ("1° AV block", {"first-degree AV block": False}),
        ("First-degree atrioventricular (AV) block", {"first-degree AV block": False}),
        ("No 1st-degree AVB", {"first-degree AV block": True}),
        ("AV block I", {"first-degree AV block": False}),
        ("AV block II", {}),
        ("Rhythm: sinus", {"sinus rhythm": False}),
        ("The rhythm is not sinus.", {"sinus rhythm": True}),
        ("AV block of the first degree", {"first-degree AV block": False}),
        ("A P wave before every QRS, R-R intervals constant", {"P waves": False, "regular rhythm": False}),
        ("Narrow-complex tachycardia", {"narrow QRS": False, "tachycardia": False}),
        ("J point elevation in V2", {"ST elevation": False}),
    ],
)
def test_denials_reach_as_far_as_the_sentence_means(text: str, kinds: dict[str, bool]) -> None:
    assert {s.kind: s.negated for s in read_statements(text)} == kinds


@pytest.mark.parametrize(
    ("text", "leads", "every"),
    [
        ("ST elevation in V2, V3 and V4", "V2 V3 V4", True),
        ("ST elevation of 0.2 mV in V2-V4", "V2 V3 V4", True),
        ("ST-segment elevation is noted in leads V1 through V3", "V1 V2 V3", True),
        ("ST elevation in the inferior leads", "II III aVF", False),
        ("ST elevation in the inferior leads (II, III, and aVF)", "II III aVF", True),
        ("In leads II, III and aVF there is ST elevation", "II III aVF", True),
        ("V1-V3 show ST elevation", "V1 V2 V3", True),
        ("ST elevation in lead I", "I", True),
        ("I see ST elevation", "", True),
        ("ST elevation in V4R", "V4R", True),
        ("Lateral ST elevation", "I aVL V5 V6", False),
    ],
)
def test_leads_are_read_as_lists_runs_and_groups(text: str, leads: str, every: bool) -> None:
    statement = one(text)
    assert (statement.kind, " ".join(statement.leads), statement.every) == ("ST elevation", leads, every)


def test_each_finding_gets_its_own_leads() -> None:
    found = {s.kind: s.leads for s in read_statements("ST depression in V1 and T inversion in V5, Q waves in III")}
    assert found == {"ST depression": ("V1",), "T inversion": ("V5",), "Q wave": ("III",)}


def test_a_hedge_is_kept() -> None:
    assert one("Possible sinus bradycardia").hedged
    assert not one("Sinus bradycardia").hedged


def test_the_place_is_that_of_the_words_whatever_stands_before() -> None:
    text = "Überblick \u2013 “ECG”: **PR interval** 190 ms (normal), 心拍数.\nAxis\u00a0-5 degrees."
    assert [text[s.start : s.end] for s in read_statements(text)] == [
        "PR interval** 190 ms",
        "PR interval** 190 ms (normal)",
        "Axis\u00a0-5 degrees",
    ]


PIECES = """no not without ST elevation depression in V1 - V6 , . ; and or I II III aVF PR 200 ms QTc 480 axis -45 °
normal prolonged significant pathological ( ) : / sinus rhythm bradycardia possible is inferior leads 0.2 mV"""
WORDS = st.sampled_from([*PIECES.split(), "\n"])


@given(st.one_of(st.text(max_size=300), st.lists(WORDS, max_size=80).map(" ".join)))
def test_any_text_gives_claims_that_lie_within_it(text: str) -> None:
    for claim in check(text, NORMAL):
        assert 0 <= claim.start < claim.end <= len(text)
        assert claim.text == text[claim.start : claim.end]
        json.dumps(claim.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    "unit", ["significant ", "V1, ", "no ", "(", "9", "ST elevation in V1-", "acute ", "- ", "is a "]
)
def test_a_text_made_to_be_slow_is_read_at_once(unit: str) -> None:
    assert len(check(unit * 20_000, NORMAL)) <= 500


# Judging


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Heart rate 74 bpm.", "supported"),
        ("Heart rate 90 bpm.", "contradicted"),
        ("HR 60-100", "supported"),
        ("PR interval 170 ms", "supported"),
        ("PR interval 230 ms", "contradicted"),
        ("PR > 200 ms", "contradicted"),
        ("Axis 50 degrees", "supported"),
        ("Axis -60 degrees", "contradicted"),
        ("Sinus rhythm.", "supported"),
        ("Normal sinus rhythm.", "supported"),
        ("Sinus bradycardia.", "contradicted"),
        ("Sinus tachycardia.", "contradicted"),
        ("Atrial fibrillation.", "contradicted"),
        ("The rhythm is irregular.", "contradicted"),
        ("The rhythm is regular.", "supported"),
        ("First-degree AV block.", "contradicted"),
        ("No first-degree AV block.", "supported"),
        ("Short PR interval.", "contradicted"),
        ("Wide QRS complexes.", "contradicted"),
        ("Complete left bundle branch block.", "contradicted"),
        ("Left axis deviation.", "contradicted"),
        ("Normal axis.", "supported"),
        ("The QTc is prolonged.", "contradicted"),
        ("ST elevation in V2-V4.", "contradicted"),
        ("No ST elevation.", "supported"),
        ("T-wave inversion in V5.", "contradicted"),
        ("Q waves in III and aVF.", "contradicted"),
        ("No Q waves in III and aVF.", "supported"),
        ("Low QRS voltage.", "contradicted"),
        ("Left ventricular hypertrophy by voltage criteria.", "contradicted"),
        ("Normal ECG.", "supported"),
        ("No significant ST, T or Q wave finding in any lead.", "supported"),
        ("Paced rhythm.", "not checkable"),
        ("Inferior myocardial infarction.", "not checkable"),
        ("Left ventricular hypertrophy.", "not checkable"),
    ],
)
def test_a_normal_ecg_bears_out_what_is_so_and_contradicts_the_rest(text: str, verdict: str) -> None:
    assert [claim.verdict for claim in check(text, NORMAL)] == [verdict]


@pytest.mark.parametrize(
    ("facts", "text", "verdict"),
    [
        (having(pr=220.0), "First-degree AV block.", "supported"),
        (having(pr=195.0), "First-degree AV block.", "not checkable"),
        (having(pr=202.0), "The PR interval is not prolonged.", "contradicted"),
        (having(pr=None), "PR interval 160 ms.", "not checkable"),
        (having(heart_rate=48.0), "Sinus bradycardia.", "supported"),
        (having(heart_rate=120.0), "Sinus tachycardia.", "supported"),
        (having(qrs=150.0), "Right bundle branch block.", "supported"),
        (having(qrs=115.0), "Incomplete right bundle branch block.", "supported"),
        (having(axis=-60.0), "Left axis deviation.", "supported"),
        (having(axis=-175.0), "Axis 178 degrees", "supported"),
        (having(qtc=480.0, qtcf=478.0), "Prolonged QT interval.", "supported"),
        (having(qtc=500.0, qtcf=430.0), "Prolonged QT interval.", "not checkable"),
        (having(qtc=500.0, qtcf=430.0), "QTc 430 ms.", "supported"),
        (having(pr=260.0), "Normal ECG.", "contradicted"),
        (having_leads("V2 V3 V4", st=0.3, j=0.28), "ST elevation in V2-V4.", "supported"),
        (having_leads("V2 V3", st=0.3, j=0.28), "ST elevation in V2-V4.", "contradicted"),
        (having_leads("V2 V3", st=0.3, j=0.28), "ST elevation in the anterior leads.", "supported"),
        (having_leads("V2 V3 V4", st=0.3, j=0.28), "No ST elevation.", "contradicted"),
        (having_leads("V2 V3 V4", st=0.3, j=0.28), "ST elevation of 0.3 mV in V2-V4.", "supported"),
        (having_leads("V2 V3 V4", st=0.3, j=0.28), "6 mm ST elevation in V2-V4.", "contradicted"),
        (having_leads("V5 V6", st=-0.15, j=-0.1), "ST depression in V5 and V6.", "supported"),
        (having_leads("V5 V6", t_low=-0.3, t_high=0.0), "T-wave inversion in V5 and V6.", "supported"),
        (having_leads("III aVF", q=0.3, q_ms=40.0), "Q waves in III and aVF.", "supported"),
        (having_leads("V1", s=1.8), "Tall R waves in V5.", "contradicted"),
        (having_leads("V1", s=2.7), "Voltage criteria for LVH are met.", "supported"),
        (having_leads(" ".join(LEADS), r=0.2, s=0.1), "Low voltage.", "supported"),
        (dataclasses.replace(NORMAL, rr=IRREGULAR, p_waves=False), "Atrial fibrillation.", "supported"),
        (dataclasses.replace(NORMAL, rr=IRREGULAR, p_waves=False), "Sinus rhythm.", "contradicted"),
        (dataclasses.replace(NORMAL, p_waves=False), "Sinus rhythm.", "not checkable"),
    ],
)
def test_what_is_measured_decides(facts: Facts, text: str, verdict: str) -> None:
    assert [claim.verdict for claim in check(text, facts)] == [verdict]


def test_millivolts_that_are_not_known_leave_voltages_unchecked_and_shapes_checked() -> None:
    standardised = dataclasses.replace(NORMAL, millivolts=False)
    text = "ST elevation in V2. Low voltage. LVH by voltage. T-wave inversion in V5. Heart rate 72 bpm."
    assert verdicts(text, standardised) == {
        "ST elevation": "not checkable",
        "low voltage": "not checkable",
        "LVH voltage": "not checkable",
        "T inversion": "contradicted",
        "heart_rate": "supported",
    }


def test_a_lead_that_is_bad_or_missing_leaves_its_claims_unchecked_with_the_reason() -> None:
    bad = dataclasses.replace(NORMAL, bad_leads={"V2": ("noise",)})
    for text in ("ST elevation in V2.", "ST elevation in V4R."):
        (claim,) = check(text, bad)
        assert claim.verdict == "not checkable" and "not measured: V" in claim.reason


def test_unacceptable_quality_leaves_everything_unchecked_and_says_so() -> None:
    recording = simulate(ParametricEcg(), 10.0, 500.0, 1)
    poor = Quality(0.3, False, {"V1": ("noise",)})
    claims = check("Heart rate 70 bpm. Normal ECG.", gather(recording, measure(recording), poor))
    assert {claim.verdict for claim in claims} == {"not checkable"}
    assert all("quality" in claim.reason and "V1: noise" in claim.reason for claim in claims)


def test_a_claim_carries_what_was_measured_and_who_drew_the_line() -> None:
    (claim,) = check("First-degree AV block.", having(pr=150.0))
    assert (claim.measured, claim.unit, claim.criterion) == ({"pr": 150.0}, "ms", "PR over 200 ms")
    assert "2018" in claim.source and claim.tolerance
    (claim,) = check("ST depression in V4 and V5.", having_leads("V4", st=-0.2, j=-0.2))
    assert claim.measured == {"V5": 0.0}  # what speaks against it


@pytest.mark.parametrize(
    ("parameters", "true", "false"),
    [
        (ParametricEcg(heart_rate=50), "Sinus bradycardia. Heart rate 50 bpm.", "Tachycardia. Heart rate 75 bpm."),
        (ParametricEcg(pr=240), "First-degree AV block. PR 240 ms.", "Normal PR interval. PR 160 ms."),
        (
            ParametricEcg(st={"V2": 0.4, "V3": 0.4, "V4": 0.35}),
            "ST elevation in V2, V3 and V4.",
            "No ST elevation. ST depression in V3.",
        ),
        (
            ParametricEcg(rhythm="atrial fibrillation", heart_rate=95),
            "Atrial fibrillation. P waves are absent.",
            "Sinus rhythm. Regular rhythm.",
        ),
        (ParametricEcg(conduction="left bundle branch block"), "LBBB. Wide QRS.", "The QRS is narrow."),
    ],
)
def test_a_simulated_ecg_bears_out_what_it_was_made_to_be(parameters: ParametricEcg, true: str, false: str) -> None:
    recording = simulate(parameters, 10.0, 500.0, 4)
    facts = gather(recording, measure(recording), assess(recording))
    assert {claim.verdict for claim in check(true, facts)} == {"supported"}
    assert {claim.verdict for claim in check(false, facts)} == {"contradicted"}


# Showing


def test_every_claim_is_shown_with_its_mark_and_contradictions_stand_out() -> None:
    claims = check("Heart rate 72 bpm. No ST elevation. First-degree AV block. Paced rhythm.", NORMAL)
    (_, summary), *lines = claim_lines(claims)
    assert "2 supported, 1 CONTRADICTED, 1 unchecked" in summary
    assert [line.split()[0] for _, line in lines] == ["+", "+", "X", "?"]
    assert "not: ST elevation" in lines[1][1]
    assert "PR 160 ms" in lines[2][1] and "PR over 200 ms" in lines[2][1]
    assert list(claim_lines(())) == []
