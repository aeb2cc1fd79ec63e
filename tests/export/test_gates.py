"""Gates refuse what is worse than its limit, by name, and an override is a reason, not a switch."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniecg_device.errors import InputError
from uniecg_export.gates import LIMITS, GateError, decide, gate, read_overrides, share, verdict
from uniecg_runtime.manifest import Gate, Override

SLOW = gate("encoder.speed", "time against the reference", 1.4)
CLOSE = gate("encoder.cosine", "tokens: 1 - cosine", 0.001)


def test_each_kind_of_figure_has_a_limit_and_an_unknown_kind_has_none() -> None:
    assert [gate(f"encoder.{kind}", "", 0.0).limit for kind in LIMITS] == list(LIMITS.values())
    with pytest.raises(KeyError):
        gate("encoder.beauty", "", 0.0)


def test_a_refusal_names_the_gate_what_was_measured_and_how_to_accept_it() -> None:
    with pytest.raises(GateError) as refused:
        decide([CLOSE, SLOW], ())
    message = str(refused.value)
    assert "encoder.speed" in message and "1.4" in message and "1.05" in message
    assert "encoder.cosine" not in message and "--override encoder.speed=REASON" in message
    assert refused.value.gates == (CLOSE, SLOW)


def test_an_override_lets_its_own_gate_pass_and_only_what_was_needed_is_recorded() -> None:
    given_ = read_overrides(["encoder.speed = the board has an NPU", "encoder.size=small enough"])
    assert decide([CLOSE, SLOW], given_) == (Override("encoder.speed", "the board has an NPU"),)
    worse = gate("language_model.nll", "nats", 0.2)
    with pytest.raises(GateError, match=r"language_model\.nll"):
        decide([SLOW, worse], given_)


def test_a_refusal_advises_only_overrides_that_were_not_given_and_would_help() -> None:
    given_, far = read_overrides(["encoder.speed=it has an NPU"]), gate("encoder.cosine", "tokens", 0.5)
    with pytest.raises(GateError, match=r"refused: encoder\.cosine") as refused:
        decide([SLOW, far, gate("encoder.size", "", 2.0)], given_)
    assert "--override encoder.cosine=REASON --override encoder.size=REASON." in str(refused.value)
    assert "encoder.speed" not in str(refused.value)
    assert [verdict(g, refused.value.overrides) for g in (SLOW, far)] == ["overridden: it has an NPU", "refused"]
    golden = Gate("encoder.golden", "replay, relative error", 3.0, 1.0)
    assert "--override" not in str(GateError([golden], final=True))


@pytest.mark.parametrize("nothing", [math.nan, math.inf])
def test_a_figure_that_is_no_number_cannot_be_overridden(nothing: float) -> None:
    unknown, given_ = gate("encoder.cosine", "", nothing), read_overrides(["encoder.cosine=never mind"])
    with pytest.raises(GateError) as refused:
        decide([unknown], given_)
    assert "--override" not in str(refused.value) and "mend the checkpoint" in str(refused.value)
    assert verdict(unknown, given_) == "refused" and share(unknown) == math.inf


@pytest.mark.parametrize("text", ["encoder.speed", "encoder.speed=", "=because", "encoder=because", ""])
def test_an_override_without_gate_or_reason_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="GATE=REASON"):
        read_overrides([text])


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(min_value=1e-6, max_value=1e6))
def test_a_gate_lets_pass_exactly_what_is_at_most_its_limit(measured: float, limit: float) -> None:
    assert Gate("a.b", "", measured, limit).ok == (not math.isnan(measured) and measured <= limit)
