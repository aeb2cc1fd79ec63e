"""The NumPy peers read what the framer reads; what is measured is told as a ratio."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import framing_throughput


def test_it_compares_like_with_like(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "result.json"
    framing_throughput.main(["--frames", "200", "--rounds", "3", "--line-frames", "0", "--json", str(file)])
    result = json.loads(file.read_text())
    for found in result["in_memory"]:
        assert set(found["ns_per_frame"]) == {"libuniecg", "NumPy", "NumPy, words"}
        assert all(times["low"] <= times["value"] <= times["high"] for times in found["times"].values())
    assert "asked 3" in capsys.readouterr().out


@pytest.mark.parametrize("profile", framing_throughput.PEERS)
def test_the_peers_refuse_bytes_that_are_not_clean(profile: str) -> None:
    wire = bytearray(framing_throughput.clean_wire(framing_throughput.load_profile(profile), 10))
    wire[1] ^= 1
    for peer in framing_throughput.PEERS[profile].values():
        with pytest.raises(ValueError, match="not clean"):
            peer(bytes(wire))


@pytest.mark.slow
def test_both_drivers_read_the_simulated_board_from_a_pty() -> None:
    found = framing_throughput.over_a_line(2000)
    assert found["libuniecg"][0]["faults"] == 0 and found["libuniecg"][0]["frames_per_second"] > 0
