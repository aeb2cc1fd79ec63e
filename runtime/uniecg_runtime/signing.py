"""Signatures of bundles: Ed25519 over manifest.json, which holds the hash of every file it names.

The signature lies beside the manifest, in `manifest.sig`, and is of the manifest's own bytes after a prefix that no
other message begins with, so that it can stand for nothing else. Ed25519 (RFC 8032) is libsodium's, through PyNaCl,
which the extra `signing` brings. Every file here is one line of ASCII that can be written in one way only.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from uniecg_device.errors import BackendError, BundleError, InputError
from uniecg_runtime.files import replace_file

SIGNATURE: Final = "manifest.sig"
KEY_VARIABLE: Final = "UNIECG_BUNDLE_KEY"  # names a file with a public key; every bundle must be signed by it then
DOMAIN: Final = b"uniecg bundle manifest, signature version 1\0"
MAX_BYTES: Final = 512  # of any file here
_SIGNATURE_LINE: Final = re.compile(rb"uniecg-signature ed25519 ([0-9a-f]{32}) ([0-9a-f]{128})\n")
_KEY_LINE: Final = re.compile(rb"uniecg-(public|private)-key ed25519 ([0-9a-f]{64})\n")


@dataclass(frozen=True)
class PublicKey:
    """data: 32 bytes, as RFC 8032 encodes the point. id: 32 hexadecimal digits, the start of their SHA-256."""

    data: bytes

    @property
    def id(self) -> str:
        return hashlib.sha256(self.data).hexdigest()[:32]

    def check(self, manifest: bytes, signature: bytes) -> None:
        """Raises BundleError unless the file `signature` is this key's for the bytes of manifest.json."""
        line = _SIGNATURE_LINE.fullmatch(signature)
        if line is None:
            raise BundleError(
                f"expected one line of a signature in {SIGNATURE}, found {len(signature)} other bytes; sign the bundle "
                f"again with `uniecg sign`."
            )
        signer = line[1].decode()
        if signer != self.id:
            raise BundleError(
                f"expected a bundle signed by the key {self.id}, found one that says {signer} signed it; get it from "
                f"whom you trust, or give that key if it is theirs."
            )
        nacl = _nacl()
        try:
            nacl.signing.VerifyKey(self.data).verify(DOMAIN + manifest, bytes.fromhex(line[2].decode()))
        except nacl.exceptions.CryptoError:
            raise BundleError(
                f"expected a manifest as the key {self.id} signed it, found another; it was changed after it was "
                f"signed, copy the bundle again from where it came."
            ) from None


@dataclass(frozen=True)
class PrivateKey:
    """seed: 32 bytes, RFC 8032's private key. It is not shown when printed."""

    seed: bytes = field(repr=False)

    @property
    def public(self) -> PublicKey:
        return PublicKey(bytes(_nacl().signing.SigningKey(self.seed).verify_key))

    def sign(self, manifest: bytes) -> bytes:
        """The contents of `manifest.sig` for the bytes of manifest.json."""
        signed = _nacl().signing.SigningKey(self.seed).sign(DOMAIN + manifest)
        return f"uniecg-signature ed25519 {self.public.id} {signed.signature.hex()}\n".encode()


def generate_keys(name: Path) -> PublicKey:
    """Make a key pair: the private key in `name`.key, which its owner alone may read, the public one in `name`.pub.

    Neither is ever written over. Raises InputError for a path without a name, where one is there already, and where the
    place cannot be written to.
    """
    if name.name in ("", ".."):
        raise InputError(f"expected a name for the keys, found the folder {name}; add a name, as in {name / 'maker'}.")
    key = PrivateKey(bytes(_nacl().signing.SigningKey.generate()))
    files = {".key": (key.seed, "private", 0o600), ".pub": (key.public.data, "public", 0o644)}
    paths = {suffix: name.with_name(name.name + suffix) for suffix in files}
    if there := [str(path) for path in paths.values() if os.path.lexists(path)]:
        raise InputError(f"expected no key at {' and '.join(there)}, found one; choose another name.")
    for suffix, (data, kind, mode) in files.items():
        _create(paths[suffix], f"uniecg-{kind}-key ed25519 {data.hex()}\n".encode(), mode)
    return key.public


def read_public_key(path: Path) -> PublicKey:
    """Raises InputError for anything but a file that `uniecg keygen` wrote as `.pub`."""
    return PublicKey(_read_key(path, "public"))


def read_private_key(path: Path) -> PrivateKey:
    """Raises InputError for anything but a file that `uniecg keygen` wrote as `.key` and its owner alone may read."""
    key = PrivateKey(_read_key(path, "private"))
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise InputError(
            f"expected a private key that its owner alone may read, {path} has mode {mode:o}; chmod 600 it."
        )
    return key


def required_key(given: Path | None) -> PublicKey | None:
    """The key that bundles must be signed by: in the file `given`, else in the one that $UNIECG_BUNDLE_KEY names.

    None where neither is set. Raises InputError for a file that is no public key.
    """
    named = os.environ.get(KEY_VARIABLE, "")
    path = Path(named) if given is None and named else given
    return None if path is None else read_public_key(path)


def sign_bundle(folder: Path, manifest: bytes, key: PrivateKey) -> Path:
    """Write `manifest.sig` beside the manifest whose bytes are given; its path. Raises InputError where it cannot."""
    path = folder / SIGNATURE
    try:
        replace_file(path, key.sign(manifest))
    except OSError as error:
        raise InputError(f"expected to be able to write {path}: {error}; sign a copy of the bundle.") from None
    return path


def read_signature(folder: Path) -> bytes | None:
    """The bytes of `manifest.sig`, at most MAX_BYTES + 1 of them; None where there is no such file."""
    return _read(folder / SIGNATURE)


def _read_key(path: Path, kind: str) -> bytes:
    data = _read(path)
    line = None if data is None else _KEY_LINE.fullmatch(data)
    if line is None:
        found = "nothing" if data is None else "something else"
        raise InputError(f"expected a {kind} key of `uniecg keygen` at {path}, found {found}; check the path.")
    if line[1].decode() != kind:
        advice = (
            "a private key stays with whoever signs; give the .pub file" if kind == "public" else "give the .key file"
        )
        raise InputError(f"expected a {kind} key at {path}, found a {line[1].decode()} one; {advice}.")
    return bytes.fromhex(line[2].decode())


def _read(path: Path) -> bytes | None:
    """A small regular file's bytes, so many that a file that is too large is known by it; None where there is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError:
        return None


def _create(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        raise InputError(f"expected to be able to write {path}: {error}; choose another place.") from None


def _nacl() -> Any:
    """PyNaCl. Raises BackendError where it is not installed: a signature that is asked for is never left unchecked."""
    try:
        import nacl.exceptions
        import nacl.signing
    except ImportError:
        raise BackendError(
            "expected PyNaCl to sign bundles and to check their signatures, found that it is not installed; run: "
            "pip install 'uniecg-edge[signing]'."
        ) from None
    return nacl
