"""GEM, ECG-R1 and UniECG from a published folder to a bundle that reads and draws; and a language model alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from numpy.typing import NDArray  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from checkpoints import (  # noqa: E402
    CONTEXT,
    SIZES,
    TOWER,
    WIDTH,
    diffusets_folder,
    drawn,
    ecg_r1_folder,
    gem_folder,
    save_shards,
    save_tower,
    uniecg_folder,
    vicuna_tokenizer,
)
from uniecg_device.errors import BundleError, InputError  # noqa: E402
from uniecg_device.parametric import ParametricEcg, simulate  # noqa: E402
from uniecg_device.signals import Recording  # noqa: E402
from uniecg_export.bundle import Exported, export_checkpoint  # noqa: E402
from uniecg_export.checkpoint import read_checkpoint  # noqa: E402
from uniecg_export.families import gem, uniecg  # noqa: E402
from uniecg_export.families.ecg_coca import EcgTower  # noqa: E402
from uniecg_export.onnx_graphs import Source  # noqa: E402
from uniecg_runtime.assistant import Assistant  # noqa: E402
from uniecg_runtime.backends.llama import LanguageModel  # noqa: E402
from uniecg_runtime.bundle import Bundle  # noqa: E402
from uniecg_runtime.conversation import Dialogue, Speech, read_words  # noqa: E402
from uniecg_runtime.manifest import need  # noqa: E402
from uniecg_runtime.verify import verify_bundle  # noqa: E402

QUESTIONS = ("Is it  normal?", "caf\u00e9 cafe\u0301 V1-V6: </s> 12\u00bd mV\n", "\u5fc3\u7535\u56fe ECG (V1) 0.42s")
AS_TRAINED = ("float32", "f16")
# Random weights have no clear favourite among the next tokens, and speed is no matter of a test.
UNDECIDED = [f"language_model.{kind}=random weights" for kind in ("nll", "top1", "states", "speed")]
TOLD = {"sex": "male", "age": 60.0, "heart_rate": 75.0}


@pytest.fixture(scope="module")
def recording() -> Recording:
    return simulate(ParametricEcg(heart_rate=72.0), 10.0, 500.0, 1)


@pytest.fixture(scope="module")
def gem_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy it before changing it."""
    return gem_folder(tmp_path_factory.mktemp("gem") / "GEM-7B")


@pytest.fixture(scope="module")
def gem_bundle(gem_checkpoint: Path) -> Exported:
    out = gem_checkpoint.parent / "bundle"
    options: dict[str, Any] = {"precisions": ("float32", "q8_0"), "overrides": UNDECIDED, "most": 16}
    return export_checkpoint(gem_checkpoint, out, family="gem", **options)


def turn(bundle: Bundle, template: str, question: str) -> list[list[int]]:
    """The tokens of a turn as the runtime feeds them, in runs that soft tokens part."""
    prompt = need(bundle.manifest.prompt, "a prompt")
    model = LanguageModel(bundle.path("language_model"), context=prompt.context, threads=1)
    fed: list[list[int]] = [[]]
    feed_tokens, feed_embeddings = model.feed_tokens, model.feed_embeddings

    def tokens(ids: Any) -> NDArray[np.float32]:
        fed[-1] += list(ids)
        return feed_tokens(ids)

    def embeddings(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        fed.append([])
        return feed_embeddings(rows)

    model.feed_tokens, model.feed_embeddings = tokens, embeddings  # type: ignore[method-assign]
    talk = Dialogue(model, read_words(model, bundle.manifest), prompt, bundle.manifest.generation)
    signal = np.zeros((3, model.width), np.float32) if "{signal}" in template else None
    talk.turn(template, question, signal=signal, answer=1)
    return fed


def test_gem_reads_a_recording_from_a_bundle_that_verifies(gem_bundle: Exported, recording: Recording) -> None:
    opened = Bundle.open(gem_bundle.folder)
    assert {check.role for check in verify_bundle(opened) if check.ok} == {"encoder", "language_model"}
    assert {path.name for path in gem_bundle.folder.iterdir()} == {
        *("encoder.onnx", "language_model.gguf", "golden.npz", "manifest.json"),
        *("report.json", "report.md", "report.png"),
    }
    pre = need(opened.manifest.preprocessing, "preprocessing")
    assert (pre.fs, pre.samples, pre.scaling, pre.leads[4:6]) == (500.0, 5000, "none", ("aVF", "aVL"))
    assert opened.manifest.artifact("encoder").outputs[0].shape == (1, 101, WIDTH)
    shown: list[str] = []
    reading = Assistant(opened, threads=1).interpret(recording, max_new_tokens=5, on_text=shown.append)
    assert reading.text == "".join(shown).strip() and reading.statements == {}


def test_gems_turn_is_the_published_one_token_for_token(gem_bundle: Exported, gem_checkpoint: Path) -> None:
    """As LLaVA's tokenizer_image_token: each side of the picture by itself, BOS once."""
    bundle, tokenizer = Bundle.open(gem_bundle.folder), AutoTokenizer.from_pretrained(gem_checkpoint)
    prompt = need(bundle.manifest.prompt, "a prompt")
    assert prompt.end_token == "</s>" and (prompt.context, prompt.max_new_tokens) == (CONTEXT, CONTEXT // 2)
    for question in (prompt.interpret_question, *QUESTIONS):
        typed = question.strip().replace("</s>", "</ s>")  # a typed name of a special token is plain text here only
        before, after = f"{gem.SYSTEM} USER: ", f"\n{typed} ASSISTANT:"
        found = turn(bundle, prompt.first_turn_with_signal, typed)
        assert found == [tokenizer(before).input_ids, tokenizer(after).input_ids[1:]]
        alone = f"{gem.SYSTEM} USER: {typed} ASSISTANT:"
        assert turn(bundle, prompt.first_turn, typed) == [tokenizer(alone).input_ids]
    again = tokenizer("A</s>USER: Why? ASSISTANT:").input_ids
    assert turn(bundle, prompt.next_turn, "Why?") == [again[again.index(tokenizer.eos_token_id) :]]


def test_ecg_r1_takes_its_tower_from_the_towers_own_file(tmp_path: Path, recording: Recording) -> None:
    folder, tower = ecg_r1_folder(tmp_path / "ECG-R1-8B")
    with pytest.raises(InputError, match="give the file with --tower"):
        read_checkpoint(folder, "ecg_r1")
    made = export_checkpoint(folder, tmp_path / "bundle", family="ecg_r1", tower=tower, precisions=AS_TRAINED)
    bundle, tokenizer = Bundle.open(made.folder), AutoTokenizer.from_pretrained(folder)
    prompt = need(bundle.manifest.prompt, "a prompt")
    assert (prompt.normal_form, prompt.end_token) == ("NFC", "<|im_end|>")
    for question in QUESTIONS:
        typed = question.strip()
        chat = f"<|im_start|>user\n<|ecg_start|><|ecg_pad|><|ecg_end|> {typed}<|im_end|>\n<|im_start|>assistant\n"
        system = "<|im_start|>system\n" + prompt.first_turn.split("\n")[1].removesuffix("<|im_end|>") + "<|im_end|>\n"
        ids = tokenizer(system + chat).input_ids
        place = ids.index(tokenizer.convert_tokens_to_ids("<|ecg_pad|>"))
        assert turn(bundle, prompt.first_turn_with_signal, typed) == [ids[:place], ids[place + 1 :]]
    assert Assistant(bundle, threads=1).interpret(recording, max_new_tokens=3).model == "ecg-r1"


def test_a_tower_in_two_places_is_refused(gem_checkpoint: Path, tmp_path: Path) -> None:
    tower = save_tower(tmp_path / "tower.pt", drawn(EcgTower(TOWER)))
    with pytest.raises(InputError, match="one ECG tower"):
        read_checkpoint(gem_checkpoint, "gem", tower=tower)
    with pytest.raises(InputError, match="expected no --tower, for a language_model"):
        read_checkpoint(gem_checkpoint, "language_model", tower=tower)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return diffusets_folder(tmp_path_factory.mktemp("generator") / "DiffuSETS")


@pytest.fixture(scope="module")
def drawing(generator: Path) -> Assistant:
    """A UniECG of four `[ECG]` tokens whose states are put side by side."""
    folder = uniecg_folder(generator.parent / "UniECG", "concat", 4)
    out = generator.parent / "bundle"
    made = export_checkpoint(folder, out, family="uniecg", generator=generator, precisions=AS_TRAINED)
    opened = Bundle.open(made.folder)
    generation = need(opened.manifest.generation, "a generation part")
    assert (generation.token, generation.token_count, generation.sampler) == ("[ECG]", 4, "ddim")
    return Assistant(opened, threads=1)


def insist(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model writes three tokens of words and then `[ECG]`, whatever its random weights would."""
    speak = Speech.__iter__

    def spoken(speech: Speech) -> Any:
        for n, piece in enumerate(speak(speech)):
            yield piece
            if n == 2:
                speech.ending = "drawing"
                return

    monkeypatch.setattr(Speech, "__iter__", spoken)


def test_uniecg_draws_when_it_writes_its_token(drawing: Assistant, monkeypatch: pytest.MonkeyPatch) -> None:
    insist(monkeypatch)
    chat = drawing.chat(seed=3)
    reply = chat.ask("Draw atrial fibrillation, heart rate 110, in a 70-year-old woman.")
    assert reply.route == "ecg" and reply.recording is not None
    assert reply.recording.signal.shape == (12, 1024) and reply.recording.fs == 102.4 and reply.recording.synthetic
    assert (reply.recording.sex, reply.recording.age) == ("female", 70)
    before = chat._dialogue.model.position
    with pytest.raises(InputError, match=r"found no age, heart_rate; say it, as in \"heart rate 75"):
        chat.ask("Now a man's.")
    assert chat._dialogue.model.position == before


def test_uniecg_draws_from_its_hidden_states_and_what_it_is_told(
    drawing: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    insist(monkeypatch)

    def draw(text: str, **change: Any) -> NDArray[np.float32]:
        return drawing.generate(text, steps=2, **(TOLD | change)).recording.signal

    first = draw("sinus rhythm")
    np.testing.assert_array_equal(draw("sinus rhythm"), first)
    assert not np.array_equal(draw("left bundle branch block"), first)
    assert not np.array_equal(draw("sinus rhythm", age=20.0), first)
    with pytest.raises(InputError, match="found no sex"):
        draw("sinus rhythm", sex=None)


@pytest.mark.parametrize(("pooling", "tokens"), [("mean", 1), ("last", 3)])
def test_uniecg_of_another_pooling_conditions_the_generator_by_its_aligned_text(
    pooling: uniecg.Pooling, tokens: int, tmp_path: Path, generator: Path
) -> None:
    read = read_checkpoint(uniecg_folder(tmp_path / "u", pooling, tokens), "uniecg", generator=generator)
    plain = read_checkpoint(generator, "diffusets")
    sources: dict[str, Source] = {source.role: source for source in read.sources}
    assert [source.role for source in read.sources] == ["encoder", "condition", "denoiser", "decoder"]
    inputs = sources["condition"].draw(np.random.default_rng(0))
    states = torch.from_numpy(inputs["states"])
    assert states.shape == (1, tokens, WIDTH)
    with torch.inference_mode():
        text = sources["condition"].module.align(states.mean(1) if pooling == "mean" else states[:, -1])
    expected = plain.sources[0].run({"text": text[:, None].numpy(), "scalars": inputs["scalars"]})
    np.testing.assert_allclose(sources["condition"].run(inputs)[0], expected[0], rtol=1e-5)


def test_a_generator_that_does_not_fit_is_one_clear_error(tmp_path: Path, generator: Path) -> None:
    folder = uniecg_folder(tmp_path / "u", "mean", 1)
    with pytest.raises(InputError, match="with --generator"):
        read_checkpoint(folder, "uniecg")
    wide = diffusets_folder(tmp_path / "wide", 40)
    with pytest.raises(InputError, match=r"text embedding is 24 wide.*found 40"):
        read_checkpoint(folder, "uniecg", generator=wide)
    with pytest.raises(InputError, match=r"expected one unet\*\.pth"):
        read_checkpoint(folder, "uniecg", generator=tmp_path)
    with pytest.raises(InputError, match="expected no --generator"):
        read_checkpoint(folder, "gem", generator=generator)
    vicuna_tokenizer(folder)
    with pytest.raises(InputError, match=r"expected \[ECG\] in the tokenizer"):
        read_checkpoint(folder, "uniecg", generator=generator)


def changed(
    checkpoint: Path, folder: Path, fields: dict[str, Any], change: Callable[[dict[str, Any]], Any] | None = None
) -> Path:
    """A copy with other fields in config.json and other tensors."""
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tensors: dict[str, Any] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(shard)
        shard.unlink()
    if change is not None:
        change(tensors)
    return save_shards(folder, tensors, config | fields)


def test_a_half_matching_folder_gets_one_list_of_both_sides(gem_checkpoint: Path, tmp_path: Path) -> None:
    def change(held: dict[str, Any]) -> None:
        held["model.ecg_projector.spare"] = held.pop("model.ecg_projector.bias")
        held["model.layers.7.mlp.up_proj.weight"] = held.pop("model.layers.1.mlp.up_proj.weight")

    folder = changed(gem_checkpoint, tmp_path / "half", {}, change)
    with pytest.raises(InputError) as caught:
        export_checkpoint(folder, tmp_path / "bundle", family="gem")
    message = str(caught.value)
    assert "missing (2): ecg_projector.bias, model.layers.1.mlp.up_proj.weight" in message
    assert "unexpected (2): ecg_projector.spare, model.layers.7.mlp.up_proj.weight" in message
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"mm_hidden_size": 48}, r"other shape \(\d\): ecg_projector\.bias \(40,\) instead of \(48,\)"),
        ({"mm_hidden_size": 1 << 20}, r"instead of \(1048576, 64\)"),
        ({"intermediate_size": 100}, r"other shape \(\d\): .*mlp\.down_proj"),
        ({"hidden_size": "64"}, "'hidden_size' as a whole number"),
        ({"ecg_projector_type": "identity"}, "projector of type linear or mlpNx_gelu"),
        ({"model_type": "llava_gptj"}, "model_type of llama"),
        ({"vocab_size": 40}, "instead of"),
    ],
    ids=str,
)
def test_a_config_that_does_not_belong_to_the_weights_is_one_clear_error(
    gem_checkpoint: Path, tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        read_checkpoint(changed(gem_checkpoint, tmp_path / "bad", fields), "gem")


def test_a_context_that_soft_tokens_fill_is_one_clear_error(gem_checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(gem_checkpoint, tmp_path / "short", {"model_type": "llava_mistral", "sliding_window": 64})
    with pytest.raises(InputError, match="more than the 101 soft tokens of a signal, found one of 64"):
        export_checkpoint(folder, tmp_path / "bundle", family="gem")


def test_a_shard_that_is_damaged_or_no_float_is_one_clear_error(gem_checkpoint: Path, tmp_path: Path) -> None:
    whole = {"model.ecg_projector.bias": torch.ones(40, dtype=torch.int8)}
    folder = changed(gem_checkpoint, tmp_path / "whole", {}, lambda held: held.update(whole))
    with pytest.raises(InputError, match=r"floats in model\.ecg_projector\.bias"):
        read_checkpoint(folder, "gem")
    next(folder.glob("*.safetensors")).write_bytes(b"\xff" * 64)
    with pytest.raises(InputError, match="could not read it"):
        read_checkpoint(folder, "gem")
    with pytest.raises(InputError, match="found a file"):
        read_checkpoint(folder / "config.json", "gem")


def test_a_language_model_alone_is_a_bundle_that_talks(tmp_path: Path, recording: Recording) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path / "llama"
    folder.mkdir()
    vicuna_tokenizer(folder)
    save_file(drawn(LlamaForCausalLM(LlamaConfig(**SIZES))), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(LlamaConfig(**SIZES).to_dict()), encoding="utf-8")
    made = export_checkpoint(
        folder, tmp_path / "bundle", family="language_model", precisions=("q6_k",), overrides=UNDECIDED
    )
    opened = Bundle.open(made.folder)
    (note,) = opened.manifest.artifact("language_model").notes
    assert "their rows do not divide into blocks of q6_k" in note
    assert [(check.role, check.ok) for check in verify_bundle(opened)] == [("language_model", True)]
    files = {"language_model.gguf", "golden.npz", "manifest.json", "report.json", "report.md", "report.png"}
    assert {path.name for path in made.folder.iterdir()} == files
    prompt = need(opened.manifest.prompt, "a prompt")
    ids = AutoTokenizer.from_pretrained(folder)("What is  ST elevation?").input_ids
    assert turn(opened, prompt.first_turn, "What is  ST elevation?") == [ids]
    assistant = Assistant(opened, threads=1)
    with pytest.raises(BundleError, match="no 'encoder'"):
        assistant.interpret(recording)
    with pytest.raises(BundleError, match="generation part"):
        assistant.generate("sinus rhythm")
    assert assistant.chat().ask("What is ST elevation?").route == "text"
