"""A profile is read whole or refused, with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniecg_device.errors import ProfileError
from uniecg_device.profile import FOLDER, Number, load_profile, parse_pattern, profile_names
from uniecg_device.signals import INDEPENDENT_LEADS

E8 = (FOLDER / "e8_12lead.toml").read_text()


@pytest.mark.parametrize("name", profile_names())
def test_built_in_profiles_say_where_their_scale_comes_from(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.sources and profile.scale.provenance and profile.scale.confidence in ("low", "medium", "high")


def test_e8_is_what_the_device_is() -> None:
    profile = load_profile("e8_12lead")
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
        ("[13, 4, 0]", "[33, 4, 0]", "outside a frame of 22 bytes", line_of('lead = "V3"') - 1),
        ("[[5, 4, 0]", "[[5, 9, 0]", "channel[0].bits[0][1]: Expected `int` <= 7", line_of("bits = [[5, 4, 0]")),
        ("modulus = 64", "modulus = 65", "modulus 65 does not fit its 6 bits", line_of("[frame]")),
        ('"E8 ?? 11 10', '"E8 ?? 11 1', "hex pairs", line_of("[[command]]")),
        ("fs = 500", "fs = 0", "fs: Expected `float` > 0", line_of("fs = 500")),
        ("fs = 500", "fs = = 500", "not valid TOML", line_of("fs = 500")),
        ("fs = 500", "", "missing required field `fs`", None),
        ("fs = 500", "fs = 500\nfrequency = 3", "unknown field `frequency`", None),
        ('open = ["stop"', 'open = ["halt"', "no [[command]] is named 'halt'", None),
        ('lead = "II"', 'lead = "I"', "two channels have the same lead", None),
        ('wilson_leads = ["I"', 'wilson_leads = ["III"', "wilson_leads names 'III'", None),
        ("confidence = \"low\"", "confidence = \"sure\"", "Invalid enum value 'sure'", line_of("confidence")),
        ("{ byte = 3, type = \"u8\", data", "{ byte = 3, data", "either as `bits` or as `byte`", line_of("kind = ")),
        ('sync = "E8"', 'sync = "??"', "sync bytes are all known", line_of("[frame]")),
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
    with pytest.raises(ProfileError, match="no device profile is named e9: expected one of e8_12lead, openbci_cyton"):
        load_profile("e9")


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"#" * (1 << 19)])
def test_files_that_are_no_profile(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "other.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ProfileError, match=r"other\.toml"):
        load_profile(file)


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


def test_patterns_are_hex_pairs() -> None:
    assert parse_pattern("e8 ?? 8E") == [0xE8, None, 0x8E]
    for text in ("", "e", "E8E8", "0x10", "GG"):
        with pytest.raises(ValueError, match="hex pairs"):
            parse_pattern(text)
