"""ECG paper as a PNG, true to scale: A4 landscape, 25 mm/s, 10 mm/mV, three by four leads and a rhythm strip.

Print it at 100 % and a ruler agrees: the file states its dots per inch. Drawn with Pillow at a multiple of
the size and averaged down, so that lines are smooth.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import InputError
from uniecg_device.signals import Recording
from uniecg_runtime.files import replacing
from uniecg_runtime.formats.labels import SYNTHETIC
from uniecg_runtime.signal.window import band_pass, bridge_gaps

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Colour = tuple[int, int, int]

LOW_HZ, HIGH_HZ = 0.5, 40.0
MM_PER_S, MM_PER_MV = 25.0, 10.0
_PAGE = (297.0, 210.0)  # mm
_GRID = (16.0, 37.0, 281.0, 197.0)  # left, top, right, bottom, mm: whole 5 mm squares
_CALIBRATION_MM = 7.0
_ROW_MM = 40.0
_COLUMNS = (("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6"))
_SECONDS = 10.0

_PAPER, _FINE, _COARSE = (255, 253, 252), (250, 222, 220), (238, 168, 164)
_INK, _GREY, _MARK = (16, 18, 32), (96, 96, 104), (226, 206, 214)


@dataclass(frozen=True)
class _Strip:
    """One stretch of one lead: seconds of the signal that it shows, and where its first sample stands, in mm."""

    lead: str
    begin: float
    end: float
    x: float
    baseline: float


class Page:
    """A canvas measured in millimetres, drawn `finer` times as fine as `size` is in dots."""

    def __init__(self, mm: tuple[float, float], dpi: int, finer: int, paper: Colour) -> None:
        from PIL import Image
        from PIL.ImageDraw import Draw

        self.per_mm = dpi * finer / 25.4
        self.size = (round(mm[0] / 25.4 * dpi), round(mm[1] / 25.4 * dpi))
        large = (self.size[0] * finer, self.size[1] * finer)
        self.image: Image.Image = Image.new("RGB", large, paper)
        self.draw: ImageDraw = Draw(self.image)

    def line(self, points: NDArray[np.float64], colour: Colour, width_mm: float) -> None:
        """A polyline through points (n, 2) in mm."""
        width = max(round(width_mm * self.per_mm), 1)
        flat = (points * self.per_mm).ravel().tolist()
        self.draw.line(flat, fill=colour, width=width, joint="curve")

    def text(self, x: float, y: float, text: str, height_mm: float, colour: Colour = _INK, anchor: str = "ls") -> None:
        """Text with its anchor at x, y; height_mm is the font's em."""
        from PIL import ImageFont

        font = ImageFont.load_default(height_mm * self.per_mm)
        self.draw.text((x * self.per_mm, y * self.per_mm), text, font=font, fill=colour, anchor=anchor)


def check_plot(path: Path) -> None:
    """Raises InputError where ECG paper cannot be drawn to `path`: another kind of file, or no Pillow."""
    if importlib.util.find_spec("PIL") is None:
        raise InputError("Drawing ECG paper needs Pillow; install it: pip install 'uniecg-edge[plot]'.")
    if path.suffix.lower() != ".png":
        raise InputError(f"ECG paper is drawn to a .png file, not to {path.name}.")


def plot_paper(
    recording: Recording,
    path: str | Path,
    *,
    title: str = "",
    lines: Sequence[str] = (),
    dpi: int = 150,
) -> Path:
    """Draw the first 10 s of a recording on ECG paper and return the path of the PNG.

    title and up to four lines stand above the grid. Three leads or fewer are drawn 10 s long each; more in three
    rows of four columns that follow one another in time, above 10 s of lead II. The signal is band-passed from
    0.5 to 40 Hz without phase shift, as the footer states; missing samples stay blank.
    A synthetic recording is watermarked and says so in the PNG's metadata.
    Raises InputError where Pillow is not installed, dpi is not in 72..600, or the file cannot be written.
    """
    file = Path(path)
    check_plot(file)
    from PIL import Image

    if not 72 <= dpi <= 600:
        raise InputError(f"dpi must lie between 72 and 600, not {dpi}.")
    finer = max(600 // dpi, 1) if dpi > 200 else 3  # a canvas of at most 105 MB
    page = Page(_PAGE, dpi, finer, _PAPER)
    _draw_grid(page)
    if recording.synthetic:
        _draw_watermark(page)
    signal, fs = _filtered(recording)
    strips = _layout(recording.leads)
    for strip in strips:
        _draw_strip(page, strip, recording.leads, signal, fs)
    scaled = recording.units == "mV"
    for baseline in sorted({strip.baseline for strip in strips}):
        _draw_calibration(page, baseline, scaled)
    _draw_words(page, recording, title, lines)
    small = page.image.resize(page.size, Image.Resampling.BOX)
    _save(small, file, recording, title, dpi)
    return file


def _filtered(recording: Recording) -> tuple[NDArray[np.float32], float]:
    """The first 10 s within 0.5 to 40 Hz, NaN where nothing was recorded, and the rate it then has."""
    signal = recording.signal[:, : round(_SECONDS * recording.fs)]
    fs = max(recording.fs, 500.0)  # band-limited interpolation draws a slow recording's curves round
    count = round(signal.shape[1] * fs / recording.fs)
    result = np.full((len(signal), count), np.nan, np.float32)
    places = np.minimum((np.arange(count) * recording.fs / fs + 0.5).astype(np.int64), signal.shape[1] - 1)
    for row, lead in enumerate(signal):
        missing = ~np.isfinite(lead)
        if missing.all():
            continue
        whole, _ = bridge_gaps(np.where(missing, np.float32(np.nan), lead))
        drawn = band_pass(whole[None], recording.fs, fs, LOW_HZ, min(HIGH_HZ, 0.45 * recording.fs))[0]
        result[row, : len(drawn)] = drawn[:count]
        result[row, missing[places]] = np.nan
    if recording.units == "standardised":
        spread = np.nanstd(result, axis=1, keepdims=True) if np.isfinite(result).any() else np.float32(1)
        with np.errstate(invalid="ignore"):
            result = result / np.where(spread > 0, spread / 0.25, 1)  # drawn as if a standard deviation were 0.25 mV
    return result.astype(np.float32), fs


def _layout(leads: tuple[str, ...]) -> list[_Strip]:
    left, top = _GRID[0] + _CALIBRATION_MM + 1, _GRID[1]
    if len(leads) <= 3:
        step = (_GRID[3] - top) / (len(leads) + 1)
        return [_Strip(lead, 0, _SECONDS, left, top + step * (row + 1)) for row, lead in enumerate(leads)]
    strips = []
    for column, names in enumerate(_COLUMNS):
        begin = column * _SECONDS / 4
        for row, lead in enumerate(names):
            baseline = top + _ROW_MM * (row + 0.5)
            strips.append(_Strip(lead, begin, begin + _SECONDS / 4, left + begin * MM_PER_S, baseline))
    rhythm = "II" if "II" in leads else leads[0]
    return [*strips, _Strip(rhythm, 0, _SECONDS, left, top + 3.5 * _ROW_MM)]


def _draw_grid(page: Page) -> None:
    left, top, right, bottom = _GRID
    for every, colour, width in ((1.0, _FINE, 0.10), (5.0, _COARSE, 0.16)):
        for x in np.arange(left, right + 0.01, every):
            page.line(np.array([[x, top], [x, bottom]]), colour, width)
        for y in np.arange(top, bottom + 0.01, every):
            page.line(np.array([[left, y], [right, y]]), colour, width)


def _draw_watermark(page: Page) -> None:
    """A large word along the diagonal, light enough to read the traces through."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(44 * page.per_mm)
    mask = Image.new("L", page.image.size, 0)
    centre = ((_GRID[0] + _GRID[2]) / 2 * page.per_mm, (_GRID[1] + _GRID[3]) / 2 * page.per_mm)
    ImageDraw.Draw(mask).text(centre, "SYNTHETIC", font=font, fill=150, anchor="mm")
    mask = mask.rotate(24, center=centre)
    page.image.paste(_MARK, (0, 0), mask)


def _draw_strip(page: Page, strip: _Strip, leads: tuple[str, ...], signal: NDArray[np.float32], fs: float) -> None:
    tick = np.array([[strip.x, strip.baseline - 3.0], [strip.x, strip.baseline + 3.0]])
    if strip.begin > 0:  # where one lead gives way to the next
        page.line(tick, _INK, 0.25)
    first, end = round(strip.begin * fs), round(strip.end * fs) + (1 if strip.end >= _SECONDS else 0)
    known = strip.lead in leads
    trace = signal[leads.index(strip.lead), first:end] if known else np.empty(0, np.float32)
    x = strip.x + np.arange(len(trace)) / fs * MM_PER_S
    y = np.clip(strip.baseline - trace * MM_PER_MV, _GRID[1], _GRID[3])
    for run in runs(np.isfinite(trace)):
        if run.stop - run.start > 1:
            page.line(np.stack([x[run], y[run]], axis=1), _INK, 0.32)
    blank = not np.isfinite(trace).any()
    label = f"{strip.lead} (not recorded)" if blank else strip.lead
    page.text(strip.x + 1.5, strip.baseline - 13.5, label, 4.4, _GREY if blank else _INK)


def runs(valid: NDArray[np.bool_]) -> list[slice]:
    """Stretches of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], valid, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _draw_calibration(page: Page, baseline: float, scaled: bool) -> None:
    """1 mV for 200 ms, as a machine draws it; nothing where the scale is lost."""
    if not scaled:
        return
    x, height = _GRID[0] + 1.0, MM_PER_MV
    across = np.array([0.0, 1.0, 1.0, 6.0, 6.0, 7.0])
    up = np.array([0, 0, height, height, 0, 0])
    page.line(np.stack([x + across, baseline - up], axis=1), _INK, 0.32)


def _draw_words(page: Page, recording: Recording, title: str, lines: Sequence[str]) -> None:
    left, right = _GRID[0], _GRID[2]
    page.text(left, 14.0, _fitted(title or recording.name or "ECG", 60), 6.0)
    facts = [f"{recording.age:.0f} years" if recording.age is not None else "", recording.sex or ""]
    facts += [f"{recording.duration:.3g} s at {recording.fs:g} Hz"]
    page.text(right, 14.0, ", ".join(fact for fact in facts if fact), 3.8, _GREY, anchor="rs")
    for row, line in enumerate(lines[:4]):
        page.text(left, 20.0 + 4.9 * row, _fitted(line, 130), 3.8)
    if recording.synthetic:
        page.text(right, 9.0, SYNTHETIC, 3.8, (176, 32, 56), anchor="rs")
    scale = f"{MM_PER_MV:g} mm/mV" if recording.units == "mV" else "amplitude standardised, not to scale"
    footer = f"{MM_PER_S:g} mm/s   {scale}   {LOW_HZ:g}-{HIGH_HZ:g} Hz"
    page.text(left, 203.5, footer, 3.8)
    page.text(right, 203.5, "research use, unconfirmed", 3.8, anchor="rs")


def _fitted(text: str, longest: int) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= longest else plain[: longest - 3].rstrip() + "..."


def _save(image: Image, path: Path, recording: Recording, title: str, dpi: int) -> None:
    from PIL.PngImagePlugin import PngInfo

    words = PngInfo()
    words.add_itxt("Title", (title or recording.name or "ECG").encode("utf-8", "replace").decode())
    words.add_text("Software", "uniecg-edge")
    words.add_text("Disclaimer", "research use, unconfirmed; not a medical device")
    if recording.synthetic:
        words.add_text("Comment", SYNTHETIC)
    try:
        with replacing(path) as part:
            image.save(part, "PNG", dpi=(dpi, dpi), pnginfo=words, optimize=False)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from None
