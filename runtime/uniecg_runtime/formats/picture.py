"""A recording as the picture that an image encoder was trained on: a whole page, reduced to a small square.

The layout "rows" is that of ecg-image-kit (alphanumericslab, BSD-3) as GEM calls it (lanxiang1017/GEM,
gem_generation): one column, red grid over the page, a calibration pulse in front of each row. What it draws at random,
shades of grey, is drawn here as its mean. Reduced as CLIPImageProcessor of transformers does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uniecg_device.errors import BackendError
from uniecg_device.signals import LEADS, Recording
from uniecg_runtime.formats.plot import MM_PER_MV, MM_PER_S, Colour, Page, runs
from uniecg_runtime.manifest import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

MM_PER_INCH, MM_PER_POINT = 25.4, 25.4 / 72
FINER = 3  # lines are a dot and a half wide
SECONDS, PULSE_SECONDS = 10.0, 0.2
RHYTHM = "II"
_PAPER, _COARSE, _FINE = (255, 255, 255), (255, 0, 0), (254, 223, 219)
_INK, _LETTERS = (26, 26, 26), (0, 0, 0)
_GRID_MM, _TRACE_MM, _PULSE_MM, _TEXT_MM = (points * MM_PER_POINT for points in (0.5, 0.75, 1.125, 11.0))


def prepare_picture(recording: Recording, picture: Picture) -> NDArray[np.float32]:
    """The image encoder's input, float32 (1, 3, size, size). recording: mV, of which the first 10 s are drawn.

    Raises BackendError where Pillow is not installed.
    """
    return scale_image(draw_page(recording, picture), picture)


def draw_page(recording: Recording, picture: Picture) -> Image:
    """The page, red, green and blue; rows of leads that were not recorded hold their name alone."""
    try:
        from PIL import Image
    except ImportError:
        raise BackendError(
            "expected Pillow, for this bundle's model also looks at a picture of the ECG, found none; "
            "install it: pip install 'uniecg-edge[plot]'."
        ) from None
    width, height = (inches * MM_PER_INCH for inches in picture.page_inches)
    page = Page((width, height), picture.dpi, FINER, _PAPER)
    _draw_grid(page, width, height)
    row = height / (len(LEADS) + 3)  # a row and a half are left free above, and half of one below
    left = MM_PER_S * PULSE_SECONDS * np.floor((width / MM_PER_S - SECONDS) / 2 / PULSE_SECONDS)
    for place, lead in enumerate(LEADS):
        baseline = height - (len(LEADS) + 0.5 - place) * row
        _draw_row(page, recording, lead, float(left), baseline, baseline + 0.7 * MM_PER_MV)
    foot = height - row / 2
    _draw_row(page, recording, RHYTHM, float(left), foot - 0.3 * MM_PER_MV, foot + 0.5 * MM_PER_MV)
    for seconds, words in ((2, f"{MM_PER_S:g}mm/s"), (4, f"{MM_PER_MV:g}mm/mV")):
        page.text(seconds * MM_PER_S, height - 0.5 * MM_PER_MV, words, _TEXT_MM, _LETTERS)
    return page.image.resize(page.size, Image.Resampling.BOX)


def scale_image(image: Image, picture: Picture) -> NDArray[np.float32]:
    """As CLIPImageProcessor: shortest edge to `size`, bicubic; its centre; 0..1, less `mean`, over `std`."""
    from PIL.Image import Resampling

    size, short = picture.size, min(image.size)
    small = image.convert("RGB").resize(
        (int(size * image.width / short), int(size * image.height / short)), Resampling.BICUBIC
    )
    left, top = (small.width - size) // 2, (small.height - size) // 2
    values = np.asarray(small.crop((left, top, left + size, top + size)), np.float32) / np.float32(255)
    scaled = (values - np.array(picture.mean, np.float32)) / np.array(picture.std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def _draw_grid(page: Page, width: float, height: float) -> None:
    """Coarse lines before fine ones, upright before level: the order in which the original paints over its own."""
    for upright in (True, False):
        for coarse in (True, False):
            colour: Colour = _COARSE if coarse else _FINE
            for mm in range(int(width if upright else height) + 1):
                if (mm % 5 == 0) != coarse:
                    continue
                ends = [[mm, 0], [mm, height]] if upright else [[0, height - mm], [width, height - mm]]
                page.line(np.array(ends, np.float64), colour, _GRID_MM)


def _draw_row(page: Page, recording: Recording, lead: str, left: float, baseline: float, name: float) -> None:
    """A calibration pulse at `left`, 10 s of the lead behind it, and its name with its foot at `name`, all in mm."""
    begin = left + PULSE_SECONDS * MM_PER_S
    across = left + np.array([0.0, 0.002, 0.004, 0.2, 0.202, 0.206]) * MM_PER_S
    up = baseline - np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0]) * MM_PER_MV
    page.text(begin, name, lead, _TEXT_MM, _LETTERS)
    page.line(np.stack([across, up], axis=1), _INK, _PULSE_MM)
    if lead not in recording.leads:
        return
    trace = recording.signal[recording.leads.index(lead), : round(SECONDS * recording.fs)].astype(np.float64)
    points = np.stack([begin + np.arange(len(trace)) / recording.fs * MM_PER_S, baseline - trace * MM_PER_MV], axis=1)
    for run in runs(np.isfinite(trace)):
        if run.stop - run.start > 1:
            page.line(points[run], _INK, _TRACE_MM)
