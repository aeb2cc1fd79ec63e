"""Signed bundles: what the key signed opens, and nothing else does."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cuda_fakes import FakeTensorRt, add_plans
from uniecg_device.errors import BackendError, BundleError, InputError
from uniecg_runtime import bundle as bundle_module
from uniecg_runtime import signing
from uniecg_runtime.backends.graphs import open_graph
from uniecg_runtime.bundle import MANIFEST, Bundle, read_manifest
from uniecg_runtime.signing import (
    DOMAIN,
    KEY_VARIABLE,
    SIGNATURE,
    PrivateKey,
    PublicKey,
    generate_keys,
    read_private_key,
    read_public_key,
    sign_bundle,
)

MANIFEST_BYTES = b'{"schema_version": 2}\n'
KEY = PrivateKey(bytes(range(32)))
# RFC 8032, section 7.1, TEST 1 to 3: private key, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595b"
        "be24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb430"
        "2aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716e"
        "d28dc027beceea1ec40a",
    ),
]

pytest.importorskip("nacl", reason="NO PYNACL: pip install 'uniecg-edge[signing]' to run these tests")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Where a key pair lies, without its endings."""
    generate_keys(tmp_path / "maker")
    return tmp_path / "maker"


@pytest.fixture
def signed(copied: Bundle, keys: Path) -> Bundle:
    sign_bundle(copied.folder, read_manifest(copied.folder), read_private_key(keys.with_suffix(".key")))
    return copied


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_signatures_are_those_of_the_standard(
    monkeypatch: pytest.MonkeyPatch, seed: str, public: str, message: str, signature: str
) -> None:
    monkeypatch.setattr(signing, "DOMAIN", b"")
    key = PrivateKey(bytes.fromhex(seed))
    assert key.public.data.hex() == public
    line = key.sign(bytes.fromhex(message))
    assert line.decode() == f"uniecg-signature ed25519 {key.public.id} {signature}\n"
    key.public.check(bytes.fromhex(message), line)


def test_a_signature_is_for_a_manifest_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    line = KEY.sign(MANIFEST_BYTES)
    KEY.public.check(MANIFEST_BYTES, line)
    monkeypatch.setattr(signing, "DOMAIN", b"")
    with pytest.raises(BundleError, match="changed after it was signed"):
        KEY.public.check(MANIFEST_BYTES, line)
    KEY.public.check(DOMAIN + MANIFEST_BYTES, line)


@given(place=st.integers(0, len(MANIFEST_BYTES) - 1), other=st.integers(1, 255))
def test_any_byte_of_the_manifest_that_changes_is_noticed(place: int, other: int) -> None:
    changed = bytearray(MANIFEST_BYTES)
    changed[place] ^= other
    with pytest.raises(BundleError):
        KEY.public.check(bytes(changed), KEY.sign(MANIFEST_BYTES))


@given(place=st.integers(0, len(KEY.sign(b"")) - 1), other=st.integers(1, 255))
def test_any_byte_of_the_signature_that_changes_is_noticed(place: int, other: int) -> None:
    changed = bytearray(KEY.sign(MANIFEST_BYTES))
    changed[place] ^= other
    with pytest.raises(BundleError):
        KEY.public.check(MANIFEST_BYTES, bytes(changed))


@given(data=st.binary(max_size=300), cut=st.integers(0, 400))
def test_other_bytes_are_no_signature(data: bytes, cut: int) -> None:
    line = KEY.sign(MANIFEST_BYTES)
    for other in (data, line[:cut] if cut < len(line) else line + data + b"x", data + b" " + line):
        with pytest.raises(BundleError):
            KEY.public.check(MANIFEST_BYTES, other)


def test_a_key_of_no_order_signs_nothing() -> None:
    """The neutral element as public key would take R = 0, S = 0 for any message; libsodium refuses it."""
    weak = PublicKey(bytes([1]) + bytes(31))
    forged = f"uniecg-signature ed25519 {weak.id} {(bytes([1]) + bytes(63)).hex()}\n".encode()
    with pytest.raises(BundleError):
        weak.check(MANIFEST_BYTES, forged)


def test_a_signed_bundle_opens_with_its_key_and_without(signed: Bundle, keys: Path) -> None:
    assert Bundle.open(signed.folder, public_key=keys.with_suffix(".pub")).manifest == signed.manifest
    assert Bundle.open(signed.folder).manifest == signed.manifest


def test_an_unsigned_bundle_is_refused_before_an_artifact_is_read(
    copied: Bundle, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("an artifact was looked at")

    monkeypatch.setattr(bundle_module, "_check_file", read)
    with pytest.raises(
        BundleError, match=r"to be signed by the key [0-9a-f]{32}, found no manifest\.sig; get a signed"
    ):
        Bundle.open(copied.folder, public_key=keys.with_suffix(".pub"))


def test_a_bundle_that_another_key_signed_is_refused(signed: Bundle, keys: Path, tmp_path: Path) -> None:
    other = generate_keys(tmp_path / "other")
    with pytest.raises(BundleError, match=f"signed by the key {other.id}, found one that says [0-9a-f]* signed it"):
        Bundle.open(signed.folder, public_key=tmp_path / "other.pub")


def test_a_manifest_that_was_changed_or_exported_again_is_refused(signed: Bundle, keys: Path) -> None:
    file = signed.folder / MANIFEST
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(BundleError, match="it was changed after it was signed"):
        Bundle.open(signed.folder, public_key=keys.with_suffix(".pub"))


def test_an_artifact_that_was_changed_is_refused_though_the_signature_is_good(signed: Bundle, keys: Path) -> None:
    file = signed.path("condition")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256"):
        Bundle.open(signed.folder, public_key=keys.with_suffix(".pub"))


def test_a_plan_that_came_with_a_bundle_that_must_be_signed_is_not_run(
    signed: Bundle, keys: Path, trt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    add_plans(trt, signed)
    assert open_graph(signed, "condition", "tensorrt").provider.startswith("tensorrt")
    required = Bundle.open(signed.folder, public_key=keys.with_suffix(".pub"))
    with pytest.raises(BackendError, match=f"at {tmp_path / 'cache'}[^ ]*condition.plan, found none"):
        open_graph(required, "condition", "tensorrt")
    add_plans(trt, required)
    assert open_graph(required, "condition", "tensorrt").provider.startswith("tensorrt")


def test_the_environment_can_require_a_key(
    copied: Bundle, signed: Bundle, keys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, str(keys.with_suffix(".pub")))
    assert Bundle.open(signed.folder).manifest == signed.manifest
    (signed.folder / SIGNATURE).unlink()
    with pytest.raises(BundleError, match=r"found no manifest\.sig"):
        Bundle.open(signed.folder)
    assert Bundle.open_unsigned(signed.folder).manifest == signed.manifest
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "none.pub"))
    with pytest.raises(InputError, match=r"expected a public key of `uniecg keygen` at .*, found nothing"):
        Bundle.open(signed.folder)
    monkeypatch.setenv(KEY_VARIABLE, "")
    assert Bundle.open(signed.folder).manifest == signed.manifest


def test_without_the_library_a_required_signature_is_an_error(
    signed: Bundle, keys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "nacl", None)
    with pytest.raises(BackendError, match=r"expected PyNaCl .* pip install 'uniecg-edge\[signing\]'"):
        Bundle.open(signed.folder, public_key=keys.with_suffix(".pub"))
    with pytest.raises(BackendError, match="expected PyNaCl"):
        generate_keys(tmp_path / "new")
    assert Bundle.open(signed.folder).manifest == signed.manifest


def test_a_private_key_is_its_owners_alone_and_nothing_is_written_over(keys: Path) -> None:
    private, public = keys.with_suffix(".key"), keys.with_suffix(".pub")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = (private.read_bytes(), public.read_bytes())
    with pytest.raises(InputError, match=r"expected no key at .*, found one; choose another name"):
        generate_keys(keys)
    public.unlink()
    with pytest.raises(InputError, match="expected no key at"):
        generate_keys(keys)
    assert private.read_bytes() == before[0]
    assert read_private_key(private).public.id == PublicKey(bytes.fromhex(before[1].split()[2].decode())).id


@pytest.mark.parametrize("name", ["", ".", "/", "..", "folder/.."])
def test_keys_need_a_name(name: str) -> None:
    with pytest.raises(InputError, match="expected a name for the keys"):
        generate_keys(Path(name))


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path / "no" / "maker", tmp_path / ("m" * 300)):
        with pytest.raises(InputError, match="choose another place"):
            generate_keys(place)


def test_a_private_key_that_others_may_read_is_not_used(keys: Path) -> None:
    keys.with_suffix(".key").chmod(0o640)
    with pytest.raises(InputError, match="has mode 640; chmod 600 it"):
        read_private_key(keys.with_suffix(".key"))


def test_a_private_key_is_not_shown() -> None:
    assert "seed" not in repr(KEY) and str(list(KEY.seed)) not in repr(KEY)


def test_the_halves_of_a_pair_are_not_taken_for_each_other(keys: Path) -> None:
    with pytest.raises(
        InputError, match=r"found a private one; a private key stays with whoever signs; give the \.pub"
    ):
        read_public_key(keys.with_suffix(".key"))
    with pytest.raises(InputError, match=r"found a public one; give the \.key file"):
        read_private_key(keys.with_suffix(".pub"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_other_files_are_no_keys(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    for read in (read_public_key, read_private_key):
        with pytest.raises(InputError):
            read(tmp_path / "file")


def test_a_pipe_or_a_folder_for_a_key_or_a_signature_does_not_hang(copied: Bundle, keys: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(InputError, match="found nothing"):
            read_public_key(path)
    os.mkfifo(copied.folder / SIGNATURE)
    with pytest.raises(BundleError, match=r"found no manifest\.sig"):
        Bundle.open(copied.folder, public_key=keys.with_suffix(".pub"))
