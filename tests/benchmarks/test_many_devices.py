"""Several simulated devices at once, read by one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from many_devices import measure


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [False, True])
def test_nothing_is_lost(recorded: bool, tmp_path: Path) -> None:
    found = measure("e8_12lead", devices=4, seconds=3.0, folder=tmp_path if recorded else None)
    assert (found.devices, found.leads, found.fs) == (4, 12, 500)
    assert found.samples >= 4 * 500 * 2
    assert (found.missing, found.gaps, found.skipped_bytes) == (0, 0, 0)
