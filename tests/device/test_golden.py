"""What every device sends, written out by hand from its layout, in both directions.

Each builder below makes a device's bytes from counts with nothing of the package; published vectors hold the
builders, and the builders hold framer and encoder.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from uniecg_device.encoder import encode_pattern, encode_wire
from uniecg_device.profile import load_profile, profile_names

Row = list[int]
Off = list[bool]
# Number of the sample since the device was started, its counts, whose electrodes are off -> what is sent.
Builder = Callable[[int, Row, Off], bytes]
SAMPLES = 48


def e8(number: int, row: Row, off: Off) -> bytes:
    pairs = [(value >> 7 | (0 if is_off else 0x20), value & 0x7F) for value, is_off in zip(row, off, strict=True)]
    return bytes([0xE8, number % 64, 0x11, 0x20, 0, *sum(pairs, ()), 0x8E])


def cyton_frame(number: int, row: Row, aux: bytes = bytes(6)) -> bytes:
    channels = b"".join(value.to_bytes(3, "big", signed=True) for value in row)
    return b"\xa0" + bytes([number % 256]) + channels + aux + b"\xc0"


def cyton(number: int, row: Row, off: Off) -> bytes:
    return cyton_frame(number, row)


def daisy(number: int, row: Row, off: Off) -> bytes:
    return cyton_frame(2 * number + 1, row[:8]) + cyton_frame(2 * number + 2, row[8:])


def openview(kind: int, payload: bytes) -> bytes:
    return b"\x0a\xfa" + struct.pack("<HB", len(payload), kind) + payload + b"\x00\x0b"


def healthypi5_arduino(number: int, row: Row, off: Off) -> bytes:
    return openview(2, struct.pack("<i18x", row[0]))


def healthypi5_zephyr(number: int, row: Row, off: Off) -> bytes:
    return openview(3, struct.pack("<8i18x", *row))


def healthypi_v4(number: int, row: Row, off: Off) -> bytes:
    return openview(2, struct.pack("<h17xB", row[0], 0x1F * off[0]))


def healthypi_v3(number: int, row: Row, off: Off) -> bytes:
    return openview(2, struct.pack("<h17xB", row[0], off[0]))


def ads1292r(number: int, row: Row, off: Off) -> bytes:
    return openview(2, struct.pack("<h7x", row[0]))


def ads1293(number: int, row: Row, off: Off) -> bytes:
    return openview(2, struct.pack("<3i", *row))


def max3000x(number: int, row: Row, off: Off) -> bytes:
    return openview(2, struct.pack("<i8x", row[0] << 16))


def with_crc4(frame: list[int], number: int) -> bytes:
    """BITalino's last byte: counter and CRC, by the shift register of the vendor's API."""
    frame = [*frame, number % 16 << 4]
    rest = 0
    for byte in frame:
        for bit in range(7, -1, -1):
            rest <<= 1
            if rest & 0x10:
                rest ^= 0x13
            rest ^= byte >> bit & 1
    return bytes([*frame[:-1], frame[-1] | rest])


def bitalino(number: int, row: Row, off: Off, digital: int = 0) -> bytes:
    return with_crc4([(row[0] & 0x3F) << 2, digital << 4 | row[0] >> 6], number)


def bitalino_6ch(number: int, row: Row, off: Off, digital: int = 0) -> bytes:
    a, b, c, d, e, f = row
    backwards = [
        digital << 4 | a >> 6, (a & 0x3F) << 2 | b >> 8, b & 0xFF,
        c >> 2, (c & 3) << 6 | d >> 4, (d & 15) << 4 | e >> 2, (e & 3) << 6 | f,
    ]  # fmt: skip
    return with_crc4(backwards[::-1], number)


def olimex(number: int, row: Row, off: Off, switches: int = 0) -> bytes:
    return struct.pack(">BBBB6HB", 0xA5, 0x5A, 2, number % 256, *row, switches)


def ad8232(number: int, row: Row, off: Off) -> bytes:
    return b"!\r\n" if off[0] else b"%d\r\n" % row[0]


def bmd101(number: int, row: Row, off: Off) -> bytes:
    payload = b"\x80\x02" + struct.pack(">h", row[0])
    return b"\xaa\xaa\x04" + payload + bytes([~sum(payload) & 0xFF])


def shimmer3(number: int, row: Row, off: Off) -> bytes:
    lead_ii, lead_i, v1 = (value.to_bytes(3, "big", signed=True) for value in row)
    time = (64 * number % 2**24).to_bytes(3, "little")
    return b"\x00" + time + b"\x00" + lead_ii + lead_i + b"\x00" + bytes(3) + v1


def hackeeg_data(number: int, row: Row, off: Off, micros: int = 0) -> bytes:
    """The chip's status: 1100, the 8 P electrodes from the last to the first, then the N ones, then 4 GPIO bits."""
    flags = sum(1 << channel for channel, is_off in enumerate(off) if is_off)
    status = 0b1100 << 20 | flags << 12 | flags << 4
    channels = b"".join(value.to_bytes(3, "big", signed=True) for value in row)
    return struct.pack("<II", micros, number) + status.to_bytes(3, "big") + channels


def hackeeg_messagepack(number: int, row: Row, off: Off) -> bytes:
    return b"\x82\xa1C\xcc\xc8\xa1D\xc4\x23" + hackeeg_data(number, row, off)


def hackeeg_jsonlines(number: int, row: Row, off: Off) -> bytes:
    return b'{"C":200,"D":"' + base64.b64encode(hackeeg_data(number, row, off)) + b'"}\n'


def knight(number: int, row: Row, off: Off) -> bytes:
    flags = sum(1 << channel for channel, is_off in enumerate(off) if is_off)
    return struct.pack(">BB8hBBB", 0xA0, number % 256, *row, flags, flags, 0xC0)


@dataclass(frozen=True)
class Device:
    """What is known of a device without its profile."""

    build: Builder
    channels: int
    counts: tuple[int, int]  # smallest and largest
    millivolts: float  # per count
    zero: float = 0.0  # count at 0 mV
    has_flags: bool = False
    samples: int = 1  # that one call of `build` takes


I16, I24 = (-(1 << 15), (1 << 15) - 1), (-(1 << 23), (1 << 23) - 1)
FULL24 = 2**23 - 1
ADS1292R = 2420 / 12 / FULL24 * 2**8

DEVICES = {
    "ad8232_text": Device(ad8232, 1, (0, 1023), 5000 / 1024 / 1100, 338, has_flags=True),
    "bitalino": Device(bitalino, 1, (0, 1023), 3300 / 1100 / 1024, 512),
    "bitalino_6ch": Device(bitalino_6ch, 6, (0, 63), 3300 / 1100 / 1024, 512),
    "bmd101": Device(bmd101, 1, I16, 18.3 / 128 / 1000),
    "e8_12lead": Device(e8, 8, (0, 4095), 1 / 1423, 2048, has_flags=True),
    "hackeeg_jsonlines": Device(hackeeg_jsonlines, 8, I24, 4500 / 12 / FULL24, has_flags=True),
    "hackeeg_messagepack": Device(hackeeg_messagepack, 8, I24, 4500 / 12 / FULL24, has_flags=True),
    "healthypi5_arduino": Device(healthypi5_arduino, 1, (-(1 << 17), (1 << 17) - 1), 1000 / 80 / 2**17),
    "healthypi5_zephyr": Device(healthypi5_zephyr, 1, I24, 1000 / 80 / 2**17 / 2**6, samples=8),
    "healthypi_v3": Device(healthypi_v3, 1, I16, ADS1292R, has_flags=True),
    "healthypi_v4": Device(healthypi_v4, 1, I16, ADS1292R, has_flags=True),
    "neuropawn_knight": Device(knight, 8, I16, 4000 / (2**15 - 1) / 12, has_flags=True),
    "olimex_ekg_emg": Device(olimex, 6, (0, 1023), 5000 / 1024 / (10 * 80 * 3.56), 512),
    "openbci_cyton": Device(cyton, 8, I24, 4500 / 24 / FULL24),
    "openbci_cyton_daisy": Device(daisy, 16, I24, 4500 / 24 / FULL24),
    "protocentral_ads1292r": Device(ads1292r, 1, I16, ADS1292R),
    "protocentral_ads1293": Device(ads1293, 3, I24, 2 * 2400 / 3.5 / 2**23, 2**22),
    "protocentral_max30001": Device(max3000x, 1, I16, 1000 / 80 / 2**17 * 4),
    "protocentral_max30003": Device(max3000x, 1, I16, 1000 / 20 / 2**17 * 4),
    "shimmer3_ecg": Device(shimmer3, 3, I24, 2420 / 4 / FULL24),
}  # fmt: skip

ALL_ON = [False] * 8
PUBLISHED = {
    "healthypi5_arduino": (
        openview(2, struct.pack("<iiBiihBBB", -1000, 2000, 0, 300000, 250000, 3650, 98, 72, 15)),
        "0a fa 16 00 02 18 fc ff ff d0 07 00 00 00 e0 93 04 00 90 d0 03 00 42 0e 62 48 0f 00 0b",
    ),
    "protocentral_ads1292r": (
        openview(2, struct.pack("<hhhhx", -512, 100, 15, 72)),
        "0a fa 09 00 02 00 fe 64 00 0f 00 48 00 00 00 0b",
    ),
    "protocentral_ads1293": (
        ads1293(0, [1, -1, 8388607], ALL_ON),
        "0a fa 0c 00 02 01 00 00 00 ff ff ff ff ff ff 7f 00 00 0b",
    ),
    "openbci_cyton": (
        cyton_frame(7, [1, -1, 8388607, -8388608, 0, 100, -100, 12345], struct.pack(">3h", 16, -16, 4096)),
        "a0 07 000001 ffffff 7fffff 800000 000000 000064 ffff9c 003039 0010 fff0 1000 c0",
    ),
    "bitalino": (bitalino(5, [512], ALL_ON, 0b1010), "00 a8 5d"),
    "bitalino_6ch": (bitalino_6ch(5, [512, 1023, 0, 300, 33, 63], ALL_ON, 0b1010), "7f c8 12 00 ff 03 a8 54"),
    "e8_12lead": (
        e8(3, [2048, 2100, 0, 4095, 1, 2, 3, 4], [False, False, True, *ALL_ON[3:]]),
        "e8 03 11 20 00 30 00 30 34 00 00 3f 7f 20 01 20 02 20 03 20 04 8e",
    ),
    "olimex_ekg_emg": (
        olimex(9, [512, 513, 0, 1023, 5, 6], ALL_ON, 1),
        "a5 5a 02 09 02 00 02 01 00 00 03 ff 00 05 00 06 01",
    ),
    "bmd101": (bmd101(0, [-200], ALL_ON), "aa aa 04 80 02 ff 38 46"),
}


@dataclass(frozen=True)
class Stream:
    """Some time of a device: what it measured, and what it sends of it."""

    counts: NDArray[np.int64]  # (channels, samples)
    off: NDArray[np.bool_]
    sent: list[bytes]  # one piece for each frame, or group of frames that make a sample


def make_stream(name: str) -> Stream:
    device, random = DEVICES[name], np.random.default_rng(sum(name.encode()))
    low, high = device.counts
    counts = random.integers(low, high + 1, (device.channels, SAMPLES))
    counts[:, 3], counts[:, 4] = low, high
    off = random.random((device.channels, SAMPLES)) < (0.2 if device.has_flags else 0)
    if name == "ad8232_text":
        counts[off] = 0
    step = device.samples
    sent = [
        device.build(k // step, counts[:, k : k + step].ravel().tolist(), off[:, k].tolist())
        for k in range(0, SAMPLES, step)
    ]
    return Stream(counts, off, sent)


def test_every_profile_has_its_vectors() -> None:
    assert sorted(DEVICES) == profile_names()


@pytest.mark.parametrize("name", PUBLISHED)
def test_builders_agree_with_published_bytes(name: str) -> None:
    built, published = PUBLISHED[name]
    assert built == bytes.fromhex(published)


@pytest.mark.parametrize("name", DEVICES)
def test_bytes_become_counts(name: str) -> None:
    stream = make_stream(name)
    framer = load_profile(name).make_framer(SAMPLES)
    framer.push(b"".join(stream.sent))
    counts, electrodes_off, positions = framer.pull_counts(SAMPLES)
    assert counts.dtype == np.int32 and np.array_equal(counts, stream.counts)
    assert positions.tolist() == list(range(SAMPLES))
    flags = (stream.off * (1 << np.arange(len(stream.off)))[:, None]).sum(axis=0)
    assert electrodes_off.tolist() == flags.tolist()
    counters = framer.counters()
    assert counters["skipped_bytes"] == counters["lost_samples"] == counters["duplicates"] == 0
    assert counters["bytes"] == len(b"".join(stream.sent))


@pytest.mark.parametrize("name", DEVICES)
def test_counts_become_the_millivolts_that_the_device_s_parts_give(name: str) -> None:
    device, stream = DEVICES[name], make_stream(name)
    framer = load_profile(name).make_framer(SAMPLES)
    framer.push(b"".join(stream.sent))
    leads = load_profile(name).leads
    rows = [k for k, lead in enumerate(leads) if not lead.startswith("CH")]
    millivolts = framer.pull(SAMPLES)[0][rows]
    expected = (stream.counts[rows] - device.zero) * device.millivolts
    assert millivolts.dtype == np.float32 and np.allclose(millivolts, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", DEVICES)
def test_counts_become_bytes(name: str) -> None:
    stream = make_stream(name)
    profile = load_profile(name)
    groups = encode_wire(profile, stream.counts, stream.off)
    assert b"".join(groups) == b"".join(stream.sent)
    assert len(groups) == profile.packets * len(stream.sent)
    later = encode_wire(profile, stream.counts[:, 16:], stream.off[:, 16:], first=16 // profile.samples)
    assert b"".join(later) == b"".join(stream.sent[16 // profile.samples :]), "the counter goes on"


def test_published_values_decode_among_the_other_fields_of_their_frames() -> None:
    for name, expected in (("healthypi5_arduino", -1000), ("protocentral_ads1292r", -512), ("bmd101", -200)):
        framer = load_profile(name).make_framer(1)
        framer.push(bytes.fromhex(PUBLISHED[name][1]))
        assert framer.pull_counts(1)[0].tolist() == [[expected]], name


COMMANDS = {
    ("e8_12lead", "start"): "e8 00 11 10 00" + 16 * "00" + "8e",
    ("e8_12lead", "stop"): "e8 00 11 11 00" + 16 * "00" + "8e",
    ("healthypi5_arduino", "start"): "aa 55 10 00 00",
    ("healthypi5_arduino", "stop"): "aa 55 11 00 00",
    ("openbci_cyton", "start"): b"b".hex(),
    ("openbci_cyton", "stop"): b"s".hex(),
    ("openbci_cyton_daisy", "16_channels"): b"C".hex(),
    ("bitalino", "rate_1000"): "c3",  # code 3
    ("bitalino", "start"): "09",  # mask of A2
    ("bitalino_6ch", "start"): "fd",
    ("bitalino", "stop"): "00",
    ("shimmer3_ecg", "rate_512"): "05 40 00",  # 32768 / 64
    ("shimmer3_ecg", "sensors"): "08 18 00 00",
    ("hackeeg_messagepack", "to_messagepack"): b'{"COMMAND":"messagepack"}\n'.hex(),
    ("hackeeg_jsonlines", "stop"): b'{"COMMAND":"stop"}\n{"COMMAND":"sdatac"}\n'.hex(),
}


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_commands_are_the_device_s(name: str, command: str) -> None:
    found = load_profile(name).find_command(command)
    assert found is not None and encode_pattern(found.send) == bytes.fromhex(COMMANDS[name, command])


def test_e8_acknowledgement_is_a_message() -> None:
    framer = load_profile("e8_12lead").make_framer(10)
    acknowledgement = bytes.fromhex("e8 05 11 21 00 10" + 15 * "00" + "8e")
    framer.push(acknowledgement)
    assert framer.available == 0
    assert framer.pull_message() == acknowledgement
    assert framer.pull_message() is None


def test_cyton_accepts_every_footer_of_its_kind() -> None:
    framer = load_profile("openbci_cyton").make_framer(10)
    footers = (0xC0, 0xC3, 0xC6, 0xD0)
    for number, footer in enumerate(footers):
        framer.push(cyton_frame(number, [0] * 8)[:-1] + bytes([footer]))
    counters = framer.counters()
    assert (counters["frames"], counters["bad_footers"], counters["skipped_bytes"]) == (3, 1, 33)


def test_healthypi5_oximetry_frames_are_messages() -> None:
    framer = load_profile("healthypi5_zephyr").make_framer(100)
    oximetry = openview(4, bytes(range(19)))
    framer.push(oximetry + healthypi5_zephyr(0, list(range(8)), ALL_ON) + oximetry)
    counters = framer.counters()
    assert (counters["messages"], counters["samples"], counters["skipped_bytes"]) == (2, 8, 0)
    assert framer.pull_message() == oximetry


def test_bmd101_quality_packets_are_messages() -> None:
    payload = bytes([0x02, 200, 0x03, 72, *range(14)])
    quality = b"\xaa\xaa\x12" + payload + bytes([~sum(payload) & 0xFF])
    framer = load_profile("bmd101").make_framer(100)
    framer.push(bmd101(0, [7], ALL_ON) + quality + bmd101(0, [8], ALL_ON))
    counters = framer.counters()
    assert (counters["messages"], counters["samples"], counters["skipped_bytes"]) == (1, 2, 0)


def test_a_daisy_frame_without_its_partner_is_a_lost_sample() -> None:
    rows = [[n] * 16 for n in range(6)]
    sent = [daisy(n, row, ALL_ON) for n, row in enumerate(rows)]
    framer = load_profile("openbci_cyton_daisy").make_framer(10)
    framer.push(b"".join(sent[:2]) + sent[2][:33] + b"".join(sent[3:]))
    counts, _, positions = framer.pull_counts(10)
    assert positions.tolist() == [0, 1, 3, 4, 5] and counts[0].tolist() == [0, 1, 3, 4, 5]
    assert framer.counters()["lost_samples"] == 1
