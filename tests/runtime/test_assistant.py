"""The assistant over a whole bundle: words for a recording, a recording for words, and conversations."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from uniecg_device.errors import BundleError, ContextError, InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.assistant import DISCLAIMER, Assistant
from uniecg_runtime.bundle import Bundle
from uniecg_runtime.manifest import Manifest


@pytest.fixture(scope="module")
def assistant(bundle: Bundle) -> Assistant:
    return Assistant(bundle, threads=1)


@pytest.fixture(scope="module")
def trained(bundle: Bundle) -> Assistant:
    """Only where the weights were learnt: what is said then has a meaning."""
    if bundle.manifest.provenance.trained_on == ("random weights",):
        pytest.skip("RANDOM WEIGHTS: this test needs a trained bundle")
    return Assistant(bundle, threads=1)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return simulate(ParametricEcg(heart_rate=72.0), 10.0, 500.0, 1)


def with_manifest(bundle: Bundle, folder: Path, **changes: object) -> Bundle:
    """The same files under a changed manifest."""
    fields = {**msgspec.to_builtins(bundle.manifest), **changes}
    return Bundle(bundle.folder, msgspec.convert(fields, Manifest))


def test_an_interpretation_is_complete_plain_data(assistant: Assistant, recording: Recording) -> None:
    result = assistant.interpret(recording)
    plain = json.loads(json.dumps(result.to_json(), allow_nan=False))
    manifest = assistant.bundle.manifest
    assert plain["record"] == recording.name
    assert plain["route"] == "text"
    assert plain["disclaimer"] == DISCLAIMER
    assert (plain["model"], plain["version"]) == (manifest.name, manifest.version)
    assert plain["measurements"]["heart_rate"]["unit"] == "bpm"
    assert abs(plain["measurements"]["heart_rate"]["value"] - 72) < 3
    assert set(plain["statements"]) == {item.label for item in manifest.statements.items}
    assert all(0 <= p <= 1 for p in plain["statements"].values())
    assert 0 <= plain["quality"]["score"] <= 1
    assert plain["synthetic"] is True


def test_the_time_of_every_stage_is_told(assistant: Assistant, recording: Recording) -> None:
    times = assistant.interpret(recording).timing_ms
    stages = ["preprocess", "encode", "prefill", "text", "statements", "quality", "claims"]
    assert set(times) == {"load", "first_token", "total", *stages}
    assert all(value >= 0 for value in times.values())
    assert sum(times[name] for name in stages) <= times["total"] * 1.01
    assert times["preprocess"] + times["encode"] + times["prefill"] <= times["first_token"] <= times["total"]


def test_text_is_shown_as_it_is_written(assistant: Assistant, recording: Recording) -> None:
    pieces: list[str] = []
    result = assistant.interpret(recording, on_text=pieces.append)
    assert "".join(pieces).strip() == result.text
    assert all(pieces)


def test_interpreting_twice_says_the_same(assistant: Assistant, recording: Recording) -> None:
    first, second = assistant.interpret(recording), assistant.interpret(recording)
    assert (first.text, first.statements) == (second.text, second.statements)


def test_statements_do_not_depend_on_the_text_or_the_question(assistant: Assistant, recording: Recording) -> None:
    plain = assistant.interpret(recording).statements
    for result in (
        assistant.interpret(recording, max_new_tokens=1),
        assistant.interpret(recording, question="What is the heart rate?", max_new_tokens=3),
    ):
        assert result.statements == pytest.approx(plain, abs=0.02)


def test_statements_depend_on_the_signal(assistant: Assistant, recording: Recording) -> None:
    other = dataclasses.replace(recording, signal=np.ascontiguousarray(recording.signal[:, ::-1]))
    a, b = assistant.interpret(recording, max_new_tokens=1), assistant.interpret(other, max_new_tokens=1)
    assert max(abs(a.statements[label] - b.statements[label]) for label in a.statements) > 1e-3


def test_a_text_that_was_cut_says_so(assistant: Assistant, recording: Recording) -> None:
    result = assistant.interpret(recording, max_new_tokens=2)
    assert "the text was cut after 2 tokens" in result.notes


def test_the_window_starts_where_asked(assistant: Assistant) -> None:
    slow = simulate(ParametricEcg(heart_rate=50.0), 12.0, 250.0, 2)
    fast = simulate(ParametricEcg(heart_rate=120.0), 12.0, 250.0, 3)
    both = dataclasses.replace(slow, signal=np.concatenate([slow.signal, fast.signal], axis=1))
    rates = [
        assistant.interpret(both, start=start, max_new_tokens=1).measurements["heart_rate"]["value"]
        for start in (0.0, 13.0)
    ]
    assert rates == pytest.approx([50, 120], abs=4)


def test_fewer_leads_are_interpreted_with_a_note(assistant: Assistant, recording: Recording) -> None:
    two = dataclasses.replace(recording, signal=recording.signal[:2].copy(), leads=("I", "II"))
    result = assistant.interpret(two, max_new_tokens=1)
    assert any("V1" in note for note in result.notes)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: dataclasses.replace(r, signal=np.full_like(r.signal, np.nan)),
        lambda r: dataclasses.replace(r, signal=np.zeros_like(r.signal)),
        lambda r: dataclasses.replace(r, signal=r.signal[:, :500].copy()),
        lambda r: dataclasses.replace(r, signal=r.signal * 1000),
        lambda r: dataclasses.replace(r, leads=("X", *r.leads[1:])),
    ],
    ids=["NaN everywhere", "flat", "too short", "microvolts", "unknown lead"],
)
def test_what_is_no_ecg_is_an_input_error(assistant: Assistant, recording: Recording, spoil) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError):
        assistant.interpret(spoil(recording))


def test_a_question_over_the_context_says_how_much_fits(assistant: Assistant, recording: Recording) -> None:
    for ask in (
        lambda text: assistant.interpret(recording, question=text),
        lambda text: assistant.generate(text),
        lambda text: assistant.chat(recording).ask(text),
    ):
        with pytest.raises(ContextError, match=r"expected a text of at most \d+ tokens .* found \d+; shorten"):
            ask("why " * 2000)
    assert assistant.interpret(recording, max_new_tokens=1).text is not None


@pytest.mark.parametrize("question", ["", "   "])
def test_an_empty_question_is_an_input_error(assistant: Assistant, recording: Recording, question: str) -> None:
    with pytest.raises(InputError, match="empty text"):
        assistant.interpret(recording, question=question)
    with pytest.raises(InputError, match="empty text"):
        assistant.generate(question)


def test_options_out_of_range_are_input_errors(assistant: Assistant, recording: Recording) -> None:
    with pytest.raises(InputError, match="at least 1 new token"):
        assistant.interpret(recording, max_new_tokens=0)
    for wrong in (
        {"sex": "x"},
        {"age": 121},
        {"heart_rate": 0},
        {"seed": -1},
        {"steps": 0},
        {"steps": 10**6},
        {"guidance": float("nan")},
    ):
        with pytest.raises(InputError, match="expected"):
            assistant.generate("normal ECG", **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="seed"):
        assistant.chat(seed=-1)
    with pytest.raises(InputError, match="thread"):
        Assistant(assistant.bundle, threads=0)


def test_a_drawing_is_a_synthetic_12_lead_recording(assistant: Assistant) -> None:
    drawn = assistant.generate("atrial fibrillation", sex="male", age=70, heart_rate=110, steps=2)
    recording, generation = drawn.recording, assistant.bundle.manifest.generation
    assert generation is not None
    assert recording.synthetic
    assert (recording.leads, recording.units, recording.fs) == (LEADS, "mV", generation.fs)
    assert recording.signal.shape == (12, 1280)
    assert recording.signal.dtype == np.float32
    assert np.isfinite(recording.signal).all()
    assert (recording.sex, recording.age) == ("male", 70)
    comments = " / ".join(recording.comments)
    for mark in (
        "SYNTHETIC",
        "atrial fibrillation",
        "seed 0",
        "steps 2",
        assistant.bundle.manifest.version,
        DISCLAIMER,
    ):
        assert mark in comments
    assert not any("\n" in comment for comment in recording.comments)
    plain = json.loads(json.dumps(drawn.to_json(), allow_nan=False))
    assert plain["recording"]["synthetic"] is True
    assert plain["request"] == "atrial fibrillation, heart rate 110, male, 70 years old"
    assert plain["scalars"] == {"sex": "male", "age": 70, "heart_rate": 110}


def test_einthovens_law_holds_in_a_drawing(assistant: Assistant) -> None:
    signal = dict(zip(LEADS, assistant.generate("normal ECG", steps=2).recording.signal, strict=True))
    assert np.abs(signal["I"] + signal["III"] - signal["II"]).max() < 1e-5
    assert np.abs(signal["aVR"] + signal["aVL"] + signal["aVF"]).max() < 1e-5


def test_a_seed_draws_the_same_signal_bit_for_bit(assistant: Assistant, bundle: Bundle) -> None:
    first = assistant.generate("normal ECG", seed=5, steps=3).recording.signal
    assistant.generate("left bundle branch block", seed=6, steps=3)
    again = assistant.generate("normal ECG", seed=5, steps=3).recording.signal
    fresh = Assistant(bundle, threads=1).generate("normal ECG", seed=5, steps=3).recording.signal
    assert first.tobytes() == again.tobytes() == fresh.tobytes()
    other = assistant.generate("normal ECG", seed=7, steps=3).recording.signal
    assert not np.allclose(first, other)


def test_the_drawing_line_begins_as_the_bundle_says_and_is_shown(assistant: Assistant) -> None:
    pieces: list[str] = []
    drawn = assistant.generate("normal ECG", steps=1, on_text=pieces.append)
    assert drawn.text.startswith(assistant.bundle.manifest.prompt.draw_prefix)
    assert "".join(pieces).strip() == drawn.text


def test_a_bundle_that_cannot_draw_says_so(bundle: Bundle, tmp_path: Path) -> None:
    plain = Assistant(with_manifest(bundle, tmp_path, generation=None), threads=1)
    with pytest.raises(BundleError, match="with a generation part"):
        plain.generate("normal ECG")


def test_an_encoder_of_another_width_is_refused(bundle: Bundle, tmp_path: Path, recording: Recording) -> None:
    artifacts = [msgspec.to_builtins(item) for item in bundle.manifest.artifacts]
    for item in artifacts:
        if item["role"] == "condition":
            item["inputs"][0]["shape"] = [1, 8, 100]
    with pytest.raises(BundleError, match="wide as the language model"):
        Assistant(with_manifest(bundle, tmp_path, artifacts=artifacts), threads=1).interpret(recording)


def test_a_conversation_remembers_and_stands_apart_from_the_assistant(
    assistant: Assistant, recording: Recording
) -> None:
    talk = assistant.chat(recording)
    first = talk.ask("Interpret this ECG.")
    assistant.interpret(recording, max_new_tokens=2)
    second = talk.ask("And the axis?")
    assert json.dumps(first.to_json())
    assert second.disclaimer == DISCLAIMER
    again = assistant.chat(recording)
    assert again.ask("Interpret this ECG.").text == first.text
    assert again.ask("And the axis?").text == second.text


def test_a_conversation_that_is_full_says_so_and_stays_usable(assistant: Assistant) -> None:
    talk = assistant.chat()
    with pytest.raises(ContextError, match="start a new conversation"):
        for _ in range(assistant.bundle.manifest.prompt.context):
            talk.ask("Tell me about the heart rate, the axis and every interval of this ECG. " * 4)
    with pytest.raises(ContextError):
        talk.ask("x " * 1000)


def test_a_failed_turn_leaves_the_conversation_as_it_was(assistant: Assistant, recording: Recording) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    talk, calm = assistant.chat(recording), assistant.chat(recording)
    with pytest.raises(KeyboardInterrupt):
        talk.ask("What is the heart rate?", on_text=interrupted)
    with pytest.raises(InputError):
        talk.ask(" ")
    assert talk.ask("Interpret this ECG.").text == calm.ask("Interpret this ECG.").text


def test_threads_wait_for_each_other(assistant: Assistant, recording: Recording) -> None:
    expected = assistant.interpret(recording, max_new_tokens=5).text
    texts: list[str] = []

    def work() -> None:
        texts.append(assistant.interpret(recording, max_new_tokens=5).text)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert texts == [expected] * 3


def test_a_conversation_is_alone_at_the_graphs(assistant: Assistant) -> None:
    held: list[bool] = []
    assistant.chat().ask("Hello", on_text=lambda _: held.append(assistant._lock.locked()))
    assert held and all(held)


@pytest.mark.parametrize("turn", ["first_turn", "first_turn_with_signal", "next_turn"])
def test_a_turn_that_the_bundle_cannot_have_is_refused(
    bundle: Bundle, tmp_path: Path, recording: Recording, turn: str
) -> None:
    prompt = {**msgspec.to_builtins(bundle.manifest.prompt), turn: ""}
    without = Assistant(with_manifest(bundle, tmp_path, prompt=prompt), threads=1)
    with pytest.raises(BundleError, match="whose prompt has this turn"):
        if turn == "first_turn":
            without.generate("atrial fibrillation")
        elif turn == "first_turn_with_signal":
            without.interpret(recording)
        else:
            talk = without.chat()
            talk.ask("Hello")
            talk.ask("Hello again")


def test_guidance_that_the_generator_does_not_take_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    generation = {**msgspec.to_builtins(bundle.manifest.generation), "guidance": None}
    without = Assistant(with_manifest(bundle, tmp_path, generation=generation), threads=1)
    with pytest.raises(InputError, match="takes none; leave it out"):
        without.generate("normal ECG", guidance=2.0)


@pytest.mark.parametrize("rate", [45, 72, 130])
def test_the_text_names_the_heart_rate(trained: Assistant, rate: int) -> None:
    result = trained.interpret(simulate(ParametricEcg(heart_rate=float(rate)), 10.0, 500.0, rate))
    measured = result.measurements["heart_rate"]["value"]
    assert measured is not None
    assert abs(measured - rate) < 3
    assert f"{measured:.0f}" in result.text


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("Generate an ECG with atrial fibrillation, heart rate 110, male, 70 years", "ecg"),
        ("Draw me a normal ECG.", "ecg"),
        ("Interpret this ECG.", "text"),
        ("What is the heart rate?", "text"),
    ],
)
def test_the_model_decides_whether_to_explain_or_to_draw(
    trained: Assistant, recording: Recording, text: str, route: str
) -> None:
    shown: list[str] = []
    reply = trained.chat(recording).ask(text, on_text=shown.append)
    assert reply.route == route
    assert (reply.recording is not None) == (route == "ecg")
    assert "".join(shown).strip() == reply.text


def test_after_a_drawing_the_conversation_goes_on(trained: Assistant, recording: Recording) -> None:
    talk = trained.chat(recording)
    first = talk.ask("Draw me a normal ECG.")
    assert talk.ask("Interpret this ECG.").route == "text"
    second = talk.ask("Draw me a normal ECG.")
    assert first.recording is not None
    assert second.recording is not None
    assert not np.array_equal(first.recording.signal, second.recording.signal)


def test_the_model_reads_the_scalars_of_a_request(trained: Assistant) -> None:
    drawn = trained.generate("Generate an ECG with atrial fibrillation, heart rate 110, male, 70 years")
    assert drawn.scalars == {"sex": "male", "age": 70, "heart_rate": 110}
    assert drawn.notes == ()
