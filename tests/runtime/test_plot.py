"""ECG paper: true to scale, blank where nothing was recorded, and plainly synthetic where it is."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniecg_device.errors import InputError
from uniecg_device.parametric import ParametricEcg, simulate
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.formats.plot import plot_paper

Image = pytest.importorskip("PIL.Image", reason="extra `plot` is not installed")

DPI = 150
PER_MM = DPI / 25.4
LEFT, TOP, RIGHT, BOTTOM = 16.0, 37.0, 281.0, 197.0
STRIP_X, RHYTHM_Y = LEFT + 8, TOP + 140


def picture(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Pixels (rows, columns, 3) and metadata."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")), {**image.info, **image.text}


def dark(path: Path) -> np.ndarray:
    """Where ink is, as (rows, columns)."""
    return picture(path)[0].mean(axis=2) < 110


def spikes(leads: tuple[str, ...] = LEADS, fs: float = 500.0) -> Recording:
    """1 mV bumps of 60 ms at 2, 5 and 8 s in every lead."""
    clock = np.arange(round(10 * fs)) / fs
    row = sum(np.exp(-0.5 * ((clock - at) / 0.02) ** 2) for at in (2.0, 5.0, 8.0))
    return Recording(np.tile(np.asarray(row, np.float32), (len(leads), 1)), fs, leads, name="spikes")


def test_page_is_a4_and_states_its_resolution(tmp_path: Path) -> None:
    for dpi in (100, 150, 300):
        pixels, words = picture(plot_paper(spikes(), tmp_path / "p.png", dpi=dpi))
        assert pixels.shape == (round(210 / 25.4 * dpi), round(297 / 25.4 * dpi), 3)
        assert words["dpi"] == pytest.approx((dpi, dpi), abs=0.1)


@pytest.mark.parametrize("fs", [128.0, 500.0, 1000.0])
def test_paper_speed_and_gain_are_true(tmp_path: Path, fs: float) -> None:
    ink = dark(plot_paper(spikes(fs=fs), tmp_path / "p.png", dpi=DPI))
    baseline = RHYTHM_Y
    band = ink[round((baseline - 9) * PER_MM) : round((baseline - 5) * PER_MM), round(STRIP_X * PER_MM) :]
    columns = np.flatnonzero(band.any(axis=0)) / PER_MM
    for seconds in (2.0, 5.0, 8.0):
        near = columns[np.abs(columns - 25 * seconds) < 4]
        assert near.mean() == pytest.approx(25 * seconds, abs=0.25)
    strip = ink[:, round((STRIP_X + 125 - 2) * PER_MM) : round((STRIP_X + 125 + 2) * PER_MM)]
    rows = np.flatnonzero(strip.any(axis=1)) / PER_MM
    height = baseline - rows[(rows > baseline - 18) & (rows < baseline + 5)].min()
    assert height == pytest.approx(10, abs=1.2)  # the 40 Hz filter and the mean cost a little of 1 mV


def test_calibration_pulse_is_ten_millimetres_by_five(tmp_path: Path) -> None:
    ink = dark(plot_paper(spikes(), tmp_path / "p.png", dpi=DPI))
    area = ink[
        round((RHYTHM_Y - 15) * PER_MM) : round((RHYTHM_Y + 2) * PER_MM), round(17 * PER_MM) : round(23.4 * PER_MM)
    ]
    rows, columns = (np.flatnonzero(area.any(axis=axis)) / PER_MM for axis in (1, 0))
    assert np.ptp(rows) == pytest.approx(10, abs=0.5)
    top = area[round((15 - 10) * PER_MM)]
    assert np.ptp(np.flatnonzero(top) / PER_MM) == pytest.approx(5, abs=0.5)
    assert columns.size


def test_missing_samples_stay_blank(tmp_path: Path) -> None:
    recording = spikes()
    recording.signal[1, 2250:2750] = np.nan  # 4.5 to 5.5 s of II
    ink = dark(plot_paper(recording, tmp_path / "p.png", dpi=DPI))
    low, high = (round((STRIP_X + 25 * seconds) * PER_MM) for seconds in (4.55, 5.45))
    strip = ink[round((RHYTHM_Y - 12) * PER_MM) : round((RHYTHM_Y + 8) * PER_MM)]
    assert not strip[:, low:high].any()
    assert strip[:, low - 40 : low - 15].any()


def test_synthetic_recordings_are_watermarked_and_say_so_in_metadata(tmp_path: Path) -> None:
    (real, real_words), (made, made_words) = (
        picture(plot_paper(replace(spikes(), synthetic=mark), tmp_path / f"{mark}.png")) for mark in (False, True)
    )
    assert made_words["Comment"].startswith("SYNTHETIC")
    assert "Comment" not in real_words
    assert "unconfirmed" in real_words["Disclaimer"]
    changed = (real != made).any(axis=2)
    assert changed.mean() > 0.03


@pytest.mark.parametrize("leads", [("I",), ("II", "V5"), LEADS[:6], ("V1", "V2", "V3", "V4")])
@pytest.mark.parametrize("units", ["mV", "standardised"])
def test_any_leads_are_drawn(tmp_path: Path, leads: tuple[str, ...], units: str) -> None:
    recording = replace(spikes(leads), units=units)  # type: ignore[arg-type]
    ink = dark(plot_paper(recording, tmp_path / "p.png", title="x" * 300, lines=["y" * 500] * 9))
    assert ink[round(TOP * PER_MM) : round(BOTTOM * PER_MM)].any()


@pytest.mark.parametrize("seconds", [1.0, 3.3, 42.0])
def test_any_length_is_drawn(tmp_path: Path, seconds: float) -> None:
    plot_paper(simulate(ParametricEcg(gain=4), seconds, 257, 1), tmp_path / "p.png", dpi=72)


def test_a_lead_without_a_sample_is_drawn_blank(tmp_path: Path) -> None:
    recording = spikes()
    recording.signal[:] = np.nan
    plot_paper(recording, tmp_path / "p.png", dpi=72)
    plot_paper(replace(recording, units="standardised"), tmp_path / "p.png", dpi=72)


def test_words_that_cannot_be_encoded_are_drawn(tmp_path: Path) -> None:
    path = plot_paper(replace(spikes(), name="of \udcff"), tmp_path / "p.png", lines=["from \udcff"], dpi=72)
    assert picture(path)[1]["Title"] == "of ?"


def test_what_cannot_be_drawn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, dpi in ((tmp_path / "p.jpg", 150), (tmp_path / "p.png", 5), (tmp_path / "no" / "p.png", 72)):
        with pytest.raises(InputError):
            plot_paper(spikes(), path, dpi=dpi)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"pip install 'uniecg-edge\[plot\]'"):
        plot_paper(spikes(), tmp_path / "p.png")
