"""Batches: who sees whom, what is asked where, and soft tokens in their places."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from tokenizers import Tokenizer  # noqa: E402
from torch import Tensor  # noqa: E402
from transformers import LlamaForCausalLM  # noqa: E402

from uniecg_export.families.uniecg_nano import NanoConfig, llama_config  # noqa: E402
from uniecg_export.families.uniecg_nano_prompt import (  # noqa: E402
    ASSISTANT,
    ECG,
    EOS,
    NO,
    PROMPT,
    SPECIAL_TOKENS,
    YES,
    statement_token,
)
from uniecg_export.training.sequences import (  # noqa: E402
    IGNORE,
    SOFT,
    Turn,
    Writer,
    hidden_states,
    to_device,
    train_tokenizer,
)

CONFIG = NanoConfig(width=32, signal_tokens=3, vocabulary=400, layers=2, heads=2, feed_forward=48, context=256)
QUIET = Turn("Hi", "Hello.")
READ = Turn("What is it?", "AF.", 0, "HR 110", statements={"NORM": False, "AFIB": True, "SR": False})
DRAW = Turn("Draw AF", "Drawing: AF", draws=True)
LONG = Turn("Is this atrial fibrillation?", "Yes, it is.", 1, "HR 88 PR -", statements={"AFIB": True})


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["Drawing: atrial fibrillation | rate 110", "What is it? Hello, HR 88 PR 160."] * 4, 400)


@pytest.fixture(scope="module")
def writer(tokenizer: Tokenizer) -> Writer:
    return Writer(tokenizer, CONFIG)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    """Weights large enough for attention and positions to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = LlamaForCausalLM(llama_config(CONFIG)).eval()
        for parameter in made.parameters():
            if parameter.ndim == 2:
                parameter.data.normal_(0, 0.3)
    return made


@pytest.fixture(scope="module")
def soft() -> Tensor:
    return torch.randn(2, CONFIG.signal_tokens, CONFIG.width, generator=torch.Generator().manual_seed(1))


def alone(model: LlamaForCausalLM, ids: list[int], soft: Tensor | None) -> Tensor:
    """Hidden states (T,width) of one plain causal run, soft tokens placed by hand."""
    rows, k = [], 0
    for token in ids:
        if token == SOFT:
            assert soft is not None
            rows.append(soft[k])
            k += 1
        else:
            rows.append(model.model.embed_tokens.weight[token])
    return model.model(inputs_embeds=torch.stack(rows)[None], use_cache=False).last_hidden_state[0]


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_each_statement_sees_the_prompt_and_itself_only(writer: Writer, model: LlamaForCausalLM, soft: Tensor) -> None:
    turns = [READ, QUIET, LONG]
    batch = writer.batch(turns)
    states = hidden_states(model, batch, soft)
    for row, turn, tokens in ((0, READ, soft[0]), (2, LONG, soft[1])):
        prompt = writer.prompt(turn)
        found = states[row][batch.statement[row]]
        assert len(found) == len(turn.statements)
        for state, name in zip(found, turn.statements, strict=True):
            same(state, alone(model, [*prompt, writer.special[statement_token(name)]], tokens)[-1])


@torch.no_grad()
def test_answers_are_those_of_a_run_without_statements_or_neighbours(
    writer: Writer, model: LlamaForCausalLM, soft: Tensor
) -> None:
    turns = [QUIET, READ, DRAW, LONG]
    states = hidden_states(model, writer.batch(turns), soft)
    for row, (turn, tokens) in enumerate(zip(turns, (None, soft[0], None, soft[1]), strict=True)):
        ids = writer.prompt(turn) + writer.answer(turn)
        same(states[row, : len(ids)], alone(model, ids, tokens))


@torch.no_grad()
def test_soft_tokens_fill_their_places_in_the_order_of_the_turns(
    writer: Writer, model: LlamaForCausalLM, soft: Tensor
) -> None:
    seen: list[Tensor] = []
    hook = model.model.layers[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    batch = writer.batch([LONG, QUIET, READ])
    hidden_states(model, batch, soft)
    hook.remove()
    where = batch.ids == SOFT
    assert where.sum(1).tolist() == [CONFIG.signal_tokens, 0, CONFIG.signal_tokens]
    torch.testing.assert_close(seen[0][0][where[0]], soft[0])
    torch.testing.assert_close(seen[0][2][where[2]], soft[1])
    plain = model.model.embed_tokens(batch.ids[1])
    torch.testing.assert_close(seen[0][1], plain)


def test_every_target_is_the_next_token_of_the_answer_and_nothing_of_the_prompt(writer: Writer) -> None:
    batch = writer.batch([QUIET, DRAW, LONG])
    for row, turn in enumerate((QUIET, DRAW, LONG)):
        prompt, answer = writer.prompt(turn), writer.answer(turn)
        first, last = len(prompt) - 1, len(prompt) + len(answer) - 1
        assert batch.ids[row, first] == writer.special[ASSISTANT]
        assert batch.targets[row, first:last].tolist() == answer
        assert batch.targets[row, first:last].tolist() == batch.ids[row, first + 1 : last + 1].tolist()
        assert answer[-1] == writer.special[EOS]
        rest = torch.ones(batch.ids.shape[1], dtype=torch.bool)
        rest[first:last] = False
        assert bool((batch.targets[row][rest & ~batch.statement[row]] == IGNORE).all())


def test_statements_are_asked_at_the_first_place_after_the_prompt_and_answered_by_yes_or_no(writer: Writer) -> None:
    batch = writer.batch([READ, LONG])
    for row, turn in enumerate((READ, LONG)):
        asked = batch.statement[row]
        assert batch.ids[row][asked].tolist() == [writer.special[statement_token(n)] for n in turn.statements]
        assert batch.targets[row][asked].tolist() == [
            writer.special[YES if v else NO] for v in turn.statements.values()
        ]
        assert set(batch.positions[row][asked].tolist()) == {len(writer.prompt(turn))}


def test_the_states_to_draw_from_are_those_of_the_ecg_tokens(writer: Writer) -> None:
    batch = writer.batch([QUIET, DRAW, READ])
    assert batch.draw.sum(1).tolist() == [0, CONFIG.ecg_tokens, 0]
    assert set(batch.ids[batch.draw].tolist()) == {writer.special[ECG]}
    assert (batch.ids == writer.special[ECG]).sum() == CONFIG.ecg_tokens


def test_a_prompt_is_the_template_that_the_runtime_fills_in(writer: Writer) -> None:
    signal = "".join(f"{{{SOFT}}}" for _ in range(CONFIG.signal_tokens))
    for turn, template in ((READ, PROMPT.first_turn_with_signal), (DRAW, PROMPT.first_turn)):
        shown = "".join(
            f"{{{SOFT}}}" if token == SOFT else writer.tokenizer.decode([token], skip_special_tokens=False)
            for token in writer.prompt(turn)
        )
        assert shown == template.format(question=turn.question, signal=signal, measurements=turn.measurements)


def test_special_tokens_come_first_and_digits_stand_alone(writer: Writer) -> None:
    assert [writer.tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(len(SPECIAL_TOKENS)))
    pieces = [writer.tokenizer.decode([token]) for token in writer.text("rate 110 PR 160")]
    assert [piece for piece in pieces if any(c.isdigit() for c in piece)] == list("110160")
    assert "".join(pieces) == "rate 110 PR 160"


@pytest.mark.parametrize("text", ["Ünïcode ♥ text", "  two  spaces\n", "ST↑ 0,1 mV", ""])
def test_any_text_survives_the_tokenizer(writer: Writer, text: str) -> None:
    assert writer.tokenizer.decode(writer.text(text)) == text


def test_moving_a_batch_keeps_all_of_it(writer: Writer) -> None:
    batch = writer.batch([QUIET, READ])
    moved = to_device(batch, torch.device("cpu"))
    for name in ("ids", "positions", "targets", "visible", "statement", "draw"):
        assert torch.equal(getattr(moved, name), getattr(batch, name))
