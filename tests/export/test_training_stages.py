"""All five stages on a tiny model: they run, freeze what they say, and their product is a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from uniecg_device.errors import InputError  # noqa: E402
from uniecg_export.families.uniecg_nano import NanoConfig, UniEcgNano, load_checkpoint, save_checkpoint  # noqa: E402
from uniecg_export.training import __main__  # noqa: E402
from uniecg_export.training.encoder import pretrain_encoder  # noqa: E402
from uniecg_export.training.generator import strips, train_autoencoder, train_flow  # noqa: E402
from uniecg_export.training.labels import NAMES  # noqa: E402
from uniecg_export.training.records import Records, load_simulated  # noqa: E402
from uniecg_export.training.sequences import Writer, train_tokenizer  # noqa: E402
from uniecg_export.training.stages import statement_probabilities, train_alignment, train_interpretation  # noqa: E402

# Labels that no record has make an empty mean.
pytestmark = pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")
TINY = NanoConfig(
    width=32,
    encoder_channels=(8, 8, 8, 8, 16),
    vocabulary=400,
    layers=1,
    heads=2,
    feed_forward=32,
    labels=NAMES,
    condition_embedding=32,
    latent_channels=4,
    denoiser_depth=1,
    decoder_channels=(16, 8, 8),
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Sixteen simulated records that stand in for PTB-XL's folds 1 to 9."""
    made = load_simulated(16, tmp_path_factory.mktemp("cache") / "records.npz", TINY)
    return replace(made, fold=np.array([*range(1, 9), *range(1, 5), 9, 9, 9, 9]), source=("ptbxl",) * 16)


@pytest.fixture(scope="module")
def writer() -> Writer:
    return Writer(train_tokenizer(["Drawing: sinus rhythm | rate 60", "Heart rate 60 bpm."] * 4, 400), TINY)


def test_the_stages_run_in_order_and_leave_a_checkpoint(records: Records, writer: Writer, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = UniEcgNano(TINY)
        pretrain_encoder(model.encoder, TINY, records, records, tmp_path, 2)
        train_interpretation(model, writer, records, records, tmp_path, 2, 60.0)
        data = strips(records, records, TINY)
        train_autoencoder(model, data, tmp_path, 2)
        assert float(model.decoder.deviation.min()) > 0
        assert float(model.decoder.deviation.max()) != 1
        train_flow(model, data, tmp_path, 2, 60.0)
        frozen = {
            name: {key: value.clone() for key, value in getattr(model, name).state_dict().items()}
            for name in ("encoder", "decoder", "denoiser", "latent_encoder")
        }
        target = model.condition.label_embedding.weight.clone()
        train_alignment(model, writer, records, records, tmp_path, 2, 60.0)
    for name, weights in frozen.items():
        for key, value in getattr(model, name).state_dict().items():
            assert torch.equal(value, weights[key]), f"{name}.{key}"
    assert torch.equal(model.condition.label_embedding.weight, target)
    stages = ("1-encoder", "2-autoencoder", "3-flow", "4-interpretation", "5-alignment")
    assert sorted(path.stem for path in tmp_path.glob("*.pt")) == list(stages)
    save_checkpoint(model, tmp_path / "checkpoint")
    for name, part in (("1-encoder", "encoder"), ("4-interpretation", "language_model"), ("3-flow", "denoiser")):
        later = UniEcgNano(TINY)
        __main__._restore(later, tmp_path, name)
        left = torch.load(tmp_path / f"{name}.pt", weights_only=True)["modules"][part]
        assert all(torch.equal(value, left[key]) for key, value in getattr(later, part).state_dict().items())
    read = load_checkpoint(tmp_path / "checkpoint")
    assert read.config == TINY
    held = records.where(records.fold == 9)
    probabilities = statement_probabilities(read, writer, held)
    assert probabilities.shape == (4, len(NAMES))
    assert bool(((probabilities > 0) & (probabilities < 1)).all())
    model.eval().float()
    np.testing.assert_allclose(statement_probabilities(model, writer, held), probabilities, atol=0.02)


@pytest.fixture
def recipe(records: Records, writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The command on the tiny model, with no data to read and no stage but its first step."""
    monkeypatch.setattr(__main__, "NanoConfig", lambda **_: TINY)
    monkeypatch.setattr(__main__, "load_records", lambda *_: records)
    monkeypatch.setattr(__main__, "load_simulated", lambda *_: records)
    monkeypatch.setattr(__main__, "_tokenizer", lambda *_: writer.tokenizer)

    def run(*words: str) -> None:
        monkeypatch.setattr("sys.argv", ["training", "--work", str(tmp_path), "--threads", "1", *words])
        with torch.random.fork_rng():
            __main__.main()

    return run


def test_interpretation_alone_begins_with_the_encoder_of_the_stage_before(
    recipe: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"1-encoder\.pt, found nothing; run it first"):
        recipe("--only", "interpretation")
    made = UniEcgNano(TINY).encoder
    modules = {"encoder": made.state_dict(), "head": torch.nn.Linear(2, 2).state_dict()}
    torch.save({"modules": modules}, tmp_path / "1-encoder.pt")
    given: list[UniEcgNano] = []
    monkeypatch.setattr(__main__, "train_interpretation", lambda model, *_: given.append(model))
    recipe("--only", "interpretation")
    assert all(torch.equal(value, made.state_dict()[key]) for key, value in given[0].encoder.state_dict().items())


def test_a_stage_that_there_is_none_of_is_refused(
    recipe: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        recipe("--only", "encoder,interpretaton")
    assert "found interpretaton" in capsys.readouterr().err
