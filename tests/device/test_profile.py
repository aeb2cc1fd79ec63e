"""A profile is read whole or refused, with file, line and key."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniecg_device.errors import ProfileError
from uniecg_device.grammar import Number, parse_pattern
from uniecg_device.profile import FOLDER, load_profile, profile_names
from uniecg_device.signals import INDEPENDENT_LEADS, LEADS

DOCS = Path(__file__).parents[2] / "docs"
E8 = (FOLDER / "e8_12lead.toml").read_text()


@pytest.mark.parametrize("name", profile_names())
def test_built_in_profiles_say_where_their_scale_comes_from(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name and profile.title
    assert profile.sources and profile.scale.provenance
    assert profile.scale.basis in ("register setting", "datasheet", "measured")
    assert profile.scale.confidence in ("low", "medium", "high")
    assert profile.scale.confidence != "high", "nothing here has been held against a device"


@pytest.mark.parametrize("name", profile_names())
def test_built_in_profiles_can_be_used_by_a_live_device(name: str) -> None:
    profile = load_profile(name)
    assert any(lead in LEADS for lead in profile.leads), "at least one channel is a lead"
    starts = profile.find_command("start")
    assert starts is None or profile.open[-1] == "start", "samples are kept from the last command on"
    assert profile.notes, "what a user must know"
    assert json.loads(profile.to_json())["name"] == name


def test_e8_is_what_the_device_is() -> None:
    profile = load_profile("e8_12lead")
    assert profile.frame is not None
    assert (profile.fs, profile.port.baud, profile.frame.data_length) == (500, 115200, 22)
    assert profile.leads == INDEPENDENT_LEADS
    assert profile.open == ("stop", "start"), "a unit left streaming ignores START"
    assert profile.scale.confidence == "low"


def test_a_profile_of_ones_own_is_loaded_by_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(E8.replace("counts_per_mv = 1423", "counts_per_mv = 1200"))
    assert load_profile(file).scale.counts_per_mv == 1200
    assert load_profile(str(file)).name == "e8_12lead"


def line_of(text: str) -> int:
    return E8[: E8.index(text)].count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new", "says", "line"),
    [
        ("offset = 2048", "offset = 'x'", "scale.offset: Expected `float`", line_of("offset = 2048")),
        ('lead = "V3"', 'lead = "V9"', "lead 'V9' is none of I II III", line_of('lead = "V3"') - 1),
        ('lead = "V3"', 'lead = "CH0"', "nor CH1 .. CH99", line_of('lead = "V3"') - 1),
        ("[13, 4, 0]", "[33, 4, 0]", "outside a frame of 22 bytes", line_of('lead = "V3"') - 1),
        ("[[5, 4, 0]", "[[5, 9, 0]", "channel[0].bits[0][1]: Expected `int` <= 7", line_of("bits = [[5, 4, 0]")),
        ("modulus = 64", "modulus = 65", "does not fit into 6 bits", line_of("counter = ")),
        ('"E8 ?? 11 10', '"E8 ?? 11 1', "hex pairs", line_of("[[command]]")),
        ("fs = 500", "fs = 0", "fs: Expected `float` > 0", line_of("fs = 500")),
        ("fs = 500", "fs = = 500", "not valid TOML", line_of("fs = 500")),
        ("fs = 500", "", "missing required field `fs`", None),
        ("fs = 500", "fs = 500\nfrequency = 3", "unknown field `frequency`", None),
        ('open = ["stop"', 'open = ["halt"', "no [[command]] is named 'halt'", None),
        ('lead = "II"', 'lead = "I"', "two channels have the same lead", None),
        ('wilson_leads = ["I"', 'wilson_leads = ["III"', "wilson_leads names 'III'", None),
        ("confidence = \"low\"", "confidence = \"sure\"", "Invalid enum value 'sure'", line_of("confidence")),
        ("byte = 3, type = \"u8\", packets", "byte = 3, packets", "either as `bits` or as `byte`", line_of("kind = ")),
        ('sync = "E8"', 'sync = "??"', "sync bytes are all known", line_of("[frame]")),
        ('sync = "E8"', "", "without sync bytes needs a checksum and a counter", line_of("[frame]")),
        ("packets = [0x20]", "packets = [0x20, 0x20]", "packets are different numbers", line_of("kind = ")),
        ("packets = [0x20]", "packets = [0x20, 0x21]", "`packet` is one of 32, 33", line_of('lead = "I"') - 1),
        ('lead = "V1"', 'lead = "V1"\npacket = 32', "so leave out `packet`", line_of('lead = "V1"') - 1),
        ('lead = "V1"', 'lead = "V1"\ncolumn = 0', "neither bits, bytes nor electrode", line_of('lead = "V1"') - 1),
        ('lead = "V1"', 'lead = "V1"\nlimits = [9, 5000]', "limits lie in order within 0 .. 4095", None),
        ("value = 0x20 }]", "value = 0x30 }]", "bits outside the mask", line_of("electrode = ")),
        ("[frame]", "[text]\ncolumns = 1\n[frame]", "one of [frame] and [text] is needed", None),
        ("[[1, 5, 0]], modulus", "[[3, 5, 0]], modulus", "shares bits with the counter", line_of("[frame]")),
        ("footer = [", 'checksum = { kind = "sum8", byte = 4 }\nfooter = [', "needs `first` and `last`", None),
        ("footer = [", 'checksum = { kind = "crc4", byte = 4, last = 3 }\nfooter = [', "covers the whole frame", None),
        ("footer = [", "samples = 2\nfooter = [", "stride", line_of("[frame]")),
        ("fs = 500", 'fs = 500\ndecoder = "json_lines"', "begin 82 A1 43", None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, old: str, new: str, says: str, line: int | None) -> None:
    assert old in E8
    file = tmp_path / "mine.toml"
    file.write_text(E8.replace(old, new, 1))
    with pytest.raises(ProfileError) as caught:
        load_profile(file)
    message = str(caught.value)
    assert says in message and str(file) in message
    if line is not None:
        assert f"line {line}" in message


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ProfileError, match=r"no device profile is named e9: expected one of ad8232_text, .*e8_12lead, .*"
    ):
        load_profile("e9")


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"#" * (1 << 19), b"x = " + b"[" * 50_000])
def test_files_that_are_no_profile(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "other.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ProfileError, match=r"other\.toml"):
        load_profile(file)
    with pytest.raises(ProfileError, match="cannot read the device profile"):
        load_profile("a\0b.toml")


@settings(deadline=None, max_examples=200)
@given(start=st.integers(0, len(E8)), length=st.integers(0, 40), text=st.text(max_size=10))
def test_a_damaged_profile_is_loaded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, start: int, length: int, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.toml"
    file.write_text(E8[:start] + text + E8[start + length :], "utf-8")
    try:
        load_profile(file)
    except ProfileError as error:
        assert str(file) in str(error)


@pytest.mark.parametrize(
    ("kind", "runs", "range_"),
    [
        ("u8", [(3, 7, 0)], (0, 255)),
        ("i16le", [(4, 7, 0), (3, 7, 0)], (-32768, 32767)),
        ("i24be", [(3, 7, 0), (4, 7, 0), (5, 7, 0)], (-(2**23), 2**23 - 1)),
    ],
)
def test_types_are_runs_of_bits(kind: str, runs: list[tuple[int, int, int]], range_: tuple[int, int]) -> None:
    number = Number(byte=3, type=kind)  # type: ignore[arg-type]
    assert number.runs == runs and number.range == range_


def test_patterns_are_hex_pairs_and_quoted_text() -> None:
    assert parse_pattern("e8 ?? 8E") == [0xE8, None, 0x8E]
    assert parse_pattern("""
      '{"a b": 1}' 0A
    """) == [*b'{"a b": 1}\n']
    assert parse_pattern("'a' 'b'00"[:7]) == [*b"ab"]
    for text in ("", " ", "e", "E8E8", "0x10", "GG", "'", "'a", "'a''b'", "'\u00e9'", "00'a'"):
        with pytest.raises(ValueError, match="hex pairs"):
            parse_pattern(text)


def test_the_json_form_is_what_the_framer_reads() -> None:
    found = json.loads(load_profile("openbci_cyton_daisy").to_json())
    assert found["uniecg"] == 2 and found["fs"] == 125
    frame = found["frame"]
    assert frame["kind"] == [[1, 0, 0]] and frame["packets"] == [1, 0] and frame["confirm"] == 1
    assert frame["counter"] == {"bits": [[1, 7, 0]], "modulus": 256, "step": 1}
    board, daisy = found["channels"][0], found["channels"][8]
    assert (board["lead"], board["packet"]) == ("I", 0) and (daisy["lead"], daisy["packet"]) == ("CH9", 1)
    assert board["bits"] == [[2, 7, 0], [3, 7, 0], [4, 7, 0]] and board["signed"] is True
    text = json.loads(load_profile("ad8232_text").to_json())
    assert text["text"] == {"separator": ",", "columns": 1, "max": 16, "off": "!"}
    assert text["channels"][0]["column"] == 0 and "frame" not in text


def test_how_far_a_counter_sees() -> None:
    spans = {name: load_profile(name).counter_span for name in ("e8_12lead", "openbci_cyton_daisy", "shimmer3_ecg")}
    assert spans == {"e8_12lead": 64, "openbci_cyton_daisy": 128, "shimmer3_ecg": 2**24 // 64}
    assert load_profile("ad8232_text").counter_span is None and load_profile("bmd101").counter_span is None


def test_a_channel_may_have_a_scale_of_its_own() -> None:
    channels = json.loads(load_profile("bitalino_6ch").to_json())["channels"]
    assert [channel["offset"] for channel in channels] == [512, 512, 512, 512, 32, 32]
    assert channels[4]["mv_per_count"] == pytest.approx(16 * channels[1]["mv_per_count"], rel=1e-5)


def test_a_user_may_name_the_leads_of_a_copy(tmp_path: Path) -> None:
    file = tmp_path / "anywhere" / "fifteen.toml"
    file.parent.mkdir()
    text = (FOLDER / "openbci_cyton_daisy.toml").read_text()
    file.write_text(text.replace('lead = "CH9"', 'lead = "aVF"'))
    assert load_profile(file).leads[8] == "aVF"


def test_the_worked_example_of_the_documentation_works(tmp_path: Path) -> None:
    page = (DOCS / "add-your-device.md").read_text()
    toml, frame = re.findall(r"```(?:toml)?\n(name.*?|AA 55[^\n]*\n)```", page, re.DOTALL)
    file = tmp_path / "my_board.toml"
    file.write_text(toml)
    framer = load_profile(file).make_framer(10)
    framer.push(bytes.fromhex(frame))
    millivolts, electrodes_off, _ = framer.pull(10)
    assert millivolts.ravel().tolist() == pytest.approx([1, -1], abs=1e-4) and electrodes_off.tolist() == [2]
    assert framer.counters()["skipped_bytes"] == 0


def test_the_documentation_lists_every_device() -> None:
    listed = re.findall(r"^\| `(\w+)`", (DOCS / "devices.md").read_text(), re.MULTILINE)
    assert sorted(listed) == profile_names()
