"""The picture that an image encoder is given: laid out as the model's training pages, reduced as CLIP does it."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from uniecg_device.errors import BackendError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.formats.picture import draw_page, prepare_picture, scale_image
from uniecg_runtime.manifest import Picture

Image = pytest.importorskip("PIL.Image", reason="extra `plot` is not installed")

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PICTURE = Picture(size=336, mean=MEAN, std=STD)
DOTS_PER_MM = 200 / 25.4
ROW = 8.5 * 25.4 / 15  # mm
LEFT = 10.0 + 5.0  # mm: 0.4 s of margin and the pulse


def steps(lead: str) -> Recording:
    """Zero in all leads but one, which is 0.5 mV from 4 to 6 s."""
    signal = np.zeros((12, 5000), np.float32)
    signal[LEADS.index(lead), 2000:3000] = 0.5
    return Recording(signal, 500.0, LEADS)


def ink_rows(page: Any, seconds: float) -> np.ndarray:
    """Height above the page's foot, in mm, of each stretch of ink at a time of the recording."""
    pixels = np.asarray(page).max(axis=2)
    column = round((LEFT + seconds * 25) * DOTS_PER_MM) + 3  # between two lines of the grid
    dark = np.flatnonzero(pixels[:, column] < 110)
    stretches = np.split(dark, np.flatnonzero(np.diff(dark) > 1) + 1)
    return np.array([(len(pixels) - (s.mean() + 0.5)) / DOTS_PER_MM for s in stretches])


def test_a_page_is_twelve_rows_above_a_strip_of_lead_ii() -> None:
    page = draw_page(steps("V3"), PICTURE)
    assert page.size == (2200, 1700) and page.mode == "RGB"
    expected = [*(ROW * (12.5 - row) for row in range(12)), ROW / 2 + 3]
    np.testing.assert_allclose(ink_rows(page, 2.03), expected, atol=0.1)


@pytest.mark.parametrize(("lead", "rows"), [("I", [0]), ("V6", [11]), ("II", [1, 12])])
def test_a_millivolt_is_ten_millimetres_in_its_own_row(lead: str, rows: list[int]) -> None:
    page = draw_page(steps(lead), PICTURE)
    moved = ink_rows(page, 5.03) - ink_rows(page, 2.03)
    np.testing.assert_allclose(moved, [5.0 if row in rows else 0.0 for row in range(13)], atol=0.1)


def test_the_grid_is_red_every_five_millimetres_and_pale_between() -> None:
    """In the free space above the first row."""
    row = np.asarray(draw_page(steps("I"), PICTURE)).astype(int)[round(8.0 * DOTS_PER_MM) :][:1, :, :][0]
    reds = np.flatnonzero(row[:, 1] < 150)
    places = np.unique(np.round((reds + 0.5) / DOTS_PER_MM).astype(int))
    assert set(places) == set(range(0, 280, 5))
    assert row[:, 0].min() >= 250


def test_leads_that_were_not_recorded_hold_no_trace() -> None:
    whole = steps("I")
    some = Recording(whole.signal[:6], 500.0, LEADS[:6])
    assert len(ink_rows(draw_page(some, PICTURE), 2.03)) == 7
    late = whole.signal.copy()
    late[6:, :1250] = np.nan
    page = draw_page(replace(whole, signal=late), PICTURE)
    assert (len(ink_rows(page, 2.03)), len(ink_rows(page, 3.03))) == (7, 13)


@pytest.mark.parametrize("size", [(2200, 1700), (337, 500), (336, 336)])
def test_an_image_is_reduced_as_clips_own_processor_does(size: tuple[int, int]) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra `export`")
    noise = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), np.uint8)
    image = Image.fromarray(noise).resize(size)
    theirs = transformers.CLIPImageProcessor(size={"shortest_edge": 336}, crop_size=336)
    expected = np.asarray(theirs(image, return_tensors="np")["pixel_values"])
    found = scale_image(image, PICTURE)
    assert found.shape == (1, 3, 336, 336) and found.dtype == np.float32
    # Their processor of torchvision, where that is installed, rounds at other places: one step of 255 at most.
    np.testing.assert_allclose(found, expected, atol=1e-6 if "torchvision" not in sys.modules else 0.02)


def test_a_recording_becomes_what_the_graph_takes() -> None:
    recording = simulate(ParametricEcg(heart_rate=72.0), 10.0, 500.0, 1)
    image = prepare_picture(recording, PICTURE)
    assert image.shape == (1, 3, 336, 336) and np.isfinite(image).all()
    np.testing.assert_array_equal(image, prepare_picture(recording, PICTURE))
    assert not np.array_equal(image, prepare_picture(replace(recording, signal=-recording.signal), PICTURE))


def test_without_pillow_there_is_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(BackendError, match=r"pip install 'uniecg-edge\[plot\]'"):
        draw_page(steps("I"), PICTURE)
